"""Real scikit-learn models, fitted on the library's own data and converted to graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn import datasets
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from edge_runtime.contract.tensors import Array, Arrays
from edge_runtime.engine.session import SessionPlan, open_session
from packager.answers import run_rows
from packager.graphs.model_files import ModelFiles
from packager.graphs.prepared import Ranges
from packager.recipes import PLAIN, RECIPES
from packager.record import Record
from packager.scoring import HeldOut
from packager.stages.calibrate import Calibrated, calibrate
from packager.stages.quantize import quantize
from packager.variant import Candidate

OPSET = {"": 18, "ai.onnx.ml": 3}
CPU = "CPUExecutionProvider"
_NAMES = {
    "classification": ("label", "probabilities"),
    "clustering": ("label", "scores"),
    "regression": ("variable",),
}
_ROLES = {
    "classification": ("label", "probability"),
    "clustering": ("label", "score"),
    "regression": ("value",),
}


@dataclass(frozen=True)
class Trained:
    """A fitted model, its graph, and rows that it was and was not fitted on."""

    source: Any
    graph: ModelProto
    task: str
    fitted: Array
    rows: Array
    truth: Array

    @property
    def roles(self) -> Mapping[str, str]:
        return dict(zip(_ROLES[self.task], _NAMES[self.task], strict=True))

    @property
    def feed(self) -> Arrays:
        return {"features": self.rows.astype(np.float32)}

    @property
    def calibration(self) -> Arrays:
        return {"features": self.fitted.astype(np.float32)}

    def held_out(self, *, truth: bool = True) -> HeldOut:
        labels = [] if self.task == "regression" else list(self.source.classes_)
        known = self.truth if truth else None
        return HeldOut(self.feed, known, self.task, self.roles, labels)

    def reference(self) -> Arrays:
        predicted = self.source.predict(self.rows)
        if self.task == "regression":
            return {"variable": predicted.reshape(-1, 1)}
        scores = self.source.predict_proba(self.rows)
        return {"label": predicted, "probabilities": scores}


def candidate(graph: ModelProto, name: str = "float32") -> Candidate:
    """Make a candidate of a graph, as if the recipe of that name had made it."""
    (recipe,) = (one for one in (PLAIN, *RECIPES) if one.name == name)
    return Candidate(name, recipe, CPU, ModelFiles.of(graph, None))


def made(
    name: str, model: Trained, record: Record | None = None, *, reduce_range: bool = False
) -> ModelProto:
    """Make a recipe's graph of a model, ranges measured where it wants them."""
    (recipe,) = (one for one in RECIPES if one.name == name)
    ranges: Ranges = {}
    if recipe.ranges:
        found = calibrate(
            recipe, model.graph, model.calibration, weights=None, record=record or Record()
        )
        assert isinstance(found, Calibrated), found
        ranges = found.ranges
    result = quantize(recipe, model.graph, ranges=ranges, reduce_range=reduce_range)
    assert isinstance(result, ModelProto), result
    return result


def answers(graph: ModelProto, feed: Arrays) -> Arrays:
    """Run a graph on rows."""
    return run_rows(open_session(graph.SerializeToString(), SessionPlan()), feed)


def _trained(source: Any, load: Any, task: str) -> Trained:
    features, truth = load(return_X_y=True)
    fitted, rows, learned, held = train_test_split(features, truth, random_state=0)
    source.fit(fitted, learned)
    options = {"zipmap": False} if task == "classification" else None
    kinds = [("features", FloatTensorType([None, features.shape[1]]))]
    graph = to_onnx(source, initial_types=kinds, options=options, target_opset=OPSET)
    return Trained(source, graph, task, fitted, rows, held)


def _network(kind: Any) -> Any:
    network = kind(hidden_layer_sizes=(100, 50), max_iter=120, tol=1e-2, random_state=0)
    return make_pipeline(StandardScaler(), network)


@cache
def cancer_network() -> Trained:
    return _trained(_network(MLPClassifier), datasets.load_breast_cancer, "classification")


@cache
def cancer_logistic() -> Trained:
    source = make_pipeline(StandardScaler(), LogisticRegression())
    return _trained(source, datasets.load_breast_cancer, "classification")


@cache
def cancer_forest() -> Trained:
    source = RandomForestClassifier(n_estimators=30, random_state=0)
    return _trained(source, datasets.load_breast_cancer, "classification")


@cache
def iris_network() -> Trained:
    return _trained(_network(MLPClassifier), datasets.load_iris, "classification")


@cache
def iris_names() -> Trained:
    def load(**_: bool) -> tuple[Array, Array]:
        data = datasets.load_iris()
        return data.data, data.target_names[data.target]

    return _trained(LogisticRegression(max_iter=500), load, "classification")


@cache
def iris_clusters() -> Trained:
    source = make_pipeline(StandardScaler(), KMeans(n_clusters=3, n_init=1, random_state=0))
    return _trained(source, datasets.load_iris, "clustering")


@cache
def diabetes_network() -> Trained:
    network = MLPRegressor(hidden_layer_sizes=(60, 30), max_iter=300, tol=10, random_state=0)
    return _trained(
        make_pipeline(StandardScaler(), network), datasets.load_diabetes, "regression"
    )


@cache
def digits_convolutions() -> Trained:
    """A convolutional classifier of digits: random filters, and a fitted last layer."""
    images, truth = datasets.load_digits(return_X_y=True)
    pictures = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    fitted, rows, learned, held = train_test_split(pictures, truth, random_state=0)
    generator = np.random.default_rng(0)
    filters = generator.normal(size=(64, 1, 3, 3)).astype(np.float32) / 3
    body = _convolutions(filters, np.zeros((256, 10), np.float32), np.zeros(10, np.float32))
    session = open_session(body.SerializeToString(), SessionPlan())
    features = session.run({"features": fitted})["flat"]
    source = LogisticRegression(tol=0.003, max_iter=500).fit(features, learned)
    graph = _convolutions(
        filters, source.coef_.T.astype(np.float32), source.intercept_.astype(np.float32)
    )
    del graph.graph.output[0]
    return Trained(source, graph, "classification", fitted, rows, held)


def _convolutions(filters: Array, matrix: Array, bias: Array) -> ModelProto:
    nodes = [
        helper.make_node("Conv", ["features", "filters"], ["seen"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["seen"], ["active"]),
        helper.make_node(
            "MaxPool", ["active"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]
        ),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix", "bias"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"]),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
    ]
    floats = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("features", floats, ["n", 1, 8, 8])],
        [
            helper.make_tensor_value_info("flat", floats, ["n", 256]),
            helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]),
            helper.make_tensor_value_info("probabilities", floats, ["n", 10]),
        ],
        [
            numpy_helper.from_array(filters, "filters"),
            numpy_helper.from_array(matrix, "matrix"),
            numpy_helper.from_array(bias, "bias"),
        ],
    )
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10)
