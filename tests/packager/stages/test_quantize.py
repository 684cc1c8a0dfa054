"""Quantization: the same bytes everywhere, ranges through the record, honest refusals."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import trained
from onnx import ModelProto, TensorProto, helper, numpy_helper
from trained import OPSET, Trained

from edge_runtime.contract.tensors import Arrays
from edge_runtime.engine.session import SessionPlan, open_session
from packager.answers import run_rows, take_rows
from packager.errors import ReplayMismatch
from packager.record import Record
from packager.stages.optimise import optimise
from packager.stages.quantize import calibrate, quantize
from packager.variant import Skipped

RUNGS = ["int8-dynamic", "int8-static", "float16"]
NETWORKS = [
    trained.cancer_network,
    trained.iris_network,
    trained.diabetes_network,
    trained.digits_convolutions,
]

# Run elsewhere with other hash seeds and other kernels of numpy, on a graph and ranges read
# from files: prints the digest of each rung.
ELSEWHERE = """
import hashlib, json, sys
import numpy as np, onnx
from packager.record import Record
from packager.stages.quantize import quantize
graph = onnx.load(sys.argv[1])
feed = dict(np.load(sys.argv[2]))
record = Record(json.loads(open(sys.argv[3]).read()))
for rung in ("int8-dynamic", "int8-static", "float16"):
    made = quantize(rung, graph, calibration=feed, reduce_range=False, record=record)
    print(hashlib.sha256(made.SerializeToString(deterministic=True)).hexdigest())
"""


def made(
    rung: str, model: Trained, record: Record | None = None, *, reduce_range: bool = False
) -> ModelProto:
    result = quantize(
        rung,
        model.graph,
        calibration=model.calibration,
        reduce_range=reduce_range,
        record=record or Record(),
    )
    assert isinstance(result, ModelProto), result
    return result


def answers(graph: ModelProto, feed: Arrays) -> Arrays:
    return run_rows(open_session(graph.SerializeToString(), SessionPlan()), feed)


def refusal(rung: str, graph: ModelProto, calibration: Arrays | None = None) -> str:
    result = quantize(rung, graph, calibration=calibration, reduce_range=False, record=Record())
    assert isinstance(result, Skipped)
    assert result.name == rung
    return result.reason


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("rung", RUNGS)
def test_a_rung_is_smaller_and_answers_nearly_alike(
    rung: str, model: Callable[[], Trained]
) -> None:
    source = model()
    graph = optimise(made(rung, source), opset=OPSET, ir=10)
    onnx.checker.check_model(graph)
    assert graph.ByteSize() < 0.75 * source.graph.ByteSize()
    before, after = answers(source.graph, source.feed), answers(graph, source.feed)
    assert before.keys() == after.keys()
    for name, array in before.items():
        assert after[name].dtype == array.dtype
        if array.dtype.kind == "f":
            spread = array.std()
            assert np.sqrt(np.square(after[name] - array).mean()) < 0.1 * spread
        else:
            assert (after[name] == array).mean() > 0.97


@pytest.mark.parametrize("rung", RUNGS)
def test_the_source_graph_is_left_as_it_is(rung: str) -> None:
    before = trained.iris_network().graph.SerializeToString()
    made(rung, trained.iris_network())
    assert trained.iris_network().graph.SerializeToString() == before


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONHASHSEED": "1"},
        {"PYTHONHASHSEED": "2", "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512_SKX"},
        {"OPENBLAS_CORETYPE": "Nehalem", "OPENBLAS_NUM_THREADS": "2"},
    ],
)
def test_the_bytes_depend_on_no_hash_seed_and_on_no_kernel(
    environment: dict[str, str], python_at: Callable[..., Any], tmp_path: Path
) -> None:
    model = trained.cancer_network()
    onnx.save(model.graph, tmp_path / "graph.onnx")
    np.savez(tmp_path / "rows.npz", **model.calibration)
    record = Record()
    here = [
        hashlib.sha256(made(rung, model, record).SerializeToString(deterministic=True))
        for rung in RUNGS
    ]
    (tmp_path / "values.json").write_text(json.dumps(record.values))
    files = [tmp_path / name for name in ("graph.onnx", "rows.npz", "values.json")]
    done = python_at(sys.executable, environment).run("-c", ELSEWHERE, *files)
    assert done.stdout.split() == [digest.hexdigest() for digest in here]


def test_another_processor_s_ranges_replay_to_the_same_bytes() -> None:
    model, build = trained.cancer_network(), Record()
    first = made("int8-static", model, build).SerializeToString(deterministic=True)
    (key,) = build.values
    elsewhere = {
        name: [low, float(np.float32(high * 1.00001))]
        for name, (low, high) in build.values[key].items()
    }
    assert elsewhere != build.values[key]
    other = Record({key: elsewhere})  # what a report from there holds
    second = made("int8-static", model, other).SerializeToString(deterministic=True)
    third = made("int8-static", model, Record(other.values))
    assert second != first
    assert third.SerializeToString(deterministic=True) == second


def test_ranges_that_do_not_agree_stop_the_replay() -> None:
    model, build = trained.cancer_network(), Record()
    made("int8-static", model, build)
    (key,) = build.values
    low, high = build.values[key]["mul_result"]
    build.values[key]["mul_result"] = [low, high * 1.1]
    with pytest.raises(ReplayMismatch, match="mul_result"):
        made("int8-static", model, Record(build.values))


def test_ranges_are_measured_once_for_targets_that_share_the_graph() -> None:
    record = Record()
    first = made("int8-static", trained.cancer_network(), record, reduce_range=True)
    second = made("int8-static", trained.cancer_network(), record, reduce_range=False)
    assert len(record.values) == 1
    assert first != second


def test_a_range_spans_the_finite_values_of_all_batches() -> None:
    model = trained.cancer_network()
    feed = {"features": model.calibration["features"][:70].copy()}
    feed["features"][3, :] = np.nan
    feed["features"][69, 0] = 1e6
    ranges = calibrate(model.graph, feed)
    assert all(np.isfinite(found).all() for found in ranges.values())
    assert ranges["cast_input"][1] > 1e4


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("model", [trained.cancer_logistic, trained.cancer_forest])
def test_linear_operators_and_trees_have_nothing_to_quantize(
    rung: str, model: Callable[[], Trained]
) -> None:
    reason = refusal(rung, model().graph, model().calibration)
    assert reason.startswith("there is nothing to quantize: no MatMul or Gemm")
    assert model().graph.graph.node[0].op_type in reason


def test_static_ranges_need_rows() -> None:
    model = trained.iris_network()
    assert "there are 0" in refusal("int8-static", model.graph)
    nine = take_rows(model.calibration, slice(9))
    assert "at least 10 calibration rows, there are 9" in refusal(
        "int8-static", model.graph, nine
    )


def test_rows_without_any_finite_value_make_no_ruined_model() -> None:
    model = trained.iris_network()
    gaps = {"features": np.full((20, 4), np.nan, np.float32)}
    assert "no finite value" in refusal("int8-static", model.graph, gaps)


def test_a_source_that_is_quantized_already_stays_as_it_is() -> None:
    once = made("int8-static", trained.iris_network())
    for rung in RUNGS:
        assert "quantized already" in refusal(rung, once, trained.iris_network().calibration)


def test_an_operator_set_too_old_for_weights_per_channel_is_named() -> None:
    graph = ModelProto()
    graph.CopyFrom(trained.digits_convolutions().graph)
    graph.opset_import[0].version = 11
    assert "need opset 13, the graph has 11" in refusal("int8-dynamic", graph)


def test_a_graph_beyond_the_tools_is_an_answer_with_their_words() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    weight = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Odd", ["h"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", [x], [y], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    assert "the quantization tools cannot make it: " in refusal("int8-dynamic", model)


def test_the_tools_write_nothing_on_the_user_s_screen(
    python_at: Callable[..., Any], tmp_path: Path
) -> None:
    model = trained.digits_convolutions()
    onnx.save(model.graph, tmp_path / "graph.onnx")
    np.savez(tmp_path / "rows.npz", **model.calibration)
    (tmp_path / "values.json").write_text("null")
    files = [tmp_path / name for name in ("graph.onnx", "rows.npz", "values.json")]
    done: subprocess.CompletedProcess[str] = python_at(sys.executable).run(
        "-c", ELSEWHERE, *files
    )
    assert done.stderr == ""
    assert len(done.stdout.split()) == len(RUNGS)


def columns_network() -> tuple[ModelProto, Arrays]:
    """Return a graph over a column beyond half precision and a named category, and its feed."""
    import pandas as pd
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.compose import ColumnTransformer
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"income": rng.normal(200_000, 90_000, 300), "plan": rng.choice(["free", "pro"], 300)}
    )
    truth = (frame["income"] > 200_000) ^ (frame["plan"] == "pro")
    columns = ColumnTransformer(
        [("income", StandardScaler(), ["income"]), ("plan", OneHotEncoder(), ["plan"])]
    )
    network = MLPClassifier(hidden_layer_sizes=(64, 64), max_iter=400, random_state=0)
    model = make_pipeline(columns, network).fit(frame, truth.astype(int))
    kinds = [("income", FloatTensorType([None, 1])), ("plan", StringTensorType([None, 1]))]
    opset = {"": 18, "ai.onnx.ml": 3}
    graph = to_onnx(model, initial_types=kinds, options={"zipmap": False}, target_opset=opset)
    feed = {
        "income": frame[["income"]].to_numpy(np.float32),
        "plan": frame[["plan"]].to_numpy(object),
    }
    return optimise(graph, opset=opset, ir=10), feed


def test_float16_leaves_the_users_own_numbers_as_they_are() -> None:
    graph, feed = columns_network()
    assert feed["income"].max() > np.finfo(np.float16).max
    halved = quantize("float16", graph, calibration=None, reduce_range=False, record=Record())
    assert isinstance(halved, ModelProto), halved
    assert halved.ByteSize() < 0.7 * graph.ByteSize()
    before, after = answers(graph, feed), answers(halved, feed)
    assert (before["label"] == after["label"]).mean() > 0.98
    np.testing.assert_allclose(after["probabilities"], before["probabilities"], atol=0.02)
