"""Graphs that are one but for order and names become the same bytes, and answer as before."""

from __future__ import annotations

import random

import numpy as np
import onnx
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edge_runtime.engine.session import SessionPlan, open_session
from packager.sources.tensors.canonical import canonical

ROWS = {"x": np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)}


def model(seed: int) -> ModelProto:
    """Return one graph in some order, with names and copies of constants by chance."""
    chance = random.Random(seed)  # noqa: S311 - an order, no secret
    names: dict[str, str] = {"x": "x", "y": "y", "flag": "flag", "fixed": "fixed"}

    def name(text: str) -> str:
        return names.setdefault(text, f"{text}_{chance.randrange(1 << 40)}")

    def node(kind: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
        read = [name(text) for text in inputs.split()]
        return helper.make_node(kind, read, [name(output)], name(f"n-{output}"), **attributes)

    def branch(kind: str, number: float) -> onnx.GraphProto:
        inner = [node(kind, f"shared {kind}-c", f"{kind}-inner")]
        inner.append(node("Relu", f"{kind}-inner", f"{kind}-out"))
        leaving = helper.make_tensor_value_info(name(f"{kind}-out"), TensorProto.FLOAT, None)
        held = numpy_helper.from_array(np.float32(number), name(f"{kind}-c"))
        return helper.make_graph(inner, kind, [], [leaving], [held])

    weights = np.arange(9, dtype=np.float32).reshape(3, 3)
    nodes = [
        node("MatMul", "x weights", "left"),
        node("MatMul", f"x {chance.choice(['weights', 'copy'])}", "right"),
        node("Add", "left right", "shared"),
        node("Sub", "x weights-unused", "unused"),
        node(
            "If", "flag", "chosen", then_branch=branch("Mul", 2.0), else_branch=branch("Add", 1)
        ),
        node("Add", "chosen shared", "y"),
    ]
    order = [*chance.sample(range(2), 2), *chance.sample([2, 3], 2), 4, 5]
    held = [
        numpy_helper.from_array(weights, name("weights")),
        numpy_helper.from_array(weights, name("copy")),
        numpy_helper.from_array(np.float32(7), name("weights-unused")),
        numpy_helper.from_array(np.float32([5]), name("fixed")),
    ]
    chance.shuffle(held)
    graph = helper.make_graph(
        [nodes[i] for i in order],
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3]),
            helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
        ],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3]),
            helper.make_tensor_value_info("fixed", TensorProto.FLOAT, [1]),
        ],
        held,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def answers(graph: ModelProto, *, flag: bool) -> list[np.ndarray]:
    session = open_session(graph.SerializeToString(), SessionPlan())
    return list(session.run({**ROWS, "flag": np.array(flag)}).values())


@given(seed=st.integers(0, 1 << 32))
def test_order_names_and_copies_leave_no_trace(seed: int) -> None:
    one, other = model(0), model(seed)

    canonical(one)
    canonical(other)

    onnx.checker.check_model(other, full_check=True)
    assert other.SerializeToString(deterministic=True) == one.SerializeToString(
        deterministic=True
    )


def test_it_answers_as_before_without_what_no_output_needs() -> None:
    graph = model(1)
    before = [answers(graph, flag=flag) for flag in (True, False)]

    canonical(graph)

    for flag, wanted in zip((True, False), before, strict=True):
        np.testing.assert_array_equal(answers(graph, flag=flag)[0], wanted[0])
        np.testing.assert_array_equal(answers(graph, flag=flag)[1], [5])
    assert [node.op_type for node in graph.graph.node] == [
        "MatMul",
        "MatMul",
        "Add",
        "If",
        "Add",
    ]
    assert len(graph.graph.initializer) == 2
    assert [value.name for value in graph.graph.output] == ["y", "fixed"]


def test_a_name_of_an_input_stays_its_own() -> None:
    nodes = [
        helper.make_node("Relu", ["v0"], ["a"]),
        helper.make_node("Add", ["a", "v0"], ["c1"]),
    ]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [3]) for n in ("v0", "c1")]
    graph = helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:]))

    canonical(graph)

    onnx.checker.check_model(graph)
    assert [list(node.output) for node in graph.graph.node] == [["v2"], ["c1"]]


def test_doing_it_twice_changes_nothing() -> None:
    graph = model(2)
    canonical(graph)
    once = graph.SerializeToString(deterministic=True)

    canonical(graph)

    assert graph.SerializeToString(deterministic=True) == once
