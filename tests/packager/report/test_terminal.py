"""What a person reads: short tables that fit a terminal and say why."""

from __future__ import annotations

from dataclasses import replace

from packager.bundle_file import read_bundle
from packager.report.facts import KindFacts, ParityFacts
from packager.report.terminal import build_text, bundle_text, table, targets_text
from packager.target import list_profiles
from packager.variant import Measured, Skipped


def test_a_build_shows_what_ships_and_why_the_rest_does_not(make_facts, packed):
    assert build_text(make_facts(), packed) == (
        "x86-64-cpu\n"
        "         variant      size     share  balanced_accuracy  time against float32\n"
        "  -      int8-static  900 B    0.30   0.5000             "
        "0.50 at batch 1, 1.10 at batch 32\n"
        "  ships  float32      2.9 KiB  1.00   0.9000             "
        "1.00 at batch 1, 1.00 at batch 32\n"
        "  int8-static does not ship: quality falls\n"
        "  int8-dynamic was not made: there is nothing to quantize\n"
        "  not measured: quality on Haswell\n"
        "\n"
        "not checked\n"
        "  quality: nobody looked\n"
        "\n"
        "tiny-1.4.0.oci.tar  4.0 KiB\n"
        f"  sha256 {'b' * 64}\n"
        f"  signed by {'f' * 64}"
    )


def kinds(**changes):
    one = KindFacts("held-out", 50, 0, 1, 0, 7, 0.25, "", {"label": False, "p": 2.5e-7})
    more = {"rows": 1200, "refused": 4, "ties": 0, "excused": 2, "column": "age", "share": 0.5}
    other = replace(one, kind="extremes", **{**more, **changes})
    nothing = replace(one, kind="text", rows=0, refused=6, ties=0, differences={})
    return ParityFacts(50, 1, {"p": 2.5e-7}, [], [], [one, other, nothing])


def test_each_kind_of_rows_shows_how_far_its_worst_one_is_off(make_facts, packed):
    text = build_text(make_facts(parity=kinds()), packed)
    assert text.startswith(
        "source and graph agree\n"
        "  rows      compared  the worst differs by  of what is allowed\n"
        "  held-out  50        p 2.5e-07             25.0%               "
        "labels that differ in a tie: 1\n"
        "  extremes  1,200     p 2.5e-07             50.0%               "
        "differ only as float32 must: 2; refused by the source: 4\n"
        "  text      0                                                   "
        "refused by the source: 6\n"
        "\n"
        "x86-64-cpu\n"
    )


def test_values_of_rows_are_shown_where_they_are_told(make_facts, packed):
    row = {"age": 41.5, "city": "Köln\x1b[31m"}
    text = build_text(make_facts(parity=kinds(row=row)), packed)
    assert "  extremes: the worst is row 7: age=41.5, city='Köln\\x1b[31m'\n" in text


def test_repairs_are_told(make_facts, packed):
    text = build_text(make_facts(repairs=["added the exp that the Poisson loss needs"]), packed)
    assert "\n\nrepaired in the graph\n  added the exp that the Poisson loss needs\n\n" in text


def test_what_nobody_measured_has_no_column(make_facts, make_target, packed):
    target = make_target(measured=[Measured("float32", "float32", 3000)])
    text = build_text(make_facts(target, metric=""), packed)
    assert "         variant  size     share\n  ships  float32  2.9 KiB  1.00\n" in text


def test_an_unsigned_bundle_is_called_so(make_facts, packed):
    unsigned = packed.__class__("t", 1, "b" * 64, "", {})
    assert build_text(make_facts(), unsigned).endswith("\n  unsigned")


def test_long_reasons_are_told_whole_and_wrapped_to_the_terminal(
    make_facts, make_target, packed
):
    reason = "the engine refused it: " + "word " * 60 + "end"
    target = make_target(skipped=(Skipped("float16", reason),))
    text = build_text(make_facts(target), packed)
    assert all(len(line) <= 100 for line in text.splitlines())
    assert reason in " ".join(line.strip() for line in text.splitlines())


def test_columns_line_up_and_lines_do_not_trail():
    text = table([("a", "1", ""), ("bcd", "", "")], ("x", "y", "z"))
    assert text == "  x    y\n  a    1\n  bcd"


def test_a_bundle_shows_its_targets_and_promises_nothing_about_its_signature(build):
    text = bundle_text(read_bundle(build.bundle))
    assert text.startswith(
        "cancer 1.4.0 (release 1004000), classification\nBenign or malignant."
    )
    assert text.count("signature  there; packager verify checks it") == 3
    assert "golden     32 drawn rows" in text
    assert "float32-cpu" in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_a_strangers_bundle_cannot_draw_on_the_terminal(build):
    first, *rest = read_bundle(build.bundle)
    hostile = replace(first.manifest, description="\x1b[2Jverified: all is well")
    text = bundle_text((replace(first, manifest=hostile), *rest))
    assert "?[2Jverified" in text
    assert "\x1b" not in text


def test_every_shipped_profile_is_listed_within_the_terminal():
    text = targets_text(list_profiles())
    lines = text.splitlines()
    assert lines[0].split() == ["target", "variants,", "best", "first", "for"]
    assert len(lines) == 1 + len(list_profiles())
    assert all(len(line) <= 100 for line in lines)
