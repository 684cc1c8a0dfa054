"""Ranges: measured in bounded memory, kept by the record, and refused where rows tell none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trained
from host import packager
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edge_runtime.contract.tensors import Array, Arrays
from packager.answers import take_rows
from packager.bundle_file import read_bundle
from packager.errors import ReplayMismatch
from packager.graphs.prepared import Ranges
from packager.recipes import RECIPES
from packager.record import Record
from packager.stages.calibrate import Calibrated, calibrate
from packager.variant import Skipped

BY_NAME = {recipe.name: recipe for recipe in RECIPES}
STATIC = ["int8-static", "int8-static-percentile", "int8-static-entropy"]


def found(
    feed: Arrays | None, name: str = "int8-static", record: Record | None = None
) -> Calibrated | Skipped:
    graph = trained.cancer_network().graph
    return calibrate(BY_NAME[name], graph, feed, weights=None, record=record or Record())


def ranges(feed: Arrays, name: str = "int8-static", record: Record | None = None) -> Ranges:
    result = found(feed, name, record)
    assert isinstance(result, Calibrated), result
    return result.ranges


def rows(count: int = 200) -> Arrays:
    return take_rows(trained.cancer_network().calibration, slice(count))


def bent(where: Any, value: float, count: int = 200) -> Arrays:
    features = rows(count)["features"].copy()
    features[where] = value
    return {"features": features}


# --- refusals and warnings ------------------------------------------------------------------


def test_ranges_need_ten_rows() -> None:
    for feed, count in ((None, 0), (rows(9), 9)):
        result = found(feed)
        assert isinstance(result, Skipped)
        assert f"at least 10 calibration rows, there are {count}" in result.reason
        assert result.rule == "few-calibration-rows"
    assert isinstance(found(rows(10)), Calibrated)


def test_rows_that_are_all_alike_are_refused() -> None:
    same = {"features": np.repeat(rows(1)["features"], 40, axis=0)}
    result = found(same)
    assert isinstance(result, Skipped)
    assert (result.rule, "all 40 calibration rows are alike" in result.reason) == (
        "constant-rows",
        True,
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", STATIC)
def test_rows_without_finite_numbers_are_left_out_and_told_of(value: float, name: str) -> None:
    feed = bent((slice(None, None, 4), 0), value)
    result = found(feed, name)
    assert isinstance(result, Calibrated)
    (warning,) = result.warnings
    assert warning.startswith("50 of 200 calibration rows give a NaN or an infinity")
    sound = np.isfinite(feed["features"]).all(axis=1)
    assert result.ranges == ranges({"features": feed["features"][sound]}, name)


@pytest.mark.parametrize("left", [0, 9])
def test_too_few_rows_of_finite_numbers_are_refused(left: int) -> None:
    result = found(bent((slice(left, None), 0), np.nan))
    assert isinstance(result, Skipped)
    assert f"of 200 calibration rows {left} are such" in result.reason
    assert result.rule == "few-finite-rows"


def test_sound_rows_bring_no_warning() -> None:
    result = found(rows())
    assert isinstance(result, Calibrated)
    assert result.warnings == ()


def written(features: Array, path: Path) -> None:
    names = ",".join(f"f{index}" for index in range(features.shape[1]))
    np.savetxt(path, features, "%.8g", ",", header=names, comments="")


def outcome(poor: Array, room: Path) -> tuple[str, list[str]]:
    """Build on poor rows; return what was told, and the rungs that ship."""
    written(poor, room / "poor.csv")
    written(trained.cancer_network().feed["features"], room / "good.csv")
    (room / "model.onnx").write_bytes(trained.cancer_network().graph.SerializeToString())
    command = ("build", "model.onnx", "--data", "poor.csv", "--holdout", "good.csv")
    options = ("--unsigned", "--target", "x86-64-cpu", "--effort", "quick")
    done = packager(*command, *options, cwd=room, expect=None)
    bundle = room / "dist" / "model-1.0.0.oci.tar"
    rungs = []
    if bundle.exists():
        rungs = [one.name for one in read_bundle(bundle)[0].manifest.variants]
    return " ".join((done.out + done.err).split()), rungs


def test_a_build_on_nine_rows_names_the_rule_and_ships_what_needs_none(tmp_path: Path) -> None:
    told, rungs = outcome(rows(9)["features"], tmp_path)
    assert "at least 10 calibration rows, there are 9" in told
    assert rungs
    assert not any(name.startswith("int8-static") for name in rungs)


def test_a_build_on_rows_all_alike_says_so(tmp_path: Path) -> None:
    told, rungs = outcome(np.repeat(rows(1)["features"], 40, axis=0), tmp_path)
    assert "all 40 calibration rows are alike" in told
    assert not any(name.startswith("int8-static") for name in rungs)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_build_on_rows_with_gaps_is_refused_if_the_model_takes_none(
    value: float, tmp_path: Path
) -> None:
    poor = rows()["features"].astype(np.float64)
    poor[::4, 0] = value
    told, rungs = outcome(poor, tmp_path)
    assert "error[input-" in told or "error[data-unusable]" in told
    assert "hint: " in told
    assert not rungs


def test_a_build_on_a_wrong_number_of_columns_is_refused(tmp_path: Path) -> None:
    told, rungs = outcome(rows()["features"][:, :7], tmp_path)
    assert "error[data-unusable]: the graph takes features float32[?, 30]" in told
    assert "the data have 7 columns" in told
    assert not rungs


# --- ranges ---------------------------------------------------------------------------------


def test_a_range_spans_all_batches() -> None:
    feed = bent((69, 0), 1e6, 70)
    assert ranges(feed)["cast_input"][1] > 1e4
    assert ranges(feed) == ranges(feed, record=Record())


def test_rows_beyond_the_limit_change_nothing() -> None:
    once = np.tile(rows(64)["features"], (8, 1))
    more = np.concatenate([once, 1e3 * once])
    assert ranges({"features": more}) == ranges({"features": once})


def test_a_percentile_leaves_out_a_rare_value() -> None:
    values = np.random.default_rng(0).standard_normal((512, 400)).astype(np.float32)
    values[7, 11] = 50.0
    low, high = narrow(values, "int8-static-percentile")["x"]
    assert -6 < low < -3
    assert 3 < high < 6


def test_entropy_clips_the_tails_of_a_distribution() -> None:
    values = np.random.default_rng(0).laplace(size=(512, 400)).astype(np.float32)
    low, high = narrow(values, "int8-static-entropy")["x"]
    assert values.min() < low < -3
    assert 3 < high < values.max()


@pytest.mark.parametrize("name", STATIC)
def test_even_values_keep_nearly_their_whole_range(name: str) -> None:
    values = np.random.default_rng(0).uniform(-1, 3, (512, 100)).astype(np.float32)
    low, high = narrow(values, name)["x"]
    assert -1.0 <= low < -0.9
    assert 2.7 < high <= 3.0


@pytest.mark.parametrize("name", STATIC)
def test_many_zeros_do_not_narrow_a_range(name: str) -> None:
    values = np.random.default_rng(0).uniform(0, 3, (512, 100)).astype(np.float32)
    values[:, ::2] = 0
    low, high = narrow(values, name)["x"]
    assert low == 0
    assert high > 2.7


def narrow(values: Array, name: str) -> Ranges:
    """Return the ranges of a graph ``y = x @ w``."""
    matrix = np.eye(values.shape[1], 16, dtype=np.float32)
    ends = [helper.make_tensor_value_info(key, TensorProto.FLOAT, ["n", None]) for key in "xy"]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    tensors = [numpy_helper.from_array(matrix, "w")]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], tensors)
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    result = calibrate(BY_NAME[name], model, {"x": values}, weights=None, record=Record())
    assert isinstance(result, Calibrated), result
    return result.ranges


@given(
    scale=st.floats(1e-3, 1e3),
    shift=st.floats(-5, 5),
    name=st.sampled_from(STATIC),
)
def test_every_method_stays_within_the_extremes_and_holds_zero(
    scale: float, shift: float, name: str
) -> None:
    values = np.random.default_rng(1).standard_normal((32, 20)) * scale + shift
    spans = narrow(values.astype(np.float32), name)
    for key, (low, high) in narrow(values.astype(np.float32), "int8-static").items():
        one, other = spans[key]
        assert min(low, 0) <= one <= other <= max(high, 0)


def test_a_graph_of_fixed_batch_is_measured_on_whole_batches() -> None:
    values = np.random.default_rng(0).standard_normal((50, 20)).astype(np.float32)
    ends = [helper.make_tensor_value_info(key, TensorProto.FLOAT, [8, None]) for key in "xy"]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    tensors = [numpy_helper.from_array(np.eye(20, 16, dtype=np.float32), "w")]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], tensors)
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    result = calibrate(
        BY_NAME["int8-static"], model, {"x": values}, weights=None, record=Record()
    )
    assert isinstance(result, Calibrated)
    assert result.ranges["x"] == [values.min(), values.max()]


# --- the record -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", STATIC)
def test_ranges_are_measured_once_for_targets_that_share_the_graph(name: str) -> None:
    record = Record()
    first = ranges(rows(), name, record)
    before = dict(record.values)
    assert ranges(rows(), name, record) == first
    assert record.values == before


def test_methods_share_the_extremes() -> None:
    record = Record()
    for name in STATIC:
        ranges(rows(), name, record)
    kinds = sorted(key.rpartition("/")[0] for key in record.values)
    assert kinds == ["ranges/entropy", "ranges/minmax", "ranges/percentile", "sound-rows"]


def other_machine(record: Record, kind: str, factor: float) -> Record:
    """Return a record from where one kind of values came out a little larger."""
    values = dict(record.values)
    (key,) = (key for key in values if key.startswith(kind))
    values[key] = {
        name: [end * factor for end in found] if isinstance(found, list) else found * factor
        for name, found in values[key].items()
    }
    return Record(values)


@pytest.mark.parametrize(
    ("name", "kind", "slight"),
    [
        ("int8-static", "ranges/minmax", 1.0001),
        ("int8-static-percentile", "ranges/percentile", 1.001),
        ("int8-static-entropy", "ranges/entropy", 0.99999),
    ],
)
def test_another_processor_s_ranges_are_taken_if_they_agree(
    name: str, kind: str, slight: float
) -> None:
    record = Record()
    first = ranges(rows(), name, record)
    second = ranges(rows(), name, other_machine(record, kind, slight))
    assert second != first
    with pytest.raises(ReplayMismatch, match=kind):
        ranges(rows(), name, other_machine(record, kind, 0.4))


@pytest.mark.parametrize("damage", [{}, {"cast_input": "wide"}, {"cast_input": [1.0]}, [1.0]])
@pytest.mark.parametrize("name", STATIC)
def test_a_damaged_report_is_a_mismatch(name: str, damage: Any) -> None:
    record = Record()
    ranges(rows(), name, record)
    (key,) = (key for key in record.values if key.startswith(f"ranges/{BY_NAME[name].ranges}/"))
    found = record.values[key]
    whole = {**found, **damage} if isinstance(damage, dict) and damage else damage
    with pytest.raises(ReplayMismatch):
        ranges(rows(), name, Record({**record.values, key: whole}))
