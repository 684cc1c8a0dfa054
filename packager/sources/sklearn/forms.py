"""Which converters of ours skl2onnx uses, instead of its own or around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from skl2onnx import update_registered_converter
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common._registration import (
    _converter_pool,
    register_converter,
    register_shape_calculator,
)
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType
from skl2onnx.common.shape_calculator import _infer_linear_classifier_output_types
from sklearn.compose import TransformedTargetRegressor

from packager.sources.boosters import converters as booster_converters
from packager.sources.sklearn import converters as sklearn_converters
from packager.sources.sklearn import repairs_labels as labels
from packager.sources.sklearn import repairs_stacks as stacks
from packager.sources.sklearn import repairs_trees as trees
from packager.sources.sklearn import repairs_values as values
from packager.sources.sklearn.parts import last_step
from packager.sources.sklearn.versions import (
    FixedThresholdClassifier,
    TunedThresholdClassifierCV,
)

Converter: TypeAlias = Callable[[Any, Any, Any], None]
Around: TypeAlias = Callable[[Converter], Converter]

_CHOICES = {
    "zipmap": [True, False, "columns"],
    "nocl": [True, False],
    "output_class_labels": [False, True],
    "raw_scores": [True, False],
}
# Those that may stand before the pipelines that read the columns.
_SEVERAL_INPUTS = (
    "SklearnCalibratedClassifierCV",
    "SklearnOneVsOneClassifier",
    "SklearnOneVsRestClassifier",
    "SklearnStackingClassifier",
)
# Selectors that predict as well, so that pipelines give them a classifier's option.
_SELECTORS = ("SklearnRFE", "SklearnRFECV")

# Around skl2onnx's own, by its name for the form.
_AROUND: Mapping[str, Around] = {
    "SklearnBaggingClassifier": labels.bagged,
    "SklearnBinarizer": values.binarized,
    "SklearnCalibratedClassifierCV": values.calibrated,
    "SklearnDecisionTreeClassifier": trees.tracking_missing,
    "SklearnDecisionTreeRegressor": trees.tracking_missing,
    "SklearnExtraTreeClassifier": trees.tracking_missing,
    "SklearnExtraTreeRegressor": trees.tracking_missing,
    "SklearnExtraTreesClassifier": trees.tracking_missing,
    "SklearnExtraTreesRegressor": trees.tracking_missing,
    "SklearnHistGradientBoostingClassifier": trees.histogram_boosting,
    "SklearnHistGradientBoostingRegressor": trees.histogram_boosting,
    "SklearnIsolationForest": trees.isolating,
    "SklearnKBinsDiscretizer": values.binned,
    "SklearnKNeighborsClassifier": values.by_distance,
    "SklearnKNeighborsRegressor": values.by_distance,
    "SklearnNormalizer": values.normalized,
    "SklearnOneVsOneClassifier": lambda _: labels.write_one_vs_one,
    "SklearnOneVsRestClassifier": labels.one_vs_rest,
    "SklearnPolynomialFeatures": values.polynomial,
    "SklearnRandomForestClassifier": trees.tracking_missing,
    "SklearnRandomForestRegressor": trees.tracking_missing,
    "SklearnSGDClassifier": labels.decided_by_scores,
    "SklearnSVC": labels.breaking_ties,
    "SklearnSimpleImputer": values.imputed,
    "SklearnStackingClassifier": stacks.stacked,
    "SklearnStackingRegressor": stacks.stacked,
    "SklearnTfidfTransformer": values.sublinear,
}


def register() -> None:
    """Tell skl2onnx of our converters; telling it again changes nothing."""
    sklearn_converters.register()
    for alias, around in _AROUND.items():
        known = _converter_pool.get(alias)
        if known is not None and not hasattr(known, "edgepack"):
            register_converter(
                alias, around(known._fct), overwrite=True, options=known.get_allowed_options()
            )
            _converter_pool[alias].edgepack = True
    for alias in _SELECTORS:
        own = {"zipmap": [True, False]}
        register_converter(alias, _converter_pool[alias]._fct, overwrite=True, options=own)
    for alias in _SEVERAL_INPUTS:
        register_shape_calculator(alias, _classifier_shape, overwrite=True)
    register_shape_calculator("SklearnStackingRegressor", _value_shape, overwrite=True)
    register_shape_calculator("SklearnSimpleImputer", _imputer_shape, overwrite=True)
    for model in (FixedThresholdClassifier, TunedThresholdClassifierCV):
        _register(model, labels.write_threshold, _classifier_shape, _CHOICES)
    _register(TransformedTargetRegressor, values.write_transformed_target, _target_shape, None)
    booster_converters.register()


def _register(
    model: type, convert: Converter, shape: Callable[[Any], None], options: Any
) -> None:
    known = _converter_pool.get(sklearn_operator_name_map.get(model, ""))
    if known is None or known._fct.__module__.startswith("skl2onnx."):
        alias = f"Edgepack{model.__name__}"
        update_registered_converter(model, alias, shape, convert, options=options)


def _classifier_shape(operator: Any) -> None:
    _infer_linear_classifier_output_types(operator)


def _value_shape(operator: Any) -> None:
    operator.outputs[0].set_type(_floats(operator)([_rows(operator), 1]))


def _target_shape(operator: Any) -> None:
    model = last_step(operator.raw_operator.regressor_)
    kind = _floats(operator)
    operator.outputs[0].set_type(kind([_rows(operator), target_count(model)]))


def target_count(model: Any) -> int:
    """Return how many numbers a regressor gives a row, as far as it tells."""
    coefficients = np.shape(getattr(model, "coef_", ()))
    told = getattr(model, "n_outputs_", coefficients[0] if len(coefficients) > 1 else 1)
    return int(told)


def _imputer_shape(operator: Any) -> None:
    """Count the columns that stay and those of the indicator."""
    model = operator.raw_operator
    first = operator.inputs[0].type
    kind = type(first) if isinstance(first, StringTensorType) else _floats(operator)
    operator.outputs[0].set_type(kind([_rows(operator), imputed_width(model)]))


def imputed_width(model: Any) -> int:
    """Return how many columns an imputer gives: those with a statistic, then the marks."""
    statistics = np.asarray(model.statistics_)
    kept = len(statistics)
    if statistics.dtype.kind == "f":
        kept = int((~np.isnan(statistics)).sum())
    marks = 0 if model.indicator_ is None else len(model.indicator_.features_)
    return kept + marks


def _floats(operator: Any) -> Any:
    double = isinstance(operator.inputs[0].type, DoubleTensorType)
    return DoubleTensorType if double else FloatTensorType


def _rows(operator: Any) -> Any:
    return operator.inputs[0].get_first_dimension()
