"""Estimators that bend each column on its own, or mark what is missing in it."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.interpolate import BSpline, PPoly
from sklearn.preprocessing._data import BOUNDS_THRESHOLD

from edge_runtime.contract.tensors import Array
from packager.sources.sklearn.exact import ExactWires
from packager.sources.sklearn.wires import BOOL, INT64, Wires


def write_marks(scope: Any, operator: Any, container: Any) -> None:
    """Mark the missing values of the columns that had any when fitted."""
    wires = Wires(scope, operator, container)
    model = wires.model
    marks = wires.cast(wires.node("IsNaN", wires.matrix()), INT64)
    wires.cast(wires.columns(marks, model.features_), BOOL, out=wires.output(0))


def write_isotonic(scope: Any, operator: Any, container: Any) -> None:
    """Write the line through the points of an isotonic regression."""
    wires = ExactWires(scope, operator, container)
    model = wires.model
    column = wires.matrix()
    known = np.asarray(model.X_thresholds_, dtype=np.float64)
    value = wires.interpolated(column, known, np.asarray(model.y_thresholds_))
    if model.out_of_bounds == "nan":
        below = wires.node("Less", column, wires.number(known[0]))
        above = wires.node("Greater", column, wires.number(known[-1]))
        outside = wires.node("Or", below, above)
        value = wires.node("Where", outside, wires.number(np.nan), value)
    wires.answer(value)


def write_powers(scope: Any, operator: Any, container: Any) -> None:
    """Write the power transform of each column (I. Yeo and R. Johnson, Biometrika 2000)."""
    wires = ExactWires(scope, operator, container)
    model = wires.model
    matrix, powers = wires.matrix(), np.asarray(model.lambdas_, dtype=np.float64)[None]
    zero, one = wires.number(0.0), wires.number(1.0)
    if model.method == "box-cox":
        value = _power(wires, matrix, powers)
    else:
        above = wires.node("Add", wires.node("Max", matrix, zero), one)
        below = wires.node("Sub", one, wires.node("Min", matrix, zero))
        value = wires.node(
            "Sub", _power(wires, above, powers), _power(wires, below, 2 - powers)
        )
    value = wires.node("Where", wires.node("IsNaN", matrix), matrix, value)
    if model.standardize:
        scaler = model._scaler
        moved = wires.node("Sub", value, wires.number(scaler.mean_[None]))
        value = wires.node("Div", moved, wires.number(scaler.scale_[None]))
    wires.answer(value)


def _power(wires: ExactWires, matrix: str, powers: Array) -> str:
    """Return ``(x ** power - 1) / power``, and the logarithm where the power is 0."""
    flat = powers == 0
    safe = np.where(flat, 1, powers)
    raised = wires.node("Pow", matrix, wires.number(safe))
    grown = wires.node("Sub", raised, wires.number(1.0))
    curve = wires.node("Div", grown, wires.number(safe))
    logarithm = wires.node("Log", matrix)
    return wires.node("Where", wires.flags(flat), logarithm, curve)


def write_quantiles(scope: Any, operator: Any, container: Any) -> None:
    """Write the share of known values below each, as it is or as a normal quantile."""
    wires = ExactWires(scope, operator, container)
    model = wires.model
    normal = model.output_distribution == "normal"
    matrix = wires.matrix()
    shares = np.asarray(model.references_, dtype=np.float64)
    columns = [
        _share(wires, wires.columns(matrix, [index]), np.asarray(known), shares, normal=normal)
        for index, known in enumerate(np.asarray(model.quantiles_, dtype=np.float64).T)
    ]
    share = wires.node("Concat", *columns, axis=1)
    value = wires.normal_quantile(share) if normal else share
    wires.answer(wires.node("Where", wires.node("IsNaN", matrix), matrix, value))


def _share(wires: ExactWires, column: str, known: Array, shares: Array, *, normal: bool) -> str:
    """Read a column off the line upwards and downwards; they differ where values repeat."""
    rising, first, counts = np.unique(known, return_index=True, return_counts=True)
    last = first + counts - 1
    slope = np.append(np.diff(known[first]), 1.0)
    slope = np.append(shares[first[1:]] - shares[last[:-1]], 0.0) / slope
    gap = (shares[last] - shares[first]) / 2
    inner = rising[1:] if len(rising) > 1 else np.array([np.inf])
    passed = wires.node("GreaterOrEqual", column, wires.number(inner[None]))
    place = wires.row_sums(wires.cast(passed, INT64))
    start, steep, base, half = (
        wires.node("Gather", wires.number(table), place)
        for table in (rising, slope, shares[last], gap)
    )
    rise = wires.node("Sub", column, start)
    read = wires.node("Add", base, wires.node("Mul", steep, rise))
    here = wires.node("Equal", rise, wires.number(0.0))
    read = wires.node("Where", here, wires.node("Sub", base, half), read)
    edge = BOUNDS_THRESHOLD if normal else 0.0
    low = wires.node("LessOrEqual", column, wires.number(known[0] + edge))
    high = wires.node("GreaterOrEqual", column, wires.number(known[-1] - edge))
    read = wires.node("Where", high, wires.number(1.0), read)
    return wires.node("Where", low, wires.number(0.0), read)


def write_splines(scope: Any, operator: Any, container: Any) -> None:
    """Write B-splines as the polynomials between their knots."""
    wires = ExactWires(scope, operator, container)
    model = wires.model
    matrix = wires.matrix()
    blocks = [
        _splines(wires, wires.columns(matrix, [index]), model, spline)
        for index, spline in enumerate(model.bsplines_)
    ]
    if not model.include_bias:  # the last of each column follows from the others
        blocks = [
            wires.columns(block, range(model.degree + model.n_knots - 2)) for block in blocks
        ]
    wires.answer(wires.node("Concat", *blocks, axis=1))


def _splines(wires: ExactWires, column: str, model: Any, spline: Any) -> str:
    """Return every basis function at a column, by Horner's rule from the knot below it."""
    knots = spline.t[spline.k : -spline.k or None]
    functions = [BSpline(spline.t, weights, spline.k) for weights in spline.c.T]
    pieces = np.stack([PPoly.from_spline(one).c for one in functions], axis=-1)
    coefficients = pieces[:, spline.k : spline.k + len(knots) - 1]  # [power, piece, function]
    if model.extrapolation == "constant":
        column = wires.node("Max", column, wires.number(knots[0]))
        column = wires.node("Min", column, wires.number(knots[-1]))
    inner = knots[1:-1] if len(knots) > 2 else np.array([np.inf])  # noqa: PLR2004
    passed = wires.node("GreaterOrEqual", column, wires.number(inner[None]))
    place = wires.row_sums(wires.cast(passed, INT64))
    flat = wires.node("Reshape", place, wires.axis(-1))
    rise = wires.node("Sub", column, wires.node("Gather", wires.number(knots[:-1]), place))
    value = ""
    for power in coefficients:
        term = wires.node("Gather", wires.number(power), flat, axis=0)
        value = wires.node("Add", wires.node("Mul", value, rise), term) if value else term
    return value
