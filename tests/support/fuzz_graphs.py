"""Graphs bent at random, and a second judge of what is let through: onnx's own parser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import bundles
import devices
import hostile_graphs
import weighty
from fuzz_bend import Bender
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from edge_runtime.contract.bundle.graph_rules import Allowed, check_graph

ALLOWED = Allowed({"": 18, "ai.onnx.ml": 3}, ir=10, files={weighty.NAME: weighty.MATRIX.nbytes})
_DOMAINS = {"": 18, "ai.onnx": 18, "ai.onnx.ml": 3, "com.microsoft": 1}
_NATIVE = {"EPContext", "Snpe", "PythonOp", "PythonOpGrad", "ATen"}
_MAX_BYTES = 64 << 20


class ForbiddenError(AssertionError):
    """The walker let something through that onnx's parser sees."""


def once(room: Path) -> Callable[[Bender], None]:
    """Bend graphs, sound ones and those that hold one hostile thing already."""
    del room
    sounds = [bundles.graph(), devices.loan().model, weighty.graph(), _trees(), _branches()]
    hostile = [item.make() for item in hostile_graphs.LISTED]
    hostile = [data for data in hostile if len(data) < 5000]

    def bend(bender: Bender) -> None:
        data = bender.choice(sounds if bender.often(0.8) else hostile)
        data = bender.wire(data, hostile)
        check_graph(data, "m.onnx", ALLOWED)
        judge(data)

    return bend


def _trees() -> bytes:
    count = 40
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        nodes_modes=["BRANCH_LEQ", "LEAF"] * count,
        nodes_values=[0.5] * 2 * count,
        nodes_featureids=[0, 300] * count,
    )
    return bytes(hostile_graphs.sound(node).SerializeToString())


def _branches() -> bytes:
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    leaf = helper.make_node("Identity", ["x"], ["y"])
    inner = helper.make_graph([leaf], "i", [], [value])
    for _ in range(6):
        node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
        inner = helper.make_graph([node], "i", [], [value])
    return bytes(hostile_graphs.sound(*inner.node).SerializeToString())


# --- the second judge ----------------------------------------------------------------------


def judge(data: bytes) -> None:
    """Read a graph that was let through as the engine would, and look for what may not be.

    Raises:
        ForbiddenError: when something is there.
    """
    _forbid(data[4:8] == b"ORTM", "another format")
    try:
        model = ModelProto.FromString(data)
    except DecodeError:
        return  # the engine has the same parser, and refuses it
    _forbid(model.ir_version > ALLOWED.ir, "a newer format")
    _forbid(bool(model.functions), "a function")
    _forbid(bool(model.training_info), "a training graph")
    _forbid(any(item.key == "ort_config" for item in model.metadata_props), "options")
    for item in model.opset_import:
        _forbid(item.version > _DOMAINS.get(item.domain, -1), f"opset of {item.domain!r}")
    for node in _judged_graph(model.graph, 1):
        _forbid(node.domain not in _DOMAINS, f"the domain {node.domain!r}")
        _forbid(node.op_type in _NATIVE, node.op_type)


def _judged_graph(graph: GraphProto, depth: int) -> Iterator[NodeProto]:
    _forbid(depth > 8, "too many graphs inside one another")
    _forbid(bool(graph.sparse_initializer), "a sparse tensor")
    for tensor in graph.initializer:
        _judge_tensor(tensor)
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            sparse = attribute.HasField("sparse_tensor") or attribute.sparse_tensors
            _forbid(bool(sparse), "a sparse tensor")
            for tensor in (attribute.t, *attribute.tensors):
                _judge_tensor(tensor)
            graphs = [attribute.g] if attribute.HasField("g") else []
            for inner in (*graphs, *attribute.graphs):
                yield from _judged_graph(inner, depth + 1)


def _judge_tensor(tensor: TensorProto) -> None:
    places = [entry.value for entry in tensor.external_data if entry.key == "location"]
    _forbid(any(place != weighty.NAME for place in places), f"a reference to {places}")
    count = 1
    for axis in tensor.dims:
        _forbid(axis < 0, "an axis below zero")
        count *= axis
    held = tensor.ByteSize() + (weighty.MATRIX.nbytes if places else 0)
    # The smallest elements have two bits; with none, a shape of no axes claims one.
    _forbid(count > max(1, held * 4), f"{count} elements in {held} bytes")


def _forbid(found: bool, what: str) -> None:
    if found:
        raise ForbiddenError(what)
