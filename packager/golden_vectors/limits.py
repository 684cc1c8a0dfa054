"""How far an answer to a golden row may be from the recorded one, and who is farther off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_runtime.contract.tensors import Array, Arrays, Tolerance
from edge_runtime.engine.session import CPU
from packager.emulation.machines import HOST
from packager.golden_vectors.spread import Spread, distance
from packager.variant import Candidate

# What a tolerance allows for the nudges, in medians of what they did to a row.
MEDIANS = 4
# The least tolerance, as a share of the answer and of the largest one.  Processors differ by
# 1e-6 in float32; half precision and an accelerator's own arithmetic are far coarser.
SHARE, FLOOR = 1e-4, 1e-5
ACCELERATOR_FLOOR = 1e-3
HALF_FLOOR = 1e-2
# Between processors int8 differs by less than this share of what it differs from float32 where
# no sum saturates, and by more where sums do.  Measured on networks, convolutions and a
# transformer, between AVX512-VNNI, Nehalem, Haswell and Cortex-A53 to A76: at most 0.17 (one
# quantization step in an encoder), and from 0.97 upwards.
NOISE_SHARE = 1 / 2
# Nor is more allowed than what so many rows keep to: the farthest may lie beyond the calibrated
# ranges, where int8 is cut off and float32 is not.
NOISE_QUANTILE = 0.75
# A tolerance is so many times what was measured.
MARGIN = 2

Tolerances: TypeAlias = dict[str, Tolerance]


def limits_of(
    candidate: Candidate, answers: Arrays, base: Arrays, nudged: Mapping[str, float]
) -> Tolerances:
    """Return how far each output may differ on any other processor; a pure function.

    Args:
        candidate: the variant.
        answers: what it answers.
        base: what float32 answers.
        nudged: by output, what nudges do to a middling row.
    """
    share, floor = SHARE, FLOOR
    if candidate.precision == "float16":
        share = floor = HALF_FLOOR
    elif candidate.provider != CPU:
        share = floor = ACCELERATOR_FLOOR
    limits = {}
    for name, array in answers.items():
        if array.dtype.kind != "f":
            limits[name] = Tolerance(0.0, 0.0)
            continue
        noise = _noise(distance(array, base[name]))
        atol = max(floor * size(base[name]), noise, MEDIANS * nudged[name])
        limits[name] = Tolerance(share, atol)
    return limits


def widened(candidate: Candidate, limits: Tolerances, spreads: Sequence[Spread]) -> Tolerances:
    """Return tolerances with room for what float sums differ by; labels stay exact.

    Integer sums get none: they are the same on every processor, or they saturate.
    """
    if candidate.recipe.sums_integers:
        return limits
    wide = {}
    for output, limit in limits.items():
        apart = [one.apart[candidate.name][output] for one in spreads]
        most = max((value for value in apart if np.isfinite(value)), default=0.0)
        wide[output] = Tolerance(limit.rtol, max(limit.atol, MARGIN * most))
    return wide


def otherwise(candidate: Candidate, limits: Tolerances, spreads: Sequence[Spread]) -> str:
    """Say where a variant answers otherwise than here; "" where it does so nowhere.

    Sums of int8 that saturate are no matter of rounding, and no tolerance may allow for them.
    Float32 has no such sums: what it differs by widens its tolerance.
    """
    for spread in spreads:
        where = "here, opened otherwise," if spread.cpu == HOST else f"on {spread.cpu}"
        if candidate.name in spread.problems:
            return f"{where} it gives no answers: {spread.problems[candidate.name]}"
        if not candidate.recipe.sums_integers:
            continue
        for output, apart in spread.apart[candidate.name].items():
            most = limits[output].atol / MARGIN
            if np.isinf(apart):
                return f"{where} it answers another {output!r} to a golden row"
            if apart > most:
                return (
                    f"{where} {output!r} of a golden row is {apart:.3g} off, and rounding "
                    f"explains {most:.3g}: sums saturate"
                )
    return ""


def turns(name: str, spreads: Sequence[Spread]) -> bool:
    """Tell whether a variant's label turns, or a number is none, on any machine."""
    return any(np.isinf(apart) for one in spreads for apart in one.apart[name].values())


def size(values: Array) -> float:
    """Return the largest finite number's size; zero for what holds none."""
    return largest(np.abs(values.astype(np.float64))) if values.dtype.kind == "f" else 0.0


def _noise(apart: NDArray[np.float64]) -> float:
    """Return what is allowed for rounding, of how far int8 is from float32."""
    rows = apart.reshape(len(apart), -1).max(axis=1)
    usual = np.quantile(np.where(np.isfinite(rows), rows, 0.0), NOISE_QUANTILE)
    return min(NOISE_SHARE * largest(apart), float(usual))


def largest(values: NDArray[np.float64]) -> float:
    """Return the largest finite value, zero at least."""
    return float(values[np.isfinite(values)].max(initial=0.0))
