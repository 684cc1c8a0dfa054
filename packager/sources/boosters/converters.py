"""Converters of boosters, for skl2onnx: alone, in pipelines, and inside what combines models.

One converter for all libraries: trees that add up, then the link, then the label. Those of
onnxmltools round float64 thresholds to the nearest float32, and answer wrongly for random
forests, one-versus-all, parallel trees and some links.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
from skl2onnx import update_registered_converter
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common.data_types import (
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)

from packager.errors import ConversionFailed
from packager.sources.boosters import catboost as booster_catboost
from packager.sources.boosters import lightgbm as booster_lightgbm
from packager.sources.boosters import xgboost as booster_xgboost
from packager.sources.boosters.trees import Ensemble, library_of, refused
from packager.sources.sklearn.wires import DOUBLE, FLOAT, INT64, ML, Wires

READERS: Mapping[str, ModuleType] = {
    "xgboost": booster_xgboost,
    "lightgbm": booster_lightgbm,
    "catboost": booster_catboost,
}
_CLASSIFIERS = {
    "xgboost": ("XGBClassifier", "XGBRFClassifier"),
    "lightgbm": ("LGBMClassifier",),
    "catboost": ("CatBoostClassifier",),
}
_REGRESSORS = {
    "xgboost": ("XGBRegressor", "XGBRFRegressor"),
    "lightgbm": ("LGBMRegressor",),
    "catboost": ("CatBoostRegressor", "CatBoostRanker"),
}
_CHOICES = {"zipmap": [True, False, "columns"], "nocl": [True, False]}


def ensemble_of(estimator: Any) -> Ensemble:
    """Read the rule of a booster's estimator.

    Raises:
        ConversionFailed: naming what has no faithful form.
    """
    rule: Ensemble = READERS[library_of(estimator) or ""].ensemble_of(estimator)
    return rule


def cause_of(part: Any) -> str | None:
    """Return why a booster has no faithful form; None where it has, and for other models."""
    if library_of(part) is None:
        return None
    try:
        ensemble_of(part)
    except ConversionFailed as error:
        return str(error.values["found"])
    return None


def register() -> None:
    """Tell skl2onnx of the boosters whose libraries the opened model has imported.

    Telling it again changes nothing, and a converter of the user's own stays.
    """
    for library in READERS:
        module = sys.modules.get(library)
        if module is None:
            continue
        for name in _CLASSIFIERS[library]:
            _register_classifier(getattr(module, name))
        for name in _REGRESSORS[library]:
            _register_regressor(getattr(module, name))
    _register_classifier(booster_lightgbm.LightgbmClassifier)
    _register_regressor(booster_lightgbm.LightgbmRegressor)


def _register_classifier(model: type) -> None:
    if model not in sklearn_operator_name_map:
        raw = {"raw_scores": [True, False]} if hasattr(model, "decision_function") else {}
        update_registered_converter(
            model,
            _alias(model),
            _shape_classifier,
            _write_classifier,
            options={**_CHOICES, **raw},
            parser=_parse_classifier,
        )


def _register_regressor(model: type) -> None:
    if model not in sklearn_operator_name_map:
        update_registered_converter(model, _alias(model), _shape_regressor, _write_regressor)


def _alias(model: type) -> str:
    return f"Booster{model.__name__}"


def _parse_classifier(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    """Declare label and probabilities: skl2onnx takes only its own mixins for classifiers."""
    del custom_parsers  # skl2onnx hands them to every parser; a booster has no parts
    operator = scope.declare_local_operator(_alias(type(model)), model)
    operator.inputs = inputs
    label = scope.declare_local_variable("label", Int64TensorType())
    shown = scope.declare_local_variable("probabilities", FloatTensorType())
    operator.outputs.append(label)
    operator.outputs.append(shown)
    return operator.outputs


def _shape_classifier(operator: Any) -> None:
    classes = np.asarray(operator.raw_operator.classes_)
    kind = StringTensorType if classes.dtype.kind in "UO" else Int64TensorType
    rows = operator.inputs[0].get_first_dimension()
    operator.outputs[0].set_type(kind([rows]))
    operator.outputs[1].set_type(_floats(operator)([rows, len(classes)]))


def _shape_regressor(operator: Any) -> None:
    model = operator.raw_operator
    width = READERS[library_of(model) or ""].width_of(model)
    rows = operator.inputs[0].get_first_dimension()
    operator.outputs[0].set_type(_floats(operator)([rows, width]))


def _floats(operator: Any) -> Any:
    double = isinstance(operator.inputs[0].type, DoubleTensorType)
    return DoubleTensorType if double else FloatTensorType


def _write_regressor(scope: Any, operator: Any, container: Any) -> None:
    wires = Wires(scope, operator, container)
    rule = ensemble_of(wires.model)
    answer = _linked(wires, rule, _sums(wires, rule))
    wires.cast(answer, wires.floats, out=wires.output(0))


def _write_classifier(scope: Any, operator: Any, container: Any) -> None:
    wires = Wires(scope, operator, container)
    rule = ensemble_of(wires.model)
    classes = np.asarray(wires.model.classes_)
    if classes.dtype.kind == "f" and (classes != np.floor(classes)).any():
        raise refused(wires.model, "its labels are fractions", "Name the classes by integers.")
    raw = hasattr(wires.model, "decision_function") and container.get_options(
        wires.model, {"raw_scores": False}
    ).get("raw_scores")
    sums = _sums(wires, rule)
    shown = _linked(wires, rule, sums)
    both = len(rule.base) == 1
    if both:
        rest = wires.node("Sub", wires.number([[1]], FLOAT), shown)
        limit = wires.number([[rule.threshold]], FLOAT)
        above = wires.node("Greater", shown, limit)
        index = wires.cast(wires.node("Reshape", above, wires.axis(-1)), INT64)
        shown = wires.node("Concat", rest, shown, axis=1)
    else:
        index = wires.best(shown)
    wires.labels(index, classes, wires.output(0))
    if raw:
        shown = wires.node("Concat", wires.node("Neg", sums), sums, axis=1) if both else sums
    wires.cast(shown, wires.floats, out=wires.output(1))


def _sums(wires: Wires, rule: Ensemble) -> str:
    """Write the trees, which read what the library reads: float32 or float64."""
    rows = wires.cast(wires.matrix(), DOUBLE if rule.double else FLOAT)
    if not np.isnan(rule.empty):
        absent = wires.node("Equal", rows, wires.number([[rule.empty]], FLOAT))
        rows = wires.node("Where", absent, wires.number([[np.nan]], FLOAT), rows)
    held = rule.trees.attributes(rule.base, double=rule.double)
    return wires.node("TreeEnsembleRegressor", rows, domain=ML, **held)


def _linked(wires: Wires, rule: Ensemble, sums: str) -> str:
    """Write the link, on float32: the trees answer in it whatever they read."""
    if rule.link == "sigmoid":
        if rule.slope != 1:
            sums = wires.node("Mul", sums, wires.number([[rule.slope]], FLOAT))
        return wires.node("Sigmoid", sums)
    if rule.link == "softmax":
        return wires.node("Softmax", sums, axis=1)
    if rule.link == "signed square":
        return wires.node("Mul", sums, wires.node("Abs", sums))
    simple = {"exp": "Exp", "softplus": "Softplus"}
    return wires.node(simple[rule.link], sums) if rule.link in simple else sums
