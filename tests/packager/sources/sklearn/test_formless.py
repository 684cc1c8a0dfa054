"""What has no exact form in ONNX is refused by its cause, and what has one is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import decomposition, dummy, manifold
from sklearn.cluster import FeatureAgglomeration
from sklearn.ensemble import RandomForestRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - it adds one
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.impute import IterativeImputer, KNNImputer, MissingIndicator
from sklearn.isotonic import IsotonicRegression
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import BayesianRidge, LogisticRegression, Ridge
from sklearn.multiclass import OutputCodeClassifier
from sklearn.multioutput import RegressorChain
from sklearn.neighbors import (
    KNeighborsTransformer,
    NearestCentroid,
    RadiusNeighborsClassifier,
)
from sklearn.preprocessing import SplineTransformer
from sklearn.semi_supervised import LabelSpreading
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sources import convert

from packager.errors import ConversionFailed
from packager.sources.child_source import ChildSource
from packager.sources.sklearn.formless import FORMLESS
from packager.sources.sklearn.repairs import refusals

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(120, 4))
GAPS = np.where(RNG.random(ROWS.shape) < 0.1, np.nan, ROWS)
MARKED = np.where(np.isnan(GAPS), -1, GAPS)
CLASSES = np.array(["high", "low", "mid"])[np.digitize(ROWS[:, 0], [-0.5, 0.5])]
NUMBERS = ROWS[:, 0] - ROWS[:, 1] ** 2
TWO = np.stack([NUMBERS, ROWS[:, 2]], axis=1)
HALF = np.where(np.arange(120) % 2, np.digitize(ROWS[:, 0], [0.0]), -1)
POSITIVE = np.abs(ROWS)

REFUSED: dict[str, tuple[Any, Any, Any, str]] = {
    "factors": (decomposition.NMF(2), POSITIVE, None, "for every row"),
    "topics": (decomposition.LatentDirichletAllocation(2), POSITIVE, None, "for every row"),
    "paths": (manifold.Isomap(), ROWS, None, "shortest paths"),
    "a Gaussian process": (GaussianProcessClassifier(), ROWS, CLASSES, "solves equations"),
    "a constant": (dummy.DummyClassifier(), ROWS, CLASSES, "without looking"),
    "a chain of trees": (RegressorChain(DecisionTreeRegressor()), ROWS, TWO, "not linear"),
    "clusters of columns by their largest": (
        FeatureAgglomeration(2, pooling_func=np.max),
        ROWS,
        None,
        "not linear",
    ),
    "a selector of nothing": (SelectKBest(f_classif, k=0), ROWS, CLASSES, "no column"),
    "a kernel without a form": (KernelRidge(kernel="laplacian"), ROWS, NUMBERS, "laplacian"),
    "neighbours of a graph": (LabelSpreading(kernel="knn"), ROWS, HALF, "knn"),
    "centroids by another distance": (
        NearestCentroid("manhattan"),
        ROWS,
        CLASSES,
        "manhattan",
    ),
    "another metric": (KNeighborsTransformer(metric="manhattan"), ROWS, None, "manhattan"),
    "codes of trees": (
        OutputCodeClassifier(DecisionTreeClassifier(), random_state=0),
        ROWS,
        CLASSES,
        "DecisionTreeClassifier, which is not linear",
    ),
    "rows without a neighbour that fail": (
        RadiusNeighborsClassifier(radius=5),
        ROWS,
        CLASSES,
        "fails on a row without a neighbour",
    ),
    "rows without a neighbour of another class": (
        RadiusNeighborsClassifier(radius=5, outlier_label="none"),
        ROWS,
        CLASSES,
        "gets none, which is no class",
    ),
    "a range that ends": (
        IsotonicRegression(out_of_bounds="raise"),
        ROWS[:, :1],
        NUMBERS,
        "fails on a row outside",
    ),
    "splines that end": (
        SplineTransformer(extrapolation="error"),
        ROWS,
        None,
        "extrapolated as error",
    ),
    "missing values by another name": (KNNImputer(missing_values=-1), MARKED, None, "not NaN"),
    "marks of another name": (MissingIndicator(missing_values=-1), MARKED, None, "not NaN"),
    "imputations by forests": (
        IterativeImputer(RandomForestRegressor(5), max_iter=2),
        GAPS,
        None,
        "RandomForestRegressor imputes",
    ),
    "imputations at random": (
        IterativeImputer(BayesianRidge(), sample_posterior=True, max_iter=2),
        GAPS,
        None,
        "at random",
    ),
    "neighbours' means by distance": (KNNImputer(weights="distance"), GAPS, None, "distance"),
}


def frame(rows: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({f"x{index}": rows[:, index] for index in range(rows.shape[1])})


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_exact_form_is_refused_by_its_cause(
    opened: Callable[[Any], ChildSource], name: str
) -> None:
    model, rows, target, cause = REFUSED[name]
    model.fit(rows, target)
    assert cause in next(told for _, told in refusals(model))
    with pytest.raises(ConversionFailed, match=cause) as refusal:
        convert(opened(model), frame(rows))
    assert refusal.value.hint in {hint for _, hint in FORMLESS}


def test_hashed_words_are_refused_for_their_hashes() -> None:
    texts = ["a pump", "no pump"]
    model = HashingVectorizer(n_features=8).fit(texts)
    assert [told for cause, _ in FORMLESS if (told := cause(model))] == [
        "it hashes words, for which there is no operator"
    ]


def test_linear_parts_have_no_cause() -> None:
    parts = (
        RegressorChain(Ridge()).fit(ROWS, TWO),
        FeatureAgglomeration(2).fit(ROWS),
        OutputCodeClassifier(LogisticRegression(), random_state=0).fit(ROWS, CLASSES),
        IterativeImputer(max_iter=2).fit(GAPS),
        KNNImputer().fit(GAPS),
    )
    assert not [told for part in parts for cause, _ in FORMLESS if (told := cause(part))]
