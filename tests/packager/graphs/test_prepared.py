"""Graphs made ready for the tools and made clean again."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper
from trained import answers

from edge_runtime.contract.tensors import Array
from packager.graphs.prepared import cleared, layers, prepared, static_nodes


def model(*nodes: NodeProto, **constants: Array) -> ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", None, None, None])
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), "g", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def conv(source: str, target: str, weights: str = "w", **how: object) -> NodeProto:
    return helper.make_node(
        "Conv", [source, weights], [target], name=target, pads=[1] * 4, **how
    )


def op(kind: str, *names: str, **how: object) -> NodeProto:
    *inputs, output = names
    return helper.make_node(kind, inputs, [output], name=output, **how)


def weights(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def chosen(*nodes: NodeProto, **constants: Array) -> list[str]:
    constants = constants or {"w": weights(16, 16, 3, 3)}
    return static_nodes(prepared(model(*nodes, **constants), None), dense_only=False)


def test_what_lies_between_convolutions_is_quantized_with_them() -> None:
    names = chosen(
        conv("x", "a"), op("Relu", "a", "b"), op("LeakyRelu", "b", "c"), conv("c", "y")
    )
    assert names == ["a", "b", "c", "y"]


def test_what_comes_after_the_last_layer_stays_but_for_its_limit() -> None:
    names = chosen(conv("x", "a"), op("Relu", "a", "b"), op("Sigmoid", "b", "y"))
    assert names == ["a", "b"]


def test_an_operator_without_an_int8_form_breaks_the_way() -> None:
    names = chosen(
        conv("x", "a"), op("Exp", "a", "b"), op("Add", "b", "b", "c"), conv("c", "y")
    )
    assert names == ["a", "y"]


def test_a_sum_with_a_float_that_nobody_rounds_stays() -> None:
    names = chosen(
        conv("x", "a"), op("Exp", "x", "e"), op("Add", "a", "e", "c"), conv("c", "y")
    )
    assert names == ["a", "y"]


def test_thin_convolutions_stay_and_depthwise_ones_do_not() -> None:
    graph = prepared(
        model(
            conv("x", "a", "deep", group=16),
            conv("a", "b", "few"),
            conv("b", "c", "wide"),
            conv("c", "y", "thin"),
            deep=weights(16, 1, 3, 3),
            few=weights(4, 16, 3, 3),
            wide=weights(7, 4, 7, 7),
            thin=weights(3, 7, 3, 3),
        ),
        None,
    )
    assert [node.name for node in layers(graph, dense_only=False)] == ["a", "b", "c"]
    assert layers(graph, dense_only=True) == []


def test_a_layer_whose_weights_are_computed_is_none() -> None:
    nodes = [op("Exp", "w", "v"), conv("x", "y", "v")]
    graph = prepared(model(*nodes, w=weights(16, 16, 3, 3)), None)
    assert layers(graph, dense_only=False) == []


def test_names_that_nobody_asks_for_become_short_and_constants_are_shared() -> None:
    long = "a-name-that-some-exporter-made-out-of-a-path-" * 3
    nodes = [op("Add", "x", "one", long), op("Add", long, "other", "y")]
    one = np.ones((1, 16, 8, 8), np.float32)
    before, after = (model(*nodes, one=one[:, :, :1], other=one[:, :, :1]) for _ in range(2))
    assert cleared(after) is after
    checker.check_model(after)
    assert long.encode() not in after.SerializeToString()
    assert len(after.graph.initializer) == 1
    names = [node.name for node in after.graph.node]
    assert all(names)  # an old engine fuses two nameless nodes under one name, and fails
    assert len(set(names)) == len(names)
    feed = {"x": weights(2, 16, 8, 8)}
    assert answers(after, feed)["y"].tobytes() == answers(before, feed)["y"].tobytes()


def test_a_short_name_never_takes_an_input_s_or_output_s() -> None:
    graph = model(op("Relu", "x", "a"), op("Relu", "a", "y"))
    for part in (graph.graph.input[0], graph.graph.output[0]):
        part.name = {"x": "t0", "y": "t1"}[part.name]
    graph.graph.node[0].input[0], graph.graph.node[1].output[0] = "t0", "t1"
    checker.check_model(cleared(graph))
    assert [list(node.output) for node in graph.graph.node] == [["t2"], ["t1"]]


def test_names_that_inner_graphs_may_read_stay() -> None:
    inner = helper.make_graph(
        [op("Relu", "a", "inner")],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    nodes = [
        op("Relu", "x", "a"),
        helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner),
    ]
    graph = cleared(model(*nodes, yes=np.array(True)))
    assert graph.graph.node[0].output[0] == "a"
