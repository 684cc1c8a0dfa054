"""Graphs that ask for what no graph may have, each in one way, and what they must be told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import bombs
import numpy as np
from onnx import (
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
)

from edge_runtime.engine.session import SessionPlan, open_session

_FIELD_HEAD = 5  # of a field of 32 MiB to 4 GiB
SECRET = "secret.bin"  # noqa: S105 - a file's name


@dataclass(frozen=True)
class Hostile:
    """One hostile graph.

    Attributes:
        what: what it does, in words.
        make: returns its bytes.
        refusal: what the walker must say of it.
    """

    what: str
    make: Callable[[], bytes]
    refusal: str


LISTED: list[Hostile] = []


def _hostile(what: str, refusal: str) -> Callable[[Callable[[], bytes]], Callable[[], bytes]]:
    def register(make: Callable[[], bytes]) -> Callable[[], bytes]:
        LISTED.append(Hostile(what, make, refusal))
        return make

    return register


def sound(*nodes: NodeProto, **weights: object) -> ModelProto:
    """Return ``y = x + w``, or these nodes in its place."""
    listed = nodes or (helper.make_node("Add", ["x", "w"], ["y"]),)
    tensors = {"w": np.ones(1, np.float32), **weights}
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    body = helper.make_graph(
        list(listed),
        "hostile",
        ends[:1],
        ends[1:],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _bytes(model: ModelProto) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))


def _reading(location: str) -> bytes:
    model = sound()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return _bytes(model)


# --- other files ---------------------------------------------------------------------------


@_hostile("weights out of an absolute path", "a reference to '/")
def absolute() -> bytes:
    return _reading("/etc/passwd")


@_hostile("weights out of the directory above", "a reference to '../")
def above() -> bytes:
    return _reading(f"../{SECRET}")


@_hostile("weights out of a file beside it that nobody listed", f"a reference to '{SECRET}'")
def beside() -> bytes:
    return _reading(SECRET)


@_hostile("weights out of the process's own memory", "a reference to '*/_ORT_MEM_ADDR_/")
def memory() -> bytes:
    return _reading("*/_ORT_MEM_ADDR_/*")


@_hostile("weights of a constant inside a branch inside a branch", "a reference to '../")
def nested_reading() -> bytes:
    tensor = ModelProto.FromString(above()).graph.initializer[0]
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["y"], value=tensor)], "i", [], []
    )
    for _ in range(2):
        node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
        inner = helper.make_graph([node], "i", [], [])
    return _bytes(ModelProto(graph=inner))


# --- native code ---------------------------------------------------------------------------


def _operator(name: str, domain: str, **attributes: object) -> bytes:
    node = helper.make_node(name, ["x"], ["y"], domain=domain, **attributes)
    model = sound(node)
    model.opset_import.add(domain=domain, version=1)
    return _bytes(model)


@_hostile("a compiled model for an accelerator's driver (EPContext)", "a node EPContext")
def ep_context() -> bytes:
    attributes = {"embed_mode": 0, "ep_cache_context": f"../{SECRET}", "main_context": 1}
    return _operator("EPContext", "com.microsoft", **attributes)


@_hostile("Python code as an operator (PythonOp)", "a node PythonOp")
def python() -> bytes:
    return _operator("PythonOp", "com.microsoft", func_name="os.system")


@_hostile("an operator out of a custom library", "some of 'custom.library'")
def custom() -> bytes:
    return _operator("Anything", "custom.library")


@_hostile("an operator of the engine's inner layouts", "some of 'com.microsoft.nchwc'")
def inner_layout() -> bytes:
    return _operator("ReorderInput", "com.microsoft.nchwc")


@_hostile("an operator of a preview", "some of 'ai.onnx.preview.training'")
def preview() -> bytes:
    return _operator("Momentum", "ai.onnx.preview.training")


@_hostile("the engine's other format under ONNX's name", "the marks of another format")
def other_format() -> bytes:
    # A producer's name whose letters stand where that format has its mark.
    return b"\x12\x06xxORTM" + _bytes(sound())


@_hostile(
    "a second model inside it, in the engine's other format", "the marks of another format"
)
@cache
def two_models() -> bytes:
    """Return bytes that are a sound ONNX file, and that engines open as another model.

    The other format begins with the place of its root and its mark. Here they are ONNX's
    version and the producer's name as well, and the model itself lies in what ONNX takes for a
    description, 68 MB further, where that place points to.
    """
    with TemporaryDirectory() as room:
        path = Path(room, "m.ort")
        open_session(_bytes(sound()), SessionPlan(optimisation="disabled", written=path))
        inner = path.read_bytes()
    head = b"\x08\x0a\x12\x04ORTM"
    begin = int.from_bytes(head[:4], "little") - int.from_bytes(inner[:4], "little")
    body = _field(6, bytes(begin - len(head) - _FIELD_HEAD) + inner)
    return head + body


@_hostile("options of its own session", "ort_config of its own")
def own_options() -> bytes:
    model = sound()
    text = '{"session_options":{"intra_op_num_threads":4096}}'
    model.metadata_props.add(key="ort_config", value=text)
    return _bytes(model)


# --- newer than signed ---------------------------------------------------------------------


@_hostile("an operator set newer than signed", "opset 999")
def newer() -> bytes:
    model = sound()
    model.opset_import[0].version = 999
    return _bytes(model)


@_hostile("a second import of the same operators, newer", "opset 999")
def newer_twice() -> bytes:
    model = sound()
    model.opset_import.add(domain="ai.onnx", version=999)
    return _bytes(model)


@_hostile("a format newer than signed", "it has 999")
def newer_format() -> bytes:
    model = sound()
    model.ir_version = 999
    return _bytes(model)


# --- more than it holds --------------------------------------------------------------------


@_hostile("2 GiB out of 80 bytes (sparse tensor)", "a sparse tensor")
def sparse() -> bytes:
    return bombs.sparse_initializer()


@_hostile("2 GiB out of 120 bytes (sparse constant)", "a sparse tensor")
def sparse_constant() -> bytes:
    values = numpy_helper.from_array(np.ones(1, np.float32), "v")
    places = numpy_helper.from_array(np.zeros(1, np.int64))
    value = helper.make_sparse_tensor(values, places, [bombs.SPARSE_MANY])
    node = helper.make_node("Constant", [], ["c"], sparse_value=value)
    add = helper.make_node("ReduceSum", ["c"], ["y"], keepdims=1)
    return _bytes(sound(node, add))


@_hostile("a tensor that claims 4 TiB and holds 4 bytes", "4 bytes of it")
def claims_more() -> bytes:
    model = sound()
    model.graph.initializer[0].dims[:] = [1 << 40]
    return _bytes(model)


@_hostile("a tensor that claims 4 GiB and holds nothing", "bytes of it")
def claims_all() -> bytes:
    model = sound()
    model.graph.initializer[0].dims[:] = [1 << 30]
    model.graph.initializer[0].ClearField("raw_data")
    return _bytes(model)


@_hostile("a tensor whose size overflows to what it holds", "4 bytes of it")
def overflows() -> bytes:
    model = sound()
    model.graph.initializer[0].dims[:] = [1 << 32, 1 << 32, 1]
    return _bytes(model)


@_hostile("an axis below zero", "axes of 0 or more")
def negative() -> bytes:
    model = sound()
    model.graph.initializer[0].dims[:] = [-1]
    return _bytes(model)


@_hostile("elements of a type that nobody knows", "type 999")
def unknown_type() -> bytes:
    model = sound()
    model.graph.initializer[0].data_type = 999
    return _bytes(model)


@_hostile("a tensor of 16 GiB in two parts of 256 KiB", "one that it says twice")
def halves() -> bytes:
    half = TensorProto(data_type=1, dims=[1 << 16], float_data=[0] * (1 << 16))
    twice = _field(5, half.SerializeToString()) * 2
    attribute = b"\x0a\x05value" + twice + b"\xa0\x01\x04"
    node = b"\x12\x01y\x22\x08Constant" + _field(5, attribute)
    model = sound()
    del model.graph.node[:]
    # Parsers make one graph of the two, and one tensor of the halves.
    return _bytes(model) + _field(7, _field(1, node))


def _field(number: int, body: bytes) -> bytes:
    size, left = b"", len(body)
    while left > 127:
        size, left = size + bytes([left & 127 | 128]), left >> 7
    return bytes([number << 3 | 2]) + size + bytes([left]) + body


# --- without a bottom ----------------------------------------------------------------------


def _functions(count: int, uses: int) -> bytes:
    """Return functions of which each uses the next so many times."""
    model = sound(helper.make_node("f0", ["x"], ["y"], domain="local"))
    model.opset_import.add(domain="local", version=1)
    for number in range(count):
        last = number == count - 1
        name, domain = ("Identity", "") if last else (f"f{number + 1}", "local")
        body = [helper.make_node(name, ["a"], ["b"], domain=domain)] * uses
        model.functions.append(_function(f"f{number}", body))
    return _bytes(model)


def _function(name: str, nodes: list[NodeProto]) -> FunctionProto:
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    made = FunctionProto(name=name, domain="local", input=["a"], output=["b"])
    made.opset_import.extend(opsets)
    for number, node in enumerate(nodes):
        one = made.node.add()
        one.CopyFrom(node)
        one.output[0] = "b" if number == len(nodes) - 1 else f"b{number}"
    return made


@_hostile("3000 functions inside one another", "some of 'local'")
def nested_functions() -> bytes:
    return _functions(3000, 1)


@_hostile("a function that uses itself", "some of 'local'")
def recursive_function() -> bytes:
    model = sound(helper.make_node("f", ["x"], ["y"], domain="local"))
    model.opset_import.add(domain="local", version=1)
    body = [helper.make_node("f", ["a"], ["b"], domain="local")]
    model.functions.append(_function("f", body))
    return _bytes(model)


@_hostile("25 functions, each using the next twice: 33 million nodes", "some of 'local'")
def doubling_functions() -> bytes:
    return _functions(25, 2)


@_hostile("a function in place of the engine's own operator", "a function of its own")
def own_function() -> bytes:
    model = sound(helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft"))
    model.opset_import.add(domain="com.microsoft", version=1)
    made = _function("Gelu", [helper.make_node("Neg", ["a"], ["b"])])
    made.domain = "com.microsoft"
    model.functions.append(made)
    return _bytes(model)


@_hostile("30 branches inside one another", "8 graphs at most")
def nested_graphs() -> bytes:
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    leaf = helper.make_node("Identity", ["x"], ["y"])
    inner = helper.make_graph([leaf], "i", [], [value])
    for _ in range(29):
        empty = helper.make_graph([leaf], "e", [], [value])
        node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=empty)
        inner = helper.make_graph([node], "i", [], [value])
    model = sound(*inner.node, c=np.array(True))
    return _bytes(model)


@_hostile("a training graph", "a training graph")
def training() -> bytes:
    model = sound()
    model.training_info.add(algorithm=GraphProto(name="t"))
    return _bytes(model)


@_hostile("more behind its end", "end where its parts end")
def cut() -> bytes:
    return _bytes(sound()) + b"\x3a\x7f"


@_hostile("a field of a kind that parsers pass over", "the tag 59")
def group() -> bytes:
    return _bytes(sound()) + b"\x3b\x3c"
