"""Quantization: the same bytes everywhere, small graphs that answer alike, honest refusals."""

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
from trained import OPSET, Trained, answers, made

from edge_runtime.contract.tensors import Array, Arrays
from packager.graphs.prepared import prepared
from packager.recipes import RECIPES, Recipe
from packager.record import Record
from packager.stages.optimise import optimise
from packager.stages.quantize import quantize
from packager.variant import Skipped

BY_NAME = {recipe.name: recipe for recipe in RECIPES}
MADE = [
    *("int8-static", "int8-static-entropy", "int8-static-percentile", "int8-static-dense"),
    *("int8-dynamic", "int8-weights", "int4", "float16"),
]
NETWORKS = [
    trained.cancer_network,
    trained.iris_network,
    trained.diabetes_network,
    trained.digits_convolutions,
]

# Run elsewhere with other hash seeds and other kernels of numpy, on a graph and recorded ranges
# read from files: prints the digest of each recipe's graph.
ELSEWHERE = """
import hashlib, json, sys
import numpy as np, onnx
from packager.recipes import RECIPES
from packager.record import Record
from packager.stages.calibrate import calibrate
from packager.stages.quantize import quantize
graph = onnx.load(sys.argv[1])
feed = dict(np.load(sys.argv[2]))
record = Record(json.loads(open(sys.argv[3]).read()))
for name in sys.argv[4:]:
    (recipe,) = (one for one in RECIPES if one.name == name)
    ranges = {}
    if recipe.ranges:
        ranges = calibrate(recipe, graph, feed, weights=None, record=record).ranges
    made = quantize(recipe, graph, ranges=ranges, reduce_range=False)
    print(hashlib.sha256(made.SerializeToString(deterministic=True)).hexdigest())
"""


def operators(graph: ModelProto) -> list[str]:
    return [node.op_type for node in graph.graph.node]


def network(*nodes: onnx.NodeProto, **constants: Array) -> ModelProto:
    """Return a graph from x to y."""
    rank4 = any(node.op_type == "Conv" for node in nodes)
    shape = ["n", None, None, None] if rank4 else ["n", None]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), "g", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def normal(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


# --- what comes of it -----------------------------------------------------------------------


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("name", MADE)
def test_a_graph_is_smaller_and_answers_nearly_alike(
    name: str, model: Callable[[], Trained]
) -> None:
    source = model()
    graph = optimise(made(name, source), opset={**OPSET, "com.microsoft": 1}, ir=10)
    if "int4" not in name:  # the checker knows no operator of the engine's own
        onnx.checker.check_model(graph)
    assert graph.ByteSize() < 0.75 * source.graph.ByteSize()
    before, after = answers(source.graph, source.feed), answers(graph, source.feed)
    assert before.keys() == after.keys()
    off = 0.3 if name == "int4" else 0.1
    for key, array in before.items():
        assert after[key].dtype == array.dtype
        if array.dtype.kind == "f":
            spread = array.std()
            assert np.sqrt(np.square(after[key] - array).mean()) < off * spread
        else:
            assert (after[key] == array).mean() > 0.95


@pytest.mark.parametrize("name", MADE)
def test_the_source_graph_is_left_as_it_is(name: str) -> None:
    before = trained.digits_convolutions().graph.SerializeToString()
    made(name, trained.digits_convolutions())
    assert trained.digits_convolutions().graph.SerializeToString() == before


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
    model, record = trained.digits_convolutions(), Record()
    here = [
        hashlib.sha256(made(name, model, record).SerializeToString(deterministic=True))
        for name in MADE
    ]
    onnx.save(model.graph, tmp_path / "graph.onnx")
    np.savez(tmp_path / "rows.npz", **model.calibration)
    (tmp_path / "values.json").write_text(json.dumps(record.values))
    files = [tmp_path / name for name in ("graph.onnx", "rows.npz", "values.json")]
    done: subprocess.CompletedProcess[str] = python_at(sys.executable, environment).run(
        "-c", ELSEWHERE, *files, *MADE
    )
    assert done.stdout.split() == [digest.hexdigest() for digest in here]
    assert done.stderr == ""  # the tools write nothing on the user's screen


def test_seven_bits_hold_smaller_weights() -> None:
    for name in ("int8-static", "int8-dynamic"):
        graph = made(name, trained.cancer_network(), reduce_range=True)
        largest = max(
            np.abs(numpy_helper.to_array(tensor).astype(int)).max()
            for tensor in graph.graph.initializer
            if tensor.data_type == TensorProto.INT8 and len(tensor.dims) > 1
        )
        assert largest <= 64


# --- what a static recipe leaves as it is ---------------------------------------------------


def static(graph: ModelProto, spans: float = 4.0, kept: tuple[str, ...] = ()) -> ModelProto:
    """Make the static form, of ranges that are all alike."""
    values = (name for node in prepared(graph, None).graph.node for name in node.output)
    ranges = {name: [-spans, spans] for name in ("x", *values)}
    result = quantize(
        BY_NAME["int8-static"], graph, ranges=ranges, kept=kept, reduce_range=False
    )
    assert isinstance(result, ModelProto), result
    return result


def rounded(graph: ModelProto) -> int:
    """Count the layers whose first input comes from int8."""
    makers = {name: node.op_type for node in graph.graph.node for name in node.output}
    layers = [node for node in graph.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    return sum(makers.get(node.input[0]) == "DequantizeLinear" for node in layers)


def test_a_convolution_over_few_channels_stays_float32() -> None:
    graph = network(
        helper.make_node("Conv", ["x", "first"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second"], ["y"]),
        first=normal(16, 3, 3, 3),
        second=normal(16, 16, 3, 3),
    )
    assert rounded(static(graph)) == 1


def test_a_product_of_two_activations_stays_float32() -> None:
    graph = network(
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Transpose", ["a"], ["t"]),
        helper.make_node("MatMul", ["a", "t"], ["y"]),
        w=normal(32, 32),
    )
    assert rounded(static(graph)) == 1


def test_a_kept_layer_stays_float32() -> None:
    graph = network(
        helper.make_node("MatMul", ["x", "w"], ["a"], name="one"),
        helper.make_node("MatMul", ["a", "v"], ["y"], name="two"),
        w=normal(32, 32),
        v=normal(32, 32) + 1,
    )
    assert rounded(static(graph)) == 2
    assert rounded(static(graph, kept=("one",))) == 1


@pytest.mark.parametrize("name", ["int8-dynamic", "int4"])
@pytest.mark.parametrize("kind", ["MatMul", "Gemm"])
def test_a_kept_dense_layer_stays_float32(name: str, kind: str) -> None:
    graph = network(
        helper.make_node(kind, ["x", "w"], ["a"], name="one"),
        helper.make_node(kind, ["a", "v"], ["y"], name="two"),
        w=normal(32, 32),
        v=normal(32, 32) + 1,
    )
    found = [
        quantize(BY_NAME[name], graph, ranges={}, kept=kept, reduce_range=False)
        for kept in ((), ("one",), ("one", "two"))
    ]
    floats = []
    for one in found:
        assert isinstance(one, ModelProto), one
        floats.append(
            sum(
                tensor.data_type == TensorProto.FLOAT and list(tensor.dims) == [32, 32]
                for tensor in one.graph.initializer
            )
        )
    assert floats == [0, 1, 2]


def test_a_residual_sum_between_convolutions_is_int8() -> None:
    graph = network(
        helper.make_node("Conv", ["x", "one"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["a", "two"], ["b"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "three"], ["y"], pads=[1, 1, 1, 1]),
        one=normal(16, 16, 3, 3),
        two=normal(16, 16, 3, 3) + 1,
        three=normal(16, 16, 3, 3) + 2,
    )
    made = static(graph, spans=99)
    makers = {name: node.op_type for node in made.graph.node for name in node.output}
    (add,) = (node for node in made.graph.node if node.op_type == "Add")
    assert [makers[name] for name in add.input] == ["DequantizeLinear"] * 2
    assert rounded(made) == 3


def test_no_rounding_slips_in_front_of_a_pool_that_stays_float32() -> None:
    graph = network(
        helper.make_node("Conv", ["x", "first"], ["a"]),
        helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=[2, 2]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Conv", ["c", "second"], ["y"]),
        first=normal(16, 3, 3, 3),
        second=normal(16, 16, 3, 3) / 20,
    )
    made = static(graph, spans=30)
    order = operators(made)
    assert order.index("MaxPool") < order.index("Max") < order.index("QuantizeLinear")
    rows = {"x": normal(2, 3, 9, 9)}
    before, after = answers(graph, rows)["y"], answers(made, rows)["y"]
    assert np.sqrt(np.square(before - after).mean()) < 0.1 * before.std()


def test_values_of_zero_alone_are_no_trouble() -> None:
    graph = network(
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("MatMul", ["a", "v"], ["y"]),
        w=np.zeros((32, 32), np.float32),
        v=normal(32, 32),
    )
    ranges = {"x": [-1.0, 1.0], "a": [0.0, 0.0], "y": [0.0, 0.0]}
    made = quantize(BY_NAME["int8-static"], graph, ranges=ranges, reduce_range=False)
    assert isinstance(made, ModelProto), made
    assert not answers(made, {"x": normal(4, 32)})["y"].any()


# --- weights alone --------------------------------------------------------------------------


def test_int8_weights_are_floats_again_where_the_engine_computes() -> None:
    model = trained.digits_convolutions()
    graph = made("int8-weights", model)
    assert "QuantizeLinear" not in operators(graph)
    assert graph.ByteSize() < 0.35 * model.graph.ByteSize()
    before, after = (answers(one, model.feed)["probabilities"] for one in (model.graph, graph))
    np.testing.assert_allclose(after, before, atol=0.02)


@pytest.mark.parametrize("name", ["int8-static", "int8-dynamic", "int8-weights", "int4"])
def test_tables_are_looked_up_in_int8(name: str) -> None:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("MatMul", ["rows", "w"], ["y"]),
    ]
    table = normal(50, 32) * np.linspace(0.01, 10, 50, dtype=np.float32)[:, None]
    tensors = [numpy_helper.from_array(table, "table")]
    tensors.append(numpy_helper.from_array(normal(32, 32), "w"))
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [ids], [y], tensors)
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    ranges = {"rows": [-40.0, 40.0], "y": [-300.0, 300.0]}
    made = quantize(BY_NAME[name], model, ranges=ranges, reduce_range=False)
    assert isinstance(made, ModelProto), made
    assert made.ByteSize() < 0.6 * model.ByteSize()
    rows = {"ids": np.arange(48).reshape(16, 3)}
    before, after = answers(model, rows)["y"], answers(made, rows)["y"]
    # By rows: a small row's own scale keeps it, where a static range of all rows does not rule.
    off = np.sqrt(np.square(before - after).mean(axis=2) / np.square(before).mean(axis=2))
    assert np.median(off) < (0.2 if name == "int4" else 0.05)


def test_int4_multiplies_with_any_depth_bias_and_order_of_weights() -> None:
    graph = network(
        helper.make_node("Gemm", ["x", "w", "b"], ["a"], transB=1),
        helper.make_node("MatMul", ["a", "v"], ["y"]),
        w=normal(40, 33),  # neither a multiple of a block nor of two
        b=normal(40),
        v=normal(40, 7),
    )
    made = quantize(BY_NAME["int4"], graph, ranges={}, reduce_range=False)
    assert isinstance(made, ModelProto), made
    assert operators(made) == ["MatMulNBits", "Add", "MatMulNBits"]
    rows = {"x": normal(64, 33)}
    before, after = answers(graph, rows)["y"], answers(made, rows)["y"]
    assert np.sqrt(np.square(before - after).mean()) < 0.15 * before.std()


def test_matrices_that_two_layers_share_stay_in_32_bits_where_kernels_read_them() -> None:
    graph = network(
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("MatMul", ["a", "w"], ["y"]),
        w=normal(32, 32),
    )
    made = quantize(BY_NAME["int4"], graph, ranges={}, reduce_range=False)
    assert isinstance(made, ModelProto), made
    assert operators(made) == ["MatMul", "MatMul"]


# --- refusals -------------------------------------------------------------------------------


def refusal(recipe: Recipe, graph: ModelProto) -> str:
    result = quantize(recipe, graph, ranges={}, reduce_range=False)
    assert isinstance(result, Skipped)
    assert result.name == recipe.name
    return result.reason


def test_a_graph_beyond_the_tools_is_an_answer_with_their_words() -> None:
    graph = network(
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Odd", ["h"], ["y"]),
        w=np.ones((2, 2), np.float32),
    )
    told = refusal(BY_NAME["int8-dynamic"], graph)
    assert "the quantization tools cannot make it: " in told
    assert "Odd" in told


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
    halved = quantize(BY_NAME["float16"], graph, ranges={}, reduce_range=False)
    assert isinstance(halved, ModelProto), halved
    assert halved.ByteSize() < 0.7 * graph.ByteSize()
    before, after = answers(graph, feed), answers(halved, feed)
    assert (before["label"] == after["label"]).mean() > 0.98
    np.testing.assert_allclose(after["probabilities"], before["probabilities"], atol=0.02)
