"""Rows where a model can hardly decide: between two labels, and with two equal scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_runtime.contract.table import Column
from edge_runtime.contract.tensors import Array, Arrays
from packager.answers import label_margins, row_count, take_rows
from packager.yards import rounded

Ask = Callable[[Arrays], tuple[NDArray[np.bool_], Arrays]]

PAIRS = 16
POOL = 512
CLOSEST = 32
# A pair is brought together until this small a part of its distance is left: float32 can still
# tell the two apart, whatever the model computes on the way.
HALVINGS = 10


def tied_rows(
    rows: Arrays, columns: Sequence[Column], task: str, roles: Mapping[str, str], ask: Ask
) -> Arrays:
    """Return rows on both sides of a label's border, and rows with the closest two scores.

    Args:
        rows: held-out rows by column name.
        columns: the graph's columns.
        task: the graph's task.
        roles: which output is what.
        ask: asks the source for rows; tells which it answered, and these answers.

    Returns:
        Rows by column name, perhaps none; always as many for the same rows and labels.
    """
    rows = {name: rounded(values) for name, values in rows.items()}
    if "label" not in roles:
        return take_rows(rows, slice(0))
    pool = _recombined(rows)
    answered, answers = ask(pool)
    pool = take_rows(pool, np.flatnonzero(answered))
    if not answers:
        return pool
    labels = answers[roles["label"]]
    near = _on_the_border(pool, labels, columns, lambda one: _labels(ask, one, roles["label"]))
    margins = label_margins(task, roles, answers)
    if margins is None:
        return near
    closest = take_rows(pool, np.argsort(margins, kind="stable")[:CLOSEST])
    return {name: np.concatenate([near[name], closest[name]]) for name in rows}


def _recombined(rows: Arrays) -> Arrays:
    """Return rows each of whose columns comes from a row of its own."""
    generator = np.random.default_rng(0)
    count = row_count(rows)
    return {name: values[generator.integers(0, count, POOL)] for name, values in rows.items()}


def _labels(ask: Ask, rows: Arrays, name: str) -> Array:
    """Return the labels of rows; None for those that the source refuses."""
    answered, answers = ask(rows)
    labels = np.full(len(answered), None, dtype=object)
    if answers:
        labels[answered] = answers[name]
    return labels


def _on_the_border(
    pool: Arrays, labels: Array, columns: Sequence[Column], label: Callable[[Arrays], Array]
) -> Arrays:
    """Return pairs of rows with different labels, each brought together."""
    kinds, order = np.unique(labels, return_inverse=True)
    members = [np.flatnonzero(order == kind) for kind in range(len(kinds))]
    pairs = [
        (members[number % len(kinds)], members[(number + 1) % len(kinds)])
        for number in range(PAIRS if len(kinds) > 1 else 0)
    ]
    one = take_rows(pool, np.array([a[i % len(a)] for i, (a, _) in enumerate(pairs)], int))
    other = take_rows(pool, np.array([b[i % len(b)] for i, (_, b) in enumerate(pairs)], int))
    first = label(one) if pairs else np.array([])
    for _ in range(HALVINGS if pairs else 0):
        middle = _halfway(one, other, columns)
        stays = label(middle) == first
        for name, values in middle.items():
            one[name][stays] = values[stays]
            other[name][~stays] = values[~stays]
    return {name: np.concatenate([one[name], other[name]]) for name in one}


def _halfway(one: Arrays, other: Arrays, columns: Sequence[Column]) -> Arrays:
    """Return the middle of two rows; text, and what one of them lacks, is as in the first."""
    middle = {name: values.copy() for name, values in one.items()}
    for column in columns:
        left, right = one[column.name], other[column.name]
        if column.kind == "float":
            half = rounded(left / 2 + right / 2)
            middle[column.name] = np.where(np.isnan(half), left, half)
        elif column.kind == "integer":
            middle[column.name] = left // 2 + right // 2 + (left % 2 + right % 2) // 2
    return middle
