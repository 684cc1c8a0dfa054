"""Conversions that go wrong silently: each is mended exactly, or refused by its cause."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import make_classification
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - it adds the class
from sklearn.feature_selection import RFE, RFECV
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import GammaRegressor, LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, OneHotEncoder, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn_graphs import assert_agree, both, framed

from packager.errors import ConversionFailed
from packager.sources.sklearn.model import SklearnModel
from packager.sources.sklearn.repairs import applicable, refusals

X, CLASSES = make_classification(
    900, 6, n_informative=5, n_redundant=1, n_classes=3, flip_y=0.15, random_state=0
)
LEARN, TEST = X[:400], X[400:]
THREE, TWO = CLASSES[:400], (CLASSES[:400] > 0).astype(int)
WORDS = np.array(["ja", "nein", "ünklar 大"])[THREE]
AMOUNTS = np.exp(X[:, 0] / 3 + 1)[:400]
GAPS = X.copy()
GAPS[np.random.default_rng(0).random(X.shape) < 0.15] = np.nan


def logistic() -> LogisticRegression:
    return LogisticRegression(max_iter=300)


def forest() -> RandomForestClassifier:
    return RandomForestClassifier(8, random_state=0)


CLASSIFIERS: dict[str, tuple[Any, Any, str]] = {
    "tuned threshold": (TunedThresholdClassifierCV(logistic(), cv=2), TWO, "threshold"),
    "fixed threshold": (FixedThresholdClassifier(logistic(), threshold=0.3), TWO, "threshold"),
    "threshold on a decision": (
        FixedThresholdClassifier(
            logistic(), threshold=0.4, response_method="decision_function", pos_label=0
        ),
        TWO,
        "threshold",
    ),
    "threshold on a machine": (
        FixedThresholdClassifier(SVC(), threshold=-0.2, pos_label="a"),
        np.array(["a", "b"])[TWO],
        "threshold",
    ),
    "threshold on a forest's ties": (
        FixedThresholdClassifier(forest(), threshold=0.5, pos_label=0),
        TWO,
        "threshold",
    ),
    "threshold at the end of a pipeline": (
        make_pipeline(StandardScaler(), FixedThresholdClassifier(logistic(), threshold=0.7)),
        TWO,
        "threshold",
    ),
    "modified huber": (SGDClassifier(loss="modified_huber", random_state=0), THREE, "scores"),
    "modified huber of two": (
        SGDClassifier(loss="modified_huber", random_state=0),
        TWO,
        "scores",
    ),
    "log loss that saturates": (
        make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", alpha=1e-7)),
        WORDS,
        "scores",
    ),
    "one machine a class": (OneVsRestClassifier(SVC()), THREE, "decisions"),
    "one machine of two": (OneVsRestClassifier(SVC()), TWO, "decisions"),
    "one probable machine a class": (
        OneVsRestClassifier(SVC(probability=True, random_state=0)),
        THREE,
        "decisions",
    ),
    "one line a class": (OneVsRestClassifier(LinearSVC(random_state=0)), WORDS, "decisions"),
    "log loss of two": (SGDClassifier(loss="log_loss", random_state=0), TWO, "scores"),
    "one tree a class, which all may say no": (
        OneVsRestClassifier(DecisionTreeClassifier(max_depth=4, random_state=0)),
        THREE,
        "",
    ),
    "one logistic a class": (OneVsRestClassifier(logistic()), THREE, "decisions"),
    "one pair": (OneVsOneClassifier(logistic()), TWO, "pair"),
    "one pair of trees": (
        OneVsOneClassifier(DecisionTreeClassifier(max_depth=3, random_state=0)),
        TWO,
        "pair",
    ),
    "pairs of text classes": (OneVsOneClassifier(LinearSVC(random_state=0)), WORDS, ""),
    "bag of machines": (BaggingClassifier(SVC(), 3, random_state=0), THREE, "vote"),
    "bag of lines": (BaggingClassifier(LinearSVC(), 3, random_state=0), WORDS, "vote"),
    "bag that lacks classes": (
        BaggingClassifier(KNeighborsClassifier(1), 9, max_samples=9, random_state=1),
        np.where((THREE == 2) & (np.arange(400) % 8 > 0), 0, THREE),
        "vote",
    ),
    "ties broken": (SVC(break_ties=True), THREE, "break_ties"),
    "isotonic": (CalibratedClassifierCV(logistic(), method="isotonic", cv=2), THREE, "lines"),
    "isotonic of two": (
        CalibratedClassifierCV(LinearSVC(random_state=0), method="isotonic", cv=2),
        TWO,
        "lines",
    ),
    "by distance": (KNeighborsClassifier(4, weights="distance"), THREE, "distance"),
    "voting with weights": (
        VotingClassifier([("a", logistic()), ("b", forest())], voting="soft", weights=[2, 1]),
        THREE,
        "weights",
    ),
    "hard voting": (VotingClassifier([("a", logistic()), ("b", forest())]), WORDS, "weights"),
    "grid": (GridSearchCV(logistic(), {"C": [0.1, 1.0]}, cv=2), THREE, "search"),
    "random search in a pipeline": (
        make_pipeline(
            StandardScaler(), RandomizedSearchCV(logistic(), {"C": [0.1]}, n_iter=1, cv=2)
        ),
        THREE,
        "search",
    ),
    "halving": (HalvingGridSearchCV(logistic(), {"C": [0.1, 1.0]}, cv=2), THREE, "search"),
    "selector": (RFE(logistic(), n_features_to_select=3), THREE, "chose the features"),
    "selector by search": (RFECV(logistic(), cv=2), THREE, "chose the features"),
    "selector before a model": (make_pipeline(RFE(logistic()), forest()), THREE, ""),
    "self training": (
        SelfTrainingClassifier(logistic()),
        np.where(np.arange(400) % 5, THREE, -1),
        "self-training",
    ),
    "frozen": (
        CalibratedClassifierCV(FrozenEstimator(logistic().fit(LEARN, THREE)), cv=2),
        THREE,
        "frozen",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_labels_are_the_estimator_s_own(name: str) -> None:
    estimator, target, told = CLASSIFIERS[name]
    fitted = estimator.fit(LEARN, target)

    found = both(fitted, np.vstack([TEST, LEARN]))

    assert_agree(found, limit=1e-4)
    assert not told or any(told in sentence for sentence in found.repairs)
    assert set(found.repairs) == {sentence for _, sentence in applicable(fitted)}


@pytest.mark.skipif(
    "temperature" not in CalibratedClassifierCV._parameter_constraints["method"][0].options,
    reason="scikit-learn 1.8 brought temperature scaling",
)
@pytest.mark.parametrize("inner", [logistic(), forest()], ids=["decides", "guesses"])
@pytest.mark.parametrize("target", [TWO, THREE], ids=["two", "three"])
def test_a_temperature_scales_scores(inner: Any, target: Any) -> None:
    estimator = CalibratedClassifierCV(inner, method="temperature", cv=2).fit(LEARN, target)

    assert_agree(both(estimator, TEST), limit=1e-4)


MISSING = {
    "tree": DecisionTreeClassifier(random_state=0),
    "forest": forest(),
    "extra trees": ExtraTreesClassifier(8, random_state=0),
    "numbers": DecisionTreeRegressor(random_state=0),
    "bag": BaggingClassifier(DecisionTreeClassifier(), 4, random_state=0),
    "outliers": IsolationForest(n_estimators=8, random_state=0),
    "scaled": make_pipeline(StandardScaler(), forest()),
    "boosted": HistGradientBoostingClassifier(max_iter=2),
    "boosted numbers": HistGradientBoostingRegressor(max_iter=2),
}


@pytest.mark.parametrize("name", MISSING)
def test_missing_values_go_where_trees_learned_to_send_them(name: str) -> None:
    estimator = MISSING[name].fit(GAPS[:400], THREE)

    assert_agree(both(estimator, GAPS[400:]))
    assert_agree(both(estimator, TEST))  # the same trees without any gap


def test_trees_that_saw_no_gap_send_missing_values_as_scikit_learn_does() -> None:
    estimator = forest().fit(LEARN, THREE)

    assert_agree(both(estimator, GAPS[400:]))


@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_losses_with_a_logarithm_get_their_exp(loss: str) -> None:
    estimator = HistGradientBoostingRegressor(loss=loss, max_iter=4).fit(LEARN, AMOUNTS)

    found = both(estimator, TEST)

    assert_agree(found)
    assert any("exp" in sentence for sentence in found.repairs)


def test_generalised_linear_models_agree() -> None:
    assert_agree(both(GammaRegressor().fit(LEARN, AMOUNTS), TEST))


def test_neighbours_that_are_the_row_itself_decide_alone() -> None:
    doubled = np.vstack([LEARN[:50], LEARN])
    target = np.concatenate([np.roll(THREE[:50], 1), THREE])
    classifier = KNeighborsClassifier(5, weights="distance").fit(doubled, target)
    regressor = KNeighborsRegressor(5, weights="distance").fit(LEARN, AMOUNTS)

    assert_agree(both(classifier, LEARN[:50]))
    assert_agree(both(regressor, np.vstack([LEARN, TEST])))
    shares = both(regressor, LEARN[:9])
    np.testing.assert_allclose(shares.actual["value"][:, 0], AMOUNTS[:9], rtol=1e-6)


def test_a_row_of_negative_numbers_is_divided_by_its_largest_size() -> None:
    rows = np.array([[-8.0, 2.0], [0.0, 0.0], [1.0, -4.0]])

    found = both(Normalizer("max").fit(rows), rows)

    assert_agree(found)
    assert found.actual["value"][0].tolist() == [-1.0, 0.25]


@pytest.mark.parametrize("keep", [False, True])
def test_an_imputer_marks_what_was_missing(keep: bool) -> None:
    rows = GAPS[:, :4].copy()
    rows[:400, 1] = np.nan
    imputer = SimpleImputer(add_indicator=True, keep_empty_features=keep)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = make_pipeline(imputer, logistic()).fit(rows[:400], THREE)
        found = both(estimator, rows[400:])
        shape = both(imputer, rows[400:]).actual["value"].shape

    assert_agree(found)
    assert shape == (500, 8 if keep else 7)


def test_missing_texts_are_filled() -> None:
    frame = pd.DataFrame(
        {"plan": np.array(["a", "b", np.nan, "b"] * 10, dtype=object), "size": np.arange(40.0)}
    )
    fill = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder())
    parts = [("plan", fill, ["plan"]), ("size", SimpleImputer(), ["size"])]
    model = make_pipeline(ColumnTransformer(parts), logistic()).fit(frame, [0, 1] * 20)

    assert_agree(both(model, frame))


# --- frames: columns by name, also where the model that answers stands before the pipelines --


TABLE = pd.DataFrame(X, columns=["my age (y)", "b", "c", "d", "e", "f"])
TABLE["plan"] = np.array(["basic", "pro", "große 大"], dtype=object)[CLASSES]
TABLE["plan"] = TABLE["plan"].sample(frac=1, random_state=0).to_numpy()


def columns(*names: str) -> ColumnTransformer:
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return ColumnTransformer(
        [("words", encoder, ["plan"]), ("sizes", StandardScaler(), list(names))]
    )


FRAMES: dict[str, Any] = {
    "trees": lambda: make_pipeline(columns("my age (y)", "b"), forest()),
    "boosting": lambda: make_pipeline(
        columns("my age (y)", "b"), HistGradientBoostingClassifier(max_iter=2)
    ),
    "neighbours": lambda: make_pipeline(columns("b", "c"), KNeighborsClassifier()),
    "sparse neighbours": lambda: make_pipeline(
        ColumnTransformer([("a", OneHotEncoder(), ["plan"]), ("b", StandardScaler(), ["b"])]),
        KNeighborsClassifier(),
    ),
    "voting over other columns": lambda: VotingClassifier(
        [
            ("a", make_pipeline(columns("b"), forest())),
            ("b", make_pipeline(columns("my age (y)", "c"), logistic())),
        ],
        voting="soft",
        weights=[1, 2],
    ),
    "voting of boosting and lines": lambda: make_pipeline(
        columns("b", "c"),
        VotingClassifier(
            [("a", HistGradientBoostingClassifier(max_iter=2)), ("b", logistic())],
            voting="soft",
        ),
    ),
    "stacking": lambda: StackingClassifier(
        [
            ("a", make_pipeline(columns("b"), forest())),
            ("b", make_pipeline(columns("c"), LinearSVC(random_state=0))),
        ],
        cv=2,
    ),
    "calibrated": lambda: CalibratedClassifierCV(
        make_pipeline(columns("b", "c"), forest()), cv=2
    ),
    "threshold": lambda: FixedThresholdClassifier(
        make_pipeline(columns("b", "c"), forest()), threshold=0.3
    ),
    "search over a pipeline": lambda: GridSearchCV(
        make_pipeline(columns("b", "c"), forest()),
        {"randomforestclassifier__max_depth": [2, None]},
        cv=2,
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FRAMES)
def test_models_over_columns_by_name_agree(name: str) -> None:
    target = (CLASSES > 0).astype(int) if name == "threshold" else CLASSES
    estimator = FRAMES[name]().fit(TABLE[:400], target[:400])

    assert_agree(both(estimator, TABLE[400:]))


def test_regressors_over_columns_by_name_agree() -> None:
    parts = [
        ("a", make_pipeline(columns("b"), HistGradientBoostingRegressor(max_iter=2))),
        ("b", make_pipeline(columns("c"), Ridge())),
    ]
    for estimator in (VotingRegressor(parts), StackingRegressor(parts, cv=2)):
        assert_agree(both(estimator.fit(TABLE[:400], AMOUNTS), TABLE[400:]))


# --- refused, by cause ----------------------------------------------------------------------


def categories() -> Any:
    rows = np.c_[np.arange(400) % 7, LEARN[:, 1:]]
    return HistGradientBoostingClassifier(max_iter=3, categorical_features=[0]).fit(rows, THREE)


def half(values: Any) -> Any:
    return values / 2


REFUSED: dict[str, tuple[Any, str]] = {
    "categories": (categories, "1 categorical feature"),
    "own inverse": (
        lambda: TransformedTargetRegressor(
            Ridge(), func=np.log1p, inverse_func=half, check_inverse=False
        ).fit(LEARN, AMOUNTS),
        "inverse of the target's transformation, half",
    ),
    "ties beside probabilities": (
        lambda: SVC(break_ties=True, probability=True).fit(LEARN, THREE),
        "break_ties",
    ),
    "weights of Python": (
        lambda: KNeighborsClassifier(weights=half).fit(LEARN, THREE),
        "function of Python",
    ),
    "other distances": (
        lambda: KNeighborsClassifier(weights="distance", p=1).fit(LEARN, THREE),
        "by distance, manhattan",
    ),
    "a step that predicts": (
        lambda: make_pipeline(VotingClassifier([("a", logistic())]), logistic()).fit(
            LEARN, THREE
        ),
        "stands before the last",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_exact_form_is_refused_by_its_cause(name: str) -> None:
    make, cause = REFUSED[name]
    inner = make()
    nested = Pipeline([("scale", StandardScaler().fit(LEARN)), ("model", inner)])

    assert any(cause in told for _, told in refusals(inner))
    assert any(path.startswith("model") for path, _ in refusals(nested) if path)
    with pytest.raises(ConversionFailed, match="has no exact form in ONNX") as caught:
        both(inner, LEARN)
    assert cause in str(caught.value)
    assert caught.value.hint


# --- what holds for every conversion --------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["voting with weights", "grid", "selector", "frozen"])
def test_converting_leaves_the_estimator_as_it_is(name: str) -> None:
    estimator, target, _ = CLASSIFIERS[name]
    model = SklearnModel(estimator.fit(LEARN, target))
    rows = {f"x{i}": TEST[:, i] for i in range(6)}
    model.plan(None)
    before = model.answers(rows)
    state = repr(sorted(vars(estimator)))

    first = model.graph({"": 18, "ai.onnx.ml": 3})
    second = model.graph({"": 18, "ai.onnx.ml": 3})

    assert repr(sorted(vars(estimator))) == state
    assert first.data == second.data
    for label, values in model.answers(rows).items():
        np.testing.assert_array_equal(values, before[label])


def test_each_operator_set_is_imported_once() -> None:
    data = both(make_pipeline(StandardScaler(), forest()).fit(LEARN, THREE), TEST).data

    domains = [item.domain for item in onnx.load_model_from_string(data).opset_import]
    assert len(domains) == len(set(domains))


@pytest.mark.parametrize("estimator", [logistic(), forest(), KNeighborsClassifier()])
def test_probabilities_leave_as_a_tensor_of_float32(estimator: Any) -> None:
    found = both(estimator.fit(LEARN, THREE), TEST)

    assert found.actual["probabilities"].dtype == np.float32
    assert found.actual["probabilities"].shape == (500, 3)


def test_columns_refuse_to_miss_where_the_model_knows_no_missing_value() -> None:
    model = SklearnModel(logistic().fit(LEARN, THREE))

    told = model.plan(None)
    accepted, _ = model.probe({f"x{i}": TEST[:4, i] for i in range(6)})

    assert len(told["columns"]) == 6
    assert accepted == []  # so that the device refuses a NaN, which the graph would answer
    assert all(column.missing == "refuse" for column in model.planned().columns)


@pytest.mark.parametrize("opset", [{"": 13, "ai.onnx.ml": 1}, {"": 21, "ai.onnx.ml": 5}])
@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(SimpleImputer(add_indicator=True), StandardScaler(), forest()),
        SGDClassifier(loss="modified_huber", random_state=0),
        KNeighborsClassifier(weights="distance"),
        FixedThresholdClassifier(logistic(), threshold=0.3),
    ],
    ids=["pipeline", "huber", "neighbours", "threshold"],
)
def test_other_operator_sets_hold_the_repairs_too(
    estimator: Any, opset: dict[str, int]
) -> None:
    assert_agree(both(estimator.fit(LEARN, TWO), TEST, opset))


def test_repairs_are_told_with_the_path_of_their_part() -> None:
    model = make_pipeline(columns("b"), VotingClassifier([("rf", forest())])).fit(
        TABLE, CLASSES
    )

    told = [(path, why.split()[0]) for path, why in applicable(model)]

    assert ("votingclassifier/rf", "missing") in told
    assert told[-1] == ("", "a")  # cast to float32
    assert refusals(model) == []
    assert framed(X).shape == X.shape
