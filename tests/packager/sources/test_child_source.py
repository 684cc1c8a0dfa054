"""Real models of many kinds: the graph in the engine answers as the model in the child does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDOneClassSVM
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import RandomizedSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sources import DEFAULT_OPSET, convert, engine_answers, kinds_of, raw, worst_difference

from packager.errors import (
    DataUnusable,
)
from packager.sources.child_source import ChildSource

Opener: TypeAlias = Callable[[Any], ChildSource]

CATEGORIES = ["mean radius", "worst area"]
IRIS = load_iris(as_frame=True)
NUMBERS = IRIS.data.to_numpy()
CLASSES = IRIS.target.to_numpy()


@pytest.fixture(scope="module")
def cancer() -> tuple[pd.DataFrame, pd.Series]:
    """Breast cancer with two columns binned into named categories, and awkward names."""
    data = load_breast_cancer(as_frame=True)
    frame = data.data.copy()
    for name in CATEGORIES:
        binned = pd.cut(frame[name], 3, labels=["klein", "mittel", "groß 大"])
        frame[name] = binned.astype(object)
    frame["my age (y)"] = np.arange(len(frame)) % 7
    frame["value"] = frame["mean area"] * 2
    return frame.drop(columns=["mean area"]), data.target


def prepared(frame: pd.DataFrame, estimator: Any) -> Pipeline:
    encoded = [*CATEGORIES, "my age (y)"]
    scaled = [name for name in frame if name not in [*encoded, "mean texture"]]
    encoder = OneHotEncoder(handle_unknown="ignore")
    parts = [("encode", encoder, encoded), ("scale", StandardScaler(), scaled)]
    return make_pipeline(ColumnTransformer(parts), estimator)


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(max_iter=1000),
        MLPClassifier(max_iter=20, random_state=0),
        GradientBoostingClassifier(n_estimators=5),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_a_data_frame_with_categories_agrees(
    opened: Opener, cancer: tuple[pd.DataFrame, pd.Series], estimator: Any
) -> None:
    frame, target = cancer
    source = opened(prepared(frame, estimator).fit(frame[:400], target[:400]))
    held_out = raw(frame[400:])

    graph = convert(source, frame)

    expected = source.reference(held_out)
    assert worst_difference(expected, engine_answers(graph, held_out)) < 1e-5
    assert len(np.unique(expected["label"])) == 2
    kinds = {column.name: (column.kind, column.input) for column in graph.columns}
    assert kinds["mean radius"] == ("text", "mean_radius")
    assert kinds["my age (y)"] == ("integer", "my_age__y_")
    assert kinds["value"] == ("float", "value_2")  # an output could be called so
    assert "mean texture" not in kinds  # the model drops it
    assert graph.roles == {"label": "label", "probability": "probabilities"}
    assert graph.labels == (0, 1)


def test_unknown_categories_agree_where_the_encoder_ignores_them(
    opened: Opener, cancer: tuple[pd.DataFrame, pd.Series]
) -> None:
    frame, target = cancer
    source = opened(prepared(frame, LogisticRegression(max_iter=1000)).fit(frame, target))
    graph = convert(source, frame)
    rows = raw(frame[:4])
    rows["worst area"] = np.array(["riesig", "klein ", "groß", "🙂"], dtype=object)
    rows["my age (y)"] = np.full(4, 99)

    assert worst_difference(source.reference(rows), engine_answers(graph, rows)) < 1e-5


@pytest.mark.parametrize(
    "labels",
    [
        [0, 1, 2],
        ["setosa", "versicolor", "ünï 大"],
        [-1.0, 0.0, 5.0],
        [False, True, True],
        [7, 3, 255],
    ],
    ids=["int", "text", "float", "bool", "unordered"],
)
def test_classes_of_any_type_agree(opened: Opener, labels: list[Any]) -> None:
    target = np.array(labels)[CLASSES]
    source = opened(LogisticRegression(max_iter=500).fit(NUMBERS, target))

    graph = convert(source, pd.DataFrame(NUMBERS, columns=list("abcd")))

    rows = raw(pd.DataFrame(NUMBERS, columns=list("abcd")))
    expected, actual = source.reference(rows), engine_answers(graph, rows)
    assert worst_difference(expected, actual) < 1e-5
    assert graph.labels == tuple(sorted(set(labels)))
    by_value = {label: label for label in graph.labels}
    assert [by_value[label] for label in actual["label"].tolist()] == target_of(expected)


def target_of(answers: dict[str, Any]) -> list[Any]:
    return list(answers["label"].tolist())


SIMPLE = {
    "svc": (SVC(), "score"),
    "quadratic": (QuadraticDiscriminantAnalysis(), "probability"),
    "linear svc": (LinearSVC(), "score"),
    "tree": (DecisionTreeClassifier(max_depth=3, random_state=0), "probability"),
    "forest": (RandomForestClassifier(8, random_state=0), "probability"),
    "neighbours": (KNeighborsClassifier(), "probability"),
    "scaled neighbours": (
        make_pipeline(StandardScaler(), KNeighborsClassifier(3)),
        "probability",
    ),
    "voting": (
        VotingClassifier(
            [("a", LogisticRegression(max_iter=500)), ("b", DecisionTreeClassifier())],
            voting="soft",
            weights=np.array([2, 1]),
        ),
        "probability",
    ),
    "search": (
        RandomizedSearchCV(LogisticRegression(max_iter=500), {"C": [0.1, 1]}, n_iter=2, cv=2),
        "probability",
    ),
}


@pytest.mark.parametrize("name", SIMPLE)
@pytest.mark.parametrize("classes", [2, 3])
def test_classifiers_of_numbers_agree(opened: Opener, name: str, classes: int) -> None:
    estimator, role = SIMPLE[name]
    target = np.minimum(CLASSES, classes - 1)
    source = opened(estimator.fit(NUMBERS[::2], target[::2]))
    frame = pd.DataFrame(NUMBERS, columns=list("abcd"))

    graph = convert(source, frame)

    rows = raw(frame[1::2])
    expected = source.reference(rows)
    assert worst_difference(expected, engine_answers(graph, rows)) < 1e-4
    assert set(graph.roles) == {"label", role}
    assert graph.outputs[1].shape == (None, classes)
    assert [(spec.name, spec.shape) for spec in graph.inputs] == [("features", (None, 4))]


OTHERS = {
    "clusters": (KMeans(3, n_init=1, random_state=0), "clustering", ["label", "score"]),
    "mixture": (GaussianMixture(3, random_state=0), "clustering", ["label", "probability"]),
    "outliers": (
        IsolationForest(n_estimators=10, random_state=0),
        "outliers",
        ["label", "score"],
    ),
    "outliers by a line": (SGDOneClassSVM(random_state=0), "outliers", ["label", "score"]),
    "projection": (PCA(2), "transform", ["value"]),
    "two steps": (make_pipeline(StandardScaler(), PCA(3)), "transform", ["value"]),
}


@pytest.mark.parametrize("name", OTHERS)
def test_models_without_labels_agree(opened: Opener, name: str) -> None:
    estimator, task, roles = OTHERS[name]
    frame = pd.DataFrame(NUMBERS, columns=list("abcd"))
    source = opened(estimator.fit(NUMBERS[::2]))

    graph = convert(source, frame)

    rows = raw(frame[1::2])
    assert worst_difference(source.reference(rows), engine_answers(graph, rows)) < 1e-4
    assert (graph.task, list(graph.roles)) == (task, roles)
    if "label" in roles:
        assert graph.outputs[0].text() == "int64[?]"


@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize("estimator", [LinearRegression(), RandomForestRegressor(5)])
def test_regressions_agree(opened: Opener, estimator: Any, targets: int) -> None:
    data = load_diabetes(as_frame=True)
    target = np.stack([data.target, -data.target], axis=1)[:, :targets].squeeze()
    source = opened(estimator.fit(data.data[::2], target[::2]))

    graph = convert(source, data.data)

    rows = raw(data.data[1::2])
    assert worst_difference(source.reference(rows), engine_answers(graph, rows)) < 1e-2
    assert graph.outputs[0].shape == (None, targets)
    assert [column.name for column in graph.columns] == list(data.data)
    assert [column.index for column in graph.columns] == list(range(10))


TEXTS = [
    "Gutes Essen, sehr gut!",
    "SCHLECHTES Essen",
    "not good at all",
    "very good, würde wiederkommen",
    "大きい 犬 and cats",
    "bad bad bad",
    "",
    "a I x",
]


def test_a_text_pipeline_agrees_also_on_non_ascii_and_empty_documents(opened: Opener) -> None:
    liked = [1, 0, 0, 1, 1, 0, 0, 1]
    source = opened(make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, liked))
    rows = {"review": np.array([*TEXTS, "ESSEN würde", "犬"], dtype=object)}

    source.describe({"review": "text"})
    graph = source.graph(DEFAULT_OPSET)

    assert graph.columns[0].kind == "text"
    (probe,) = source.missing_probe(rows)
    assert probe.answers is not None
    graph = graph.accepting_missing(["review"])
    assert worst_difference(probe.answers, engine_answers(graph, probe.rows)) < 1e-5
    assert worst_difference(source.reference(rows), engine_answers(graph, rows)) < 1e-5


def test_a_text_column_beside_numbers_agrees(opened: Opener) -> None:
    frame = pd.DataFrame({"review": TEXTS, "stars": np.arange(8.0)}).astype({"review": object})
    parts = [("words", CountVectorizer(), "review"), ("stars", StandardScaler(), ["stars"])]
    model = make_pipeline(ColumnTransformer(parts), LogisticRegression())
    source = opened(model.fit(frame, [1, 0, 0, 1, 1, 0, 0, 1]))

    graph = convert(source, frame)

    rows = raw(frame)
    graph = graph.accepting_missing(["review"])
    assert worst_difference(source.reference(rows), engine_answers(graph, rows)) < 1e-5


def test_missing_values_that_a_model_learned_from_agree(opened: Opener) -> None:
    frame = pd.DataFrame(NUMBERS, columns=list("abcd"))
    frame.loc[::5, "b"] = np.nan
    source = opened(HistGradientBoostingClassifier(max_iter=5).fit(frame, CLASSES))

    graph = convert(source, frame)

    probes = source.missing_probe(raw(frame))
    open_graph = graph.accepting_missing([probe.column for probe in probes])
    assert [probe.column for probe in probes] == list("abcd")
    for probe in probes:
        assert probe.answers is not None
        assert np.isnan(probe.rows[probe.column]).all()
        assert worst_difference(probe.answers, engine_answers(open_graph, probe.rows)) < 1e-5
    rows = raw(frame)
    assert worst_difference(source.reference(rows), engine_answers(open_graph, rows)) < 1e-5


def test_a_model_says_which_columns_may_be_missing(opened: Opener) -> None:
    frame = pd.DataFrame(NUMBERS, columns=list("abcd"))
    frame.loc[::5, "a"] = np.nan
    parts = [("fill", SimpleImputer(), ["a", "b"]), ("scale", StandardScaler(), ["c", "d"])]
    model = make_pipeline(ColumnTransformer(parts), LogisticRegression(max_iter=500))
    source = opened(model.fit(frame, CLASSES))

    graph = convert(source, frame)
    probes = {probe.column: probe.answers for probe in source.missing_probe(raw(frame))}

    assert {name for name, answers in probes.items() if answers is not None} == {"a", "b"}
    assert all(column.missing == "refuse" for column in graph.columns)


def test_rows_that_the_model_refuses_are_told(opened: Opener) -> None:
    frame = pd.DataFrame(NUMBERS, columns=list("abcd"))
    source = opened(LogisticRegression(max_iter=500).fit(frame, CLASSES))
    source.describe(kinds_of(frame))

    with pytest.raises(DataUnusable, match="Input X contains NaN"):
        source.reference({name: np.array([np.nan]) for name in "abcd"})
