"""Estimators that compare a row with known ones by a kernel, or map it to random features."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_runtime.contract.tensors import Array
from packager.sources.sklearn.converters_linear import write_affine
from packager.sources.sklearn.exact import ExactWires

# What scikit-learn takes where nothing is said.
_DEGREE, _COEF0 = 3, 1.0
_INTERVALS = {1: 0.8, 2: 0.5, 3: 0.4}


def write_kernel_ridge(scope: Any, operator: Any, container: Any) -> None:
    """Write kernel ridge regression: kernel values times dual coefficients."""
    wires = ExactWires(scope, operator, container)
    model = wires.model
    dual = np.asarray(model.dual_coef_).reshape(len(model.X_fit_), -1)
    known = np.asarray(model.X_fit_, dtype=np.float64)
    if model.kernel == "linear":  # the sum over the known rows is one matrix
        wires.answer(wires.node("MatMul", wires.matrix(), wires.number(known.T @ dual)))
        return
    values = _kernel(wires, known, model)
    wires.answer(wires.node("MatMul", values, wires.number(dual)))


def write_kernel_pca(scope: Any, operator: Any, container: Any) -> None:
    """Write kernel values, centred as they were when fitted, along the components."""
    if operator.raw_operator.kernel == "linear":
        write_affine(scope, operator, container)
        return
    wires = ExactWires(scope, operator, container)
    model = wires.model
    values = _kernel(wires, np.asarray(model.X_fit_, dtype=np.float64), model)
    centre = model._centerer
    mean = wires.scaled(wires.row_sums(values), 1 / len(centre.K_fit_rows_))
    values = wires.node("Sub", values, wires.number(centre.K_fit_rows_[None]))
    values = wires.node("Sub", values, mean)
    values = wires.node("Add", values, wires.number(centre.K_fit_all_))
    used = model.eigenvalues_ > 0
    scale = np.zeros_like(model.eigenvectors_)
    scale[:, used] = model.eigenvectors_[:, used] / np.sqrt(model.eigenvalues_[used])
    wires.answer(wires.node("MatMul", values, wires.number(scale)))


def write_nystroem(scope: Any, operator: Any, container: Any) -> None:
    """Write the Nyström map: kernel values with its basis rows, normalised."""
    wires = ExactWires(scope, operator, container)
    model = wires.model
    values = _kernel(wires, np.asarray(model.components_, dtype=np.float64), model)
    wires.answer(wires.node("MatMul", values, wires.number(model.normalization_.T)))


def write_label_propagation(scope: Any, operator: Any, container: Any) -> None:
    """Write semi-supervised classes: the known rows' shares, weighed by the RBF kernel."""
    wires = ExactWires(scope, operator, container)
    model = wires.model
    squares = wires.squared_distances(wires.matrix(), np.asarray(model.X_, dtype=np.float64))
    weights = wires.node("Exp", wires.scaled(squares, -model.gamma))
    votes = wires.node("MatMul", weights, wires.number(model.label_distributions_))
    shares = wires.node("Div", votes, wires.row_sums(votes))
    wires.labels(wires.best(shares), np.asarray(model.classes_), wires.output(0))
    wires.answer(shares, 1)


def _kernel(wires: ExactWires, known: Array, model: Any) -> str:
    """Return the kernel of every row with every known one."""
    matrix = wires.matrix()
    told = getattr(model, "gamma_", model.gamma)
    gamma = 1 / known.shape[1] if told is None else told
    if model.kernel == "rbf":
        squares = wires.squared_distances(matrix, known)
        return wires.node("Exp", wires.scaled(squares, -gamma))
    product = wires.node("MatMul", matrix, wires.number(known.T))
    if model.kernel == "linear":
        return product
    coef0 = _COEF0 if model.coef0 is None else model.coef0
    inner = wires.node("Add", wires.scaled(product, gamma), wires.number(coef0))
    if model.kernel in ("poly", "polynomial"):
        degree = _DEGREE if model.degree is None else model.degree
        return wires.node("Pow", inner, wires.number(degree))
    return wires.node("Tanh", inner)


def write_random_features(scope: Any, operator: Any, container: Any) -> None:
    """Write ``sqrt(2/n) cos(x @ W + offset)``, for the skewed chi² kernel of logarithms."""
    wires = ExactWires(scope, operator, container)
    model = wires.model
    matrix = wires.matrix()
    if hasattr(model, "skewedness"):
        matrix = wires.node("Log", wires.node("Add", matrix, wires.number(model.skewedness)))
    angle = wires.affine(matrix, model.random_weights_, model.random_offset_)
    wave = wires.periodic("Cos", angle)
    wires.answer(wires.scaled(wave, np.sqrt(2 / len(model.random_offset_))))


def write_additive_chi2(scope: Any, operator: Any, container: Any) -> None:
    """Write the additive chi² map: A. Vedaldi and A. Zisserman, PAMI 2011."""
    wires = ExactWires(scope, operator, container)
    model = wires.model
    interval = model.sample_interval or _INTERVALS[model.sample_steps]
    matrix = wires.matrix()
    zero = wires.number(0.0)
    some = wires.node("Greater", matrix, zero)
    safe = wires.node("Where", some, matrix, wires.number(1.0))
    blocks = [wires.node("Sqrt", wires.scaled(safe, interval))]
    logs = wires.scaled(wires.node("Log", safe), interval)
    for step in range(1, model.sample_steps):
        squared = wires.scaled(safe, 2 * interval / np.cosh(np.pi * step * interval))
        factor = wires.node("Sqrt", squared)
        angle = wires.scaled(logs, step)
        blocks += [
            wires.node("Mul", factor, wires.periodic(kind, angle)) for kind in ("Cos", "Sin")
        ]
    blocks = [wires.node("Where", some, block, zero) for block in blocks]
    wires.answer(wires.node("Concat", *blocks, axis=1))


def write_machine(scope: Any, operator: Any, container: Any) -> None:
    """Write what a restricted Boltzmann machine's hidden units answer."""
    wires = ExactWires(scope, operator, container)
    model = wires.model
    inner = wires.affine(wires.matrix(), model.components_.T, model.intercept_hidden_)
    wires.answer(wires.node("Sigmoid", inner))


def write_sketch(scope: Any, operator: Any, container: Any) -> None:
    """Write a polynomial kernel's sketch: a circular convolution of count sketches.

    N. Pham and R. Pagh, KDD 2013. The discrete Fourier transforms are matrices.
    """
    wires = ExactWires(scope, operator, container)
    model = wires.model
    size = model.n_components
    turns = 2 * np.pi * (np.outer(np.arange(size), np.arange(size)) % size) / size
    cosine, sine = np.cos(turns), np.sin(turns)
    hashes, signs = np.asarray(model.indexHash_), np.asarray(model.bitHash_)
    features = model.n_features_in_
    matrix = wires.scaled(wires.matrix(), np.sqrt(model.gamma))
    real, imaginary = "", ""
    for places, bits in zip(hashes, signs, strict=True):
        spread = np.zeros((len(places), size))
        spread[np.arange(len(places)), places] = bits
        shift = np.sqrt(model.coef0) * spread[features:].sum(axis=0)
        sketch = wires.affine(matrix, spread[:features], shift)
        left = wires.node("MatMul", sketch, wires.number(cosine))
        right = wires.node("MatMul", sketch, wires.number(-sine))
        if not real:
            real, imaginary = left, right
            continue
        real, imaginary = (
            wires.node(
                "Sub", wires.node("Mul", real, left), wires.node("Mul", imaginary, right)
            ),
            wires.node(
                "Add", wires.node("Mul", real, right), wires.node("Mul", imaginary, left)
            ),
        )
    back = wires.node("MatMul", real, wires.number(cosine / size))
    turned = wires.node("MatMul", imaginary, wires.number(sine / size))
    wires.answer(wires.node("Sub", back, turned))
