"""The rules of admission: never worse, smaller or faster, within budgets, and a sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packager.budgets import Budgets, Drop
from packager.scoring import Metric
from packager.stages.admit import BUDGET_RULES, RULES, Court, admit, overrun, weight
from packager.variant import Measured, Score, Verdict

METRIC = Metric("balanced_accuracy")


def score(drop: float, *, noise: float = 0.005, cpu: str = "host", **more: Any) -> Score:
    """A score whose interval reaches ``noise`` to both sides."""
    told = {"quality": 0.95 - drop, "agreement": 1.0, **more}
    return Score(cpu=cpu, drop=drop, low=drop - noise, high=drop + noise, **told)


BASE = Measured("float32", "float32", 1000, 500, [score(0.0)], {1: 100.0, 32: 1000.0})


def rung(name: str = "int8-static", **changed: Any) -> Measured:
    """A candidate with .30 of float32's bytes, its times and its quality."""
    precision = name.partition("-")[0]
    one = Measured(name, precision, 300, 150, [score(0.0)], {1: 100.0, 32: 1000.0})
    return replace(one, **changed)


def verdict(one: Measured, base: Measured = BASE, **court: Any) -> Verdict:
    asked = {"metric": METRIC, "budgets": Budgets(), "rows": 143, **court}
    first, last = admit([base, one], Court(base=base, **asked))
    assert first.admitted or first.rule in BUDGET_RULES
    return last


def test_smaller_and_as_good_ships_with_its_figures() -> None:
    found = verdict(rung(size=390, scores=[score(0.002)], latency={1: 114.0, 32: 900.0}))
    assert found.admitted
    assert found.reason == (
        "ships: 0.39 of float32's bytes, 1.14 of its time at batch 1, 0.90 of its time at "
        "batch 32; balanced_accuracy 0.9480 against 0.9500, within noise"
    )


# --- quality -------------------------------------------------------------------------------


def test_a_loss_beyond_the_budget_is_told_with_both_values_its_interval_and_its_cpu() -> None:
    scores = [score(0.001), score(0.02, cpu="Haswell")]
    found = verdict(rung(scores=scores))
    assert (found.admitted, found.rule) == (False, "quality")
    assert found.reason == (
        "does not ship: balanced_accuracy 0.9300 against 0.9500 on Haswell: a loss of 0.0200 "
        "(95 % interval 0.0150 to 0.0250), more than the 0.01 allowed"
    )


def test_a_drop_that_may_be_noise_is_rejected_and_never_called_a_loss() -> None:
    found = verdict(rung(scores=[score(0.02, noise=0.03)]))
    assert (found.admitted, found.rule) == (False, "quality")
    assert found.reason.endswith(
        "the drop of 0.0200 (95 % interval -0.0100 to 0.0500) is more than the 0.01 "
        "allowed, though 143 rows cannot tell it from noise: more held-out rows would"
    )
    assert "loss" not in found.reason


def test_an_admitted_drop_is_called_a_loss_only_where_it_is_no_noise() -> None:
    assert verdict(rung(scores=[score(0.006)])).reason.endswith("a loss of 0.0060")
    assert verdict(rung(scores=[score(0.004)])).reason.endswith("within noise")
    assert verdict(rung(scores=[score(-0.004)])).reason.endswith("nothing is lost")


def test_a_drop_of_just_the_budget_is_within_it() -> None:
    assert verdict(rung(scores=[score(0.01)])).admitted


@pytest.mark.parametrize(
    ("drop", "metric", "told"),
    [
        (Drop(0.01, True), METRIC, "a loss of 2.00% (95 % interval 1.50% to 2.50%)"),
        (Drop(0.01), Metric("rmse", True, False), "more than the 1% allowed"),
        (Drop(0.01, False), Metric("rmse", True, False), "more than the 0.01 allowed"),
    ],
)
def test_relative_drops_are_told_as_shares(drop: Drop, metric: Metric, told: str) -> None:
    found = verdict(rung(scores=[score(0.02)]), metric=metric, budgets=Budgets(drop))
    assert told in found.reason


def test_answers_that_are_no_numbers_are_rejected_on_whatever_cpu() -> None:
    nan = float("nan")
    broken = score(nan, cpu="Nehalem")
    found = verdict(rung(scores=[score(0.0), broken]))
    assert (found.admitted, found.rule) == (False, "not-finite")
    assert "NaN or infinity on Nehalem" in found.reason


def test_what_crashes_on_a_promised_cpu_is_rejected_with_the_reason() -> None:
    broken = score(float("nan"), cpu="cortex-a53", problem="it was ended by SIGILL")
    found = verdict(rung(scores=[score(0.0), broken]))
    assert (found.rule, found.reason) == (
        "crashed",
        "does not ship: it was ended by SIGILL on cortex-a53",
    )


def test_without_held_out_rows_nothing_but_float32_ships() -> None:
    blind = Measured("float32", "float32", 1000, 500)
    found = verdict(rung(scores=[], latency={}), blind, metric=None)
    assert (found.admitted, found.rule) == (False, "not-judged")
    assert "without held-out rows" in found.reason


def test_sums_that_nobody_could_score_do_not_ship() -> None:
    reason = "sums may saturate where nobody could look"
    found = verdict(rung(), unproven={"int8-static": reason})
    assert (found.rule, found.reason) == ("not-scored", f"does not ship: {reason}")
    assert verdict(rung("int4"), unproven={"int8-static": reason}).admitted


def test_a_form_of_float32_that_answers_otherwise_is_rejected_whatever_its_quality() -> None:
    found = verdict(rung("float32-fused"), strangers={"float32-fused": "3 of 9 are others"})
    assert (found.rule, found.reason) == ("other-answers", "does not ship: 3 of 9 are others")
    assert verdict(rung("float32-fused")).admitted


# --- budgets -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budgets", "rule", "told"),
    [
        (Budgets(size=299), "size", "it has 300 bytes, --max-size allows 299"),
        (
            Budgets(latency_ms=0.00005),
            "latency",
            "a call of 1 row takes 0.0001 ms here, --max-latency-ms allows 5e-05 ms",
        ),
        (
            Budgets(memory=6_999),
            "memory",
            "it takes 7,000 bytes of memory, --max-memory allows 6,999",
        ),
    ],
)
def test_a_budget_is_missed_with_both_values(budgets: Budgets, rule: str, told: str) -> None:
    found = verdict(rung(memory=7_000), budgets=budgets)
    assert (found.admitted, found.rule) == (False, rule)
    assert found.reason == f"does not ship: {told}"


def test_a_budget_of_just_what_is_taken_is_kept() -> None:
    budgets = Budgets(size=300, latency_ms=0.0001, memory=7_000)
    assert verdict(rung(memory=7_000), budgets=budgets).admitted


def test_budgets_that_nobody_measured_reject_nobody() -> None:
    blind = replace(BASE, latency={})
    budgets = Budgets(latency_ms=1e-9, memory=1)
    assert verdict(rung(latency={}), blind, budgets=budgets).admitted


def test_float32_itself_must_keep_the_budgets() -> None:
    budgets = Budgets(size=400)
    first, second = admit([BASE, rung()], Court(BASE, METRIC, budgets))
    assert (first.admitted, first.rule) == (False, "size")
    assert second.admitted


def test_the_overrun_is_that_of_the_budget_missed_most() -> None:
    budgets = Budgets(size=100, latency_ms=0.0001, memory=3_500)
    assert overrun(rung(memory=7_000), budgets) == 3.0
    assert overrun(rung(memory=35_000), budgets) == 10.0
    assert overrun(rung(memory=None, latency={}), Budgets()) == 0.0


# --- gain ----------------------------------------------------------------------------------


def test_smaller_but_slower_ships_below_the_limit_and_not_at_it() -> None:
    assert verdict(rung(latency={1: 119.0, 32: 1000.0})).admitted
    found = verdict(rung(latency={1: 120.0, 32: 1500.0}))
    assert (found.admitted, found.rule) == (False, "too-slow")
    assert "1.50 of float32's time at batch 32, where 1.20 is too much" in found.reason


def test_larger_but_faster_ships_and_larger_and_slower_does_not() -> None:
    assert verdict(rung(size=1100, latency={1: 85.0, 32: 1000.0})).admitted
    found = verdict(rung(size=1100, latency={1: 110.0, 32: 1000.0}))
    assert (found.admitted, found.rule) == (False, "no-gain")
    assert "neither 5 % smaller nor 10 % faster than float32: 1.10 of float32's" in found.reason


@pytest.mark.parametrize(("size", "one"), [(951, 91.0), (1000, 100.0)])
def test_a_saving_within_the_margin_is_none(size: int, one: float) -> None:
    assert not verdict(rung(size=size, latency={1: one, 32: 1000.0})).admitted


def test_a_saving_that_costs_as_much_elsewhere_is_none() -> None:
    found = verdict(rung(size=900, latency={1: 115.0, 32: 1150.0}))
    assert (found.admitted, found.rule) == (False, "no-gain")
    assert "what it saves costs as much elsewhere: 0.90 of float32's bytes" in found.reason


def test_where_time_was_not_measured_no_figure_is_told() -> None:
    blind = replace(BASE, latency={})
    found = verdict(rung(latency={}), blind)
    assert found.admitted
    assert "not timed on this chip" in found.reason
    assert "time at batch" not in found.reason


def test_merit_is_the_geometric_mean_of_bytes_and_times() -> None:
    assert weight(BASE, BASE) == 1.0
    found = weight(rung(size=125, latency={1: 50.0, 32: 2000.0}), BASE)
    assert found == pytest.approx(0.5)
    assert weight(rung(latency={}), BASE) == pytest.approx(0.3)


# --- together ------------------------------------------------------------------------------

scores = st.lists(
    st.builds(
        score,
        drop=st.floats(-1, 1) | st.just(float("nan")),
        noise=st.floats(0, 0.1),
        cpu=st.sampled_from(["host", "Haswell", "Nehalem"]),
    ),
    max_size=3,
)
measures = st.builds(
    rung,
    name=st.sampled_from(["int8-static", "int8-dynamic", "float16", "float32-fused"]),
    size=st.integers(1, 2000),
    scores=scores,
    latency=st.fixed_dictionaries({1: st.floats(1, 500), 32: st.floats(1, 5000)}),
    memory=st.none() | st.integers(0, 10_000),
)
budgets = st.builds(
    Budgets,
    size=st.none() | st.integers(1, 2000),
    latency_ms=st.none() | st.floats(1e-6, 1e-3),
    memory=st.none() | st.integers(1, 10_000),
)


@given(st.lists(measures, max_size=5), budgets)
def test_nothing_worse_ever_ships(measured: list[Measured], kept: Budgets) -> None:
    verdicts = admit([BASE, *measured], Court(BASE, METRIC, kept, 143))
    assert verdicts[0].admitted == (overrun(BASE, kept) <= 1)
    for one, found in zip(measured, verdicts[1:], strict=True):
        assert found.rule in {*RULES, "better"}
        if found.admitted:
            assert max(given.drop for given in one.scores) <= 0.01 + 1e-9
            assert overrun(one, kept) <= 1
            assert weight(one, BASE) < 1
            assert max(one.latency[1] / 100.0, one.latency[32] / 1000.0) < 1.2
