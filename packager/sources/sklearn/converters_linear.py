"""Estimators whose answer is a linear function of the row, or some of its columns."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.cluster import FeatureAgglomeration
from sklearn.cross_decomposition import CCA, PLSSVD, PLSCanonical, PLSRegression
from sklearn.decomposition import FactorAnalysis, FastICA, MiniBatchSparsePCA, SparsePCA
from sklearn.multioutput import RegressorChain
from sklearn.random_projection import SparseRandomProjection

from edge_runtime.contract.tensors import Array
from packager.sources.sklearn.exact import ExactWires
from packager.sources.sklearn.wires import INT64, Wires

# Whose answers are linear, as long as what they are made of is.
AFFINE = (
    CCA,
    FactorAnalysis,
    FastICA,
    FeatureAgglomeration,
    MiniBatchSparsePCA,
    PLSCanonical,
    PLSRegression,
    PLSSVD,
    RegressorChain,
    SparsePCA,
    SparseRandomProjection,
)
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

    The weights are what the answer gains with one step along each column.
    """
    centre = _centre(model)
    base = _answers(model, centre[None])
    weights = _answers(model, centre + np.eye(len(centre))) - base
    return centre, weights, base


def is_linear(model: Any) -> bool:
    """Tell whether an estimator's linear form holds on rows elsewhere."""
    centre, weights, base = affine_form(model)
    steps = np.random.default_rng(0).normal(size=(_CHECKS, len(centre))) * 10
    told, found = _answers(model, centre + steps), steps @ weights + base
    close = _CLOSE * float(np.abs(told).max())
    return bool(np.allclose(told, found, rtol=_CLOSE, atol=close))


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
    """Take the columns that a selector keeps."""
    wires = Wires(scope, operator, container)
    kept = wires.model.get_support(indices=True)
    names = [value.full_name for value in operator.inputs]
    matrix = names[0] if len(names) == 1 else wires.node("Concat", *names, axis=1)
    kept = wires.number(kept, INT64)
    wires.node("Gather", matrix, kept, out=wires.output(0), axis=1)
