"""Graphs whose input decides what they take: for ever, long in one node, or all memory."""

from __future__ import annotations

import numpy as np
from devices import Subject, graph, interface
from onnx import TensorProto, helper

from edge_runtime.contract.tensors import TensorSpec

COUNT = (TensorSpec("count", "int64", (1,)),)
FOR_EVER = np.array([1 << 62])


def asked(count: int) -> dict[str, np.ndarray]:
    """Return what any of these takes."""
    return {"count": np.array([count])}


def loop() -> Subject:
    """Return a graph that goes round ``count`` times, each round a node of its own.

    Past 2**60 it never ends; it can be stopped between two rounds.
    """
    outputs = (TensorSpec("value", "float32", (1,)),)
    node = helper.make_node
    body = helper.make_graph(
        [node("Identity", ["go_on"], ["go_on_out"]), node("Cos", ["x"], ["x_out"])],
        "round",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x_out", TensorProto.FLOAT, [1]),
        ],
    )
    nodes = [
        node("Squeeze", ["count"], ["rounds"]),
        node("Loop", ["rounds", "", "one"], ["value"], body=body),
    ]
    model = graph(nodes, COUNT, outputs, one=np.ones(1, np.float32))
    return Subject(model, interface(COUNT, outputs), asked(3))


def long_node() -> Subject:
    """Return a graph of one long node, which cannot be stopped: ``count`` squared steps.

    10,000 take some hundredths of a second, 150,000 some ten seconds, and little memory.
    """
    outputs = (TensorSpec("kept", "int64", (1,)),)
    node = helper.make_node
    nodes = [
        node("Squeeze", ["count"], ["many"]),
        node("Range", ["zero", "many", "unit"], ["numbers"]),
        node("Cast", ["numbers"], ["places"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["places", "last"], ["low"]),
        node("Add", ["low", "half"], ["high"]),
        node("Concat", ["low", "low", "high", "high"], ["corners"], axis=1),
        node("Unsqueeze", ["corners", "first"], ["boxes"]),
        node("Unsqueeze", ["places", "both"], ["scores"]),
        node("NonMaxSuppression", ["boxes", "scores", "most", "overlap"], ["chosen"]),
        node("Shape", ["chosen"], ["kept"], end=1),
    ]
    model = graph(
        nodes,
        COUNT,
        outputs,
        zero=np.array(0),
        unit=np.array(1),
        last=np.array([1]),
        first=np.array([0]),
        both=np.array([0, 1]),
        half=np.array(0.5, np.float32),
        most=np.array([1 << 40]),
        overlap=np.array([0.5], np.float32),
    )
    return Subject(model, interface(COUNT, outputs), asked(5))


def wide() -> Subject:
    """Return a graph that answers ``count`` numbers, and needs the memory for them."""
    outputs = (TensorSpec("zeros", "float32", (None,)),)
    nodes = [helper.make_node("ConstantOfShape", ["count"], ["zeros"])]
    model = graph(nodes, COUNT, outputs)
    return Subject(model, interface(COUNT, outputs), asked(4))
