"""The rows that judge, and how a graph's answers to them are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.contract.tensors import Array, Arrays
from packager.answers import row_count, take_rows
from packager.errors import ConfigInvalid

Label = str | int | float | bool
Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

TWO_CLASSES = 2
# What stands for infinity where answers are added up: its square is still a number.
_HUGE = 1e38


@dataclass(frozen=True)
class HeldOut:
    """The rows that judge, and what the graph's outputs mean.

    Attributes:
        feed: the graph's inputs.
        truth: classes or numbers, a row each; None where nobody knows.
        task: the graph's task.
        roles: which output is ``label``, ``probability``, ``score`` or ``value``.
        labels: the classes in the order of the probability columns.
    """

    feed: Arrays
    truth: Array | None
    task: str
    roles: Mapping[str, str]
    labels: Sequence[Label] = ()

    @property
    def count(self) -> int:
        """How many rows there are."""
        return row_count(self.feed)

    @cached_property
    def names(self) -> list[str]:
        """The classes as texts, the model's own first, in its order."""
        found = [] if self.truth is None else np.unique(classes(self.truth)).tolist()
        return list(dict.fromkeys([*map(_class, self.labels), *found]))

    @cached_property
    def truth_codes(self) -> Numbers:
        """The true classes, as numbers in ``names``; of a regression all are one class."""
        if self.truth is None or self.task != "classification":
            return np.zeros(self.count, np.int64)
        return self._codes(self.truth)

    @property
    def numbers(self) -> Floats:
        """The true numbers of a regression."""
        return np.asarray(self.truth, np.float64).ravel()

    def predicted(self, answers: Arrays) -> Numbers:
        """Return the answered classes as numbers in ``names``; -1 is none of them.

        Raises:
            ConfigInvalid: when there is more than one answer a row.
        """
        if "label" in self.roles:
            codes = self._codes(answers[self.roles["label"]])
            return _one_a_row(codes.reshape(len(answers[self.roles["label"]]), -1))
        return np.asarray(self.scores(answers).argmax(axis=1))

    def scores(self, answers: Arrays) -> Floats:
        """Return probabilities or scores: a row each, a column for each of ``names``.

        A lone column is the second of two classes'; what is no number counts as 0.

        Raises:
            ConfigInvalid: when the columns are not one for each class.
        """
        name = self.roles.get("probability", self.roles.get("score", ""))
        found = finite(answers[name])
        found = found.reshape(len(found), -1)
        if found.shape[1] == 1 and len(self.labels) == TWO_CLASSES:
            first = 1 - found if "probability" in self.roles else -found
            found = np.concatenate([first, found], axis=1)
        if found.shape[1] != len(self.labels):
            raise ConfigInvalid(
                f"the model gives {found.shape[1]} scores a row for {len(self.labels)} classes",
                hint="Name the classes in the order of the model's outputs with --labels.",
                key="labels",
                expected=found.shape[1],
                found=len(self.labels),
            )
        # A class that the rows have and the model has not gets no score.
        missing = len(self.names) - found.shape[1]
        return np.pad(found, ((0, 0), (0, missing)))

    def values(self, answers: Arrays) -> Floats:
        """Return a regression's numbers, one a row; what is no number counts as 0.

        Raises:
            ConfigInvalid: when there is more than one a row.
        """
        found = finite(answers[self.roles["value"]])
        return _one_a_row(found.reshape(len(found), -1))

    def evenly(self, count: int) -> Numbers:
        """Return the numbers of so many rows, the same every time, classes in proportion."""
        order = np.argsort(self.truth_codes, kind="stable")
        count = min(count, len(order))
        return np.sort(order[np.arange(count) * len(order) // max(1, count)])

    def take(self, rows: Numbers) -> HeldOut:
        """Return some of the rows."""
        truth = None if self.truth is None else self.truth[rows]
        return HeldOut(take_rows(self.feed, rows), truth, self.task, self.roles, self.labels)

    def _codes(self, values: Array) -> Numbers:
        numbers = {name: number for number, name in enumerate(self.names)}
        known: dict[Any, int] = {}
        for value in values.ravel().tolist():
            if value not in known:
                known[value] = numbers.get(_class(value), -1)
        return np.array([known[value] for value in values.ravel().tolist()], np.int64)


def classes(values: Array) -> Array:
    """Return classes as texts that are equal whether a class is told as 1, 1.0 or True."""
    return np.array([_class(value) for value in values.ravel().tolist()], dtype=str)


def _class(value: Label) -> str:
    return value if isinstance(value, str) else repr(float(value))


def finite(values: Array) -> Floats:
    """Return float64 that can be added up: NaN as 0, infinity as a very large number."""
    return np.nan_to_num(values.astype(np.float64), posinf=_HUGE, neginf=-_HUGE)


def _one_a_row(found: Array) -> Array:
    if found.shape[1] != 1:
        raise ConfigInvalid(
            f"the model gives {found.shape[1]} answers a row, a label column judges one",
            hint="Leave out --label: the variants are then compared with float32.",
            key="label",
            expected=1,
            found=found.shape[1],
        )
    return np.asarray(found[:, 0])
