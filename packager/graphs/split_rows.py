"""Rows at the splits of trees: what leads a row to one, and the values on either side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edge_runtime.contract.table import Column
from edge_runtime.contract.tensors import Array
from packager.graphs.tree_splits import Bounds, Split

# Never so large that a value's square leaves float32, nor that whole numbers leave an int64.
FAREST = 1e18
INT_FAREST = 1 << 52
# How far a row keeps from thresholds that it only passes, as a share of their size.
CLEAR = 1e-3


class Ways:
    """Tells what to change in rows so that they come to splits.

    Args:
        columns: the graph's columns.
        base: rows to change, by column name; they are counted round and round.
        others: by column name, categories that rows may take instead of their own.
    """

    def __init__(
        self, columns: Sequence[Column], base: Mapping[str, Array], others: Mapping[str, Array]
    ) -> None:
        self._kinds = {column.name: column.kind for column in columns}
        self._base = base
        self._others = others

    def to(self, split: Split, row: int) -> dict[str, Any]:
        """Return what a base row must be changed in, by column."""
        way = {}
        for name, bounds in split.way.items():
            value = self._base[name][row % len(self._base[name])]
            if self._kinds[name] == "text" or bounds.equal is not None or bounds.unequal:
                way[name] = self._category(bounds, value, name)
            else:
                whole = self._kinds[name] == "integer"
                way[name] = between(bounds, float(value), whole=whole)
        return way

    def _category(self, bounds: Bounds, value: Any, name: str) -> Any:
        if bounds.equal is not None:
            return bounds.equal
        others = [one for one in self._others[name].tolist() if one not in bounds.unequal]
        return others[0] if value in bounds.unequal and others else value


def around(split: Split, dtype: np.dtype[Any]) -> list[Any]:
    """Return the values at a split, as far apart as the graph's inputs can tell them."""
    if split.column.kind == "integer":
        whole = int(np.clip(np.floor(split.value), -INT_FAREST, INT_FAREST))
        return [whole, whole + 1]
    at = np.clip(split.value, -FAREST, FAREST).astype(dtype)
    ends = np.array([-np.inf, np.inf]).astype(dtype)
    return [float(one) for one in (np.nextafter(at, ends[0]), at, np.nextafter(at, ends[1]))]


def beside(split: Split) -> list[Any]:
    """Return a value on either side of a split, clear of it however a chip rounds."""
    whole = split.column.kind == "integer"
    sides = (Bounds(high=split.value), Bounds(low=split.value))
    outside = (np.inf, -np.inf)
    return [between(side, far, whole=whole) for side, far in zip(sides, outside, strict=True)]


def between(bounds: Bounds, value: float, *, whole: bool) -> Any:
    """Return a value between bounds and clear of them: the given one where it fits."""
    low, high = bounds.low, bounds.high
    if not low < value <= high:
        if np.isfinite(low) and np.isfinite(high):
            value = (low + high) / 2
        elif np.isfinite(high):
            value = high - CLEAR * max(abs(high), 1.0)
        elif np.isfinite(low):
            value = low + CLEAR * max(abs(low), 1.0)
        value = float(np.float32(value))
    if not whole:
        return value
    value = np.clip(value, -INT_FAREST, INT_FAREST)
    return int(np.floor(value)) if np.floor(value) > low else int(np.floor(value)) + 1
