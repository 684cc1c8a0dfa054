"""The rules of admission: never worse, smaller or faster, float32 always, and a sentence."""

from __future__ import annotations

import pytest
import trained
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto
from trained import candidate

from packager.record import Record
from packager.stages.admit import admit
from packager.stages.evaluate import evaluate, host_is
from packager.stages.quantize import quantize
from packager.variant import Measured, Verdict

OTHER = "arm64" if host_is("x86-64") else "x86-64"
BASE = Measured("float32", "float32", 1000, 0.95, 1.0, {1: 100.0, 32: 1000.0})


def rung(
    name: str = "int8-static",
    *,
    size: int = 300,
    quality: float | None = 0.95,
    one: float = 100.0,
    many: float = 1000.0,
) -> Measured:
    return Measured(name, name.partition("-")[0], size, quality, 1.0, {1: one, 32: many})


def verdict(one: Measured, base: Measured = BASE) -> Verdict:
    first, last = admit([one, base], metric="balanced_accuracy", max_drop=0.01)
    assert last == Verdict("float32", True, "ships: every ladder ends on float32")
    return first


def test_smaller_and_as_good_ships_with_its_figures() -> None:
    found = verdict(rung(size=390, quality=0.945, one=114.0, many=900.0))
    assert found.admitted
    assert found.reason == (
        "ships: 0.39 of float32's bytes, 1.14 of its time at batch 1, 0.90 of its time at "
        "batch 32; balanced_accuracy 0.9450 against 0.9500, 0.01 less is allowed"
    )


def test_quality_below_the_budget_is_rejected_with_both_figures() -> None:
    found = verdict(rung(quality=0.93))
    assert not found.admitted
    assert found.reason == (
        "does not ship: balanced_accuracy falls from 0.9500 to 0.9300, "
        "by 0.0200 where 0.01 is allowed"
    )


def test_a_drop_of_just_the_budget_is_within_it() -> None:
    assert verdict(rung(quality=0.94)).admitted


def test_smaller_but_slower_ships_below_the_limit_and_not_at_it() -> None:
    assert verdict(rung(one=119.0)).admitted
    found = verdict(rung(one=120.0, many=1500.0))
    assert not found.admitted
    assert "1.50 of float32's time at batch 32, where 1.20 is too much" in found.reason


def test_larger_but_faster_ships_and_larger_and_slower_does_not() -> None:
    assert verdict(rung(size=1100, one=85.0)).admitted
    found = verdict(rung(size=1100, one=110.0))
    assert not found.admitted
    assert "neither 5 % smaller nor 10 % faster than float32: 1.10 of float32's" in found.reason


@pytest.mark.parametrize(("size", "one"), [(951, 91.0), (1000, 100.0)])
def test_a_saving_within_the_margin_is_none(size: int, one: float) -> None:
    assert not verdict(rung(size=size, one=one)).admitted


def test_without_held_out_rows_nothing_but_float32_ships() -> None:
    blind = Measured("float32", "float32", 1000)
    found = verdict(Measured("int8-static", "int8", 300), blind)
    assert not found.admitted
    assert "without held-out rows" in found.reason


def test_answers_that_are_no_numbers_are_rejected() -> None:
    assert "NaN" in verdict(rung(quality=float("nan"))).reason


def test_where_time_was_not_measured_no_figure_is_told() -> None:
    base = Measured("float32", "float32", 1000, 0.95)
    found = verdict(Measured("int8-static", "int8", 300, 0.95), base)
    assert found.admitted
    assert "not timed on this chip" in found.reason
    assert "time at batch" not in found.reason


def test_a_ladder_holds_three_and_float32_rungs_keep_their_place() -> None:
    names = ["int8-static", "float16", "int8-dynamic"]
    cuda = Measured("float32", "float32", 1000, 0.95, 1.0, BASE.latency)
    measured = [rung(name) for name in names]
    three = admit([*measured, cuda], metric="r2", max_drop=0.01)
    assert [one.admitted for one in three] == [True, True, False, True]
    assert "a ladder holds 3" in three[2].reason
    cpu = Measured("float32-cpu", "float32", 1000, 0.95, 1.0, BASE.latency)
    both = admit([*measured, cuda, cpu], metric="r2", max_drop=0.01)
    assert [one.admitted for one in both] == [True, False, False, True, True]


measures = st.builds(
    rung,
    name=st.sampled_from(["int8-static", "int8-dynamic", "float16"]),
    size=st.integers(1, 2000),
    quality=st.none() | st.floats(-1, 1) | st.just(float("nan")),
    one=st.floats(1, 500),
    many=st.floats(1, 5000),
)


@given(st.lists(measures, max_size=5))
def test_nothing_worse_ever_ships(measured: list[Measured]) -> None:
    verdicts = admit([*measured, BASE], metric="r2", max_drop=0.01)
    assert verdicts[-1].admitted
    assert sum(one.admitted for one in verdicts) <= 3
    for one, found in zip(measured, verdicts, strict=False):
        slower = one.latency[1] > 100.0 and one.latency[32] > 1000.0
        if found.admitted:
            assert one.quality is not None
            assert one.quality >= 0.95 - 0.01 - 1e-9
            assert not (slower and one.size > 1000)


def test_int8_that_ruins_a_real_model_is_rejected_with_a_sentence() -> None:
    model = trained.cancer_network()
    ruined = ModelProto()
    made = quantize(
        "int8-static",
        model.graph,
        calibration={"features": model.calibration["features"][:20] * 1000},
        reduce_range=False,
        record=Record(),
    )
    assert isinstance(
        made, ModelProto
    )  # ranges of a thousand times the data: all is rounded off
    ruined.CopyFrom(made)
    measured = evaluate(
        [candidate(ruined, "int8-static"), candidate(model.graph)],
        model.held_out(),
        metric="balanced_accuracy",
        architecture=OTHER,
        record=Record(),
    )
    found, _ = admit(measured, metric="balanced_accuracy", max_drop=0.01)
    assert not found.admitted
    assert found.reason.startswith("does not ship: balanced_accuracy falls from 0.9")


def test_int8_of_a_real_network_is_admitted() -> None:
    model = trained.cancer_network()
    rungs = []
    for name in ("int8-static", "int8-dynamic"):
        made = quantize(
            name,
            model.graph,
            calibration=model.calibration,
            reduce_range=True,
            record=Record(),
        )
        assert isinstance(made, ModelProto)
        rungs.append(candidate(made, name))
    measured = evaluate(
        [*rungs, candidate(model.graph)],
        model.held_out(),
        metric="balanced_accuracy",
        architecture=OTHER,
        record=Record(),
    )
    verdicts = admit(measured, metric="balanced_accuracy", max_drop=0.01)
    assert [one.admitted for one in verdicts] == [True, True, True], verdicts
