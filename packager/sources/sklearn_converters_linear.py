"""Estimators whose answer is a linear function of the row, or some of its columns."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from edge_runtime.contract.tensors import Array
from packager.errors import ConversionFailed
from packager.sources.sklearn_exact import ExactWires
from packager.sources.sklearn_wires import INT64, Wires

_CHECKS = 16
_CLOSE = 1e-7


def write_affine(scope: Any, operator: Any, container: Any) -> None:
    """Write ``(x - centre) @ weights + base``, read off the estimator's own answers."""
    wires = ExactWires(scope, operator, container)
    centre, weights, base = affine_form(wires.model)
    moved = wires.node("Sub", wires.matrix(), wires.number(centre[None]))
    wires.answer(wires.affine(moved, weights, base))


def affine_form(model: Any) -> tuple[Array, Array, Array]:
    """Return the centre, the weights and the answer at the centre of a linear estimator.

    The weights are what the answer gains with one step along each column; that it is linear
    everywhere is checked on other rows.

    Raises:
        ConversionFailed: when it is not linear.
    """
    centre = _centre(model)
    base = _answers(model, centre[None])
    weights = _answers(model, centre + np.eye(len(centre))) - base
    steps = np.random.default_rng(0).normal(size=(_CHECKS, len(centre))) * 10
    told, found = _answers(model, centre + steps), steps @ weights + base
    if not np.allclose(told, found, rtol=_CLOSE, atol=_CLOSE * float(np.abs(told).max())):
        raise ConversionFailed(
            f"this {type(model).__name__} must be linear in its columns, and is not: what it "
            "is made of decides",
            hint="Make it of linear parts, or export the model to ONNX yourself.",
            expected="a linear function",
            found=type(model).__name__,
        )
    return centre, weights, base


def _centre(model: Any) -> Array:
    """Return where the rows lie, as far as the estimator tells; there rounding is least."""
    for name in ("mean_", "_x_mean"):
        mean = getattr(model, name, None)
        if mean is not None:
            return np.asarray(mean, dtype=np.float64)
    return np.zeros(model.n_features_in_)


def _answers(model: Any, rows: Array) -> Array:
    answer = getattr(model, "predict", None) or model.transform
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the rows have no names of columns
        found = answer(rows)
    dense = found.toarray() if hasattr(found, "toarray") else np.asarray(found)
    return np.asarray(dense.reshape(len(rows), -1), dtype=np.float64)


def write_selection(scope: Any, operator: Any, container: Any) -> None:
    """Take the columns that a selector keeps.

    Raises:
        ConversionFailed: when it keeps none.
    """
    wires = Wires(scope, operator, container)
    kept = wires.model.get_support(indices=True)
    if not len(kept):
        raise ConversionFailed(
            f"the {type(wires.model).__name__} must keep a column, it keeps none",
            hint="Let it select at least one column, and fit the model again.",
            expected="at least one column",
            found=0,
        )
    names = [value.full_name for value in operator.inputs]
    matrix = names[0] if len(names) == 1 else wires.node("Concat", *names, axis=1)
    kept = wires.number(kept, INT64)
    wires.node("Gather", matrix, kept, out=wires.output(0), axis=1)
