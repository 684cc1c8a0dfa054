"""Our own converters: each graph answers, in the engine, as its estimator does on hard rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from skl2onnx import update_registered_converter
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common._registration import _converter_pool
from sklearn import kernel_approximation as approximation
from sklearn.cluster import (
    AffinityPropagation,
    Birch,
    BisectingKMeans,
    FeatureAgglomeration,
    MeanShift,
)
from sklearn.covariance import EllipticEnvelope
from sklearn.cross_decomposition import CCA, PLSSVD, PLSCanonical, PLSRegression
from sklearn.decomposition import (
    FactorAnalysis,
    FastICA,
    KernelPCA,
    MiniBatchSparsePCA,
    SparsePCA,
)
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - it adds one
from sklearn.feature_selection import SelectKBest, SequentialFeatureSelector, f_classif
from sklearn.impute import IterativeImputer, KNNImputer, MissingIndicator
from sklearn.isotonic import IsotonicRegression
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.multiclass import OutputCodeClassifier
from sklearn.multioutput import RegressorChain
from sklearn.neighbors import (
    KNeighborsTransformer,
    NearestCentroid,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
    RadiusNeighborsTransformer,
)
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    LabelBinarizer,
    LabelEncoder,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    QuantileTransformer,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.random_projection import SparseRandomProjection
from sklearn.semi_supervised import LabelPropagation, LabelSpreading
from sources import convert, engine_answers, raw

from packager.sources.child_source import ChildSource
from packager.sources.sklearn.converters import register

Opened = Callable[[Any], ChildSource]

LEARNED = 240
RNG = np.random.default_rng(5)


def hard_rows(count: int = 400, columns: int = 5) -> np.ndarray:
    """Make rows with ties, another scale, and nearly collinear columns."""
    rows = np.random.default_rng(1).normal(size=(count, columns))
    rows[:, 2] = rows[:, 0] + rows[:, 1] + 1e-3 * rows[:, 2]
    rows[:, 3] = np.round(rows[:, 3] * 4) / 2
    rows[:, 4] = 20 * rows[:, 4] + 100
    return rows


ROWS = hard_rows()
GAPS = np.where(np.random.default_rng(2).random(ROWS.shape) < 0.1, np.nan, ROWS)
CLASSES = np.array(["high", "low", "mid"])[
    np.digitize(ROWS[:, 0] + 0.3 * RNG.normal(size=len(ROWS)), [-0.5, 0.5])
]
NUMBERS = ROWS[:, 0] * 2 - np.sin(ROWS[:, 1]) + 0.1 * RNG.normal(size=len(ROWS))
TWO = np.stack([NUMBERS, ROWS[:, 1] + ROWS[:, 3]], axis=1)
HALF = np.where(RNG.random(len(ROWS)) < 0.5, -1, np.unique(CLASSES, return_inverse=True)[1])


def columns(rows: np.ndarray) -> pd.DataFrame:
    """Give an array the names that a file of rows without names gets."""
    rows = rows.reshape(len(rows), -1)
    return pd.DataFrame({f"x{index}": rows[:, index] for index in range(rows.shape[1])})


def agrees(opened: Opened, model: Any, frame: pd.DataFrame, *, tolerance: float = 1e-5) -> None:
    """Require that the graph answers as the model, and that the answers vary."""
    source = opened(model)
    graph = convert(source, frame)
    graph = graph.accepting_missing([column.name for column in graph.columns])
    wanted, found = source.reference(raw(frame)), engine_answers(graph, raw(frame))
    assert list(wanted) == list(found)
    for name, own in wanted.items():
        assert own.shape == found[name].shape, name
        assert graph.outputs[list(found).index(name)].shape[1:] in (own.shape[1:], (None,))
        if own.dtype.kind != "f":
            np.testing.assert_array_equal(own, found[name])
            continue
        scale = max(1e-9, float(np.nanmax(np.abs(own))))
        np.testing.assert_allclose(found[name], own, rtol=tolerance, atol=tolerance * scale)
        assert float(np.nanstd(own, axis=0).max()) > 0


VALUES = {
    "CCA": (CCA(n_components=2), TWO),
    "PLSCanonical": (PLSCanonical(n_components=2), TWO),
    "PLSRegression": (PLSRegression(n_components=2), NUMBERS),
    "PLSSVD": (PLSSVD(n_components=2), TWO),
    "RegressorChain of linear models": (RegressorChain(Ridge()), TWO),
    "FeatureAgglomeration": (FeatureAgglomeration(3), None),
    "FactorAnalysis": (FactorAnalysis(2), None),
    "FastICA": (FastICA(2, random_state=0), None),
    "FastICA, whitened otherwise": (FastICA(2, whiten="arbitrary-variance"), None),
    "SparsePCA": (SparsePCA(2, random_state=0), None),
    "MiniBatchSparsePCA": (MiniBatchSparsePCA(2, random_state=0, max_iter=10), None),
    "SparseRandomProjection": (SparseRandomProjection(3, random_state=0), None),
    "SequentialFeatureSelector": (SequentialFeatureSelector(LogisticRegression()), CLASSES),
    "a selector of the first column alone": (SelectKBest(f_classif, k=1), CLASSES),
    "KernelRidge, linear": (KernelRidge(), NUMBERS),
    "KernelRidge, rbf": (KernelRidge(kernel="rbf", gamma=0.01), NUMBERS),
    "KernelRidge, polynomial": (KernelRidge(kernel="poly", degree=2, gamma=0.01), NUMBERS),
    "KernelPCA, linear": (KernelPCA(2), None),
    "KernelPCA, rbf": (KernelPCA(2, kernel="rbf", gamma=0.01), None),
    "KernelPCA, sigmoid": (KernelPCA(2, kernel="sigmoid", gamma=1e-3), None),
    "Nystroem": (approximation.Nystroem(n_components=20, random_state=0, gamma=0.01), None),
    "RBFSampler": (approximation.RBFSampler(gamma=0.01, random_state=0), None),
    "PolynomialCountSketch": (
        approximation.PolynomialCountSketch(
            degree=3, n_components=8, coef0=2, gamma=0.5, random_state=0
        ),
        None,
    ),
    "BernoulliRBM": (make_pipeline(StandardScaler(), BernoulliRBM(3, random_state=0)), None),
    "KNeighborsTransformer, distances": (KNeighborsTransformer(n_neighbors=3), None),
    "KNeighborsTransformer, 1": (KNeighborsTransformer(mode="connectivity"), None),
    "RadiusNeighborsTransformer": (RadiusNeighborsTransformer(radius=5), None),
    "RadiusNeighborsTransformer, 1": (
        RadiusNeighborsTransformer(mode="connectivity", radius=5),
        None,
    ),
    "RadiusNeighborsRegressor": (RadiusNeighborsRegressor(radius=30), TWO),
    "RadiusNeighborsRegressor, by distance": (
        RadiusNeighborsRegressor(radius=30, weights="distance"),
        NUMBERS,
    ),
    "SplineTransformer": (SplineTransformer(), None),
    "SplineTransformer, lines between quantiles": (
        SplineTransformer(degree=1, knots="quantile", include_bias=False),
        None,
    ),
    "SplineTransformer, carried on": (SplineTransformer(extrapolation="continue"), None),
    "QuantileTransformer": (QuantileTransformer(n_quantiles=50), None),
    "QuantileTransformer, normal": (
        QuantileTransformer(n_quantiles=50, output_distribution="normal"),
        None,
    ),
    "PowerTransformer": (PowerTransformer(), None),
    "PowerTransformer, not standardized": (PowerTransformer(standardize=False), None),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_are_those_of_the_estimator(opened: Opened, name: str) -> None:
    model, target = VALUES[name]
    model.fit(ROWS[:LEARNED], None if target is None else target[:LEARNED])
    agrees(opened, model, columns(ROWS))


POSITIVE = {
    "AdditiveChi2Sampler": approximation.AdditiveChi2Sampler(sample_steps=3),
    "AdditiveChi2Sampler, its own interval": approximation.AdditiveChi2Sampler(
        sample_steps=2, sample_interval=0.7
    ),
    "SkewedChi2Sampler": approximation.SkewedChi2Sampler(n_components=20, random_state=0),
    "PowerTransformer, box-cox": PowerTransformer(method="box-cox"),
}


@pytest.mark.parametrize("name", POSITIVE)
def test_values_of_positive_rows_are_those_of_the_estimator(opened: Opened, name: str) -> None:
    rows = np.abs(ROWS) + (0.01 if "box-cox" in name else 0.0)
    rows[::7, 1] = 0.01 if "box-cox" in name else 0.0
    agrees(opened, POSITIVE[name].fit(rows[:LEARNED]), columns(rows))


CLASSIFIERS = {
    "NearestCentroid": NearestCentroid(),
    "NearestCentroid, priors of the data": NearestCentroid(priors="empirical"),
    "OutputCodeClassifier": OutputCodeClassifier(LogisticRegression(), random_state=0),
    "OutputCodeClassifier, long codes": OutputCodeClassifier(
        LogisticRegression(), code_size=4, random_state=1
    ),
    "RadiusNeighborsClassifier": RadiusNeighborsClassifier(
        radius=3, outlier_label="most_frequent"
    ),
    "RadiusNeighborsClassifier, by distance": RadiusNeighborsClassifier(
        radius=3, weights="distance", outlier_label="low"
    ),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_labels_and_shares_are_those_of_the_classifier(opened: Opened, name: str) -> None:
    model = CLASSIFIERS[name].fit(ROWS[:LEARNED], CLASSES[:LEARNED])
    assert len(set(model.predict(ROWS))) > 1
    agrees(opened, model, columns(ROWS))


@pytest.mark.parametrize("kind", [LabelPropagation, LabelSpreading])
def test_semi_supervised_classes_are_those_of_the_kernel(opened: Opened, kind: type) -> None:
    agrees(opened, kind(gamma=0.05).fit(ROWS[:LEARNED], HALF[:LEARNED]), columns(ROWS))


CLUSTERS = {
    "AffinityPropagation": AffinityPropagation(random_state=0),
    "Birch": Birch(n_clusters=3),
    "BisectingKMeans": BisectingKMeans(5, random_state=0),
    "MeanShift": MeanShift(bandwidth=8),
    "GaussianMixture": GaussianMixture(3, random_state=0),
    "GaussianMixture, tied": GaussianMixture(3, covariance_type="tied", random_state=0),
    "GaussianMixture, diagonal": GaussianMixture(3, covariance_type="diag", random_state=0),
    "GaussianMixture, spherical": GaussianMixture(
        3, covariance_type="spherical", random_state=0
    ),
    "BayesianGaussianMixture": BayesianGaussianMixture(n_components=3, random_state=0),
    "EllipticEnvelope": EllipticEnvelope(random_state=0),
}


@pytest.mark.parametrize("name", CLUSTERS)
def test_clusters_and_outliers_are_those_of_the_estimator(opened: Opened, name: str) -> None:
    model = CLUSTERS[name].fit(ROWS[:LEARNED])
    assert len(set(model.predict(ROWS))) > 1
    loose = 1e-3 if "Mixture" in name or "Elliptic" in name else 1e-5  # steep where collinear
    agrees(opened, model, columns(ROWS), tolerance=loose)


IMPUTERS = {
    "IterativeImputer": IterativeImputer(random_state=0, max_iter=4),
    "IterativeImputer, its bounds and indicator": IterativeImputer(
        LinearRegression(), min_value=-2, max_value=120, add_indicator=True, max_iter=3
    ),
    "KNNImputer": KNNImputer(n_neighbors=3),
    "KNNImputer with its indicator": KNNImputer(add_indicator=True),
    "MissingIndicator": MissingIndicator(),
    "PowerTransformer": PowerTransformer(),
    "QuantileTransformer": QuantileTransformer(n_quantiles=20),
}


@pytest.mark.parametrize("name", IMPUTERS)
def test_missing_values_become_what_the_estimator_makes_of_them(
    opened: Opened, name: str
) -> None:
    model = IMPUTERS[name].fit(GAPS[:LEARNED])
    rows = GAPS.copy()
    rows[-1, :4], rows[-2] = np.nan, np.nan  # one value, and none at all
    agrees(opened, model, columns(rows))


@pytest.mark.parametrize("bounds", ["clip", "nan"])
def test_an_isotonic_regression_reads_one_column(opened: Opened, bounds: str) -> None:
    model = IsotonicRegression(out_of_bounds=bounds).fit(ROWS[:LEARNED, 3], NUMBERS[:LEARNED])
    agrees(opened, model, columns(np.linspace(-6, 6, 97)))


@pytest.mark.parametrize("kind", [LabelEncoder, LabelBinarizer])
def test_labels_become_numbers_and_columns(opened: Opened, kind: type) -> None:
    agrees(opened, kind().fit(CLASSES), pd.DataFrame({"label": CLASSES.astype(object)}))


# --- categories ----------------------------------------------------------------------------

WORDS = pd.DataFrame(
    {
        "colour": np.array(["red", "Größe", "日本", np.nan, "blue"], dtype=object)[
            np.arange(400) % 5
        ],
        "place": np.array(["a", "b", "c"], dtype=object)[np.arange(400) % 7 % 3],
    },
    dtype=object,
)
ENCODERS = {
    "OneHotEncoder": OneHotEncoder(handle_unknown="ignore"),
    "OneHotEncoder without the first": OneHotEncoder(drop="first", handle_unknown="ignore"),
    "OneHotEncoder of few": OneHotEncoder(
        max_categories=3, handle_unknown="infrequent_if_exist"
    ),
    "OneHotEncoder in integers": OneHotEncoder(dtype=np.int64, handle_unknown="ignore"),
    "OrdinalEncoder": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    "OrdinalEncoder, missing as a number": OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=-5
    ),
    "TargetEncoder": TargetEncoder(random_state=0),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_categories_missing_and_unknown_ones_become_what_the_encoder_makes_of_them(
    opened: Opened, name: str
) -> None:
    model = ENCODERS[name].fit(WORDS[:300], NUMBERS[:300])
    rows = WORDS[300:].copy()
    rows.iloc[0, 0], rows.iloc[1, 1] = "never seen", "NEVER"
    agrees(opened, model, rows)


def test_categories_of_numbers_are_compared_as_they_were_rounded(opened: Opened) -> None:
    rows = np.array([[0.1, 3.0], [0.2, 4.0], [np.nan, 3.0], [0.3, 7.0]] * 5)
    model = OneHotEncoder(handle_unknown="ignore").fit(rows)
    agrees(opened, model, columns(np.vstack([rows, [[0.15, 9.0]]])))


def test_an_empty_text_beside_missing_ones_stays_a_category_of_its_own(opened: Opened) -> None:
    frame = pd.DataFrame({"c": ["", "a", np.nan] * 4}, dtype=object)
    model = OneHotEncoder(handle_unknown="ignore").fit(frame)
    agrees(opened, model, frame[frame.c.notna()])


def test_converters_hold_inside_pipelines(opened: Opened) -> None:
    model = make_pipeline(
        KNNImputer(), StandardScaler(), SplineTransformer(), LogisticRegression(max_iter=300)
    )
    agrees(opened, model.fit(GAPS[:LEARNED], CLASSES[:LEARNED]), columns(GAPS))


def test_a_converter_of_the_users_own_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    alias = sklearn_operator_name_map.get(NearestCentroid, "SklearnNearestCentroid")
    monkeypatch.setitem(sklearn_operator_name_map, NearestCentroid, alias)
    monkeypatch.setitem(_converter_pool, alias, _converter_pool.get(alias))

    def own(scope: Any, operator: Any, container: Any) -> None:
        raise NotImplementedError

    update_registered_converter(NearestCentroid, alias, lambda _: None, own)
    register()
    register()
    assert _converter_pool[alias]._fct is own
