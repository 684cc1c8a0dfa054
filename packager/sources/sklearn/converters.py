"""Forms in ONNX for estimators that skl2onnx knows none for, where the form is exact.

Registered with skl2onnx, so that they hold alone and inside pipelines. What computes by
repetition until it is content (NMF, dictionaries, topics) or from hashes of text has no exact
form and none here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from skl2onnx import update_registered_converter
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common._registration import _converter_pool
from skl2onnx.common.data_types import (
    BooleanTensorType,
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)
from sklearn import cluster, feature_selection, kernel_approximation, multiclass
from sklearn.covariance import EllipticEnvelope
from sklearn.decomposition import KernelPCA
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - it adds one
from sklearn.impute import IterativeImputer, KNNImputer, MissingIndicator
from sklearn.isotonic import IsotonicRegression
from sklearn.kernel_ridge import KernelRidge
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.neighbors import (
    KNeighborsTransformer,
    NearestCentroid,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
    RadiusNeighborsTransformer,
)
from sklearn.neural_network import BernoulliRBM
from sklearn.preprocessing import (
    LabelBinarizer,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    QuantileTransformer,
    SplineTransformer,
)
from sklearn.semi_supervised import LabelPropagation, LabelSpreading

from packager.sources.sklearn import converters_columns as columns
from packager.sources.sklearn import converters_encoders as encoders
from packager.sources.sklearn import converters_imputing as imputing
from packager.sources.sklearn import converters_kernels as kernels
from packager.sources.sklearn import converters_neighbours as neighbours
from packager.sources.sklearn import converters_points as points
from packager.sources.sklearn.converters_linear import AFFINE, write_affine, write_selection
from packager.sources.sklearn.versions import TargetEncoder

Write = Callable[[Any, Any, Any], None]

_CLASSIFIER_OPTIONS = {
    "zipmap": [True, False, "columns"],
    "output_class_labels": [False, True],
    "raw_scores": [True, False],
    "nocl": [True, False],
}

_SELECTORS = (
    feature_selection.GenericUnivariateSelect,
    feature_selection.RFE,
    feature_selection.RFECV,
    feature_selection.SelectFdr,
    feature_selection.SelectFpr,
    feature_selection.SelectFromModel,
    feature_selection.SelectFwe,
    feature_selection.SelectKBest,
    feature_selection.SelectPercentile,
    feature_selection.SequentialFeatureSelector,
    feature_selection.VarianceThreshold,
)
_VALUES: dict[type, Write] = {
    BernoulliRBM: kernels.write_machine,
    IterativeImputer: imputing.write_imputations,
    IsotonicRegression: columns.write_isotonic,
    KNeighborsTransformer: neighbours.write_nearest,
    KNNImputer: imputing.write_nearest_means,
    KernelPCA: kernels.write_kernel_pca,
    KernelRidge: kernels.write_kernel_ridge,
    PowerTransformer: columns.write_powers,
    QuantileTransformer: columns.write_quantiles,
    RadiusNeighborsRegressor: neighbours.write_mean_within,
    RadiusNeighborsTransformer: neighbours.write_within,
    SplineTransformer: columns.write_splines,
    kernel_approximation.AdditiveChi2Sampler: kernels.write_additive_chi2,
    kernel_approximation.Nystroem: kernels.write_nystroem,
    kernel_approximation.PolynomialCountSketch: kernels.write_sketch,
    kernel_approximation.RBFSampler: kernels.write_random_features,
    kernel_approximation.SkewedChi2Sampler: kernels.write_random_features,
}
_CLASSIFIERS: dict[type, Write] = {
    LabelPropagation: kernels.write_label_propagation,
    LabelSpreading: kernels.write_label_propagation,
    NearestCentroid: points.write_nearest_centroid,
    RadiusNeighborsClassifier: neighbours.write_votes_within,
    multiclass.OutputCodeClassifier: points.write_output_code,
}
_MIXTURES: dict[type, Write] = {
    BayesianGaussianMixture: points.write_mixture,
    GaussianMixture: points.write_mixture,
}
_CLUSTERERS: dict[type, Write] = {
    cluster.AffinityPropagation: points.write_nearest_centre,
    cluster.Birch: points.write_birch,
    cluster.BisectingKMeans: points.write_bisecting,
    cluster.MeanShift: points.write_nearest_centre,
}


def register() -> None:
    """Make skl2onnx know them; doing so again changes nothing."""
    for kind in AFFINE:
        _register(kind, _shape_of_value, write_affine)
    for kind in _SELECTORS:
        _register(kind, _shape_of_selection, write_selection)
    for kind, write in _VALUES.items():
        _register(kind, _shape_of_value, write)
    for kind, write in _CLASSIFIERS.items():
        _register(kind, _shape_of_classes, write, options=_CLASSIFIER_OPTIONS)
    for kind, write in _CLUSTERERS.items():
        _register(kind, _shape_of_clusters, write)
    for kind in (OneHotEncoder, OrdinalEncoder, TargetEncoder):
        _register(kind, _shape_of_codes, encoders.write_encoder)
    _register(LabelBinarizer, _shape_of_label_columns, encoders.write_label_columns)
    _register(EllipticEnvelope, _shape_of_clusters, points.write_elliptic)
    _register(MissingIndicator, _shape_of_marks, columns.write_marks)
    for kind, write in _MIXTURES.items():
        _register(kind, _shape_of_mixture, write, options={"score_samples": [True, False]})


def _register(kind: type, shape: Any, write: Write, **more: Any) -> None:
    """Register a converter, unless the user has one of his own."""
    known = _converter_pool.get(sklearn_operator_name_map.get(kind, ""))
    if known is not None and not known._fct.__module__.startswith("skl2onnx."):
        return
    update_registered_converter(kind, f"Sklearn{kind.__name__}", shape, write, **more)


# --- what they answer ----------------------------------------------------------------------


def _floats(operator: Any) -> Any:
    double = isinstance(operator.inputs[0].type, DoubleTensorType)
    return DoubleTensorType if double else FloatTensorType


def _rows(operator: Any) -> Any:
    return operator.inputs[0].get_first_dimension()


def _shape_of_value(operator: Any) -> None:
    model = operator.raw_operator
    kind = _floats(operator)
    operator.outputs[0].type = kind([_rows(operator), _width(model)])


def _width(model: Any) -> int:
    """Return how many values a row of answers has: the model itself knows best."""
    told = getattr(model, "n_features_out_", None)
    if told is not None:
        return int(told)
    features = getattr(model, "n_features_in_", 1)
    answer = getattr(model, "predict", None) or model.transform
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows of ones, without the columns' names
        found = answer(np.ones((2, features)))
    return int(np.prod(np.shape(found)[1:]))


def _shape_of_codes(operator: Any) -> None:
    model = operator.raw_operator
    whole = np.issubdtype(getattr(model, "dtype", np.float64), np.integer)
    kind = Int64TensorType if whole else _floats(operator)
    operator.outputs[0].type = kind([_rows(operator), len(model.get_feature_names_out())])


def _shape_of_label_columns(operator: Any) -> None:
    marks = np.asarray(operator.raw_operator.transform(operator.raw_operator.classes_))
    operator.outputs[0].type = Int64TensorType([_rows(operator), marks.shape[1]])


def _shape_of_selection(operator: Any) -> None:
    given = operator.inputs[0].type
    width = int(operator.raw_operator.get_support().sum())
    operator.outputs[0].type = type(given)([_rows(operator), width])


def _shape_of_marks(operator: Any) -> None:
    width = len(operator.raw_operator.features_)
    operator.outputs[0].type = BooleanTensorType([_rows(operator), width])


def _shape_of_classes(operator: Any) -> None:
    classes = np.asarray(operator.raw_operator.classes_)
    label = StringTensorType if classes.dtype.kind in "UO" else Int64TensorType
    operator.outputs[0].type = label([_rows(operator)])
    if len(operator.outputs) > 1:
        operator.outputs[1].type = _floats(operator)([_rows(operator), len(classes)])


def _shape_of_mixture(operator: Any) -> None:
    operator.outputs[0].type = Int64TensorType([_rows(operator)])
    width = operator.raw_operator.n_components
    operator.outputs[1].type = _floats(operator)([_rows(operator), width])


def _shape_of_clusters(operator: Any) -> None:
    operator.outputs[0].type = Int64TensorType([_rows(operator)])
    operator.outputs[1].type = _floats(operator)([_rows(operator), None])
