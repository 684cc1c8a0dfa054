"""Estimators that look at the known rows nearest to a row, or within a radius of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_runtime.contract.tensors import Array
from packager.sources.sklearn.exact import ExactWires

# scikit-learn's trees take models of at most so many columns; wider ones it multiplies out.
_FEW_COLUMNS = 15


def write_nearest(scope: Any, operator: Any, container: Any) -> None:
    """Write a row of the graph of neighbours: distances or ones at the nearest known rows."""
    wires = ExactWires(scope, operator, container)
    model = wires.model
    squares = _squares(wires)
    count = wires.axis(model.n_neighbors + (model.mode == "distance"))
    nearest = wires.second("TopK", squares, count, largest=0, sorted=1, axis=1)
    near = wires.node("GatherElements", squares, nearest, axis=1)
    values = wires.node("Sqrt", near) if model.mode == "distance" else _ones(wires, near)
    nothing = wires.scaled(squares, 0.0)
    wires.answer(wires.node("ScatterElements", nothing, nearest, values, axis=1))


def write_within(scope: Any, operator: Any, container: Any) -> None:
    """Write a row of the graph of neighbours: distances or ones within the radius."""
    wires = ExactWires(scope, operator, container)
    squares = _squares(wires)
    inside = wires.node("LessOrEqual", squares, wires.number(wires.model.radius**2))
    values = _ones(wires, squares)
    if wires.model.mode == "distance":
        values = wires.node("Sqrt", squares)
    wires.answer(wires.node("Where", inside, values, wires.number(0.0)))


def write_mean_within(scope: Any, operator: Any, container: Any) -> None:
    """Write the mean of the known rows within the radius; NaN where there is none."""
    wires = ExactWires(scope, operator, container)
    known = np.asarray(wires.model._y, dtype=np.float64)
    weights = _weights(wires)
    total = wires.node("MatMul", weights, wires.number(known.reshape(len(known), -1)))
    wires.answer(wires.node("Div", total, wires.row_sums(weights)))


def write_votes_within(scope: Any, operator: Any, container: Any) -> None:
    """Write the vote of the known rows within the radius."""
    wires = ExactWires(scope, operator, container)
    model = wires.model
    classes = np.asarray(model.classes_)
    outlier = np.ravel(model.outlier_label_)[0]
    marks = np.eye(len(classes))
    votes = wires.node("MatMul", _weights(wires), wires.number(marks[np.asarray(model._y)]))
    total = wires.row_sums(votes)
    nobody = wires.node("Equal", total, wires.number(0.0))
    alone = marks[classes.tolist().index(outlier)][None]
    shares = wires.node("Where", nobody, wires.number(alone), wires.node("Div", votes, total))
    wires.labels(wires.best(shares), classes, wires.output(0))
    wires.answer(shares, 1)


def _weights(wires: ExactWires) -> str:
    """Return what each row within the radius counts: 1, or the inverse of its distance."""
    model = wires.model
    squares = _squares(wires)
    zero, one = wires.number(0.0), wires.number(1.0)
    inside = wires.node("LessOrEqual", squares, wires.number(model.radius**2))
    if model.weights == "uniform":
        return wires.node("Where", inside, one, zero)
    distances = wires.node("Sqrt", squares)
    same = wires.node("Equal", distances, zero)
    inverse = wires.node("Div", one, wires.node("Where", same, one, distances))
    weights = wires.node("Where", inside, inverse, zero)
    alike = wires.node("Where", same, one, zero)
    any_alike = wires.node("Greater", wires.row_sums(alike), zero)
    return wires.node("Where", any_alike, alike, weights)


def _squares(wires: ExactWires) -> str:
    """Return the squared distances, added up column by column as scikit-learn's trees do.

    A known row on the edge of a radius is then on the same side of it.
    """
    model = wires.model
    matrix, known = wires.matrix(), _known(model)
    if known.shape[1] > _FEW_COLUMNS:
        return wires.squared_distances(matrix, known)
    total = ""
    for index, values in enumerate(known.T):
        column = wires.columns(matrix, [index])
        apart = wires.node("Sub", column, wires.number(values[None]))
        square = wires.node("Mul", apart, apart)
        total = wires.node("Add", total, square) if total else square
    return total


def _known(model: Any) -> Array:
    rows = model._fit_X
    return np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows, dtype=np.float64)


def _ones(wires: ExactWires, like: str) -> str:
    return wires.node("Add", wires.scaled(like, 0.0), wires.number(1.0))
