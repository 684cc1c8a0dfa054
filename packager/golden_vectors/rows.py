"""Which rows of a pool prove most: every class, the ends of columns, both sides of a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from edge_runtime.contract.tensors import Array, Arrays
from packager.answers import label_margins

# So many rows are left to what is no class, and go to each kind of it.
BESIDE_CLASSES = 8
ENDS, PAIRS, BOUNDARY = 8, 4, 4
# A row this near to another label, as a share of the largest score, is left to chance.
TOO_NEAR = 0.02
# Ends are looked for in so many columns of an input.
_COLUMNS = 64
_CLASSES = 1000


def in_order(
    pool: Arrays,
    allowed: Sequence[int],
    labels: Array | None,
    margins: Array | None,
    count: int,
) -> list[int]:
    """Return the allowed rows of a pool, those first that prove most.

    First a row for each class, the rarest class first; then rows at the ends of columns, pairs
    on either side of a split, and rows near to another label; then all others in their order.

    Args:
        pool: rows to choose from.
        allowed: which of them may be taken.
        labels: by row of the pool the class that float32 answers; None where there are none.
        margins: by row how far its label is from another one, as a share of the largest score.
        count: how many will be taken.
    """
    if not len(allowed):
        return []
    rows = np.array(allowed, dtype=np.int64)
    groups = [
        _classes(rows, labels)[: max(1, count - BESIDE_CLASSES)],
        _at_ends(pool, rows)[:ENDS],
        list(chain.from_iterable(_pairs(pool, rows)[:PAIRS])),
        _near(rows, margins)[:BOUNDARY],
        rows.tolist(),
    ]
    return list(dict.fromkeys(chain.from_iterable(groups)))


def classes_of(roles: Mapping[str, str], answers: Arrays) -> Array | None:
    """Return the class that each row is answered; of bare tensors the place of the greatest."""
    if "label" in roles:
        return answers[roles["label"]].reshape(-1)
    scores = [one for one in answers.values() if one.dtype.kind == "f" and one.ndim == 2]  # noqa: PLR2004
    if roles or len(scores) != 1 or not 1 < scores[0].shape[1] <= _CLASSES:
        return None
    return np.asarray(np.nan_to_num(scores[0]).argmax(axis=1))


def shares_of_margins(
    task: str, roles: Mapping[str, str], answers: Arrays, threshold: float | None
) -> Array | None:
    """Return how far each row's label is from another one, as a share of the largest score."""
    margins = label_margins(task, roles, answers, threshold)
    if margins is None:
        return None
    scores = answers[roles.get("probability", roles.get("score", ""))].astype(np.float64)
    largest = np.abs(scores[np.isfinite(scores)]).max(initial=0.0)
    return margins / largest if largest else margins


def _classes(rows: NDArray[np.int64], labels: Array | None) -> list[int]:
    if labels is None:
        return []
    distinct, first, counts = np.unique(
        labels[rows].astype(str), return_index=True, return_counts=True
    )
    order = sorted(range(len(distinct)), key=lambda one: (counts[one], first[one]))
    return [int(row) for row in rows[first[order]]]


def _at_ends(pool: Arrays, rows: NDArray[np.int64]) -> list[int]:
    """Return few rows that together stand at as many ends of columns as they can."""
    open_ends = np.concatenate([_facts(pool[name][rows]) for name in sorted(pool)], axis=1)
    found: list[int] = []
    while open_ends.any() and len(found) < ENDS:
        best = int(open_ends.sum(axis=1).argmax())
        found.append(int(rows[best]))
        open_ends = open_ends & ~open_ends[best]
    return found


def _facts(values: Array) -> NDArray[np.bool_]:
    """Tell of each row which columns it has at an end, missing, or of the rarest category."""
    flat = values.reshape(len(values), -1)
    flat = flat[:, np.unique(np.linspace(0, flat.shape[1] - 1, _COLUMNS).astype(int))]
    if flat.dtype == object:
        return np.stack([_rarest(column.astype(str)) for column in flat.T], axis=1)
    if flat.dtype.kind not in "fiu":
        return np.zeros((len(flat), 0), dtype=bool)
    known = np.isfinite(flat)
    least, most = np.where(known, flat, np.inf), np.where(known, flat, -np.inf)
    facts = [known & (flat <= least.min(axis=0)), known & (flat >= most.max(axis=0)), ~known]
    return np.concatenate(facts, axis=1)


def _rarest(column: Array) -> NDArray[np.bool_]:
    distinct, counts = np.unique(column, return_counts=True)
    return np.asarray(column == distinct[counts.argmin()])


def _pairs(pool: Arrays, rows: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return neighbours that differ in one number alone, as on either side of a split."""
    after = rows[1:][np.diff(rows) == 1]
    if not len(after):
        return []
    differ = np.zeros(len(after), dtype=np.int64)
    for values in pool.values():
        one, other = (values[which].reshape(len(after), -1) for which in (after - 1, after))
        unequal = one != other
        if values.dtype.kind == "f":
            unequal &= ~(np.isnan(one) & np.isnan(other))
        differ += unequal.sum(axis=1)
    found = after[differ == 1]
    evenly = np.unique(np.linspace(0, len(found) - 1, min(PAIRS, len(found))).astype(int))
    return [(int(row) - 1, int(row)) for row in found[evenly]]


def _near(rows: NDArray[np.int64], margins: Array | None) -> list[int]:
    if margins is None:
        return []
    ordered = rows[np.argsort(margins[rows], kind="stable")]
    return [int(row) for row in ordered[margins[ordered] > TOO_NEAR]]
