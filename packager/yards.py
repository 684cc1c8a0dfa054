"""What differences are measured by: how far a graph's float32 may stand from its source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_runtime.contract.tensors import Array, Arrays

# How far the graph's float32 may stand from the source's float64: probabilities by this much,
# or by a share of their spread and a little more where they hardly vary; other figures by a
# share of their spread, plus the grain of float32 at their size as long as that grain is small
# against the spread.
PROBABILITY_LIMIT = 1e-4
PROBABILITY_SHARE = 1e-2
PROBABILITY_GRAIN = 1e-6
SPREAD_SHARE = 1e-4
GRAIN = 1e-5
GRAIN_CAP = 1e-2
# A spread below this share of the size is float64's own rounding of one and the same figure.
NOISE = 1e-11


@dataclass(frozen=True)
class Yard:
    """What the differences of one output are measured by, column by column.

    Attributes:
        spread: the standard deviation of the source's answers to the held-out rows.
        size: the largest of these answers, without its sign.
        grain: how far the source's own answers move when its inputs are rounded to float32.
        low: the smallest of these answers.
        high: the largest.
    """

    spread: NDArray[np.float64]
    size: NDArray[np.float64]
    grain: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def measure(
    answers: Arrays, exact: Arrays | None = None, rounded: Arrays | None = None
) -> dict[str, Yard]:
    """Return the yards of a source's answers to the held-out rows.

    Args:
        answers: these answers.
        exact: its answers to some rows.
        rounded: its answers to the same ones, inputs rounded to float32. What moves between
            the two is lost on any device before the graph begins.
    """
    yards = {}
    for name, array in answers.items():
        if array.dtype.kind == "f":
            figures = matrix(array)
            finite = np.where(np.isfinite(figures), figures, 0.0)
            spread, size = finite.std(axis=0), np.abs(finite).max(axis=0)
            spread = np.where(spread > NOISE * size, spread, 0.0)
            grain = np.zeros(len(size))
            if exact is not None and rounded is not None:
                moved = np.abs(matrix(exact[name]) - matrix(rounded[name]))
                grain = np.nan_to_num(moved, nan=0.0, posinf=0.0).max(axis=0, initial=0.0)
            ends = finite.min(axis=0), finite.max(axis=0)
            yards[name] = Yard(spread, size, grain, *ends)
    return yards


def limits_of(
    wanted: NDArray[np.float64], yard: Yard, far: NDArray[np.bool_], *, probability: bool
) -> NDArray[np.float64]:
    """Return what each of the source's figures may differ by.

    An answer larger than any to the held-out rows may differ by as much more: float32 has a
    grain in proportion. What rounding the inputs alone does is allowed four times, for the
    graph rounds between its steps too, but no more than a hundredth of the spread.

    Args:
        wanted: the figures, a row a sample.
        yard: what they are measured by.
        far: rows where one input is so large that it stands behind all figures: if one of them
            is a million times the usual, small ones are what is left of terms as large.
        probability: whether they are probabilities.
    """
    if probability:
        narrow = PROBABILITY_SHARE * yard.spread + PROBABILITY_GRAIN + 4 * yard.grain
        return np.broadcast_to(np.minimum(PROBABILITY_LIMIT, narrow), wanted.shape)
    sizes = np.abs(wanted)
    sizes = np.maximum(np.where(np.isfinite(sizes), sizes, 0.0), yard.size)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        larger = np.where(yard.size > 0, sizes / yard.size, 1.0)
        larger[far] = larger[far].max(axis=1, keepdims=True, initial=1.0)
        cap = np.where(yard.spread > 0, GRAIN_CAP * yard.spread * larger, np.inf)
        grain = GRAIN * np.maximum(sizes, yard.size * larger) + 4 * yard.grain * larger
        allowed = np.minimum(grain, cap)
        return np.asarray(SPREAD_SHARE * yard.spread * larger + allowed)


def matrix(array: Array) -> NDArray[np.float64]:
    """Return an output as float64, a row a sample."""
    return array.astype(np.float64).reshape(len(array), -1)


def rounded(values: Array) -> Array:
    """Return numbers as float32 holds them; anything else as it is."""
    return (
        values.astype(np.float32).astype(values.dtype) if values.dtype.kind == "f" else values
    )
