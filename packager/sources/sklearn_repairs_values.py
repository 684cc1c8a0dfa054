"""Converters of numbers: what skl2onnx computes otherwise than scikit-learn, or not at all."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from skl2onnx.common.data_types import StringTensorType

from packager.sources.sklearn_inverses import write_inverse
from packager.sources.sklearn_wires import BOOL, DOUBLE, FLOAT, INT64, ML, Wires

Converter: TypeAlias = Callable[[Any, Any, Any], None]


def write_transformed_target(scope: Any, operator: Any, container: Any) -> None:
    """Write a regressor and, in float64, the inverse of what its target went through."""
    wires = Wires(scope, operator, container)
    value = wires.cast(wires.regressor(wires.model.regressor_), DOUBLE)
    width = wires.number([-1, target_count(wires.model)], INT64)
    value = wires.node("Reshape", value, width)
    inverse = write_inverse(wires, wires.model.transformer_, value)
    wires.cast(inverse, wires.floats, out=wires.output(0))


def target_count(model: Any) -> int:
    """Return how many targets the regressor inside a transformed one gives."""
    width = np.shape(getattr(model.transformer_, "scale_", np.zeros(1)))[-1:]
    return int(width[0]) if width else 1


def normalized(original: Converter) -> Converter:
    """Divide by the largest absolute value where the norm is ``max``."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        wires = Wires(scope, operator, container)
        if wires.model.norm != "max":
            original(scope, operator, container)
            return
        matrix = wires.matrix()
        sizes = wires.node("Abs", matrix)
        place = wires.node("ArgMax", sizes, axis=1, keepdims=1)
        largest = wires.node("GatherElements", sizes, place, axis=1)
        zero = wires.node("Equal", largest, wires.number([[0]]))
        divisor = wires.node("Where", zero, wires.number([[1]]), largest)
        wires.node("Div", matrix, divisor, out=wires.output(0))

    return convert


def imputed(original: Converter) -> Converter:
    """Fill missing values of any number type or text, and add the indicator's columns."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        wires = Wires(scope, operator, container)
        if isinstance(operator.inputs[0].type, StringTensorType):
            _fill_texts(wires, operator)
        elif fills_nan(wires.model):
            _fill_numbers(wires)
        else:
            original(scope, operator, container)

    return convert


def fills_nan(model: Any) -> bool:
    """Tell whether a missing number is a NaN to an imputer."""
    return isinstance(model.missing_values, float) and np.isnan(model.missing_values)


def _fill_numbers(wires: Wires) -> None:
    model = wires.model
    matrix = wires.matrix()
    absent = wires.node("IsNaN", matrix)
    fill = np.asarray(model.statistics_, dtype=np.float64)
    kept = np.flatnonzero(~np.isnan(fill))
    filled = wires.node("Where", absent, wires.number(np.nan_to_num(fill)[None]), matrix)
    if len(kept) < len(fill):
        filled = wires.columns(filled, kept.tolist())
    if model.indicator_ is not None:
        marks = wires.columns(wires.cast(absent, wires.floats), model.indicator_.features_)
        filled = wires.node("Concat", filled, marks, axis=1)
    wires.node("Identity", filled, out=wires.output(0))


def _fill_texts(wires: Wires, operator: Any) -> None:
    """Fill empty texts, which is what a missing text is in the graph."""
    names = [value.full_name for value in operator.inputs]
    given = names[0] if len(names) == 1 else wires.node("Concat", *names, axis=1)
    absent = wires.node(
        "LabelEncoder",
        given,
        domain=ML,
        keys_strings=[_absent_text(wires.model)],
        values_int64s=[1],
        default_int64=0,
    )
    fill = wires.texts([str(value) for value in wires.model.statistics_])
    wires.node("Where", wires.cast(absent, BOOL), fill, given, out=wires.output(0))


def _absent_text(model: Any) -> str:
    return model.missing_values if isinstance(model.missing_values, str) else ""


def sublinear(original: Converter) -> Converter:
    """Take ``1 + log`` of the counts above 0 where term frequencies are sublinear."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        wires = Wires(scope, operator, container)
        model = wires.model
        if not model.sublinear_tf:
            original(scope, operator, container)
            return
        counts = wires.matrix()
        one, zero = wires.number([[1]]), wires.number([[0]])
        some = wires.node("Greater", counts, zero)
        safe = wires.node("Where", some, counts, one)
        grown = wires.node("Add", wires.node("Log", safe), one)
        value = wires.node("Where", some, grown, zero)
        if model.use_idf:
            value = wires.node("Mul", value, wires.number(np.asarray(model.idf_)[None]))
        wires.node("Identity", _unit(wires, value, model.norm), out=wires.output(0))

    return convert


def _unit(wires: Wires, value: str, norm: str | None) -> str:
    """Divide rows by their length; a row of zeros stays."""
    if norm is None:
        return value
    if norm == "l1":
        length = wires.row_sums(wires.node("Abs", value))
    else:
        length = wires.node("Sqrt", wires.row_sums(wires.node("Mul", value, value)))
    zero = wires.node("Equal", length, wires.number([[0]]))
    return wires.node("Div", value, wires.node("Where", zero, wires.number([[1]]), length))


def by_distance(original: Converter) -> Converter:
    """Weigh neighbours by the inverse of their distance; one at distance 0 decides alone."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        wires = Wires(scope, operator, container)
        if not weighs_by_distance(wires.model):
            original(scope, operator, container)
            return
        nearest, weights = _weighted_neighbours(wires)
        if hasattr(wires.model, "classes_"):
            _vote(wires, nearest, weights)
        else:
            _average(wires, nearest, weights)

    return convert


def weighs_by_distance(model: Any) -> bool:
    """Tell whether a model of nearest neighbours weighs them by euclidean distance."""
    return (
        getattr(model, "weights", None) == "distance"
        and getattr(model, "effective_metric_", None) == "euclidean"
        and hasattr(model, "n_neighbors")
        and np.ndim(model._y) == 1
    )


def _weighted_neighbours(wires: Wires) -> tuple[str, str]:
    """Return the places of the nearest training rows, and their weights, nearest first.

    The distances that choose may round; those that weigh are taken from the rows again.
    """
    model, matrix = wires.model, wires.matrix()
    known = wires.number(np.asarray(model._fit_X))
    far = wires.node("CDist", matrix, known, domain="com.microsoft", metric="sqeuclidean")
    count = wires.axis(model.n_neighbors)
    nearest = wires.second("TopK", far, count, largest=0, sorted=1, axis=1)
    rows = wires.node("Gather", known, nearest, axis=0)
    apart = wires.node("Sub", wires.node("Unsqueeze", matrix, wires.axis(1)), rows)
    squares = wires.node("Mul", apart, apart)
    distance = wires.node(
        "Sqrt", wires.node("ReduceSum", squares, wires.axis(2), keepdims=0)
    )
    zero = wires.node("Equal", distance, wires.number([[0]]))
    same = wires.cast(zero, wires.floats)
    any_same = wires.node("Greater", wires.row_sums(same), wires.number([[0]]))
    safe = wires.node("Where", zero, wires.number([[1]]), distance)
    inverse = wires.node("Reciprocal", safe)
    return nearest, wires.node("Where", any_same, same, inverse)


def _vote(wires: Wires, nearest: str, weights: str) -> None:
    model = wires.model
    classes = np.asarray(model.classes_)
    marks = np.eye(len(classes))[np.asarray(model._y)]
    voted = wires.node("Gather", wires.number(marks), nearest, axis=0)
    deep = wires.node("Unsqueeze", weights, wires.axis(2))
    votes = wires.node(
        "ReduceSum", wires.node("Mul", voted, deep), wires.axis(1), keepdims=0
    )
    shares = wires.node("Div", votes, wires.row_sums(votes), out=wires.output(1))
    wires.labels(wires.best(shares), classes, wires.output(0))


def _average(wires: Wires, nearest: str, weights: str) -> None:
    known = wires.number(np.asarray(wires.model._y))
    values = wires.node("Mul", wires.node("Gather", known, nearest, axis=0), weights)
    total = wires.row_sums(values)
    wires.node("Div", total, wires.row_sums(weights), out=wires.output(0))


def calibrated(original: Converter) -> Converter:
    """Read isotonic calibrators as the lines between their points, not as steps."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        wires = Wires(scope, operator, container)
        model = wires.model
        if model.method != "isotonic":
            original(scope, operator, container)
            return
        shares = [_isotonic(wires, member) for member in model.calibrated_classifiers_]
        total = shares[0] if len(shares) == 1 else wires.node("Sum", *shares)
        wires.node("Div", total, wires.number([[len(shares)]]), out=wires.output(1))
        wires.labels(wires.best(wires.output(1)), np.asarray(model.classes_), wires.output(0))

    return convert


def _isotonic(wires: Wires, member: Any) -> str:
    """Write the calibrated probabilities of one classifier among the calibrated ones."""
    inner, classes = member.estimator, np.asarray(member.classes)
    scores = wires.classifier(inner, raw=hasattr(inner, "decision_function")).scores
    places = np.searchsorted(classes, inner.classes_).tolist()
    if len(classes) == 2:
        column = wires.columns(scores, [-1])
        second = _line(wires, member.calibrators[0], column)
        return wires.node(
            "Concat", wires.node("Sub", wires.number([[1]]), second), second, axis=1
        )
    columns = {
        place: _line(wires, calibrator, wires.columns(scores, [number]))
        for number, (place, calibrator) in enumerate(
            zip(places, member.calibrators, strict=True)
        )
    }
    nothing = wires.node("Mul", wires.columns(scores, [0]), wires.number([[0]]))
    parts = [columns.get(place, nothing) for place in range(len(classes))]
    proba = wires.node("Concat", *parts, axis=1)
    total = wires.row_sums(proba)
    zero = wires.node("Equal", total, wires.number([[0]]))
    share = wires.node("Div", proba, wires.node("Where", zero, wires.number([[1]]), total))
    return wires.node("Where", zero, wires.number([[1 / len(classes)]]), share)


def _line(wires: Wires, calibrator: Any, column: str) -> str:
    exact = wires.cast(column, DOUBLE)
    known, values = calibrator.X_thresholds_, calibrator.y_thresholds_
    return wires.cast(wires.interpolated(exact, known, values), wires.floats)
