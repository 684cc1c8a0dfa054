"""Weights in few bits: every value near its own, in the layout that the engine reads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from trained import answers

from edge_runtime.contract.tensors import Array
from packager.graphs.weight_only import (
    BLOCK,
    LAYERS,
    constant_bytes,
    int8_tables,
    int8_weights,
    large_bytes,
    rounded_int4,
)

FINITE = st.floats(-1e6, 1e6, width=32)


def model(nodes: list[NodeProto], shape: list[int | str], **constants: Array) -> ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def values(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def unpacked(packed: Array) -> Array:
    """Return two values of each byte, the lower half's first, as the engine reads them."""
    return np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], -1)


@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 80)), elements=FINITE)
)
def test_four_bits_keep_every_weight_within_half_a_step(columns: Array) -> None:
    packed, scales, zeros = rounded_int4(columns)
    count, depth = columns.shape
    blocks = -(-depth // BLOCK)
    assert packed.shape == (count, blocks, BLOCK // 2)
    assert scales.shape == (count * blocks,)
    assert zeros.shape == (count * -(-blocks // 2),)
    scale = scales.reshape(count, blocks, 1).astype(np.float64)
    zero = unpacked(zeros.reshape(count, -1))[:, :blocks, None].astype(np.float64)
    found = ((unpacked(packed) - zero) * scale).reshape(count, -1)[:, :depth]
    # The zero point is a whole number, which may cost half a step more at the ends.
    allowed = np.repeat(scale[:, :, 0], BLOCK, axis=1)[:, :depth]
    assert (np.abs(found - columns) <= 1.001 * allowed + 1e-30).all()


def test_zero_stays_zero_in_four_bits() -> None:
    columns = values(3, 64)
    columns[:, ::3] = 0
    packed, scales, zeros = rounded_int4(columns)
    zero = unpacked(zeros.reshape(3, -1))[:, :, None]
    found = (unpacked(packed).astype(int) - zero) * scales.reshape(3, 2, 1)
    assert not found.reshape(3, 64)[:, ::3].any()


@pytest.mark.parametrize(
    ("node", "weights", "rows"),
    [
        (helper.make_node("Conv", ["x", "w"], ["y"]), (16, 8, 3, 3), (2, 8, 6, 6)),
        (helper.make_node("Conv", ["x", "w"], ["y"], group=32), (32, 1, 3, 3), (2, 32, 6, 6)),
        (helper.make_node("ConvTranspose", ["x", "w"], ["y"]), (8, 16, 2, 2), (2, 8, 6, 6)),
        (helper.make_node("Gemm", ["x", "w"], ["y"]), (20, 30), (4, 20)),
        (helper.make_node("Gemm", ["x", "w"], ["y"], transB=1), (30, 20), (4, 20)),
        (helper.make_node("MatMul", ["x", "w"], ["y"]), (20, 30), (4, 20)),
        (helper.make_node("MatMul", ["x", "w"], ["y"]), (3, 20, 30), (3, 4, 20)),
    ],
)
def test_each_output_of_a_layer_has_a_scale_of_its_own(
    node: NodeProto, weights: tuple[int, ...], rows: tuple[int, ...]
) -> None:
    shape: list[int | str] = [*rows]
    before, after = (model([node], shape, w=values(*weights)) for _ in range(2))
    assert int8_weights(after) == 1
    assert after.ByteSize() < 0.55 * before.ByteSize()
    feed = {"x": values(*rows)}
    one, other = (answers(graph, feed)["y"] for graph in (before, after))
    assert np.sqrt(np.square(one - other).mean()) < 0.01 * one.std()
    outputs = {"Conv": weights[0], "ConvTranspose": 16, "Gemm": 30, "MatMul": 30}
    (scale,) = (t for t in after.graph.initializer if t.name == "w_scale")
    assert np.prod(scale.dims) == outputs[node.op_type] * (3 if len(weights) == 3 else 1)


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent_layers_keep_both_matrices_small(kind: str, gates: int) -> None:
    hidden, width = 24, 20
    constants = {
        "w": values(1, gates * hidden, width) / 4,
        "r": values(1, gates * hidden, hidden) / 4,
    }
    node = helper.make_node(kind, ["x", "w", "r"], ["y"], hidden_size=hidden)
    before, after = (model([node], [7, 2, width], **constants) for _ in range(2))
    assert int8_weights(after) == 2
    feed = {"x": values(7, 2, width)}
    one, other = (answers(graph, feed)["y"] for graph in (before, after))
    assert np.sqrt(np.square(one - other).mean()) < 0.02 * one.std()


def test_small_matrices_stay() -> None:
    graph = model([helper.make_node("MatMul", ["x", "w"], ["y"])], ["n", 15], w=values(15, 16))
    before = graph.SerializeToString()
    assert int8_weights(graph) == 0
    assert graph.SerializeToString() == before
    assert (large_bytes(graph, LAYERS), constant_bytes(graph)) == (0, 4 * 240)


def test_a_matrix_that_several_nodes_read_is_kept_once() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Add", ["a", "w"], ["b"]),
        helper.make_node("MatMul", ["b", "w"], ["y"]),
    ]
    before, after = (model(nodes, [20, 20], w=values(20, 20) / 9) for _ in range(2))
    assert int8_weights(after) == 1
    assert len(after.graph.initializer) == 2
    feed = {"x": values(20, 20)}
    np.testing.assert_allclose(answers(after, feed)["y"], answers(before, feed)["y"], atol=0.05)


def test_a_matrix_that_an_inner_graph_reads_stays() -> None:
    inner = helper.make_graph(
        [helper.make_node("MatMul", ["a", "w"], ["inner"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner),
    ]
    graph = model(nodes, ["n", 20], w=values(20, 20), yes=np.array(True))
    assert int8_weights(graph) == 0


def test_a_table_along_another_axis_stays() -> None:
    nodes = [helper.make_node("Gather", ["table", "ids"], ["y"], axis=1)]
    ids = np.array([0, 2])
    graph = model(nodes, ["n", 1], table=values(30, 30), ids=ids)
    assert int8_tables(graph) == 0
