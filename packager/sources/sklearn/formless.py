"""Why some estimators of scikit-learn have no exact form in ONNX, and what to change.

A cause is known by what a fitted part computes; the doctor tells it without converting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import decomposition
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.feature_selection import SelectorMixin
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.impute import KNNImputer, MissingIndicator
from sklearn.isotonic import IsotonicRegression
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model._base import LinearModel
from sklearn.manifold import Isomap, LocallyLinearEmbedding
from sklearn.neighbors import (
    KNeighborsTransformer,
    NearestCentroid,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
    RadiusNeighborsTransformer,
)
from sklearn.preprocessing import SplineTransformer
from sklearn.semi_supervised import LabelPropagation, LabelSpreading

from packager.sources.sklearn.converters_linear import AFFINE, is_linear
from packager.sources.sklearn.converters_points import linear_bit

_SOLVERS = (
    decomposition.DictionaryLearning,
    decomposition.LatentDirichletAllocation,
    decomposition.MiniBatchDictionaryLearning,
    decomposition.MiniBatchNMF,
    decomposition.NMF,
    decomposition.SparseCoder,
    LocallyLinearEmbedding,
)
_KERNELS = ("linear", "poly", "polynomial", "rbf", "sigmoid")
_BY_DISTANCE = (
    KNeighborsTransformer,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
    RadiusNeighborsTransformer,
)


def _solved(part: Any) -> str | None:
    if isinstance(part, _SOLVERS):
        return "it solves a problem of its own for every row"
    if isinstance(part, Isomap):
        return "it looks for the shortest paths between a row and the known ones"
    if isinstance(part, GaussianProcessClassifier):
        return "it solves equations, for which the engine has no operator"
    return None


def _hashed(part: Any) -> str | None:
    hashes = isinstance(part, HashingVectorizer)
    return "it hashes words, for which there is no operator" if hashes else None


def _blind(part: Any) -> str | None:
    blind = isinstance(part, (DummyClassifier, DummyRegressor))
    return "it answers without looking at the row" if blind else None


def _curved(part: Any) -> str | None:
    curved = isinstance(part, AFFINE) and not is_linear(part)
    return "what it is made of is not linear" if curved else None


def _nothing_kept(part: Any) -> str | None:
    nothing = isinstance(part, SelectorMixin) and not part.get_support().any()
    return "it keeps no column" if nothing else None


def _kernel(part: Any) -> str | None:
    if isinstance(part, (LabelPropagation, LabelSpreading)):
        known: tuple[str, ...] = ("rbf",)
    elif isinstance(part, (KernelRidge, Nystroem, decomposition.KernelPCA)):
        known = _KERNELS
    else:
        return None
    name = part.kernel if isinstance(part.kernel, str) else "a function of its own"
    return None if name in known else f"its kernel is {name}"


def _metric(part: Any) -> str | None:
    metric = "euclidean"
    if isinstance(part, NearestCentroid):
        metric = part.metric
    elif isinstance(part, _BY_DISTANCE):
        metric = part.effective_metric_
    return None if metric == "euclidean" else f"its distances are {metric}"


def _lonely(part: Any) -> str | None:
    if not isinstance(part, RadiusNeighborsClassifier):
        return None
    if part.outlier_label_ is None:
        return "it fails on a row without a neighbour"
    label = np.ravel(part.outlier_label_)[0]
    known = label in np.asarray(part.classes_)
    return None if known else f"a row without a neighbour gets {label!s}, which is no class"


def _codes(part: Any) -> str | None:
    bits = part.estimators_ if hasattr(part, "code_book_") else ()
    other = next((type(bit).__name__ for bit in bits if not linear_bit(bit)), None)
    return f"the bits of its codes come from {other}, which is not linear" if other else None


def _outside(part: Any) -> str | None:
    if isinstance(part, IsotonicRegression) and part.out_of_bounds == "raise":
        return "it fails on a row outside its range"
    carried = ("constant", "continue")
    if isinstance(part, SplineTransformer) and part.extrapolation not in carried:
        return f"rows outside its knots are extrapolated as {part.extrapolation}"
    return None


def _absent(part: Any) -> str | None:
    sequence = hasattr(part, "imputation_sequence_")
    if not (sequence or isinstance(part, (KNNImputer, MissingIndicator))):
        return None
    missing = part.missing_values
    nan = isinstance(missing, float) and np.isnan(missing)
    return None if nan else f"a missing value is {missing} to it, not NaN"


def _imputed(part: Any) -> str | None:
    if isinstance(part, KNNImputer):
        plain = part.metric == "nan_euclidean" and part.weights == "uniform"
        return None if plain else "its neighbours weigh by distance or have their own metric"
    steps = getattr(part, "imputation_sequence_", ())
    curved = [step.estimator for step in steps if not isinstance(step.estimator, LinearModel)]
    if curved:
        return f"{type(curved[0]).__name__} imputes, which is not linear"
    return "it draws at random" if steps and part.sample_posterior else None


# Each cause, and what to change.
FORMLESS: tuple[tuple[Callable[[Any], str | None], str], ...] = (
    (_solved, "Replace it by one with a formula, such as PCA or TruncatedSVD."),
    (_hashed, "Use a CountVectorizer or TfidfVectorizer, which keep their words."),
    (_blind, "Train a model that looks at its rows."),
    (_curved, "Make it of linear parts, such as Ridge, or of numpy.mean."),
    (_nothing_kept, "Let it select at least one column, and fit it again."),
    (_kernel, "Fit it with kernel='rbf'."),
    (_metric, "Fit it with the euclidean metric."),
    (_lonely, "Fit it with outlier_label='most_frequent'."),
    (_codes, "Use linear classifiers inside, or OneVsRestClassifier around them."),
    (_outside, "Fit it so that such rows get the answer at the edge: 'clip', 'constant'."),
    (_absent, "Mark missing values as NaN, and fit it again."),
    (_imputed, "Fit it with uniform weights, or with BayesianRidge and without draws."),
)
