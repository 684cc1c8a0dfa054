"""What a variant does to answers, as tables: counts, differences and how strong to colour."""

from __future__ import annotations

from dataclasses import replace

import reports

from packager.report.effects import MAX_CHANGES, MAX_CLASSES, effect_view
from packager.report.facts import Effect


def test_a_cell_has_both_counts_their_difference_and_its_share_of_the_class():
    view = effect_view(reports.CONFUSION)
    assert view["kind"] == "confusion"
    assert view["names"] == ("benign", "malignant", "unclear")
    cell = view["cells"][0][0]
    assert (cell["before"], cell["after"], cell["change"]) == (132, 131, "-1")
    assert cell["heat"] == 0.98
    assert cell["right"]
    assert view["cells"][0][1]["change"] == "+1"
    assert view["cells"][2][2]["change"] == ""


def test_a_class_without_rows_has_no_heat():
    view = effect_view(Effect("confusion", "x", ("a", "b"), ((0, 0), (0, 3)), ((0, 0), (0, 3))))
    assert view["cells"][0][0]["heat"] == 0


def test_of_many_classes_only_what_differs_is_listed_the_most_first():
    names = [f"c{number}" for number in range(MAX_CLASSES + 30)]
    before = [[5] * len(names) for _ in names]
    after = [list(row) for row in before]
    for number in range(MAX_CHANGES + 3):
        after[number][0] += number + 1
    view = effect_view(Effect("confusion", "x", names, before, after))
    assert view["kind"] == "changes"
    assert len(view["changes"]) == MAX_CHANGES
    assert view["more"] == 3
    first = view["changes"][0]
    assert (first["true"], first["answered"]) == (f"c{MAX_CHANGES + 2}", "c0")
    assert first["cell"]["change"] == f"+{MAX_CHANGES + 3}"


def test_residuals_are_bars_between_the_edges_of_their_bins():
    view = effect_view(reports.RESIDUALS)
    assert [bar["bin"] for bar in view["bars"]][:2] == ["-3 to -2", "-2 to -1"]
    tallest = view["bars"][2]
    assert (tallest["before"], tallest["width_before"]) == (96, 100.0)
    assert tallest["change"] == "-6"
    assert view["bars"][3]["width_after"] == 94.8


def test_bins_may_have_names_and_may_all_be_empty():
    named = replace(reports.RESIDUALS, names=list("abcdef"), before=[[0] * 6], after=[[0] * 6])
    bars = effect_view(named)["bars"]
    assert [bar["bin"] for bar in bars] == list("abcdef")
    assert {bar["width_before"] for bar in bars} == {0.0}
