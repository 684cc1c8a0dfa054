"""Splits of trees are traced back to columns through all that keeps columns apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edge_runtime.contract.table import Column
from packager.graphs.tree_splits import Bounds, Split, tree_splits

COLUMNS = (Column("a", "float", "X", 0, "refuse"), Column("b", "float", "X", 1, "refuse"))


def stump(feature: int, value: float, mode: str = "BRANCH_LEQ", source: str = "F") -> Any:
    """A tree of one split that answers 1 below and 2 above."""
    return forest([(feature, value, mode)], source)


def forest(splits: Sequence[tuple[int, float, str]], source: str = "F") -> Any:
    """A tree whose splits follow each other on their false side."""
    modes, features, values, true, false, leaves = [], [], [], [], [], []
    for number, (feature, value, mode) in enumerate(splits):
        last = number == len(splits) - 1
        leaves += [len(modes) + 1] + ([len(modes) + 2] if last else [])
        modes += [mode, "LEAF"]
        features += [feature, 0]
        values += [value, 0.0]
        true += [2 * number + 1, 0]
        false += [2 * number + 2, 0]
    modes.append("LEAF")
    for more in (features, true, false):
        more.append(0)
    values.append(0.0)
    count = len(modes)
    return helper.make_node(
        "TreeEnsembleRegressor",
        [source],
        ["Y"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=[0] * count,
        nodes_nodeids=list(range(count)),
        nodes_modes=modes,
        nodes_featureids=features,
        nodes_values=values,
        nodes_truenodeids=true,
        nodes_falsenodeids=false,
        target_treeids=[0] * len(leaves),
        target_nodeids=leaves,
        target_ids=[0] * len(leaves),
        target_weights=[float(one) for one in range(len(leaves))],
    )


def graph(*nodes: Any, **constants: Any) -> ModelProto:
    named = [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()]
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["n", 2])]
    outputs = [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["n", 1])]
    return helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, named))


def node(kind: str, *inputs: str, to: str = "F", **attributes: Any) -> Any:
    return helper.make_node(kind, inputs, [to], **attributes)


def only(model: ModelProto, columns: Sequence[Column] = COLUMNS) -> Split:
    (split,) = tree_splits(model, columns, 10)
    return split


@pytest.mark.parametrize(
    ("nodes", "constants", "column", "value"),
    [
        ((), {}, "b", 6.0),
        ((node("Cast", "X", to="C"), node("Identity", "C")), {}, "b", 6.0),
        ((node("Scaler", "X", scale=[1.0, 2.0], offset=[0.0, 1.0]),), {}, "b", 4.0),
        ((node("Scaler", "X", scale=[2.0], offset=[1.0]),), {}, "b", 4.0),
        ((node("Sub", "X", "c"),), {"c": [0.0, 1.0]}, "b", 7.0),
        ((node("Sub", "c", "X"),), {"c": [0.0, 1.0]}, "b", -5.0),
        ((node("Add", "c", "X"),), {"c": [1.0]}, "b", 5.0),
        ((node("Mul", "X", "c"),), {"c": [[1.0, 3.0]]}, "b", 2.0),
        ((node("Div", "X", "c"),), {"c": [1.0, 3.0]}, "b", 18.0),
        ((node("Gather", "X", "i", axis=1),), {"i": [1, 0]}, "a", 6.0),
        ((node("ArrayFeatureExtractor", "X", "i"),), {"i": [1, 0]}, "a", 6.0),
        (
            (node("Gather", "X", "i", to="G", axis=1), node("Concat", "G", "X", axis=1)),
            {"i": [1]},
            "a",
            6.0,
        ),
        ((node("Imputer", "X", imputed_value_floats=[0.0, 0.0]),), {}, "b", 6.0),
    ],
)
def test_a_split_is_told_by_its_column_and_the_value_there(nodes, constants, column, value):
    source = "F" if nodes else "X"
    found = only(graph(*nodes, stump(1, 6.0, source=source), **constants))
    assert (found.column.name, found.value) == (column, value)


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ((node("MatMul", "X", "c"),), {"c": np.eye(2, dtype=np.float32)}),
        ((node("Mul", "X", "X"),), {}),
        ((node("Div", "c", "X"),), {"c": [1.0]}),
        ((node("Mul", "X", "c"),), {"c": [1.0, 0.0]}),
        ((node("Add", "X", "c"),), {"c": [1.0, 2.0, 3.0]}),
        ((node("Gather", "X", "i", axis=0),), {"i": [1, 0]}),
        ((node("Normalizer", "X"),), {}),
    ],
)
def test_what_mixes_columns_is_not_traced(nodes, constants):
    assert tree_splits(graph(*nodes, stump(1, 6.0), **constants), COLUMNS, 10) == []


def test_a_split_is_reached_by_what_the_nodes_above_it_ask():
    splits = [(0, 1.0, "BRANCH_LEQ"), (0, 5.0, "BRANCH_GT"), (1, 3.0, "BRANCH_LT")]
    found = tree_splits(graph(forest(splits, "X")), COLUMNS, 10)
    assert [(one.column.name, one.value) for one in found] == [
        ("a", 1.0),
        ("a", 5.0),
        ("b", 3.0),
    ]
    assert found[2].way["a"] == Bounds(low=1.0, high=5.0)


def test_a_negative_scale_turns_the_bounds_around():
    turned = node("Mul", "X", "c")
    splits = [(0, 1.0, "BRANCH_LEQ"), (1, 3.0, "BRANCH_LEQ")]
    found = tree_splits(graph(turned, forest(splits), c=[-2.0]), COLUMNS, 10)
    assert found[1].way["a"] == Bounds(low=-math.inf, high=-0.5)


def test_the_way_leads_on_to_where_the_two_sides_differ():
    """Below the root both sides answer alike for b up to 3, so rows need a larger b."""
    model = graph(forest([(0, 1.0, "BRANCH_LEQ"), (1, 3.0, "BRANCH_LEQ")], "X"))
    weights = next(a for a in model.graph.node[-1].attribute if a.name == "target_weights")
    weights.floats[1] = weights.floats[0]
    root = tree_splits(model, COLUMNS, 10)[0]
    assert root.way["b"] == Bounds(low=3.0)


def test_one_hot_categories_are_asked_for_by_name():
    city = Column("city", "text", "C", None, "refuse")
    model = graph(
        node("OneHotEncoder", "C", to="H", cats_strings=["Köln", "Roma"]),
        node("Reshape", "H", "shape", to="R"),
        node("Concat", "R", "X", axis=1),
        forest([(0, 0.5, "BRANCH_LEQ"), (3, 7.0, "BRANCH_LEQ")]),
        shape=[-1, 2],
    )
    found = only(model, (city, *COLUMNS))
    assert (found.column.name, found.value) == ("b", 7.0)
    assert found.way["city"] == Bounds(equal="Köln")


def test_a_graph_without_trees_has_no_splits():
    assert tree_splits(graph(node("Identity", "X", to="Y")), COLUMNS, 10) == []


def test_a_tree_whose_nodes_lead_to_each_other_ends_too():
    model = graph(forest([(0, 1.0, "BRANCH_LEQ"), (1, 3.0, "BRANCH_LEQ")], "X"))
    false = next(a for a in model.graph.node[0].attribute if a.name == "nodes_falsenodeids")
    false.ints[2] = 0
    assert len(tree_splits(model, COLUMNS, 10)) == 2
