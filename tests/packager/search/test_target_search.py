"""The search of one target, on real models: waves, verdicts, the ladder and what is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trained
from hunts import ALONE, HERE, task_of
from trained import Trained

from packager.budgets import Budgets
from packager.errors import BudgetExceeded
from packager.recipes import RECIPES
from packager.record import Record
from packager.search.target_search import Found, search
from packager.stages.admit import RULES as VERDICT_RULES
from packager.stages.evaluate import host_is
from packager.target import CpuModel, load_profile
from packager.variant import Skipped, Verdict
from packager.workspace import Workspace

UNKNOWN = (CpuModel("a chip that no emulator knows", "unheard-of"),)


@pytest.fixture
def hunt(tmp_path: Path) -> Iterator[Callable[..., Found]]:
    """Search for a model's variants; see ``task_of`` for what may be changed."""
    with Workspace(tmp_path) as workspace:

        def run(model: Trained, **changed: Any) -> Found:
            return search(task_of(model, workspace, **changed))

        yield run


def names(found: Found) -> list[str]:
    return [one.name for one in found.ladder]


def verdicts(found: Found) -> dict[str, Verdict]:
    assert [one.name for one in found.verdicts] == [one.name for one in found.measured]
    return {one.name: one for one in found.verdicts}


def skipped(found: Found) -> dict[str, Skipped]:
    return {one.name: one for one in found.skipped}


def test_a_network_ships_int8_and_float32_and_every_recipe_is_accounted_for(hunt):
    found = hunt(trained.cancer_network())
    assert names(found) == ["int8-static", "int8-dynamic", "float32"]
    assert found.plain.name == found.measured[0].name == "float32"
    told = {*verdicts(found), *skipped(found)}
    assert told == {"float32", *(recipe.name for recipe in RECIPES)}
    assert set(found.golden.outputs) == set(names(found))


def test_the_same_graph_is_not_judged_twice(hunt):
    twin = skipped(hunt(trained.cancer_network()))["int8-static-dense"]
    assert (twin.rule, twin.reason) == ("same-graph", "its graph is that of int8-static")


def test_trees_ship_as_float32_with_the_reasons(hunt):
    found = hunt(trained.cancer_forest())
    assert [one.precision for one in found.ladder] == ["float32"]
    assert skipped(found)["int8-dynamic"].rule == "nothing-to-quantize"


def test_without_rows_float32_ships_alone(hunt):
    found = hunt(trained.cancer_network(), rows=False)
    assert names(found) == ["float32"]
    assert skipped(found)["int8-static"].rule == "few-calibration-rows"
    assert verdicts(found)["int8-dynamic"].rule == "not-judged"


def test_int8_that_ruins_a_model_is_rejected_with_a_sentence(hunt):
    # Ranges of a thousand times the data: all is rounded off.
    found = hunt(trained.cancer_network(), ruin=1000)
    verdict = verdicts(found)["int8-static"]
    assert "int8-static" not in names(found)
    assert verdict.rule == "quality"
    assert "a loss of 0." in verdict.reason
    assert "more than the 0.01 allowed" in verdict.reason


def test_remedies_are_tried_only_where_something_is_lost(hunt):
    remedies = {one.name for one in RECIPES if one.remedy and one.family == "int8-static"}
    kept, lost = (hunt(trained.cancer_network(), ruin=factor) for factor in (1, 1000))
    for name in remedies:
        assert skipped(kept)[name].rule == "no-need"
        assert name not in skipped(lost) or skipped(lost)[name].rule != "no-need"
    quick = hunt(trained.cancer_network(), ruin=1000, effort="quick")
    assert all(skipped(quick)[name].rule == "effort" for name in remedies)


def test_a_full_search_tries_everything(hunt):
    found = hunt(trained.cancer_network(), effort="full")
    assert {"effort", "no-need"}.isdisjoint(one.rule for one in found.skipped)


# --- budgets -------------------------------------------------------------------------------


def test_where_float32_is_too_large_the_smallest_is_the_last_rung(hunt):
    found = hunt(trained.cancer_network(), budgets=Budgets(size=15_000))
    assert "float32" not in names(found)
    assert verdicts(found)["float32"].rule == "size"
    sizes = {one.name: one.size for one in found.measured}
    assert sizes[names(found)[-1]] == min(sizes[name] for name in names(found))
    assert max(sizes[name] for name in names(found)) <= 15_000


def test_a_budget_that_nothing_keeps_is_an_error(hunt):
    with pytest.raises(BudgetExceeded, match=r"the nearest is int4, and it has [0-9,]+ bytes"):
        hunt(trained.cancer_network(), budgets=Budgets(size=1_000))


def test_single_ships_one_alone(hunt):
    found = hunt(trained.cancer_network(), single=True)
    assert names(found) == ["int8-static"]
    assert verdicts(found)["float32"].rule == "single"


def test_budgets_that_cannot_be_checked_here_are_told(hunt):
    found = hunt(trained.cancer_network(), budgets=Budgets(latency_ms=1e-9))
    assert "float32" in names(found)
    assert any("--max-latency-ms was not checked" in note for note in found.notes)


# --- promised CPUs -------------------------------------------------------------------------


def test_a_cpu_that_cannot_be_asked_is_told_and_int8_of_7_bits_ships(hunt):
    profile = replace(ALONE, cpu_models=UNKNOWN, reduce_range=True)
    found = hunt(trained.cancer_network(), profile=profile)
    assert "int8-static" in names(found)
    assert any("quality was not measured on unheard-of: " in note for note in found.notes)


@pytest.mark.skipif(not host_is("x86-64"), reason="what saturates is x86")
def test_int8_of_8_bits_does_not_ship_where_a_promised_cpu_cannot_be_asked(hunt):
    profile = replace(load_profile("x86-64-cpu"), reduce_range=False, cpu_models=UNKNOWN)
    found = hunt(trained.cancer_network(), profile=profile)
    assert {"int8-static", "int8-dynamic"}.isdisjoint(names(found))
    for name in ("int8-static", "int8-dynamic"):
        verdict = verdicts(found)[name]
        if verdict.rule != "too-slow":
            assert verdict.rule == "not-scored"
            assert "sums may saturate" in verdict.reason


# --- the same again ------------------------------------------------------------------------


def bytes_of(found: Found) -> dict[str, bytes]:
    return {one.name: one.model.graph for one in found.ladder}


@pytest.mark.parametrize("jobs", [1, 3])
def test_however_many_work_at_once_the_bytes_are_the_same(hunt, jobs):
    one, other = (
        hunt(trained.digits_convolutions()),
        hunt(trained.digits_convolutions(), jobs=jobs),
    )
    assert bytes_of(one) == bytes_of(other)
    assert one.golden.to_npz() == other.golden.to_npz()


def test_a_replay_goes_by_the_record_and_uses_all_of_it(hunt):
    record = Record()
    built = hunt(trained.cancer_network(), ruin=1000, record=record)
    replay = Record(record.values)
    again = hunt(trained.cancer_network(), ruin=1000, record=replay)
    replay.check_all_used()
    assert bytes_of(again) == bytes_of(built)
    assert again.verdicts == built.verdicts


def test_a_second_waves_times_are_shares_of_the_firsts_float32(hunt):
    # Timed here, so that no choice is looked at: only that both waves tell the same base.
    found = hunt(trained.cancer_network(), ruin=1000, profile=HERE)
    base = found.measured[0]
    assert set(base.latency) == {1, 32}
    for one in found.measured:
        assert set(one.latency) == {1, 32}
        assert all(time > 0 for time in one.latency.values())


def test_progress_tells_how_many_were_made_and_are_left(hunt):
    said: list[tuple[str, str]] = []
    found = hunt(trained.cancer_network(), say=lambda *told: said.append(told))
    made = len({one.name for one in found.measured}) - 1
    left = sum(one.rule in ("better", "better-ones") for one in found.verdicts)
    assert said == [("search", f"{ALONE.name}: {made} candidates made, {left} left")]


def test_every_verdict_has_a_rule_that_the_page_tells(checkout: Path):
    page = (checkout / "docs" / "search.md").read_text("utf-8")
    for rule in (*VERDICT_RULES, "better-ones", "single", "golden"):
        assert f"`{rule}`" in page, rule
    for recipe in RECIPES:
        assert f"| `{recipe.name}` | {recipe.family} |" in page, recipe.name
