"""Trees of every kind as graphs: converted ones, and one that is made by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn import datasets
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeClassifier
from trained import OPSET

from edge_runtime.contract.tensors import Array, Arrays
from edge_runtime.engine.session import SessionPlan, open_session
from packager.graphs.tree_ensembles import strip_trees


def two() -> tuple[Array, Array]:
    return datasets.load_breast_cancer(return_X_y=True)


def three() -> tuple[Array, Array]:
    return datasets.load_wine(return_X_y=True)


def named() -> tuple[Array, Array]:
    rows, truth = three()
    return rows, np.array(["low", "middle", "hoch ü"])[truth]


def gaps() -> tuple[Array, Array]:
    rows, truth = three()
    return np.where(np.random.default_rng(0).random(rows.shape) < 0.1, np.nan, rows), truth


def numbers() -> tuple[Array, Array]:
    return datasets.load_diabetes(return_X_y=True)


def several() -> tuple[Array, Array]:
    rows, truth = numbers()
    return rows, np.stack([truth, truth * 0, -truth], axis=1)


def constant() -> tuple[Array, Array]:
    rows, truth = numbers()
    return rows, truth * 0 + 7


SEEDED: dict[str, Any] = {"n_estimators": 12, "random_state": 0}
CASES: dict[str, tuple[Any, Callable[[], tuple[Array, Array]]]] = {
    "forest of two classes": (RandomForestClassifier(**SEEDED), two),
    "forest of three": (RandomForestClassifier(**SEEDED), three),
    "forest of named classes": (RandomForestClassifier(**SEEDED), named),
    "forest of mixed leaves": (RandomForestClassifier(max_depth=2, **SEEDED), three),
    "extra trees": (ExtraTreesClassifier(**SEEDED), three),
    "tree with gaps": (DecisionTreeClassifier(random_state=0), gaps),
    "boosting of two": (GradientBoostingClassifier(**SEEDED), two),
    "boosting of three": (GradientBoostingClassifier(**SEEDED), three),
    "histograms with gaps": (HistGradientBoostingClassifier(max_iter=12), gaps),
    "histograms of two": (HistGradientBoostingClassifier(max_iter=12), two),
    "numbers": (RandomForestRegressor(**SEEDED), numbers),
    "several numbers": (RandomForestRegressor(**SEEDED), several),
    "a constant": (RandomForestRegressor(**SEEDED), constant),
    "extra numbers": (ExtraTreesRegressor(**SEEDED), numbers),
    "boosted numbers": (GradientBoostingRegressor(**SEEDED), numbers),
    "numbers by histograms": (HistGradientBoostingRegressor(max_iter=12), numbers),
    "isolation": (IsolationForest(**SEEDED), two),
}


def converted(case: str, kind: Any = FloatTensorType) -> tuple[ModelProto, Arrays]:
    """Return a fitted model's graph, and rows, some of which stand at thresholds."""
    source, load = CASES[case]
    rows, truth = load()
    source.fit(rows, truth)
    graph = to_onnx(
        source,
        initial_types=[("features", kind([None, rows.shape[1]]))],
        options={"zipmap": False} if hasattr(source, "classes_") else None,
        target_opset=OPSET,
    )
    dtype = np.float32 if kind is FloatTensorType else np.float64
    return graph, {"features": np.concatenate([rows, -rows, rows * 0]).astype(dtype)}


def answers(graph: ModelProto, feed: Arrays) -> Arrays:
    return open_session(graph.SerializeToString(), SessionPlan()).run(feed)


def same(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(
        one[name].shape == other[name].shape
        and (
            one[name].tolist() == other[name].tolist()
            if one[name].dtype == object
            else one[name].tobytes() == other[name].tobytes()
        )
        for name in one
    )


def stripped(graph: ModelProto) -> ModelProto:
    result = ModelProto()
    result.CopyFrom(graph)
    strip_trees(result)
    return result


def ensemble(kind: str, **attributes: object) -> ModelProto:
    """Return one tree: a split at 0.5 of the first feature, and a leaf on either side."""
    prefix = "class" if kind == "Classifier" else "target"
    known: dict[str, object] = {
        "nodes_treeids": [0, 0, 0],
        "nodes_nodeids": [0, 1, 2],
        "nodes_featureids": [0, 0, 0],
        "nodes_values": [0.5, 0.0, 0.0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
        "nodes_truenodeids": [1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0],
        f"{prefix}_treeids": [0, 0, 0, 0, 0, 0],
        f"{prefix}_nodeids": [1, 1, 1, 2, 2, 2],
        f"{prefix}_ids": [0, 1, 2, 0, 1, 2],
    }
    outputs = ["y"] if prefix == "target" else ["label", "y"]
    known |= {"n_targets": 3} if prefix == "target" else {"classlabels_int64s": [0, 1, 2]}
    held_ = {name: value for name, value in {**known, **attributes}.items() if value != []}
    node = helper.make_node(f"TreeEnsemble{kind}", ["x"], outputs, domain="ai.onnx.ml", **held_)
    kinds = {"label": TensorProto.INT64, "y": TensorProto.FLOAT}
    graph = helper.make_graph(
        [node],
        "trees",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info(name, kinds[name], None) for name in outputs],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


FEED = {"x": np.array([[0.0], [0.5], [1.0], [np.nan]], np.float32)}
