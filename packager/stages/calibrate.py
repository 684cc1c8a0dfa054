"""Ranges of a graph's activations, measured on calibration rows a batch at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from onnx import ModelProto, TensorProto

from edge_runtime.contract.tensors import Array, Arrays, Tolerance
from edge_runtime.engine.session import Session
from packager.answers import BATCH, fixed_batch, row_count, take_rows
from packager.graphs.model_files import ModelFiles, Weights
from packager.graphs.prepared import Ranges, prepared, static_nodes
from packager.recipes import Recipe
from packager.record import Record, fingerprint, within
from packager.variant import Skipped

MIN_CALIBRATION_ROWS = 10
MAX_CALIBRATION_ROWS = 512
# How far a range may stand from the recorded one when another processor measures it, as a share
# of its width: of extremes, and of what counts of values are interpolated from.
EXTREMES_AGREE, COUNTS_AGREE = 1e-3, 2e-2
# How much worse than this machine's own choice a recorded one may be.
_COST_AGREES = 1.05
_BINS = 2048
# The share of values that a percentile keeps at each end.
_PERCENTILE = 0.99999
# Entropy: shares of the whole range that are tried, and the levels that int8 has.
_SHARES = np.linspace(0.3, 1, 61)
_LEVELS = 256
_TINY = 1e-12


@dataclass(frozen=True)
class Calibrated:
    """Ranges, and what the user should know of the rows they come from.

    Attributes:
        ranges: the least and greatest value of each tensor that a static recipe quantizes.
        warnings: sentences.
    """

    ranges: Ranges
    warnings: tuple[str, ...] = ()


def calibrate(
    recipe: Recipe,
    model: ModelProto,
    feed: Arrays | None,
    *,
    weights: Weights | None,
    record: Record,
) -> Calibrated | Skipped:
    """Return the range of each tensor that a recipe quantizes.

    Rows for which the graph computes a NaN or an infinity are left out and told of.

    Args:
        recipe: a static one.
        model: the float32 graph; it is left as it is.
        feed: calibration rows; None where there are none.
        weights: what the graph reads beside it.
        record: keeps the ranges.

    Raises:
        ReplayMismatch: when ranges do not agree with the recorded ones.
    """
    feed = take_rows(feed or {}, slice(MAX_CALIBRATION_ROWS))
    refusal = _refusal(recipe.name, feed)
    if refusal is not None:
        return refusal
    probe = _Probe(model, weights, feed)
    rows = row_count(feed)
    extremes = probe.extremes(record)
    sound = record.measured(f"sound-rows/{probe.mark}", lambda: probe.sound, _EXACT)
    if sound < MIN_CALIBRATION_ROWS:
        return Skipped(
            recipe.name,
            f"ranges need at least {MIN_CALIBRATION_ROWS} rows that the graph computes finite "
            f"numbers for, of {rows} calibration rows {sound} are such",
            "few-finite-rows",
        )
    warnings: tuple[str, ...] = ()
    if sound < rows:
        warnings = (
            f"{rows - sound} of {rows} calibration rows give a NaN or an infinity within the "
            f"graph: ranges are measured on the other {sound}",
        )
    return Calibrated(_METHODS[recipe.ranges](probe, extremes, record), warnings)


def _refusal(name: str, feed: Arrays) -> Skipped | None:
    """Say why rows cannot calibrate; None where they can."""
    rows = row_count(feed) if feed else 0
    if rows < MIN_CALIBRATION_ROWS:
        reason = (
            f"ranges need at least {MIN_CALIBRATION_ROWS} calibration rows, there are {rows}"
        )
        return Skipped(name, reason, "few-calibration-rows")
    if all(bool((array == array[:1]).all()) for array in feed.values()):
        reason = f"all {rows} calibration rows are alike: no range can be told from them"
        return Skipped(name, reason, "constant-rows")
    return None


class _Probe:
    """A graph whose tensors to quantize are looked at, and the rows to run.

    Attributes:
        mark: stands for the graph and the rows in the record.
    """

    def __init__(self, model: ModelProto, weights: Weights | None, feed: Arrays) -> None:
        self._model, self._weights, self._feed = model, weights, feed
        self.mark = fingerprint(ModelFiles.of(model, weights).mark, feed)

    @cached_property
    def _opened(self) -> tuple[Session, list[str]]:
        """Return a session that shows the tensors to quantize, and their names."""
        ready = prepared(self._model, self._weights)
        names = _tensors_to_range(ready)
        shown = {item.name for item in (*ready.graph.output, *ready.graph.input)}
        infos = {item.name: item for item in ready.graph.value_info}
        ready.graph.output.extend(infos[name] for name in names if name not in shown)
        return ModelFiles.of(ready, self._weights).open_mapped(), names

    def batches(self) -> Iterator[tuple[int, Arrays]]:
        """Yield how many rows of a batch are sound, and the values of the tensors for them."""
        session, names = self._opened
        fixed = fixed_batch(session)
        batch = fixed or BATCH
        for start in range(0, row_count(self._feed), batch):
            part = take_rows(self._feed, slice(start, start + batch))
            rows = row_count(part)
            if fixed:  # filled up with copies of the last row
                part = take_rows(part, np.minimum(np.arange(batch), rows - 1))
            answers = {**part, **session.run(part)}
            yield _sound({name: answers[name] for name in names}, row_count(part), rows)

    def extremes(self, record: Record) -> Ranges:
        """Return the least and greatest value of each tensor; infinities without any value."""
        return record.measured(
            f"ranges/minmax/{self.mark}", lambda: self._found[0], _near(EXTREMES_AGREE)
        )

    @property
    def sound(self) -> int:
        """How many rows the graph computes finite numbers for."""
        return self._found[1]

    @cached_property
    def _found(self) -> tuple[Ranges, int]:
        ranges: Ranges = {name: [np.inf, -np.inf] for name in self._opened[1]}
        sound = 0
        for rows, values in self.batches():
            sound += rows
            for name, array in values.items():
                low, high = ranges[name]
                ranges[name] = [
                    min(low, float(array.min(initial=np.inf))),
                    max(high, float(array.max(initial=-np.inf))),
                ]
        return ranges, sound

    def histograms(self, extremes: Ranges) -> dict[str, Array]:
        """Count each tensor's values in bins of equal width between its extremes."""
        counts = {name: np.zeros(_BINS, np.int64) for name in extremes}
        for _, values in self.batches():
            for name, array in values.items():
                low, high = extremes[name]
                if low < high:
                    # The ends may be another processor's: what is a hair beyond them counts.
                    inside = np.clip(array, low, high)
                    counts[name] += np.histogram(inside, _BINS, (low, high))[0]
        return counts


def _tensors_to_range(model: ModelProto) -> list[str]:
    """Return the float tensors that a static recipe rounds, in the graph's order."""
    graph = model.graph
    infos = (*graph.value_info, *graph.output, *graph.input)
    floats = {i.name for i in infos if i.type.tensor_type.elem_type == TensorProto.FLOAT}
    floats -= {tensor.name for tensor in graph.initializer}
    wanted = set(static_nodes(model, dense_only=False))
    names: list[str] = []
    for node in (node for node in graph.node if node.name in wanted):
        names += node.input
        # The quantizer asks for what a dense layer gives too, though it stays as it is.
        names += node.output
    return [name for name in dict.fromkeys(names) if name in floats]


def _sound(values: Arrays, batch: int, rows: int) -> tuple[int, Arrays]:
    """Leave out rows with a NaN or an infinity; return how many are left, and their values.

    Args:
        values: tensors of one batch; of those without an axis of rows single values go.
        batch: how many rows the graph was given.
        rows: how many of them are no filling.
    """
    mask = np.ones(batch, bool)
    by_row = {name: array.ndim > 0 and len(array) == batch for name, array in values.items()}
    for name, array in values.items():
        if by_row[name]:
            mask &= np.isfinite(array.reshape(batch, -1)).all(axis=1)
    return int(mask[:rows].sum()), {
        name: array[mask] if by_row[name] else array[np.isfinite(array)]
        for name, array in values.items()
    }


# --- methods --------------------------------------------------------------------------------


def _minmax(probe: _Probe, extremes: Ranges, record: Record) -> Ranges:  # noqa: ARG001
    return extremes


def _percentile(probe: _Probe, extremes: Ranges, record: Record) -> Ranges:
    """Leave out the outermost share of values at each end."""

    def compute() -> Ranges:
        counts = probe.histograms(extremes)
        return {name: _kept(counts[name], *span) for name, span in extremes.items()}

    return record.measured(f"ranges/percentile/{probe.mark}", compute, _near(COUNTS_AGREE))


def _kept(counts: Array, low: float, high: float) -> list[float]:
    """Return where the outer shares of values end, interpolated within bins."""
    total = counts.sum()
    if total == 0:
        return [low, high]
    edges = np.linspace(low, high, _BINS + 1)
    below = np.concatenate([[0], np.cumsum(counts)]) / total
    ends = [float(np.interp(share, below, edges)) for share in (1 - _PERCENTILE, _PERCENTILE)]
    # Int8 holds zero in any case: an end on its other side would be widened again.
    return [min(ends[0], 0.0), max(ends[1], 0.0)]


def _entropy(probe: _Probe, extremes: Ranges, record: Record) -> Ranges:
    """Narrow each range as far as its values' distribution, rounded, stays the most alike.

    Source: S. Migacz, 8-bit inference with TensorRT, 2017: the Kullback-Leibler divergence of
    the clipped distribution from its rounded form. Both ends move by the same share here, which
    was measured to ruin less than clipping absolute values.
    """
    counts: dict[str, Array] = {}

    def compute() -> dict[str, float]:
        counts.update(probe.histograms(extremes))
        return {name: _best_share(counts[name], span) for name, span in extremes.items()}

    def agree(recorded: dict[str, float], fresh: dict[str, float]) -> str | None:
        for name, share in fresh.items():
            told = recorded.get(name)
            told = told if isinstance(told, float) else math.nan
            costs = [_divergence(counts[name], extremes[name], one) for one in (told, share)]
            if not costs[0] <= _COST_AGREES * costs[1] + _TINY:
                return f"{name}: recorded {told}, this machine gives {share}"
        return None

    shares = record.measured(f"ranges/entropy/{probe.mark}", compute, agree)
    return {
        name: [low * shares[name], high * shares[name]]
        for name, (low, high) in extremes.items()
    }


def _best_share(counts: Array, span: list[float]) -> float:
    costs = [_divergence(counts, span, share) for share in _SHARES]
    return float(_SHARES[int(np.argmin(costs))])


def _divergence(counts: Array, span: list[float], share: float) -> float:
    """Return how much is lost when a share of the range is rounded to the levels of int8."""
    if not (0 < share <= 1) or counts.sum() == 0:
        return 0.0 if share == 1 else math.inf
    low, high = span
    zero = int(np.clip(round(-low / (high - low) * _BINS), 0, _BINS))
    first, last = round(zero * (1 - share)), round(zero + (_BINS - zero) * share)
    counts = _without_zeros(counts, min(zero, _BINS - 1))
    clipped = counts[first:last].astype(np.float64)
    rounded = _rounded(clipped)
    clipped[0] += counts[:first].sum()
    clipped[-1] += counts[last:].sum()
    wanted, found = clipped / max(clipped.sum(), 1.0), rounded / max(rounded.sum(), 1.0)
    held = wanted > 0
    return float(np.sum(wanted[held] * np.log(wanted[held] / np.maximum(found[held], _TINY))))


def _without_zeros(counts: Array, zero: int) -> Array:
    """Count zeros no higher than their neighbours.

    Int8 holds zero exactly; behind a Relu there are so many that they would outweigh all else.
    """
    counts = counts.copy()
    beside = [counts[index] for index in (zero - 1, zero + 1) if 0 <= index < len(counts)]
    counts[zero] = min(counts[zero], max(beside))
    return counts


def _rounded(counts: Array) -> Array:
    """Spread what falls into one level evenly over the bins of it that hold values."""
    level = np.arange(len(counts)) * _LEVELS // max(len(counts), _LEVELS)
    held = counts > 0
    sums = np.bincount(level, counts)
    bins = np.maximum(np.bincount(level, held), 1)
    spread: Array = np.where(held, (sums / bins)[level], 0.0)
    return spread


_METHODS: Mapping[str, Callable[[_Probe, Ranges, Record], Ranges]] = {
    "minmax": _minmax,
    "percentile": _percentile,
    "entropy": _entropy,
}


_EXACT = within(Tolerance(rtol=0.0, atol=0.0))


def _near(share: float) -> Callable[[Ranges, Ranges], str | None]:
    """Return an ``agree`` that lets ends of ranges differ by a share of their width."""

    def agree(recorded: Ranges, fresh: Ranges) -> str | None:
        if recorded.keys() != fresh.keys():
            return f"recorded {sorted(recorded)}, this machine gives {sorted(fresh)}"
        for name, (low, high) in fresh.items():
            # Without any value the ends are infinite, on both machines.
            width = max(high, 0.0) - min(low, 0.0) if low <= high else 0.0
            near = within(Tolerance(rtol=0.0, atol=share * width))
            reason = near(recorded[name], fresh[name])
            if reason is not None:
                return f"{name}: {reason}"
        return None

    return agree
