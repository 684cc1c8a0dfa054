"""Missing values that a model of the other columns fills, column by column."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_runtime.contract.tensors import Array
from packager.sources.sklearn.exact import ExactWires


def write_imputations(scope: Any, operator: Any, container: Any) -> None:
    """Write the rounds of an IterativeImputer whose models are linear."""
    wires = ExactWires(scope, operator, container)
    model = wires.model
    matrix = wires.matrix()
    start = np.asarray(model.initial_imputer_.statistics_, dtype=np.float64)
    kept = np.flatnonzero(~np.isnan(start))
    if len(kept) < len(start) and not model.keep_empty_features:
        matrix = wires.columns(matrix, kept.tolist())
        start = start[kept]
    absent = wires.node("IsNaN", matrix)
    filled = wires.node("Where", absent, wires.number(np.nan_to_num(start)[None]), matrix)
    for step in model.imputation_sequence_:
        filled = _round(wires, model, step, filled, absent)
    if model.indicator_ is not None:
        given = wires.cast(wires.node("IsNaN", wires.matrix()), wires.floats)
        marks = wires.columns(given, model.indicator_.features_.tolist())
        filled = wires.node("Concat", filled, marks, axis=1)
    wires.answer(filled)


def _round(wires: ExactWires, model: Any, step: Any, filled: str, absent: str) -> str:
    """Fill one column where it is missing."""
    width = len(np.ravel(model._min_value))
    chosen = np.zeros((1, width))
    chosen[0, step.feat_idx] = 1
    value = wires.affine(filled, _weights(step, width), step.estimator.intercept_)
    low, high = (
        np.ravel(bound)[step.feat_idx] for bound in (model._min_value, model._max_value)
    )
    value = wires.node("Max", value, wires.number(low))
    value = wires.node("Min", value, wires.number(high))
    here = wires.node("And", absent, wires.flags(chosen == 1))
    return wires.node("Where", here, value, filled)


def _weights(step: Any, width: int) -> Array:
    weights = np.zeros((width, 1))
    weights[step.neighbor_feat_idx, 0] = np.ravel(step.estimator.coef_)
    return weights


def write_nearest_means(scope: Any, operator: Any, container: Any) -> None:
    """Write a KNNImputer: the mean of the nearest known rows that have a value.

    Distances are over the columns that both rows have, scaled up to all of them (J. Dixon,
    IEEE Transactions on Systems, Man, and Cybernetics 1979).
    """
    wires = ExactWires(scope, operator, container)
    model = wires.model
    known = np.asarray(model._fit_X, dtype=np.float64)
    matrix = wires.matrix()
    absent = wires.node("IsNaN", matrix)
    far = _distances(wires, matrix, absent, known)
    columns = []
    for index in np.flatnonzero(model._valid_mask).tolist():
        column = wires.columns(matrix, [index])
        mean = _nearest_mean(wires, far, known[:, index], model.n_neighbors)
        columns.append(wires.node("Where", wires.node("IsNaN", column), mean, column))
    if model.indicator_ is not None:
        given = wires.cast(absent, wires.floats)
        columns.append(wires.columns(given, model.indicator_.features_.tolist()))
    wires.answer(wires.node("Concat", *columns, axis=1))


def _distances(wires: ExactWires, matrix: str, absent: str, known: Array) -> str:
    """Return squared distances; infinite where two rows have no column in common."""
    there = ~np.isnan(known)
    with np.errstate(invalid="ignore"):
        centre = np.nan_to_num(np.nanmean(np.where(there.any(axis=0), known, 0), axis=0))
    near = np.where(there, known - centre, 0)
    moved = wires.node("Sub", matrix, wires.number(centre[None]))
    moved = wires.node("Where", absent, wires.number(0.0), moved)
    present = wires.cast(wires.node("Not", absent), wires.floats)
    own = wires.node("MatMul", wires.node("Mul", moved, moved), wires.number(there.T))
    cross = wires.node("MatMul", moved, wires.number(-2 * near.T))
    other = wires.node("MatMul", present, wires.number((near**2).T))
    total = wires.node("Max", wires.node("Sum", own, cross, other), wires.number(0.0))
    common = wires.node("MatMul", present, wires.number(there.T))
    nothing = wires.node("Equal", common, wires.number(0.0))
    scale = wires.node("Div", wires.number(float(known.shape[1])), common)
    scaled = wires.node("Mul", total, scale)
    return wires.node("Where", nothing, wires.number(np.inf), scaled)


def _nearest_mean(wires: ExactWires, far: str, values: Array, neighbours: int) -> str:
    """Return the mean of a column over the nearest rows that have it, or over all."""
    donors = np.flatnonzero(~np.isnan(values))
    own = values[donors]
    distances = wires.columns(far, donors.tolist())
    count = wires.axis(min(neighbours, len(donors)))
    nearest = wires.second("TopK", distances, count, largest=0, sorted=1, axis=1)
    apart = wires.node("GatherElements", distances, nearest, axis=1)
    comparable = wires.node("Less", apart, wires.number(np.inf))
    weights = wires.cast(comparable, wires.floats)
    taken = wires.node("Mul", wires.node("Gather", wires.number(own), nearest), weights)
    total = wires.row_sums(weights)
    mean = wires.node("Div", wires.row_sums(taken), total)
    alone = wires.node("Equal", total, wires.number(0.0))
    return wires.node("Where", alone, wires.number(own.mean()), mean)
