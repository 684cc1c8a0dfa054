"""Qualities in closed form: of rows drawn again and again, all draws at once.

A statistic takes the numbers of rows, ``[draws, rows]``, and returns one quality a draw. There
is no matrix product in it, whose last bits depend on the processor: equal answers give equal
figures everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edge_runtime.contract.tensors import Array, Arrays
from packager.scoring.held_out import TWO_CLASSES, Floats, HeldOut, Numbers, finite

Statistic = Callable[[Numbers], Floats]

# How many values of long answers are widened to float64 at a time.
_CHUNK = 1 << 22


def agreement(rows: HeldOut, answers: Arrays, base: Arrays) -> Statistic:
    """Return how often two answer the same label; without labels, ``cosine``."""
    if "label" not in rows.roles:
        return cosine(rows, answers, base)
    name = rows.roles["label"]
    return _mean(_equal(answers[name], base[name]))


def cosine(_: HeldOut, answers: Arrays, base: Arrays) -> Statistic:
    """Return the mean cosine between the rows of two answers, of several outputs the least.

    One number a row has no direction: of such an output it is the share of variance explained.
    Outputs that are no floats count only where there are no others, and are equal or not.
    """
    floats = [name for name, array in base.items() if array.dtype.kind == "f"]
    parts = [_alike(answers[name], base[name]) for name in floats or base]
    return lambda drawn: np.min([part(drawn) for part in parts], axis=0)


def _alike(found: Array, wanted: Array) -> Statistic:
    if wanted.dtype.kind != "f":
        return _mean(_equal(found, wanted))
    if wanted.size == len(wanted):
        return _explained(finite(wanted).ravel(), finite(found).ravel())
    step = max(1, _CHUNK * len(wanted) // max(1, wanted.size))
    parts = [
        _cosines(found[start : start + step], wanted[start : start + step])
        for start in range(0, len(wanted), step)
    ]
    return _mean(np.concatenate(parts))


def _cosines(found: Array, wanted: Array) -> Floats:
    one, other = (finite(array).reshape(len(array), -1) for array in (found, wanted))
    squares = np.square(one).sum(axis=1) * np.square(other).sum(axis=1)
    product = (one * other).sum(axis=1)
    cosines = np.divide(product, np.sqrt(squares), out=np.zeros(len(one)), where=squares > 0)
    # Equal answers are alike, whatever the last bits of the lengths say; so are zeros.
    return np.where((one == other).all(axis=1), 1.0, np.clip(cosines, -1, 1))


def _equal(found: Array, wanted: Array) -> Floats:
    """Return for each row the share of values that are equal."""
    same = np.asarray(found == wanted).reshape(len(wanted), -1)
    return np.asarray(same.mean(axis=1))


def _mean(values: Array) -> Statistic:
    numbers = values.astype(np.float64)
    return lambda drawn: numbers[drawn].mean(axis=1)


# --- classes -------------------------------------------------------------------------------


def _accuracy(rows: HeldOut, answers: Arrays) -> Statistic:
    return _mean(rows.predicted(answers) == rows.truth_codes)


def _balanced_accuracy(rows: HeldOut, answers: Arrays) -> Statistic:
    """Return the mean over the classes that were drawn of the share answered rightly."""
    truth, count = rows.truth_codes, len(rows.names)
    right = rows.predicted(answers) == truth

    def balanced(drawn: Numbers) -> Floats:
        cells = truth[drawn] + count * np.arange(len(drawn))[:, None]
        size = count * len(drawn)
        seen = np.bincount(cells.ravel(), minlength=size).reshape(-1, count)
        hits = np.bincount(cells[right[drawn]], minlength=size).reshape(-1, count)
        present = seen > 0
        shares = np.divide(hits, seen, out=np.zeros(seen.shape), where=present)
        return np.asarray(shares.sum(axis=1) / present.sum(axis=1))

    return balanced


def _average_precision(rows: HeldOut, answers: Arrays) -> Statistic:
    """Return the rarer class's average precision, or of several classes their mean.

    It is the sum over thresholds of precision times the gain in recall, without interpolation,
    as scikit-learn has it. A class that was not drawn does not count.
    """
    truth, scores = rows.truth_codes, rows.scores(answers)
    present, counts = np.unique(truth, return_counts=True)
    judged = present[[counts.argmin()]] if len(rows.names) <= TWO_CLASSES else present
    ranked = [_ranked(scores[:, one], truth == one) for one in judged.tolist()]
    total = len(truth)

    def precision(drawn: Numbers) -> Floats:
        cells = drawn + total * np.arange(len(drawn))[:, None]
        size = total * len(drawn)
        times = np.bincount(cells.ravel(), minlength=size).reshape(-1, total).astype(np.int32)
        found = np.array([_precision(times, *one) for one in ranked])
        known = np.isfinite(found)
        sums = np.where(known, found, 0).sum(axis=0)
        undefined = np.full(len(drawn), np.nan)
        there = known.any(axis=0)
        return np.asarray(np.divide(sums, known.sum(axis=0), out=undefined, where=there))

    return precision


def _ranked(scores: Floats, positive: Array) -> tuple[Numbers, Array, Numbers]:
    """Return rows by falling score, which are positive, and where a run of equal scores ends.

    What follows the last positive row changes nothing and is left out.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=np.nan) != 0)
    last = np.flatnonzero(positive[order])[-1]
    ends = ends[: np.searchsorted(ends, last) + 1]
    order = order[: ends[-1] + 1]
    return order, positive[order], ends


def _precision(times: Array, order: Numbers, positive: Array, ends: Numbers) -> Floats:
    """Return a class's average precision, given how often each draw has each row."""
    ranked = times[:, order]
    above = np.cumsum(ranked, axis=1, dtype=np.int32)[:, ends]
    hits = np.cumsum(ranked * positive, axis=1, dtype=np.int32)[:, ends]
    precision = np.divide(hits, above, out=np.zeros(hits.shape), where=above > 0)
    gains = np.diff(hits, axis=1, prepend=0)
    with np.errstate(invalid="ignore"):
        return np.asarray((gains * precision).sum(axis=1) / hits[:, -1])


def _log_loss(rows: HeldOut, answers: Arrays) -> Statistic:
    scores = rows.scores(answers)
    # A probability of 0 would be an infinite loss; scikit-learn limits it alike.
    least = np.finfo(answers[rows.roles["probability"]].dtype).eps
    chosen = scores[np.arange(len(scores)), rows.truth_codes]
    return _mean(-np.log(np.clip(chosen, least, 1 - least)))


# --- numbers -------------------------------------------------------------------------------


def _r2(rows: HeldOut, answers: Arrays) -> Statistic:
    return _explained(rows.numbers, rows.values(answers))


def _explained(truth: Floats, found: Floats) -> Statistic:
    """Return R²: 1 for exact answers, 0 for answers no better than the mean."""
    errors = np.square(found - truth)

    def explained(drawn: Numbers) -> Floats:
        wanted = truth[drawn]
        error = errors[drawn].sum(axis=1)
        spread = np.square(wanted - wanted.mean(axis=1, keepdims=True)).sum(axis=1)
        share = np.divide(error, spread, out=np.ones(len(drawn)), where=spread > 0)
        return np.where((spread == 0) & (error == 0), 1.0, 1 - share)

    return explained


def _absolute_error(rows: HeldOut, answers: Arrays) -> Statistic:
    return _mean(np.abs(rows.values(answers) - rows.numbers))


def _squared_error(rows: HeldOut, answers: Arrays) -> Statistic:
    return _mean(np.square(rows.values(answers) - rows.numbers))


def _root_squared_error(rows: HeldOut, answers: Arrays) -> Statistic:
    squared = _squared_error(rows, answers)
    return lambda drawn: np.sqrt(squared(drawn))


AGAINST_FLOAT32 = {"agreement": agreement, "cosine": cosine}

OF_CLASSES: Mapping[str, Callable[[HeldOut, Arrays], Statistic]] = {
    "balanced_accuracy": _balanced_accuracy,
    "average_precision": _average_precision,
    "accuracy": _accuracy,
    "log_loss": _log_loss,
}

OF_NUMBERS: Mapping[str, Callable[[HeldOut, Arrays], Statistic]] = {
    "r2": _r2,
    "root_mean_squared_error": _root_squared_error,
    "mean_absolute_error": _absolute_error,
    "mean_squared_error": _squared_error,
}
