"""What a person reads: short tables that fit a terminal and say why."""

from __future__ import annotations

from dataclasses import replace

import reports

from packager.bundle_file import read_bundle
from packager.report.facts import KindFacts, ParityFacts
from packager.report.terminal import build_text, bundle_text, table, targets_text
from packager.scoring import Metric
from packager.target import list_profiles
from packager.variant import Measured, Skipped

PAGE = "dist/tiny-1.4.0.report.html"


def test_a_build_shows_what_ships_and_why_the_rest_does_not(make_facts, packed):
    assert build_text(make_facts(), packed, PAGE) == (
        "x86-64-cpu: balanced_accuracy, on this machine\n"
        "  variant  size     share  time at 1, 32  quality\n"
        "  float32  2.9 KiB  1.00   1.00, 1.00     0.9000\n"
        "  int8-static does not ship: quality falls\n"
        "  left out: int8-dynamic (nothing-to-quantize)\n"
        "  not measured: quality on Haswell\n"
        "\n"
        "not checked\n"
        "  quality: nobody looked\n"
        "\n"
        "tiny-1.4.0.oci.tar  4.0 KiB\n"
        f"  sha256 {'b' * 64}\n"
        f"  signed by {'f' * 64}\n"
        "  every candidate and reason: dist/tiny-1.4.0.report.html"
    )


def test_what_ships_stands_best_first_with_its_worst_quality_and_interval(packed):
    lines = build_text(reports.rich_facts(), packed, PAGE).splitlines()
    start = lines.index(
        "x86-64-cpu: balanced_accuracy, the worst of this machine, Nehalem and Haswell"
    )
    assert lines[start + 1 : start + 6] == [
        "  variant        size       share  time at 1, 32  quality  drop",
        "  int8-static    50.3 KiB   0.30   0.61, 0.47     0.9547   "
        "within noise (-0.0071…0.0045)",
        "  int8-dynamic   50.2 KiB   0.30   0.58, 0.52     0.9473   0.0061 (0.0046…0.0076)",
        "  float32-fused  166.7 KiB  0.99   0.91, 0.95     0.9534   no drop",
        "  float32        168.4 KiB  1.00   1.00, 1.00     0.9534",
    ]


def test_each_candidate_that_does_not_ship_has_one_line_within_the_terminal(packed):
    facts = reports.rich_facts()
    lines = build_text(facts, packed, PAGE).splitlines()
    assert all(len(line) <= 100 for line in lines)
    shipped = {variant.name for variant in facts.targets[0].ladder}
    for one in facts.targets[0].measured:
        told = [line for line in lines if line.startswith(f"  {one.name} does not ship: ")]
        assert len(told) == (0 if one.name in shipped else 2)  # once for each target


def test_the_longest_names_and_widest_figures_fit_the_terminal(packed):
    target = reports.rich_facts().targets[0]
    base = replace(target.measured[0], size=1_073_000_000, name="float32")
    wide = replace(
        base,
        name="int8-static-percentile",
        scores=[reports.score(quality=0.9, drop=-0.0026, low=-0.0084, high=0.0032)],
    )
    ladder = [replace(target.ladder[0], name=wide.name)]
    crowded = replace(target, measured=[base, wide], ladder=ladder, verdicts=(), skipped=())
    text = build_text(reports.facts(crowded), packed, PAGE)
    assert "int8-static-percentile  1023.3 MiB" in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_drops_of_an_error_are_shares(packed):
    facts = reports.rich_facts(metric=Metric("mean_absolute_error", True, bounded=False))
    text = build_text(facts, packed, PAGE)
    assert "0.61% (0.46%…0.76%)" in text


def kinds(**changes):
    one = KindFacts("held-out", 50, 0, 1, 0, 7, 0.25, "", {"label": False, "p": 2.5e-7})
    more = {"rows": 1200, "refused": 4, "ties": 0, "excused": 2, "column": "age", "share": 0.5}
    other = replace(one, kind="extremes", **{**more, **changes})
    nothing = replace(one, kind="text", rows=0, refused=6, ties=0, differences={})
    return ParityFacts(50, 1, {"p": 2.5e-7}, [], [], [one, other, nothing])


def test_each_kind_of_rows_shows_how_far_its_worst_one_is_off(make_facts, packed):
    text = build_text(make_facts(parity=kinds()), packed, PAGE)
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
        "x86-64-cpu: "
    )


def test_values_of_rows_are_shown_where_they_are_told(make_facts, packed):
    row = {"age": 41.5, "city": "Köln\x1b[31m"}
    text = build_text(make_facts(parity=kinds(row=row)), packed, PAGE)
    assert "  extremes: the worst is row 7: age=41.5, city='Köln\\x1b[31m'\n" in text


def test_repairs_are_told(make_facts, packed):
    text = build_text(
        make_facts(repairs=["added the exp that the Poisson loss needs"]), packed, PAGE
    )
    assert "\n\nrepaired in the graph\n  added the exp that the Poisson loss needs\n\n" in text


def test_what_nobody_measured_has_no_column(make_facts, make_target, packed):
    target = make_target(measured=[Measured("float32", "float32", 3000, 2800)])
    text = build_text(make_facts(target, metric=None), packed, PAGE)
    assert "x86-64-cpu\n  variant  size     share\n  float32  2.9 KiB  1.00\n" in text


def test_an_unsigned_bundle_is_called_so(make_facts, packed):
    unsigned = packed.__class__("t", 1, "b" * 64, "", {})
    assert "\n  unsigned\n" in build_text(make_facts(), unsigned, PAGE)


def test_a_long_reason_is_cut_and_a_long_note_is_told_whole(make_facts, make_target, packed):
    words = "the engine refused it: " + "word " * 60 + "end"
    target = make_target(skipped=(Skipped("float16", words),), notes=(words,))
    text = build_text(make_facts(target), packed, PAGE)
    lines = text.splitlines()
    assert all(len(line) <= 100 for line in lines)
    (cut,) = (line for line in lines if "float16" in line)
    assert cut.startswith("  float16 was not made: the engine refused it: word ")
    assert cut.endswith(" …")
    assert words in " ".join(line.strip() for line in lines)


def test_what_rules_left_out_is_told_by_rule(make_facts, make_target, packed):
    skipped = (
        Skipped("float32-trees", "there are no trees", "no-trees"),
        Skipped("int8-static-entropy", "nothing is lost", "no-need"),
        Skipped("int8-static-sparing", "nothing is lost", "no-need"),
    )
    text = build_text(make_facts(make_target(skipped=skipped)), packed, PAGE)
    told = "float32-trees (no-trees); int8-static-entropy, int8-static-sparing (no-need)"
    assert f"  left out: {told}\n" in text


def test_what_the_rows_did_not_suffice_for_is_told_whole(make_facts, make_target, packed):
    reason = "ranges need at least 10 calibration rows, there are 9"
    skipped = [
        Skipped(name, reason, "few-calibration-rows")
        for name in ("int8-static", "int8-static-entropy")
    ]
    text = build_text(make_facts(make_target(skipped=tuple(skipped))), packed, PAGE)
    told = f"left out: int8-static, int8-static-entropy: {reason}"
    assert told in " ".join(text.split())
    assert "(few-calibration-rows)" not in text


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
    assert lines[0].split() == ["target", "for"]
    assert len(lines) == 1 + 2 * len(list_profiles())
    assert "tries int8-static, int8-dynamic, int8-weights, int4, float32" in text
    assert all(len(line) <= 100 for line in lines)
