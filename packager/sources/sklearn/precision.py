"""Whether a model's graph reads float64: where scikit-learn compares what it computed.

Trees of scikit-learn round what they read to float32 themselves, so a graph of float32 is exact
for them as long as nothing was computed before; a scaler in float32 moves values over their
thresholds. Histogram boosting and nearest neighbours compare in float64.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA, IncrementalPCA, TruncatedSVD
from sklearn.feature_selection import SelectorMixin
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import (
    Binarizer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
)
from sklearn.random_projection import GaussianRandomProjection

from packager.sources.boosters.trees import library_of
from packager.sources.sklearn.causes import compares_distances
from packager.sources.sklearn.parts import every_part, exchanged, exchanged_inside, of_trees
from packager.sources.sklearn.versions import TargetEncoder

# What hands values on as they are, or gives the same for all that float32 takes for one.
_CARRIERS = (
    ColumnTransformer,
    FeatureUnion,
    OneHotEncoder,
    OrdinalEncoder,
    Pipeline,
    SelectorMixin,
    SimpleImputer,
    TargetEncoder,
)
# What computes, and whose operators the engine has for float64 (tests hold each to it).
_COMPUTERS = (
    Binarizer,
    GaussianRandomProjection,
    IncrementalPCA,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PCA,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
    TruncatedSVD,
)
# Which of these give another last bit in the engine than in scikit-learn.
_INEXACT = (
    GaussianRandomProjection,
    IncrementalPCA,
    Normalizer,
    PCA,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    SplineTransformer,
    TruncatedSVD,
)
# Which of these compare with edges of float64, as trees compare with thresholds.
_EDGED = (Binarizer, KBinsDiscretizer)


def why_double(model: Any) -> str | None:
    """Return why the graph of a fitted model reads float64, None where float32 is exact.

    None also where a transformer has no operator for float64: then only the comparison on rows
    can tell.
    """
    parts = [part for _, part in every_part(model)]
    transformers = [part for part in parts if _transforms(part)]
    if not all(isinstance(part, (*_CARRIERS, *_COMPUTERS)) for part in transformers):
        return None
    if any(compares_in_double(part) for part in parts):
        return (
            "inputs are float64, as histogram boosting, LightGBM, nearest neighbours and bins "
            "compare them"
        )
    computed = any(isinstance(part, _COMPUTERS) for part in transformers)
    if computed and any(of_trees(part) or library_of(part) for part in parts):
        return (
            "a cast to float32 stands between the scaler and the trees, as scikit-learn "
            "computes it"
        )
    return None


def compares_in_double(part: Any) -> bool:
    """Tell whether a part compares float64: histogram boosting, nearest neighbours, bins."""
    if hasattr(part, "_predictors") or library_of(part) == "lightgbm":
        return True
    return isinstance(part, _EDGED) or compares_distances(part)


def with_casts(model: Any) -> Any:
    """Return a model whose transformers give float64, and whose predictors get float32."""
    inexact = any(isinstance(part, _INEXACT) for _, part in every_part(model))

    def change(path: str, part: Any) -> Any:
        if inexact and hasattr(part, "_predictors"):
            return _with_room(part)
        if isinstance(part, (ColumnTransformer, FeatureUnion)):
            inside = exchanged_inside(part, change, path)
            return _with_cast(inside, before=False)  # its first column's type would be all's
        inside = [inner for _, inner in every_part(part)]
        if not hasattr(part, "predict") or any(
            _transforms(inner) or compares_in_double(inner) for inner in inside
        ):
            return part
        return _with_cast(part, before=True)

    return exchanged(model, change)


def _with_room(part: Any) -> Any:
    """Mark histogram boosting whose thresholds may be values that the engine computes.

    They often are values of the training rows, which then miss them by a last bit.
    """
    new = copy.copy(part)
    new.edgepack_room = True
    return new


def _with_cast(part: Any, *, before: bool) -> Pipeline:
    """Put a cast before a predictor, or behind what brings columns together."""
    from skl2onnx.sklapi import CastTransformer

    cast = CastTransformer(dtype=np.float32 if before else np.float64)
    if hasattr(part, "n_features_in_"):
        cast.n_features_in_ = part.n_features_in_  # a pipeline tells what its first step does
    steps = [("cast", cast), ("part", part)]
    return Pipeline(steps if before else steps[::-1])


def _transforms(part: Any) -> bool:
    """Tell whether a part is there to transform, not to answer."""
    answers = hasattr(part, "predict") and not isinstance(part, (Pipeline, SelectorMixin))
    return hasattr(part, "transform") and not answers
