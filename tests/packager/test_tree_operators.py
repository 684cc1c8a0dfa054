"""The operators of trees: converters write old ones, newer ones pass where they may."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from sklearn.ensemble import RandomForestClassifier

from packager.errors import ConversionFailed
from packager.sources.onnx_source import OnnxSource
from packager.sources.sklearn.model import SklearnModel
from packager.target import list_profiles, lowest_opset
from packager.target_rules import CEILINGS

ML = "ai.onnx.ml"
ROWS = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
SHIPPED = lowest_opset(list_profiles())


def imported(model: onnx.ModelProto) -> dict[str, int]:
    return {entry.domain: entry.version for entry in model.opset_import}


@pytest.fixture
def converted() -> onnx.ModelProto:
    forest = RandomForestClassifier(3, max_depth=3, random_state=0)
    model = SklearnModel(forest.fit(ROWS, ROWS[:, 0] > 0))
    model.plan(None)
    return onnx.load_model_from_string(model.graph(SHIPPED).data)


def test_the_shipped_targets_take_what_their_engines_compute() -> None:
    assert SHIPPED[ML] == 5
    assert CEILINGS["1.20"].opset_ml == 4


def test_a_converter_is_asked_for_the_set_that_it_knows(converted: onnx.ModelProto) -> None:
    assert imported(converted)[ML] <= 3
    assert [node.op_type for node in converted.graph.node if node.domain == ML] == [
        "TreeEnsembleClassifier"
    ]


@pytest.mark.parametrize(("newest", "taken"), [(SHIPPED, True), ({**SHIPPED, ML: 4}, False)])
def test_a_file_with_the_newer_set_is_taken_where_the_engine_has_it(
    tmp_path: Path, newest: dict[str, int], taken: bool
) -> None:
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node(
        "TreeEnsemble",
        ["x"],
        ["y"],
        domain=ML,
        n_targets=1,
        tree_roots=[0],
        nodes_featureids=[0],
        nodes_splits=onnx.numpy_helper.from_array(np.array([0.5], np.float32)),
        nodes_modes=onnx.numpy_helper.from_array(np.array([0], np.uint8)),
        nodes_truenodeids=[0],
        nodes_trueleafs=[1],
        nodes_falsenodeids=[1],
        nodes_falseleafs=[1],
        leaf_targetids=[0, 0],
        leaf_weights=onnx.numpy_helper.from_array(np.array([1, 2], np.float32)),
    )
    graph = onnx.helper.make_graph(
        [node],
        "trees",
        [value("x", onnx.TensorProto.FLOAT, ["N", 3])],
        [value("y", onnx.TensorProto.FLOAT, ["N", 1])],
    )
    sets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid(ML, 5)]
    model = onnx.helper.make_model(graph, opset_imports=sets, ir_version=10)
    path = tmp_path / "trees.onnx"
    path.write_bytes(model.SerializeToString())
    source = OnnxSource(path)
    source.describe()
    if taken:
        assert imported(source.graph(newest).model)[ML] == 5
    else:
        with pytest.raises(
            ConversionFailed, match=f"takes {ML} up to opset 4, the model uses 5"
        ):
            source.graph(newest)
