"""Tensors as the contract sees them: declared specs, checked feeds, comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_runtime.contract.errors import InputDtype, InputName, InputShape

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = dict[str, Array]

# The element types a graph may take or give, by the name that manifests use.
# "string" is numpy's <U on disk and object in memory, because the engine takes only that.
DTYPES: dict[str, np.dtype[Any]] = {
    "float16": np.dtype(np.float16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "int8": np.dtype(np.int8),
    "int16": np.dtype(np.int16),
    "int32": np.dtype(np.int32),
    "int64": np.dtype(np.int64),
    "uint8": np.dtype(np.uint8),
    "uint16": np.dtype(np.uint16),
    "uint32": np.dtype(np.uint32),
    "uint64": np.dtype(np.uint64),
    "bool": np.dtype(np.bool_),
    "string": np.dtype(object),
}

# Kinds of values that a list may hold, by the kind of the input.
_CONVERTIBLE = {"f": "iuf", "i": "iu", "u": "iu", "b": "b"}


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph.

    Attributes:
        name: the graph's own name.
        dtype: a key of ``DTYPES``.
        shape: one entry an axis; None where any length fits (the batch).
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def text(self) -> str:
        """Return the spec as errors show it, for example ``float32[?, 30]``."""
        axes = ", ".join("?" if axis is None else str(axis) for axis in self.shape)
        return f"{self.dtype}[{axes}]"


@dataclass(frozen=True)
class Tolerance:
    """How far an answer may stand from the expected one: ``|a - e| <= atol + rtol * |e|``."""

    rtol: float
    atol: float


def dtype_name(array: Array) -> str:
    """Return the manifest's name of an array's element type; text of any kind is ``string``."""
    if array.dtype.kind in "UO":
        return "string"
    return array.dtype.name


def check_feed(specs: Sequence[TensorSpec], feed: Mapping[str, Any]) -> Arrays:
    """Check a feed against the graph's inputs and return it as arrays the engine takes.

    Lists and scalars are converted where nothing of their values is lost but a float's last
    digits; arrays must have the declared dtype, because a silent conversion would hide a
    mistake. A 1-D array is accepted for a ``[?, 1]`` input.

    Raises:
        InputName: when an input is missing or unknown.
        InputDtype: when an array has another element type.
        InputShape: when an array has another shape, or batches differ.
    """
    wanted = {spec.name for spec in specs}
    if wanted != feed.keys():
        raise _wrong_names(wanted, set(feed))
    arrays = {spec.name: _conform(spec, feed[spec.name]) for spec in specs}
    _check_batch(specs, arrays)
    return arrays


def _wrong_names(wanted: set[str], found: set[str]) -> InputName:
    missing, unknown = sorted(wanted - found), sorted(map(str, found - wanted))
    parts = [f"missing {', '.join(missing)}"] if missing else []
    parts += [f"unknown {', '.join(unknown)}"] if unknown else []
    return InputName(
        f"the model takes {', '.join(sorted(wanted))}; {' and '.join(parts)}",
        hint="Name every input once, by the graph's names or by the column names, not mixed.",
        expected=sorted(wanted),
        found=sorted(map(str, found)),
    )


def _conform(spec: TensorSpec, value: Any) -> Array:
    if isinstance(value, np.ndarray):
        array = value
        if dtype_name(array) != spec.dtype:
            raise InputDtype(
                f"input {spec.name!r} takes {spec.text()}, found dtype {dtype_name(array)}",
                hint=f"Convert it first, for example with .astype({spec.dtype!r}).",
                input=spec.name,
                expected=spec.dtype,
                found=dtype_name(array),
            )
        array = plain(array)
    else:
        array = _from_list(spec, value)
    if spec.dtype == "string":
        _check_texts(spec, array)
    if array.ndim == 1 and spec.shape[1:] == (1,):
        array = array.reshape(-1, 1)
    _check_shape(spec, array)
    return array


def plain(array: Array) -> Array:
    """Return an array in the form that the engine takes without a second look."""
    if array.dtype.kind == "U":
        return array.astype(object)
    # The engine reads the bytes of a foreign byte order as if they were its own.
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _from_list(spec: TensorSpec, value: Any) -> Array:
    wanted = DTYPES[spec.dtype]
    try:
        if wanted.kind == "O":
            return np.asarray(value, dtype=object)
        found = np.asarray(value)
        if found.size and found.dtype.kind not in _CONVERTIBLE[wanted.kind]:
            raise _unconvertible(spec, value, f"its values are {found.dtype}")
        with np.errstate(over="raise"):
            array = found.astype(wanted)
    except (ValueError, TypeError, OverflowError, FloatingPointError) as error:
        raise _unconvertible(spec, value, str(error)) from None
    if wanted.kind != "f" and not np.array_equal(array, found):
        raise _unconvertible(spec, value, "its values are out of range")
    return array


def _unconvertible(spec: TensorSpec, value: Any, reason: str) -> InputDtype:
    return InputDtype(
        f"input {spec.name!r} takes {spec.text()}, found a {type(value).__name__} "
        f"that does not convert: {reason}",
        hint="Hand over numbers or text of one shape.",
        input=spec.name,
        expected=spec.text(),
        found=type(value).__name__,
    )


def _check_texts(spec: TensorSpec, array: Array) -> None:
    """Refuse None and numbers among text: the engine would read them as "None" and "1.5"."""
    others = sorted({type(item).__name__ for item in array.flat if not isinstance(item, str)})
    if others:
        raise InputDtype(
            f"input {spec.name!r} takes text, found {', '.join(others)} among it",
            hint='Convert every value to text; a missing one is "" where the model allows it.',
            input=spec.name,
            expected=["str"],
            found=others,
        )


def _check_shape(spec: TensorSpec, array: Array) -> None:
    fits = len(array.shape) == len(spec.shape) and all(
        axis is None or axis == found
        for axis, found in zip(spec.shape, array.shape, strict=True)
    )
    if not fits:
        raise InputShape(
            f"input {spec.name!r} takes {spec.text()}, found shape {list(array.shape)}",
            hint="Give one row per sample and one value per feature.",
            input=spec.name,
            expected=[axis if axis is not None else "?" for axis in spec.shape],
            found=list(array.shape),
        )


def _check_batch(specs: Sequence[TensorSpec], arrays: Arrays) -> None:
    batches = {
        spec.name: arrays[spec.name].shape[0]
        for spec in specs
        if spec.shape and spec.shape[0] is None
    }
    if len(set(batches.values())) > 1:
        raise InputShape(
            f"the inputs differ in their number of rows: {batches}",
            hint="Give every input the same number of rows.",
            expected="one batch length",
            found=batches,
        )


@dataclass(frozen=True)
class Difference:
    """The worst disagreement of one output.

    Attributes:
        output: the output's name.
        row: the row it stands in (0-based), or None when shapes or dtypes differ.
        expected: the expected value, or shape and dtype.
        actual: what was found instead.
        disagreeing: how many values are past the tolerance.
        total: how many values were compared.
    """

    output: str
    row: int | None
    expected: str
    actual: str
    disagreeing: int
    total: int


def compare(
    output: str, expected: Array, actual: Array, tolerance: Tolerance
) -> Difference | None:
    """Compare one output with what was expected; None when it holds.

    Text and integers must be equal; floats must stand within the tolerance; NaN equals NaN.
    """
    if expected.shape != actual.shape or dtype_name(expected) != dtype_name(actual):
        return Difference(
            output,
            None,
            f"{dtype_name(expected)}{list(expected.shape)}",
            f"{dtype_name(actual)}{list(actual.shape)}",
            expected.size,
            expected.size,
        )
    if expected.dtype.kind == "f":
        left, right = actual.astype(np.float64), expected.astype(np.float64)
        wrong = ~np.isclose(
            left, right, rtol=tolerance.rtol, atol=tolerance.atol, equal_nan=True
        )
        with np.errstate(invalid="ignore"):  # equal infinities
            distance = np.abs(left - right)
    else:
        wrong = np.asarray(actual != expected, dtype=bool)
        distance = wrong.astype(np.float64)
    if not wrong.any():
        return None
    ranked = np.where(wrong, np.nan_to_num(distance, nan=np.inf, posinf=np.inf), -1.0)
    worst = np.unravel_index(int(ranked.argmax()), ranked.shape)
    return Difference(
        output,
        int(worst[0]) if worst else 0,
        str(expected[worst]),
        str(actual[worst]),
        int(wrong.sum()),
        expected.size,
    )
