"""What answers are worth beside float32's on the same rows, and how sure the rows make us."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from edge_runtime.contract.tensors import Arrays
from packager.answers import take_rows
from packager.budgets import Drop
from packager.errors import ConfigInvalid
from packager.scoring.closed_forms import Statistic, agreement
from packager.scoring.held_out import Floats, HeldOut
from packager.scoring.metric import Metric
from packager.variant import Score

# Fewer held-out rows than these say little of small losses, which is told.
MIN_ROWS = 256

SEED = 0
RESAMPLES = 1000
FEW_RESAMPLES = 200
# So many rows are drawn at most; of more, an even choice stands for all of them.
DRAWN_ROWS = 5000
# 95 % of the draws lie between.
_TAIL = 0.025

# What all draws of a metric may cost: rows times classes ranked, or scikit-learn's calls.
_RANKED = 40_000_000
_LEAST_CALLS, _CALLS = 50, 2_000
_DRAWN_AT_ONCE = 1 << 21


class Judge:
    """Scores answers against float32's.

    Args:
        metric: what quality is.
        drop: the budget, whose unit a score's drop has.
        rows: the held-out rows.
        base: float32's answers to them, on this machine.

    Raises:
        ConfigInvalid: when the metric has no value for these, or needs another form.
    """

    def __init__(self, metric: Metric, drop: Drop, rows: HeldOut, base: Arrays) -> None:
        self._metric = metric
        self._relative = drop.of(bounded=metric.bounded).relative
        self._rows = rows
        self._base = base
        self._sample = rows.evenly(DRAWN_ROWS)
        # The feed is of no use here, and may be large.
        truth = None if rows.truth is None else rows.truth[self._sample]
        self._few = replace(rows, feed={"row": self._sample}, truth=truth)
        self._reference = self._quality(base)
        if not np.isfinite(self._reference):
            raise ConfigInvalid(
                f"the metric {metric.name} has no value for what float32 answers to these rows",
                hint="Name another metric with --metric, or leave it out.",
                key="metric",
                expected="a metric with a value",
                found=metric.name,
            )

    def score(self, answers: Arrays, cpu: str = "host") -> Score:
        """Return what answers to the rows are worth.

        Args:
            answers: a candidate's, by output.
            cpu: where they were given.

        Raises:
            ConfigInvalid: when they are not of the form that the metric needs.
        """
        agreed = _whole(agreement(self._rows, answers, self._base), self._rows.count)
        quality = self._quality(answers) if _all_there(answers, self._base) else np.nan
        drop = float(self._lost(self._reference, quality))
        if not np.isfinite(drop):
            return Score(cpu, quality, np.inf, np.inf, np.inf, agreed)
        if _same(answers, self._base):
            return Score(cpu, quality, 0.0, 0.0, 0.0, agreed)
        low, high = self._interval(drop, take_rows(answers, self._sample))
        return Score(cpu, quality, drop, low, high, agreed)

    @cached_property
    def _few_base(self) -> Arrays:
        return take_rows(self._base, self._sample)

    @cached_property
    def _drawn_reference(self) -> Floats:
        return self._drawn(self._few_base)

    def _quality(self, answers: Arrays) -> float:
        return _whole(self._metric.statistic(self._rows, answers, self._base), self._rows.count)

    def _interval(self, drop: float, answers: Arrays) -> tuple[float, float]:
        """Return the ends of the drop's 95 % interval: a paired bootstrap over the rows.

        Percentiles as in Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter
        13. Where fewer rows are drawn than there are, the distances from the drop of those rows
        shrink by the root of the share, as a standard error does.
        """
        lost = self._lost(self._drawn_reference, self._drawn(answers))
        found = np.sort(lost[~np.isnan(lost)])
        if not len(found):
            return -np.inf, np.inf
        places = int(_TAIL * len(found)), int(np.ceil((1 - _TAIL) * len(found))) - 1
        low, high = (float(found[place]) for place in places)
        if len(self._sample) == self._rows.count:
            return low, high
        share = float(np.sqrt(len(self._sample) / self._rows.count))
        statistic = self._metric.statistic(self._few, answers, self._few_base)
        reference = self._metric.statistic(self._few, self._few_base, self._few_base)
        few = len(self._sample)
        middle = float(self._lost(_whole(reference, few), _whole(statistic, few)))
        return drop + share * (low - middle), drop + share * (high - middle)

    def _drawn(self, answers: Arrays) -> Floats:
        """Return the quality of each draw; the draws are the same for all answers."""
        statistic = self._metric.statistic(self._few, answers, self._few_base)
        return resampled(statistic, len(self._sample), self._draws)

    @cached_property
    def _draws(self) -> int:
        classes = len(self._rows.names) if self._rows.task == "classification" else 1
        if not self._metric.closed:
            return max(_LEAST_CALLS, min(FEW_RESAMPLES, _CALLS // max(1, classes)))
        if self._metric.name != "average_precision":
            return RESAMPLES
        work = len(self._sample) * classes
        return max(FEW_RESAMPLES, min(RESAMPLES, _RANKED // max(1, work)))

    def _lost(self, reference: Floats | float, quality: Floats | float) -> Floats:
        """Return how much worse a quality is, in the budget's unit."""
        sign = -1 if self._metric.lower_is_better else 1
        lost = np.asarray(sign * (np.asarray(reference) - np.asarray(quality)) + 0.0)
        if not self._relative:
            return lost
        # Of nothing, any loss is too large.
        none = np.where(lost == 0, 0.0, np.copysign(np.inf, lost))
        size = np.broadcast_to(np.abs(reference), lost.shape)
        return np.asarray(np.divide(lost, size, out=none, where=size > 0))


def resampled(statistic: Statistic, rows: int, count: int) -> Floats:
    """Return a statistic of rows drawn with replacement, as many as there are, again and again.

    Args:
        statistic: takes the numbers of rows, ``[draws, rows]``.
        rows: how many there are.
        count: how many draws.
    """
    generator = np.random.default_rng(SEED)
    step = max(1, _DRAWN_AT_ONCE // rows)
    sizes = [min(step, count - start) for start in range(0, count, step)]
    parts = [statistic(generator.integers(0, rows, (size, rows))) for size in sizes]
    return np.concatenate(parts)


def worst(scores: Sequence[Score]) -> Score:
    """Return the score that loses most."""
    return max(scores, key=lambda score: np.nan_to_num(score.drop, nan=np.inf))


def _whole(statistic: Statistic, rows: int) -> float:
    """Return a statistic of all rows, each once."""
    return float(statistic(np.arange(rows)[None])[0])


def _all_there(answers: Arrays, base: Arrays) -> bool:
    """Tell whether every answer is a number where float32's is."""
    return not any(
        (np.isfinite(wanted) & ~np.isfinite(answers[name])).any()
        for name, wanted in base.items()
        if wanted.dtype.kind == "f"
    )


def _same(answers: Arrays, base: Arrays) -> bool:
    return all(
        np.array_equal(answers[name], wanted, equal_nan=wanted.dtype.kind == "f")
        for name, wanted in base.items()
    )
