"""References in the bytes of a graph: found wherever they stand; other bytes are refused."""

from __future__ import annotations

import time
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

from edge_runtime.contract.bundle.onnxwire import Reference, check_references, references
from edge_runtime.contract.errors import GraphRefused


def outside(location: str = "w.bin", **entries: str) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def found(model: ModelProto) -> list[Reference]:
    return list(references(model.SerializeToString(), "m.onnx"))


def an_initialiser(graph: GraphProto) -> None:
    graph.initializer.append(outside())


def sparse_values(graph: GraphProto) -> None:
    graph.sparse_initializer.append(SparseTensorProto(values=outside()))


def sparse_indices(graph: GraphProto) -> None:
    graph.sparse_initializer.append(SparseTensorProto(indices=outside()))


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
        sparse_values,
        sparse_indices,
        an_attribute(t=outside()),
        an_attribute(tensors=[outside()]),
        an_attribute(g=_inside()),
        an_attribute(graphs=[_inside()]),
        an_attribute(sparse_tensor=SparseTensorProto(values=outside())),
        an_attribute(sparse_tensors=[SparseTensorProto(indices=outside())]),
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
    training = ModelProto()
    put(training.training_info.add().algorithm)
    assert found(training) == expected
    nested = ModelProto()
    for _ in range(20):  # branches in branches
        put(model.graph)
        an_attribute(g=model.graph)(nested.graph)
        del model.graph.node[:]
        model.graph.CopyFrom(nested.graph)
        nested.Clear()
    assert set(found(model)) == set(expected)


def test_a_reference_in_a_function_is_found() -> None:
    model = ModelProto()
    put = GraphProto()
    an_attribute(t=outside())(put)
    model.functions.add().node.extend(put.node)
    model.functions.add().attribute_proto.extend(put.node[0].attribute)
    assert len(found(model)) == 2


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
    with pytest.raises(GraphRefused, match=r"\.\./x"):
        check_references(model.SerializeToString(), "m.onnx", {"w.bin": 100})


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
        list(references(b"\x3a" + bytes([len(graph)]) + graph, "m.onnx"))


def test_a_tag_that_parsers_would_cut_short_is_refused() -> None:
    model = ModelProto()
    an_initialiser(model.graph)
    body = model.graph.SerializeToString()
    tag = b"\xba\x80\x80\x80\x10"  # the graph's, and a bit beyond the 32nd
    with pytest.raises(GraphRefused, match="plain fields"):
        list(references(tag + _length(body) + body, "m.onnx"))


def _sound() -> bytes:
    model = ModelProto()
    model.graph.initializer.append(outside(offset="0", length="8"))
    an_attribute(g=_inside(), floats=[1.0] * 9)(model.graph)
    return model.SerializeToString()


def test_a_graph_cut_anywhere_is_refused_or_tells_less() -> None:
    whole = _sound()
    expected = set(references(whole, "m.onnx"))
    for length in range(len(whole)):
        try:
            assert set(references(whole[:length], "m.onnx")) <= expected
        except GraphRefused:
            continue


@settings(max_examples=400)
@example(b"location" + b"\x3b" * 40)
@given(st.binary(max_size=200))
def test_any_bytes_are_walked_or_refused(data: bytes) -> None:
    for graph in (data, data + b"location", b"\x3a\x7f" + data + b"location" * 16):
        try:
            list(references(graph, "m.onnx"))
        except GraphRefused as error:
            assert "m.onnx" in error.message


@settings(max_examples=200)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_is_walked_or_refused(at: int, value: int) -> None:
    data = bytearray(_sound())
    data[at % len(data)] = value
    try:
        list(references(bytes(data), "m.onnx"))
    except GraphRefused:
        return


def test_depth_is_bounded() -> None:
    graph = b"location"
    for _ in range(200):  # a graph in an attribute of a node of a graph …
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            graph = tag + _length(graph) + graph
    with pytest.raises(GraphRefused, match="nest"):
        list(references(b"\x3a" + _length(graph) + graph, "m.onnx"))


def _length(data: bytes) -> bytes:
    left, out = len(data), b""
    while left > 127:
        out, left = out + bytes([left & 127 | 128]), left >> 7
    return out + bytes([left])


def test_memory_does_not_grow_with_the_number_of_parts() -> None:
    nodes = b"\x0a\x00" * 20_000
    graph = b"\x3a" + _length(nodes) + nodes + b"\x72\x08location"
    tracemalloc.start()
    try:
        list(references(graph, "m.onnx"))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_the_millions_of_numbers_of_trees_are_passed_over_quickly() -> None:
    model = ModelProto(producer_name="location")
    numbers = np.random.default_rng(0).random(300_000).astype(np.float32)
    an_attribute(floats=numbers.tolist(), ints=list(range(300_000)))(model.graph)
    data = model.SerializeToString()
    start = time.process_time()
    assert list(references(data, "m.onnx")) == []
    assert time.process_time() - start < 1.0
