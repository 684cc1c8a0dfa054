"""Converters of numbers: what skl2onnx computes otherwise than scikit-learn, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from skl2onnx.common.data_types import StringTensorType

from edge_runtime.contract.tensors import Array
from packager.sources.sklearn.causes import BINARY, fills_nan, weighs_by_distance
from packager.sources.sklearn.inverses import write_inverse
from packager.sources.sklearn.wires import BOOL, DOUBLE, INT64, ML, Wires

_LEAST = 1e-12  # what scikit-learn adds to probabilities before their logarithm

Converter: TypeAlias = Callable[[Any, Any, Any], None]


def write_transformed_target(scope: Any, operator: Any, container: Any) -> None:
    """Write a regressor and, in float64, the inverse of what its target went through."""
    wires = Wires(scope, operator, container)
    value = wires.cast(wires.regressor(wires.model.regressor_), DOUBLE)
    inverse = write_inverse(wires, wires.model.transformer_, value)
    wires.cast(inverse, wires.floats, out=wires.output(0))


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


def binned(original: Converter) -> Converter:
    """Count the edges that float64 values reach, which float32 would move over some."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        wires = Wires(scope, operator, container)
        if not wires.double:
            original(scope, operator, container)
            return
        model, matrix = wires.model, wires.matrix()
        columns = [
            _bins(wires, wires.columns(matrix, [number]), np.asarray(edges))
            for number, edges in enumerate(model.bin_edges_)
        ]
        together = columns[0] if len(columns) == 1 else wires.node("Concat", *columns, axis=1)
        wires.cast(together, wires.floats, out=wires.output(0))

    return convert


def binarized(original: Converter) -> Converter:
    """Compare float64 with the threshold; the engine's own operator compares float32."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        wires = Wires(scope, operator, container)
        if not wires.double:
            original(scope, operator, container)
            return
        above = wires.node("Greater", wires.matrix(), wires.number([[wires.model.threshold]]))
        wires.cast(above, wires.floats, out=wires.output(0))

    return convert


def _bins(wires: Wires, column: str, edges: Array) -> str:
    """Write a column's bin, as a number or as a mark in one column a bin."""
    inner = edges[1:-1] if edges[2:].size else np.array([np.inf])
    reached = wires.node("GreaterOrEqual", column, wires.number(inner[None]))
    place = wires.row_sums(wires.cast(reached, INT64))
    if wires.model.encode == "ordinal":
        return place
    numbers = wires.number(np.arange(len(edges) - 1)[None], INT64)
    return wires.cast(wires.node("Equal", place, numbers), INT64)


def polynomial(original: Converter) -> Converter:
    """Multiply columns of float64, for which skl2onnx writes a graph that does not load."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        wires = Wires(scope, operator, container)
        if not wires.double:
            original(scope, operator, container)
            return
        matrix = wires.matrix()
        none = wires.model.n_features_in_  # the place of a column of ones behind the others
        zero = wires.node("Mul", wires.columns(matrix, [0]), wires.number([[0]]))
        ones = wires.node("Add", zero, wires.number([[1]]))
        wide = wires.node("Concat", matrix, ones, axis=1)
        factors = [np.repeat(np.arange(none), powers) for powers in wires.model.powers_]
        degree = max(1, *map(len, factors))
        places = np.array([np.append(f, [none] * (degree - len(f))) for f in factors])
        product = wires.columns(wide, places[:, 0].tolist())
        for column in places.T[1:]:
            product = wires.node("Mul", product, wires.columns(wide, column.tolist()))
        wires.node("Identity", product, out=wires.output(0))

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
    distance = wires.node("Sqrt", wires.node("ReduceSum", squares, wires.axis(2), keepdims=0))
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
    votes = wires.node("ReduceSum", wires.node("Mul", voted, deep), wires.axis(1), keepdims=0)
    shares = wires.node("Div", votes, wires.row_sums(votes), out=wires.output(1))
    wires.labels(wires.best(shares), classes, wires.output(0))


def _average(wires: Wires, nearest: str, weights: str) -> None:
    known = wires.number(np.asarray(wires.model._y))
    values = wires.node("Mul", wires.node("Gather", known, nearest, axis=0), weights)
    total = wires.row_sums(values)
    wires.node("Div", total, wires.row_sums(weights), out=wires.output(0))


def calibrated(original: Converter) -> Converter:
    """Write calibrators that skl2onnx reads otherwise, and those over several inputs."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        wires = Wires(scope, operator, container)
        model = wires.model
        if model.method == "sigmoid" and len(operator.inputs) == 1:
            original(scope, operator, container)
            return
        shares = [_calibrated(wires, member) for member in model.calibrated_classifiers_]
        total = shares[0] if len(shares) == 1 else wires.node("Sum", *shares)
        wires.node("Div", total, wires.number([[len(shares)]]), out=wires.output(1))
        wires.labels(wires.best(wires.output(1)), np.asarray(model.classes_), wires.output(0))

    return convert


def _calibrated(wires: Wires, member: Any) -> str:
    """Write the calibrated probabilities of one classifier among the calibrated ones."""
    inner, classes = member.estimator, np.asarray(member.classes)
    decides = hasattr(inner, "decision_function")
    scores = wires.classifier(inner, raw=decides).scores
    if member.method == "temperature":
        return _tempered(wires, member.calibrators[0], scores, decides=decides)
    if len(classes) == BINARY:
        second = _curve(wires, member.calibrators[0], wires.columns(scores, [-1]))
        return wires.node(
            "Concat", wires.node("Sub", wires.number([[1]]), second), second, axis=1
        )
    places = np.searchsorted(classes, inner.classes_).tolist()
    columns = {
        place: _curve(wires, calibrator, wires.columns(scores, [number]))
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


def _curve(wires: Wires, calibrator: Any, column: str) -> str:
    """Write a sigmoid, ``1 / (1 + exp(a x + b))``, or the line through isotonic points."""
    if not hasattr(calibrator, "a_"):
        return _line(wires, calibrator, column)
    slope, shift = wires.number([[-calibrator.a_]]), wires.number([[-calibrator.b_]])
    return wires.node("Sigmoid", wires.node("Add", wires.node("Mul", column, slope), shift))


def _tempered(wires: Wires, calibrator: Any, scores: str, *, decides: bool) -> str:
    """Write the softmax of logits times the inverse temperature."""
    logits = scores
    if not decides:
        tiny = wires.number([[_LEAST]])
        logits = wires.node("Log", wires.node("Add", scores, tiny))
    scaled = wires.node("Mul", logits, wires.number([[calibrator.beta_]]))
    return wires.node("Softmax", scaled, axis=1)


def _line(wires: Wires, calibrator: Any, column: str) -> str:
    exact = wires.cast(column, DOUBLE)
    known, values = calibrator.X_thresholds_, calibrator.y_thresholds_
    return wires.cast(wires.interpolated(exact, known, values), wires.floats)
