"""The inverses of what a regression's target went through, as nodes in float64.

Formulas: the ``inverse_transform`` of each class in scikit-learn's documentation; for
Yeo and Johnson's and Box and Cox's power transforms see doi:10.1093/biomet/87.4.954.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from onnx import TensorProto
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from packager.errors import ConversionFailed

if TYPE_CHECKING:
    from packager.sources.sklearn.wires import Wires

Form: TypeAlias = "Callable[[Wires, str], str]"
TransformerForm: TypeAlias = "Callable[[Wires, Any, str], str]"

DOUBLE = TensorProto.DOUBLE

_BOUND = 1e-7  # how near 0 and 1 a quantile counts as the outermost, in QuantileTransformer
_EPSILON = float(np.spacing(1.0))  # what PowerTransformer takes for an exponent of 0


def function_form(function: Any) -> Form | None:
    """Return how a numpy function is written, or None where it has no form."""
    return _FUNCTIONS.get(function) if _hashable(function) else None


def invertible(transformer: Any) -> bool:
    """Tell whether what a fitted transformer undoes can be written."""
    if isinstance(transformer, Pipeline):
        return all(invertible(step) for _, step in transformer.steps)
    if isinstance(transformer, FunctionTransformer):
        plain = not transformer.inv_kw_args
        return plain and function_form(transformer.inverse_func) is not None
    return transformer in (None, "passthrough") or type(transformer) in _TRANSFORMERS


def write_inverse(wires: Wires, transformer: Any, value: str) -> str:
    """Write what undoes a fitted transformer.

    Args:
        wires: where to.
        transformer: fitted on the targets.
        value: transformed targets, ``[rows, targets]`` of float64.

    Returns:
        The targets, of the same shape and type.

    Raises:
        ConversionFailed: when it has no form.
    """
    if not invertible(transformer):
        raise ConversionFailed(
            f"the inverse of the target's {type(transformer).__name__} must have a form in "
            "ONNX, it has none",
            hint="Use a numpy function such as expm1, or a scaler of scikit-learn, as inverse.",
            expected="a known inverse",
            found=str(getattr(transformer, "inverse_func", type(transformer).__name__)),
        )
    if isinstance(transformer, Pipeline):
        for _, step in reversed(transformer.steps):
            value = write_inverse(wires, step, value)
        return value
    if isinstance(transformer, FunctionTransformer):
        return _FUNCTIONS[transformer.inverse_func](wires, value)
    form = _TRANSFORMERS.get(type(transformer))
    return form(wires, transformer, value) if form else value


def _hashable(function: Any) -> bool:
    return getattr(function, "__hash__", None) is not None


def _exact(wires: Wires, value: Any) -> str:
    """Write float64 constants, one a target."""
    return wires.number(np.atleast_2d(value), DOUBLE)


def _unary(kind: str) -> Form:
    return lambda wires, value: wires.node(kind, value)


def _plus(kind: str, before: float, after: float) -> Form:
    """Add before and after an operator."""

    def form(wires: Wires, value: str) -> str:
        given = wires.node("Add", value, _exact(wires, before)) if before else value
        out = wires.node(kind, given)
        return wires.node("Add", out, _exact(wires, after)) if after else out

    return form


def _logarithm(base: float) -> Form:
    return lambda wires, value: wires.node(
        "Div", wires.node("Log", value), _exact(wires, np.log(base))
    )


def _power_of(base: float) -> Form:
    return lambda wires, value: wires.node("Pow", _exact(wires, base), value)


def _cube_root(wires: Wires, value: str) -> str:
    root = wires.node("Pow", wires.node("Abs", value), _exact(wires, 1 / 3))
    return wires.node("Mul", wires.node("Sign", value), root)


_FUNCTIONS: Mapping[Any, Form] = {
    None: lambda _, value: value,
    np.abs: _unary("Abs"),
    np.cbrt: _cube_root,
    np.exp: _unary("Exp"),
    np.exp2: _power_of(2.0),
    np.expm1: _plus("Exp", 0.0, -1.0),
    np.log: _unary("Log"),
    np.log10: _logarithm(10.0),
    np.log1p: _plus("Log", 1.0, 0.0),
    np.log2: _logarithm(2.0),
    np.negative: _unary("Neg"),
    np.reciprocal: _unary("Reciprocal"),
    np.sqrt: _unary("Sqrt"),
    np.square: lambda wires, value: wires.node("Mul", value, value),
}


def _scaled(wires: Wires, value: str, scale: Any, shift: Any) -> str:
    """Multiply, then add; either may be None."""
    if scale is not None:
        value = wires.node("Mul", value, _exact(wires, scale))
    return value if shift is None else wires.node("Add", value, _exact(wires, shift))


def _standard(wires: Wires, model: StandardScaler, value: str) -> str:
    return _scaled(wires, value, model.scale_, model.mean_ if model.with_mean else None)


def _robust(wires: Wires, model: RobustScaler, value: str) -> str:
    scale = model.scale_ if model.with_scaling else None
    return _scaled(wires, value, scale, model.center_ if model.with_centering else None)


def _largest(wires: Wires, model: MaxAbsScaler, value: str) -> str:
    return _scaled(wires, value, model.scale_, None)


def _range(wires: Wires, model: MinMaxScaler, value: str) -> str:
    moved = wires.node("Sub", value, _exact(wires, model.min_))
    return wires.node("Div", moved, _exact(wires, model.scale_))


def _power(wires: Wires, model: PowerTransformer, value: str) -> str:
    if model.standardize:
        value = _standard(wires, model._scaler, value)
    undo = _box_cox if model.method == "box-cox" else _yeo_johnson
    columns = [
        undo(wires, wires.columns(value, [number]), float(exponent))
        for number, exponent in enumerate(model.lambdas_)
    ]
    return columns[0] if len(columns) == 1 else wires.node("Concat", *columns, axis=1)


def _root(wires: Wires, value: str, factor: float) -> str:
    """Write ``(factor * value + 1) ** (1 / factor)``."""
    base = _scaled(wires, value, factor, 1.0)
    return wires.node("Pow", base, _exact(wires, 1 / factor))


def _box_cox(wires: Wires, value: str, exponent: float) -> str:
    return wires.node("Exp", value) if exponent == 0 else _root(wires, value, exponent)


def _yeo_johnson(wires: Wires, value: str, exponent: float) -> str:
    near_zero, near_two = abs(exponent) < _EPSILON, abs(exponent - 2) <= _EPSILON
    high = wires.node("Exp", value) if near_zero else _root(wires, value, exponent)
    opposite = wires.node("Neg", value)
    low = wires.node("Exp", opposite) if near_two else _root(wires, opposite, 2 - exponent)
    one = _exact(wires, 1.0)
    above = wires.node("GreaterOrEqual", value, _exact(wires, 0.0))
    return wires.node("Where", above, wires.node("Sub", high, one), wires.node("Sub", one, low))


def _quantile(wires: Wires, model: QuantileTransformer, value: str) -> str:
    normal = model.output_distribution == "normal"
    columns = [
        _quantile_column(wires, model, wires.columns(value, [number]), number, normal)
        for number in range(model.quantiles_.shape[1])
    ]
    return columns[0] if len(columns) == 1 else wires.node("Concat", *columns, axis=1)


def _quantile_column(
    wires: Wires, model: QuantileTransformer, value: str, number: int, normal: bool
) -> str:
    known = model.quantiles_[:, number]
    if not normal:
        return wires.interpolated(value, model.references_, known)
    value = wires.normal_share(value)
    read = wires.interpolated(value, model.references_, known)
    high = wires.node("Greater", value, _exact(wires, 1 - _BOUND))
    low = wires.node("Less", value, _exact(wires, _BOUND))
    read = wires.node("Where", high, _exact(wires, known[-1]), read)
    return wires.node("Where", low, _exact(wires, known[0]), read)


_TRANSFORMERS: Mapping[type, TransformerForm] = {
    StandardScaler: _standard,
    RobustScaler: _robust,
    MaxAbsScaler: _largest,
    MinMaxScaler: _range,
    PowerTransformer: _power,
    QuantileTransformer: _quantile,
}
