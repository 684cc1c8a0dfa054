"""The parts of a graph, told from its bytes: found wherever they stand, or refused."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    helper,
)

from edge_runtime.contract.bundle import onnxwire
from edge_runtime.contract.bundle.onnxparts import (
    Fact,
    Format,
    Import,
    Node,
    Note,
    Reference,
    Special,
    Tensor,
    walk,
)
from edge_runtime.contract.bundle.onnxwire import Wire
from edge_runtime.contract.errors import GraphRefused


def outside(location: str = "w.bin", **entries: str) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def told(graph: bytes) -> list[Fact]:
    facts: list[Fact] = []
    walk(graph, "m.onnx", facts.append)
    return facts


def references(graph: bytes) -> list[Reference]:
    tensors = [fact for fact in told(graph) if isinstance(fact, Tensor)]
    return [reference for tensor in tensors for reference in tensor.references]


def found(model: ModelProto) -> list[Reference]:
    return references(model.SerializeToString())


def an_initialiser(graph: GraphProto) -> None:
    graph.initializer.append(outside())


def an_attribute(**value: object) -> Callable[[GraphProto], None]:
    def put(graph: GraphProto) -> None:
        attribute = AttributeProto(name="a", **value)
        graph.node.append(NodeProto(op_type="Constant", attribute=[attribute]))

    return put


def _inside() -> GraphProto:
    return GraphProto(initializer=[outside()])


@pytest.mark.parametrize(
    "put",
    [
        an_initialiser,
        an_attribute(t=outside()),
        an_attribute(tensors=[outside()]),
        an_attribute(g=_inside()),
        an_attribute(graphs=[_inside()]),
        an_attribute(ints=[2**40, -1, 3], floats=[0.5, 1.0], t=outside()),
    ],
)
def test_a_reference_is_found_wherever_a_graph_can_hold_a_tensor(
    put: Callable[[GraphProto], None],
) -> None:
    expected = [Reference("w.bin", 0, None)]
    model = ModelProto()
    put(model.graph)
    assert found(model) == expected
    nested = ModelProto()
    for _ in range(6):  # branches in branches
        put(model.graph)
        an_attribute(g=model.graph)(nested.graph)
        del model.graph.node[:]
        model.graph.CopyFrom(nested.graph)
        nested.Clear()
    assert set(found(model)) == set(expected)


def _sparse(model: ModelProto) -> None:
    model.graph.sparse_initializer.append(SparseTensorProto(values=outside()))


def _sparse_value(model: ModelProto) -> None:
    an_attribute(sparse_tensor=SparseTensorProto(values=outside()))(model.graph)


def _sparse_values(model: ModelProto) -> None:
    an_attribute(sparse_tensors=[SparseTensorProto(indices=outside())])(model.graph)


def _function(model: ModelProto) -> None:
    model.functions.add().node.add(op_type="Add")


def _training(model: ModelProto) -> None:
    model.training_info.add().algorithm.initializer.append(outside())


@pytest.mark.parametrize(
    ("put", "what"),
    [
        (_sparse, "a sparse tensor"),
        (_sparse_value, "a sparse tensor"),
        (_sparse_values, "a sparse tensor"),
        (_function, "a function of its own"),
        (_training, "a training graph"),
    ],
)
def test_what_graphs_of_ours_never_hold_is_told(
    put: Callable[[ModelProto], None], what: str
) -> None:
    model = ModelProto()
    put(model)
    assert Special(what) in told(model.SerializeToString())


def test_nodes_imports_and_what_the_model_says_of_itself_are_told() -> None:
    model = ModelProto(ir_version=10)
    model.opset_import.add(domain="ai.onnx.ml", version=3)
    model.metadata_props.add(key="author", value="x")
    node = NodeProto(op_type="Scaler", domain="ai.onnx.ml", name="n" * 200, input=["x"])
    model.graph.node.append(node)
    assert told(model.SerializeToString()) == [
        Format(10),
        Node("ai.onnx.ml", "Scaler"),
        Import("ai.onnx.ml", 3),
        Note("author"),
    ]


def test_what_a_tensor_claims_and_holds_is_told() -> None:
    model = ModelProto()
    model.graph.initializer.add(name="w", data_type=1, dims=[2, 3], raw_data=bytes(24))
    model.graph.initializer.add(name="v", data_type=7, dims=[2], int64_data=[1, 2])
    raw, plain = told(model.SerializeToString())
    assert isinstance(raw, Tensor)
    assert raw[:4] == ("w", (2, 3), 1, 24)
    assert isinstance(plain, Tensor)
    assert plain[:4] == ("v", (2,), 7, None)
    assert plain.size == model.graph.initializer[1].ByteSize()


def test_axes_side_by_side_are_axes_too() -> None:
    packed = b"\x0a\x03\x02\x80\x01"  # what parsers take as well as single fields
    (tensor,) = told(_message(7, _message(5, packed)))
    assert isinstance(tensor, Tensor)
    assert tensor.axes == (2, 128)


def _message(number: int, body: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _length(body) + body


@pytest.mark.parametrize(
    "twice", [b"\x10\x01\x10\x07", b"\x4a\x00\x4a\x01x", b"\x42\x00\x42\x00"]
)
def test_a_part_of_a_tensor_said_twice_is_refused(twice: bytes) -> None:
    with pytest.raises(GraphRefused, match="part of a tensor once"):
        told(_message(7, _message(5, twice)))


def test_two_tensors_that_a_parser_would_make_one_of_are_refused() -> None:
    attribute = _message(5, b"\x08\x7f") + _message(5, b"\x4a\x01x")
    with pytest.raises(GraphRefused, match="each tensor once"):
        told(_message(7, _message(1, _message(5, attribute))))


def test_a_node_between_runs_of_texts_is_seen() -> None:
    """Names are passed over in one go; the operator stands before, between or behind them."""
    names, operator = _message(1, b"x") * 300, _message(4, b"EPContext")
    for node in (operator + names, names + operator, names + operator + names):
        assert told(_message(7, _message(1, node))) == [Node("", "EPContext")]


@settings(max_examples=200)
@given(
    st.lists(st.floats(width=32), max_size=40),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40),
    st.lists(st.binary(max_size=140), max_size=40),
)
def test_whatever_numbers_and_texts_stand_before_a_reference_it_is_found(
    floats: list[float], ints: list[int], strings: list[bytes]
) -> None:
    model = ModelProto()
    an_attribute(floats=floats, ints=ints, strings=strings, t=outside())(model.graph)
    assert found(model) == [Reference("w.bin", 0, None)]
    parts = [
        b"".join(AttributeProto(floats=[one]).SerializeToString() for one in floats),
        b"".join(AttributeProto(ints=[one]).SerializeToString() for one in ints),
        b"".join(AttributeProto(strings=[one]).SerializeToString() for one in strings),
    ]
    behind = AttributeProto(t=outside()).SerializeToString()
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 1), (2, 0, 2)):
        attribute = b"".join(parts[one] for one in order) + behind
        graph = _message(7, _message(1, _message(5, attribute)))
        assert references(graph) == [Reference("w.bin", 0, None)]


@pytest.mark.parametrize("count", [1, 2, 13_107, 13_108, 65_536, 65_537, 200_000])
def test_long_runs_of_numbers_are_passed_over_to_their_end(count: int) -> None:
    behind = AttributeProto(t=outside()).SerializeToString()
    for field in (b"\x3d\x01\x02\x03\x04", b"\x40\x05", b"\x40\xff\x7f"):
        graph = _message(7, _message(1, _message(5, field * count + behind)))
        assert references(graph) == [Reference("w.bin", 0, None)]


def test_a_run_of_numbers_that_is_cut_is_refused() -> None:
    for field in (b"\x3d\x01\x02\x03\x04", b"\x40\xff\x7f"):
        graph = _message(7, _message(1, _message(5, (field * 70_000)[:-1])))
        with pytest.raises(GraphRefused, match=r"whole fields|end where"):
            told(graph)


def test_a_number_too_long_in_a_run_is_refused() -> None:
    run = b"\x40\x05" * 100 + b"\x40" + b"\xff" * 10 + b"\x01" + b"\x40\x05" * 100
    with pytest.raises(GraphRefused, match="does not end"):
        told(_message(7, _message(1, _message(5, run))))


def test_offset_and_length_are_read() -> None:
    model = ModelProto()
    model.graph.initializer.append(outside(offset="4096", length="8"))
    assert found(model) == [Reference("w.bin", 4096, 8)]


def test_a_tensor_that_says_it_stands_inside_counts_all_the_same() -> None:
    model = ModelProto()
    model.graph.initializer.append(outside())
    model.graph.initializer[0].data_location = TensorProto.DEFAULT
    assert found(model) == [Reference("w.bin", 0, None)]


def test_two_locations_of_one_tensor_both_count() -> None:
    tensor = outside()
    tensor.external_data.add(key="location", value="../x")
    model = ModelProto()
    model.graph.initializer.append(tensor)
    assert [one.location for one in found(model)] == ["w.bin", "../x"]


def test_a_name_called_location_is_no_reference() -> None:
    ends = [helper.make_tensor_value_info(n, 1, [1]) for n in ("location", "y")]
    node = helper.make_node("Identity", ["location"], ["y"], doc_string="location")
    model = helper.make_model(helper.make_graph([node], "location", ends[:1], ends[1:]))
    assert found(model) == []


def test_a_part_said_twice_is_refused() -> None:
    entry = b"\x0a\x08location\x12\x01a\x12\x04../b"
    tensor = b"\x6a" + bytes([len(entry)]) + entry
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    with pytest.raises(GraphRefused, match="once"):
        told(b"\x3a" + bytes([len(graph)]) + graph)


def test_a_tag_that_parsers_would_cut_short_is_refused() -> None:
    model = ModelProto()
    an_initialiser(model.graph)
    body = model.graph.SerializeToString()
    tag = b"\xba\x80\x80\x80\x10"  # the graph's, and a bit beyond the 32nd
    with pytest.raises(GraphRefused, match="plain fields"):
        told(tag + _length(body) + body)


def _sound() -> bytes:
    model = ModelProto()
    model.graph.initializer.append(outside(offset="0", length="8"))
    an_attribute(g=_inside(), floats=[1.0] * 9)(model.graph)
    return model.SerializeToString()


def test_a_graph_cut_anywhere_is_refused_or_tells_less() -> None:
    whole = _sound()
    expected = set(references(whole))
    for length in range(len(whole)):
        try:
            assert set(references(whole[:length])) <= expected
        except GraphRefused:
            continue


@settings(max_examples=400)
@example(b"location" + b"\x3b" * 40)
@given(st.binary(max_size=200))
def test_any_bytes_are_walked_or_refused(data: bytes) -> None:
    for graph in (data, data + b"location", b"\x3a\x7f" + data + b"location" * 16):
        try:
            told(graph)
        except GraphRefused as error:
            assert "m.onnx" in error.message


@settings(max_examples=200)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_is_walked_or_refused(at: int, value: int) -> None:
    data = bytearray(_sound())
    data[at % len(data)] = value
    try:
        told(bytes(data))
    except GraphRefused:
        return


def test_depth_is_bounded() -> None:
    graph = b"location"
    for _ in range(200):  # a graph in an attribute of a node of a graph …
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            graph = tag + _length(graph) + graph
    with pytest.raises(GraphRefused, match="nest"):
        told(b"\x3a" + _length(graph) + graph)


def _length(data: bytes) -> bytes:
    left, out = len(data), b""
    while left > 127:
        out, left = out + bytes([left & 127 | 128]), left >> 7
    return out + bytes([left])


def test_memory_does_not_grow_with_the_number_of_parts() -> None:
    nodes = b"\x0a\x00" * 20_000
    graph = b"\x3a" + _length(nodes) + nodes
    tracemalloc.start()
    try:
        walk(graph, "m.onnx", lambda _: None)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_the_millions_of_numbers_of_trees_are_passed_over_at_once() -> None:
    numbers = np.random.default_rng(0).random(300_000).astype(np.float32)
    words = [b"BRANCH_LEQ", b"LEAF"] * 100_000
    attribute = AttributeProto(
        name="a", floats=numbers.tolist(), ints=range(300_000), strings=words
    )
    data = attribute.SerializeToString()
    assert len(list(Wire(data, "m.onnx").fields(0, len(data), "attribute"))) < 10


def test_the_number_of_parts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxwire, "_MAX_PARTS", 1000)
    told(_message(7, _message(1, b"") * 900))
    with pytest.raises(GraphRefused, match="1000 parts at most"):
        told(_message(7, _message(1, b"") * 1000))
