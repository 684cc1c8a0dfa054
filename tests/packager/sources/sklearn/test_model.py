"""What a fitted model is, in the manifest's words, and what it answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import DBSCAN, KMeans
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest, VotingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity, KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)
from sklearn.svm import SVC

from packager.errors import ConversionFailed, SourceUnsupported
from packager.sources.sklearn.model import SklearnModel, from_step

X, Y = load_iris(return_X_y=True)
ROWS = {f"x{i}": X[:, i] for i in range(4)}


@pytest.mark.parametrize(
    ("estimator", "task", "roles", "labels"),
    [
        (LogisticRegression(max_iter=500), "classification", "label probability", (0, 1, 2)),
        (SVC(), "classification", "label score", (0, 1, 2)),
        (
            VotingClassifier([("a", LogisticRegression(max_iter=500))]),
            "classification",
            "label",
            (0, 1, 2),
        ),
        (LinearRegression(), "regression", "value", ()),
        (IsolationForest(n_estimators=5), "outliers", "label score", ()),
        (KMeans(2, n_init=1), "clustering", "label score", ()),
        (GaussianMixture(2), "clustering", "label probability", (0, 1)),
        (make_pipeline(StandardScaler(), PCA(2)), "transform", "value", ()),
        (make_pipeline(StandardScaler(), KMeans(2, n_init=1)), "clustering", "label score", ()),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "fit") else None,
)
def test_the_task_decides_the_outputs(
    estimator: Any, task: str, roles: str, labels: tuple[int, ...]
) -> None:
    model = SklearnModel(estimator.fit(X, Y))

    assert (model.task, " ".join(model.roles), model.labels) == (task, roles, labels)
    answers = model.answers(ROWS)
    assert list(answers) == list(model.roles.values())
    assert {len(values) for values in answers.values()} == {len(X)}


def test_two_classes_have_a_score_each() -> None:
    estimator = SVC().fit(X, Y > 0)

    scores = SklearnModel(estimator).answers(ROWS)["scores"]

    np.testing.assert_array_equal(scores[:, 1], estimator.decision_function(X))
    np.testing.assert_array_equal(scores[:, 0], -scores[:, 1])


@pytest.mark.parametrize("estimator", [DBSCAN(), KernelDensity()])
def test_a_model_that_knows_nothing_of_new_rows_is_refused(estimator: Any) -> None:
    with pytest.raises(SourceUnsupported, match="does neither"):
        SklearnModel(estimator.fit(X))


def test_a_model_of_several_labels_is_refused() -> None:
    with pytest.raises(ConversionFailed, match="answers several"):
        SklearnModel(KNeighborsClassifier().fit(X, np.c_[Y, Y]))


def test_sparse_answers_become_dense() -> None:
    model = SklearnModel(OneHotEncoder().fit(np.array([["a"], ["b"]], dtype=object)))
    model.plan({"letter": "text"})

    answers = model.answers({"letter": np.array(["b", "a"], dtype=object)})

    assert answers["value"].tolist() == [[0, 1], [1, 0]]


def test_the_description_names_parts_and_versions() -> None:
    told = SklearnModel(make_pipeline(StandardScaler(), PCA(2)).fit(X)).describe()

    assert told["kind"] == "Pipeline"
    assert told["steps"] == ["standardscaler: StandardScaler", "pca: PCA"]
    assert told["n_features"] == 4
    assert {"scikit-learn", "skl2onnx", "numpy", "onnx", "python"} <= told["versions"].keys()


def test_a_probe_asks_each_column_alone() -> None:
    rows = np.array([["a", 1.0], [np.nan, 2.0], ["b", 3.0]], dtype=object)
    model = SklearnModel(OrdinalEncoder().fit(rows))
    model.plan({"letter": "text", "size": "float"})

    accepted, answers = model.probe(
        {"letter": np.array(["a", "b"], dtype=object), "size": np.array([1.0, 3.0])}
    )

    assert accepted == ["letter"]  # the encoder never saw a missing size
    assert np.isnan(answers["value"][:, 0]).all()
    assert answers["value"][:, 1].tolist() == [0.0, 2.0]


def scaled() -> Any:
    names = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    steps = [StandardScaler(), PCA(2), LogisticRegression(max_iter=500)]
    return make_pipeline(*steps).fit(names, Y)


def test_a_pipeline_goes_on_from_a_step_under_the_names_of_the_step_before() -> None:
    whole = scaled()

    rest = SklearnModel(from_step(whole, 1))
    rows = {name: whole[:1].transform(X)[:, i] for i, name in enumerate("abcd")}

    assert [column["name"] for column in rest.plan(None)["columns"]] == list("abcd")
    np.testing.assert_allclose(
        rest.answers(rows)["probabilities"], whole.predict_proba(X), atol=1e-12
    )
    assert not hasattr(whole.steps[1][1], "feature_names_in_")
    assert [c["name"] for c in SklearnModel(from_step(whole, 2)).plan(None)["columns"]] == [
        "pca0",
        "pca1",
    ]


def test_steps_that_tell_no_names_leave_columns_unnamed() -> None:
    halve = FunctionTransformer(np.square)
    whole = make_pipeline(halve, LogisticRegression(max_iter=500)).fit(X, Y)

    rest = SklearnModel(from_step(whole, 1))

    assert [c["name"] for c in rest.plan(None)["columns"]] == ["x0", "x1", "x2", "x3"]


@pytest.mark.parametrize("number", [0, 3, -1])
def test_a_step_outside_the_pipeline_is_refused(number: int) -> None:
    with pytest.raises(SourceUnsupported, match=r"within 1…2 for a pipeline of 3 steps"):
        from_step(scaled(), number)


def test_a_model_without_steps_has_none_to_go_on_from() -> None:
    with pytest.raises(SourceUnsupported, match="needs a pipeline, the file holds a PCA"):
        from_step(PCA(2).fit(X), 1)
