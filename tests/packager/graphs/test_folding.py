"""Folding: fewer nodes, the same answers, and nothing touched that something else reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper
from trained import answers

from edge_runtime.contract.tensors import Array
from packager.graphs import external_data
from packager.graphs.external_data import moved_out
from packager.graphs.folding import folded

CHANNELS = 5
NORM = ["scale", "shift", "mean", "variance"]


def model(nodes: list[NodeProto], shape: list[int | str], **constants: Array) -> ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(shape))
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def norm(seed: int = 0) -> dict[str, Array]:
    generator = np.random.default_rng(seed)
    found = {name: generator.standard_normal(CHANNELS) for name in NORM}
    found["variance"] = np.abs(found["variance"]) + 0.1
    return {name: value.astype(np.float32) for name, value in found.items()}


def values(*shape: int) -> Array:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def operators(graph: ModelProto) -> list[str]:
    return [node.op_type for node in graph.graph.node]


def layer(kind: str, *, bias: bool, **attributes: int) -> ModelProto:
    """Return a layer and a batch normalisation behind it."""
    shapes = {
        "Conv": ((CHANNELS, 3, 3, 3), ["n", 3, 6, 6]),
        "ConvTranspose": ((3, CHANNELS, 2, 2), ["n", 3, 6, 6]),
        "Gemm": ((CHANNELS, 4) if attributes.get("transB") else (4, CHANNELS), ["n", 4]),
    }
    weights, inputs = shapes[kind]
    constants = {"w": values(*weights), **norm()}
    names = ["x", "w"]
    if bias:
        constants["b"] = values(CHANNELS)
        names.append("b")
    nodes = [
        helper.make_node(kind, names, ["a"], **attributes),
        helper.make_node("BatchNormalization", ["a", *NORM], ["c"], epsilon=1e-3),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    return model(nodes, inputs, **constants)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("kind", "attributes"),
    [("Conv", {}), ("ConvTranspose", {}), ("Gemm", {}), ("Gemm", {"transB": 1})],
)
def test_batch_normalisation_goes_into_the_layer_before_it(
    kind: str, attributes: dict[str, int], bias: bool
) -> None:
    before = layer(kind, bias=bias, **attributes)
    untouched = before.SerializeToString()
    after = folded(before, None)
    checker.check_model(after)
    assert operators(after) == [kind, "Relu"]
    assert {tensor.name for tensor in after.graph.initializer}.isdisjoint(NORM)
    shape = (7, 4) if kind == "Gemm" else (7, 3, 6, 6)
    one, other = (answers(graph, {"x": values(*shape)})["y"] for graph in (before, after))
    np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)
    assert before.SerializeToString() == untouched


def test_a_grouped_convolution_takes_it_too() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], group=CHANNELS),
        helper.make_node("BatchNormalization", ["a", *NORM], ["y"]),
    ]
    before = model(nodes, ["n", CHANNELS, 6, 6], w=values(CHANNELS, 1, 3, 3), **norm())
    after = folded(before, None)
    assert operators(after) == ["Conv"]
    rows = {"x": values(2, CHANNELS, 6, 6)}
    np.testing.assert_allclose(answers(after, rows)["y"], answers(before, rows)["y"], atol=1e-4)


def test_a_layer_whose_output_goes_elsewhere_too_keeps_its_weights() -> None:
    before = layer("Conv", bias=True)
    before.graph.node.add().CopyFrom(helper.make_node("Relu", ["a"], ["other"]))
    before.graph.output.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, None))
    assert folded(before, None) == before


@pytest.mark.parametrize("change", ["training", "shown", "scaled"])
def test_what_is_not_plain_stays(change: str) -> None:
    before = layer("Gemm", bias=True)
    if change == "training":
        before.graph.node[1].attribute.append(helper.make_attribute("training_mode", 1))
    elif change == "shown":
        before.graph.output.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, None))
    else:
        before.graph.node[0].attribute.append(helper.make_attribute("alpha", 0.5))
    assert operators(folded(before, None)) == ["Gemm", "BatchNormalization", "Relu"]


def test_weights_that_two_layers_share_are_folded_for_one_alone() -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["a"]),
        helper.make_node("BatchNormalization", ["a", *NORM], ["c"]),
        helper.make_node("Gemm", ["x", "w"], ["d"]),
        helper.make_node("Add", ["c", "d"], ["y"]),
    ]
    before = model(nodes, ["n", 4], w=values(4, CHANNELS), **norm())
    after = folded(before, None)
    assert operators(after) == ["Gemm", "Gemm", "Add"]
    rows = {"x": values(7, 4)}
    np.testing.assert_allclose(answers(after, rows)["y"], answers(before, rows)["y"], atol=1e-5)


def test_weights_beside_the_graph_are_read_there_and_come_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_data, "PAGE", 64)
    before = layer("Conv", bias=True)
    bare, weights = moved_out(before, None, tmp_path / "float32.weights")
    assert any(map(external_data.is_outside, bare.graph.initializer))
    after = folded(bare, weights)
    assert after.graph.node == folded(before, None).graph.node
    assert after == folded(before, None)


def test_idle_nodes_go() -> None:
    nodes = [
        helper.make_node("Identity", ["x"], ["a"]),
        helper.make_node("Dropout", ["a", "ratio"], ["b"]),
        helper.make_node("Cast", ["b"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Identity", ["w"], ["v"]),
        helper.make_node("MatMul", ["c", "v"], ["d"]),
        helper.make_node("Identity", ["d"], ["y"]),  # gives an output its name
    ]
    before = model(
        nodes, ["n", 4], w=values(4, CHANNELS), ratio=np.array(0.5, dtype=np.float32)
    )
    after = folded(before, None)
    assert operators(after) == ["MatMul", "Identity"]
    assert list(after.graph.node[0].input) == ["x", "w"]
    rows = {"x": values(7, 4)}
    assert answers(after, rows)["y"].tobytes() == answers(before, rows)["y"].tobytes()


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Cast", ["x"], ["a"], to=TensorProto.DOUBLE),
        helper.make_node("Dropout", ["x", "ratio", "yes"], ["a"]),
    ],
)
def test_nodes_that_do_something_stay(node: NodeProto) -> None:
    nodes = [node, helper.make_node("Cast", ["a"], ["y"], to=TensorProto.FLOAT)]
    constants = {"ratio": np.array(0.5, np.float32), "yes": np.array(True)}
    after = folded(model(nodes, ["n", 4], **constants), None)
    assert operators(after) == [node.op_type, "Cast"]


def test_a_graph_with_graphs_inside_is_left_as_it_is() -> None:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["a"], ["inner"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Identity", ["x"], ["a"]),
        helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner),
    ]
    before = model(nodes, ["n", 4], yes=np.array(True))
    assert folded(before, None) == before


# --- Gelu -----------------------------------------------------------------------------------


def gelu(*, swapped: bool, twisted: bool) -> ModelProto:
    """Return x * (0.5 * (1 + erf(x / √2))), its factors in either order."""

    def pair(one: str, other: str) -> list[str]:
        return [other, one] if swapped else [one, other]

    nodes = [
        helper.make_node("Div", ["x", "root"], ["a"]),
        helper.make_node("Erf", ["a"], ["b"]),
        helper.make_node("Add", pair("b", "one"), ["c"]),
        helper.make_node("Mul", pair("half", "c"), ["d"]),
        helper.make_node("Neg", ["x"], ["z"]),
        helper.make_node("Mul", pair("z" if twisted else "x", "d"), ["y"]),
    ]
    numbers = {"root": 2**0.5, "one": 1, "half": 0.5}
    constants = {name: np.array(value, np.float32) for name, value in numbers.items()}
    return model(nodes, ["n", 4], **constants)


@pytest.mark.parametrize("swapped", [True, False])
def test_a_gelu_is_written_as_the_engine_knows_it_and_keeps_every_bit(swapped: bool) -> None:
    before = gelu(swapped=swapped, twisted=False)
    after = folded(before, None)
    checker.check_model(after)
    made = {node.output[0]: sorted(node.input) for node in after.graph.node}
    assert made["d"] == ["half", "x"]
    assert made["y"] == ["c", "d"]
    rows = {"x": np.linspace(-9, 9, 4000, dtype=np.float32).reshape(-1, 4)}
    one, other = (run_plainly(graph, rows["x"]) for graph in (before, after))
    assert one.tobytes() == other.tobytes()


def run_plainly(graph: ModelProto, x: Array) -> Array:
    """Run a graph as it is written, without the engine's own Gelu."""
    from edge_runtime.engine.session import SessionPlan, open_session

    plan = SessionPlan(optimisation="disabled")
    return open_session(graph.SerializeToString(), plan).run({"x": x})["y"]


def test_a_product_with_another_value_is_no_gelu() -> None:
    before = gelu(swapped=False, twisted=True)
    assert folded(before, None) == before


@given(seed=st.integers(0, 9), bias=st.booleans(), kind=st.sampled_from(["Conv", "Gemm"]))
def test_folding_twice_changes_nothing_more(seed: int, bias: bool, kind: str) -> None:
    before = layer(kind, bias=bias)
    for name, value in norm(seed).items():
        (tensor,) = (one for one in before.graph.initializer if one.name == name)
        tensor.CopyFrom(numpy_helper.from_array(value, name))
    once = folded(before, None)
    assert folded(once, None) == once
