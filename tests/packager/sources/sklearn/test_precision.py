"""Values at and next to thresholds: where float32 would decide otherwise, float64 is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_selection import SelectFromModel, SelectKBest
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier
from sklearn_graphs import assert_agree, both

from packager.sources.sklearn.precision import compares_in_double, why_double

RANDOM = np.random.default_rng(1)
X = np.round(
    RANDOM.normal(size=(1200, 4)) * [1, 10, 100, 1000] + [0, 5, 1000, 1e4], 1
)  # of one decimal, so that float32 holds few of them
CLASSES = (X[:, 0] > 0).astype(int) + (X[:, 3] > 1e4)


def around(thresholds: Any, features: Any) -> Any:
    """Return rows whose one value is each threshold or next to it, in either precision."""
    rows = []
    for threshold, feature in zip(thresholds, features, strict=True):
        single = np.float32(threshold)
        near = [
            threshold,
            np.nextafter(threshold, -np.inf),
            np.nextafter(threshold, np.inf),
            single,
            np.nextafter(single, np.float32(-np.inf)),
            np.nextafter(single, np.float32(np.inf)),
        ]
        row = np.repeat(X[RANDOM.integers(len(X))][None], len(near), axis=0)
        row[:, feature] = near
        rows.append(row)
    return np.vstack(rows)


def tree() -> DecisionTreeClassifier:
    return DecisionTreeClassifier(random_state=0)


def test_a_tree_s_own_thresholds_hold_in_float32() -> None:
    estimator = tree().fit(X, CLASSES)
    inner = estimator.tree_.feature >= 0
    rows = around(estimator.tree_.threshold[inner], estimator.tree_.feature[inner])

    found = both(estimator, rows)

    assert_agree(found)
    assert found.dtypes == ("float32",)


@pytest.mark.parametrize("gaps", [False, True])
def test_histogram_boosting_compares_in_float64(gaps: bool) -> None:
    learn = np.where(RANDOM.random(X.shape) < 0.2, np.nan, X) if gaps else X
    estimator = HistGradientBoostingClassifier(max_iter=3).fit(learn, CLASSES)
    nodes = np.concatenate([step.nodes for steps in estimator._predictors for step in steps])
    nodes = nodes[(nodes["is_leaf"] == 0) & np.isfinite(nodes["num_threshold"])]
    rows = around(nodes["num_threshold"], nodes["feature_idx"])

    found = both(estimator, np.vstack([rows, learn]))

    assert_agree(found)
    assert found.dtypes == ("float64",)


def test_without_float64_thresholds_float32_values_still_compare_exactly() -> None:
    estimator = HistGradientBoostingClassifier(max_iter=3).fit(X, CLASSES)
    nodes = np.concatenate([step.nodes for steps in estimator._predictors for step in steps])
    nodes = nodes[(nodes["is_leaf"] == 0) & np.isfinite(nodes["num_threshold"])]
    rows = around(nodes["num_threshold"], nodes["feature_idx"]).astype(np.float32)

    # ai.onnx.ml 1 holds thresholds of float32 alone
    found = both(estimator, rows.astype(np.float64), {"": 18, "ai.onnx.ml": 1})

    assert_agree(found)


COMPUTED = {
    "standard": StandardScaler(),
    "range": MinMaxScaler(),
    "robust": RobustScaler(),
    "largest": MaxAbsScaler(),
    "rows": Normalizer(),
    "largest of rows": Normalizer("max"),
    "components": PCA(3),
    "singular": TruncatedSVD(3),
    "squares": PolynomialFeatures(2),
    "products": PolynomialFeatures(3, interaction_only=True, include_bias=False),
    "power": PowerTransformer(),
    "quantiles": QuantileTransformer(n_quantiles=40),
    "bins": KBinsDiscretizer(4, encode="onehot-dense", strategy="uniform"),
    "both": FeatureUnion([("a", StandardScaler()), ("b", PCA(2))]),
    "filled": make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()),
    "chosen": make_pipeline(StandardScaler(), SelectKBest(k=2)),
    "chosen by trees": make_pipeline(SelectFromModel(tree()), RobustScaler()),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", COMPUTED)
def test_trees_behind_what_computes_see_what_scikit_learn_s_see(name: str) -> None:
    estimator = make_pipeline(COMPUTED[name], tree()).fit(X[:600], CLASSES[:600])

    found = both(estimator, X)

    assert_agree(found)
    assert found.dtypes == ("float64",)


@pytest.mark.parametrize("name", ["standard", "range", "robust", "components", "quantiles"])
def test_histogram_boosting_behind_what_computes_agrees(name: str) -> None:
    model = HistGradientBoostingClassifier(max_iter=3)
    estimator = make_pipeline(COMPUTED[name], model).fit(X[:600], CLASSES[:600])

    assert_agree(both(estimator, X))


def test_scaled_values_at_thresholds_agree() -> None:
    estimator = make_pipeline(StandardScaler(), tree()).fit(X, CLASSES)
    scaler, split = estimator[0], estimator[1].tree_
    inner = split.feature >= 0
    features = split.feature[inner]
    thresholds = split.threshold[inner] * scaler.scale_[features] + scaler.mean_[features]

    found = both(estimator, around(thresholds, features))

    assert_agree(found)
    assert any("cast to float32" in sentence for sentence in found.repairs)


@pytest.mark.parametrize(
    "last",
    [RandomForestClassifier(5, random_state=0), GradientBoostingClassifier(n_estimators=5)],
)
def test_ensembles_behind_a_scaler_agree(last: Any) -> None:
    estimator = make_pipeline(MinMaxScaler(), last).fit(X[:600], CLASSES[:600])

    assert_agree(both(estimator, X))


def test_values_on_the_edges_of_bins_fall_where_scikit_learn_puts_them() -> None:
    grid = np.round(RANDOM.random((800, 2)), 2)
    grid[:2] = [[0, 0], [1, 1]]
    for encode in ("ordinal", "onehot-dense"):
        bins = KBinsDiscretizer(10, encode=encode, strategy="uniform").fit(grid)
        found = both(bins, grid)
        np.testing.assert_array_equal(found.actual["value"], found.expected["value"])
    ones = both(Binarizer(threshold=0.3).fit(grid), np.round(grid, 1))
    np.testing.assert_array_equal(ones.actual["value"], ones.expected["value"])


def test_neighbours_are_chosen_in_float64() -> None:
    far = X + 1e6  # float32 leaves half a decimal there
    estimator = KNeighborsClassifier(3).fit(far[:400], CLASSES[:400])

    found = both(estimator, far[400:700])

    assert_agree(found)
    assert found.dtypes == ("float64",)


def test_lines_need_no_float64() -> None:
    lines = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, CLASSES)
    chosen = make_pipeline(SelectKBest(k=2), tree()).fit(X, CLASSES)

    assert why_double(lines) is None
    assert why_double(chosen) is None
    assert not compares_in_double(tree())


def test_what_the_engine_cannot_compute_in_float64_stays_in_float32() -> None:
    estimator = make_pipeline(KNNImputer(), StandardScaler(), tree()).fit(X, CLASSES)

    assert why_double(estimator) is None
    assert both(estimator, X[:9]).dtypes == ("float32",)
