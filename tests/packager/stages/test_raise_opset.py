"""Old operator sets: raised where every answer stays, left alone otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from packager.answers import open_graph
from packager.graph import Graph
from packager.graphs import external_data
from packager.sources.onnx_source import OnnxSource
from packager.stages import raise_opset as stage
from packager.stages.raise_opset import raise_opset

CEILING = {"": 18, "ai.onnx.ml": 3}


def network(opset: int, *nodes: onnx.NodeProto) -> ModelProto:
    """A layer whose Squeeze and Softmax say the same otherwise in newer operator sets."""
    weights = numpy_helper.from_array(np.eye(4, 3, dtype=np.float32), "w")
    inner = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Unsqueeze", ["a"], ["b"], axes=[1]),
        helper.make_node("Squeeze", ["b"], ["c"], axes=[1]),
        helper.make_node("Softmax", ["c"], ["d"], axis=1),
    ]
    last = nodes or (helper.make_node("Identity", ["d"], ["y"]),)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", axis])
        for name, axis in (("x", 4), ("y", 3))
    ]
    graph = helper.make_graph([*inner, *last], "g", ends[:1], ends[1:], [weights])
    sets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=sets[: 1 + bool(nodes)], ir_version=4)


def graph_of(model: ModelProto, directory: Path) -> Graph:
    onnx.save(model, directory / "m.onnx")
    return OnnxSource(directory / "m.onnx").graph(CEILING)


def opset(graph: Graph) -> int:
    return graph.model.opset_import[0].version


@pytest.mark.parametrize("old", [7, 9, 11, 12])
def test_an_old_graph_is_raised_and_says_so(tmp_path: Path, old: int) -> None:
    before = graph_of(network(old), tmp_path)
    after = raise_opset(before, CEILING)
    assert (opset(before), opset(after)) == (old, 18)
    assert after.repairs == (f"raised from opset {old} to 18",)
    assert after.model.ir_version >= 8
    rows = {"x": np.arange(8, dtype=np.float32).reshape(2, 4)}
    assert np.array_equal(open_graph(before).run(rows)["y"], open_graph(after).run(rows)["y"])


def test_it_is_raised_no_higher_than_every_target_loads(tmp_path: Path) -> None:
    assert opset(raise_opset(graph_of(network(9), tmp_path), {"": 15})) == 15
    assert opset(raise_opset(graph_of(network(9), tmp_path), {"": 12})) == 9


def test_a_graph_that_is_new_enough_stays_as_it_is(tmp_path: Path) -> None:
    source = network(12)
    source.opset_import[0].version = 13
    for node, axes in ((source.graph.node[1], "one"), (source.graph.node[2], "one")):
        del node.attribute[:]
        node.input.append(axes)
    source.graph.initializer.append(numpy_helper.from_array(np.array([1]), "one"))
    graph = graph_of(source, tmp_path)
    assert raise_opset(graph, CEILING) is graph


def test_what_our_own_converters_made_is_left_alone(tmp_path: Path) -> None:
    graph = graph_of(network(9), tmp_path)
    own = replace(graph, source=replace(graph.source, framework="scikit-learn"))
    assert raise_opset(own, CEILING) is own


def test_many_weights_are_not_moved_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = graph_of(network(9), tmp_path)
    monkeypatch.setattr(stage, "are_many", lambda _: True)
    assert raise_opset(graph, CEILING) is graph
    assert external_data.are_many(1 << 40)


def test_a_graph_that_answers_otherwise_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: object) -> ModelProto:
        made = network(12)
        made.opset_import[0].version = 12
        weights = np.eye(4, 3, dtype=np.float32) * np.float32(1.0001)
        made.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w"))
        return made

    graph = graph_of(network(9), tmp_path)
    monkeypatch.setattr(stage.version_converter, "convert_version", wrong)
    assert raise_opset(graph, CEILING) is graph


def test_operators_of_another_domain_stay(tmp_path: Path) -> None:
    foreign = helper.make_node("Gelu", ["d"], ["y"], domain="com.microsoft")
    found = raise_opset(graph_of(network(9, foreign), tmp_path), CEILING)
    assert opset(found) == 18
    assert found.model.graph.node[-1].domain == "com.microsoft"


def test_a_graph_beyond_the_converter_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> ModelProto:
        raise stage.version_converter.ConvertError

    graph = graph_of(network(9), tmp_path)
    monkeypatch.setattr(stage.version_converter, "convert_version", refuse)
    assert raise_opset(graph, CEILING) is graph


def test_a_graph_that_takes_no_drawn_row_is_left_alone(tmp_path: Path) -> None:
    model = network(9)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "any"
    graph = graph_of(model, tmp_path)  # drawn rows have one column, the weights want four
    assert raise_opset(graph, CEILING) is graph
