"""The model card tells whoever finds a target what it is, what it takes and how to run it."""

from __future__ import annotations

import re
from dataclasses import replace

import reports

from packager.bundle_file import read_bundle
from packager.report.card import render_card
from packager.report.facts import KindFacts, ParityFacts
from packager.variant import Measured


def card(facts) -> str:
    return render_card(facts, facts.targets[0]).decode()


def test_it_names_model_target_source_and_licence(make_facts):
    text = card(make_facts())
    assert text.startswith("# tiny 1.4.0\n\nA classifier.\n")
    assert "| target | x86-64-cpu: " in text
    assert "| source | scikit-learn, Pipeline |" in text
    assert "| licence | Apache-2.0 |" in text


def test_it_shows_columns_classes_and_outputs(make_facts):
    text = card(make_facts())
    assert "| `my balance (€)` | float | refuse | `features` |" in text
    assert "- classes, in this order: 0, 1" in text
    assert "the probability" in text


def test_it_tells_how_it_was_checked_and_what_was_not(make_facts):
    text = card(make_facts())
    assert "on 50 held-out rows; the largest difference is 2.5e-07." in text
    assert "- 4 golden vectors (drawn column by column)" in text
    assert "- quality: nobody looked" in text
    assert "- not measured: quality on Haswell" in text


def test_it_tells_what_rows_were_made_for_and_what_was_let_pass(make_facts):
    held_out = KindFacts("held-out", 50, 0, 0, 0, 7, 0.25, "", {"p": 2.5e-7}, {"age": 41.5})
    ties = replace(held_out, kind="ties", rows=64, ties=2)
    text = replace(held_out, kind="text", rows=0, refused=6)
    parity = ParityFacts(50, 0, {"p": 2.5e-7}, [], [], [held_out, ties, text])
    told = card(make_facts(parity=parity, repairs=["added the exp"]))
    assert "- It does so on rows made to part the two: 64 of ties.\n" in told
    assert "- ties, labels that differ in a tie: 2.\n" in told
    assert "- text, refused by the source: 6.\n" in told
    assert "- Repaired in the graph: added the exp.\n" in told
    assert "41.5" not in told  # a card leaves the house


def test_real_golden_rows_are_not_called_drawn(make_facts, make_target):
    text = card(make_facts(make_target(golden_synthetic=False)))
    assert "golden vectors (real rows)" in text
    assert "drawn" not in text


def test_only_what_ships_stands_in_its_tables(make_facts):
    text = card(make_facts())
    assert "| float32 | CPUExecutionProvider | 3,000 |" in text
    assert "| float32 | 0.9000 (no drop) |" in text
    assert "int8-static" not in text


def test_quality_is_told_for_each_cpu_with_its_interval():
    text = card(reports.rich_facts())
    assert "| variant | the machine that built it | Nehalem | Haswell |" in text
    assert "0.9547 (-0.0013, -0.0071 to 0.0045, within noise)" in text
    assert "0.9473 (0.0061, 0.0046 to 0.0076)" in text
    assert "balanced_accuracy on 50 held-out rows" in text


def test_a_cpu_that_a_variant_did_not_run_on_is_told():
    base, *others = reports.rich_facts().targets[0].measured
    item = next(one for one in others if one.name == "int8-static")
    short = replace(item, scores=item.scores[:2])
    target = replace(reports.rich_facts().targets[0], measured=[base, short, *others])
    measured = [short if one.name == "int8-static" else one for one in target.measured]
    text = card(reports.facts(replace(target, measured=measured)))
    assert re.search(r"^\| int8-static \|.*\| not run \|$", text, re.MULTILINE)


def test_neither_time_nor_memory_of_any_machine_stands_in_it():
    facts = reports.rich_facts()
    slower = [
        replace(item, latency={1: 123_456.0, 32: 234_567.0}, memory=345_678_901)
        for item in facts.targets[0].measured
    ]
    other = reports.rich_facts(targets=[replace(facts.targets[0], measured=slower)])
    assert render_card(facts, facts.targets[0]) == render_card(other, other.targets[0])


def test_without_rows_quality_is_said_to_be_unknown(make_facts, make_target):
    target = make_target(measured=[Measured("float32", "float32", 3000, 2800)])
    assert "Quality was not measured" in card(make_facts(target, data=None, metric=None))


def test_many_columns_are_cut_and_counted(make_facts):
    facts = make_facts()
    one = facts.interface.columns[0]
    columns = tuple(replace(one, name=f"c{number}") for number in range(100))
    text = card(make_facts(interface=replace(facts.interface, columns=columns)))
    assert "… and 60 more columns" in text
    assert "`c39`" in text
    assert "`c40`" not in text


def test_a_name_cannot_break_the_table(make_facts):
    facts = make_facts()
    odd = replace(facts.interface.columns[0], name="a|b\nc")
    text = card(make_facts(interface=replace(facts.interface, columns=(odd,))))
    assert "| `a\\|b c` | float |" in text


def test_a_model_of_bare_tensors_shows_them(make_facts):
    facts = make_facts()
    text = card(make_facts(interface=replace(facts.interface, columns=())))
    assert "- `features`: float32[?, 3]" in text


def test_every_target_of_a_bundle_has_its_own(build):
    for target in read_bundle(build.bundle):
        text = next(part.data for part in target.parts if part.path == "README.md").decode()
        assert f"| target | {target.manifest.target.name}: " in text
        assert "edge-runtime install cancer-1.4.0.oci.tar" in text
