"""scikit-learn's scorers, asked about answers that are there already.

Importing scikit-learn takes a second: nothing imports this module before it is needed.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import get_scorer, get_scorer_names

from edge_runtime.contract.tensors import Array, Arrays
from packager.scoring.closed_forms import Statistic
from packager.scoring.held_out import TWO_CLASSES, Floats, HeldOut, Numbers

NEGATED = "neg_"
# A scorer of numbers takes these as truth and as answers, and has nothing to say against it.
_SOME_NUMBERS = np.array([0.25, 0.5, 1.0, 2.0, 4.0])
_MEANINGLESS_FOR_TWO = ("top_k_accuracy",)


class _Answers(BaseEstimator):  # type: ignore[misc]
    """Looks answers up by the number of the row, as an estimator that has been fitted."""

    def __init__(self, predicted: Array) -> None:
        self.predicted = predicted

    def fit(self, *_: object) -> _Answers:
        """Do nothing: it knows its answers."""
        return self

    def predict(self, rows: Numbers) -> Array:
        """Return the answers to these rows."""
        return self.predicted[rows.ravel()]


class _Numbers(RegressorMixin, _Answers):  # type: ignore[misc]
    """Answers numbers."""


class _Classes(ClassifierMixin, _Answers):  # type: ignore[misc]
    """Answers classes alone."""

    def __init__(self, predicted: Numbers, scores: Floats) -> None:
        super().__init__(predicted)
        self.scores = scores
        self.classes_ = np.arange(scores.shape[1])


class _Probable(_Classes):
    """Answers classes and their probabilities."""

    def predict_proba(self, rows: Numbers) -> Floats:
        """Return a column for each class; scorers insist that they add up to 1."""
        found = np.clip(self.scores[rows.ravel()], 0, None)
        sums = found.sum(axis=1, keepdims=True)
        even = np.full(found.shape, 1 / found.shape[1])
        return np.asarray(np.divide(found, sums, out=even, where=sums > 0))


class _Scoring(_Classes):
    """Answers classes and scores that are no probabilities."""

    def decision_function(self, rows: Numbers) -> Floats:
        """Return a column for each class; of two classes how far the second one leads."""
        found = self.scores[rows.ravel()]
        return found[:, 1] - found[:, 0] if found.shape[1] == TWO_CLASSES else found


def _classes(rows: HeldOut, predicted: Numbers, scores: Floats | None) -> _Classes:
    if scores is None:
        return _Classes(predicted, np.zeros((1, len(rows.names))))
    return (_Probable if "probability" in rows.roles else _Scoring)(predicted, scores)


def scorer_names() -> dict[str, bool]:
    """Return the names of all scorers, without ``neg_``, and which of them count errors."""
    return {name.removeprefix(NEGATED): name.startswith(NEGATED) for name in get_scorer_names()}


def scored(name: str, rows: HeldOut, answers: Arrays) -> Statistic:
    """Return a scorer's figure of answers; NaN for rows on which it has none.

    Args:
        name: scikit-learn's own; of one that starts with ``neg_``, the plain error comes out.
        rows: the held-out rows.
        answers: by output.
    """
    if rows.task == "classification":
        scores = rows.scores(answers) if _has_scores(rows) else None
        return _statistic(
            name, _classes(rows, rows.predicted(answers), scores), rows.truth_codes
        )
    return _statistic(name, _Numbers(rows.values(answers)), rows.numbers)


def objection(name: str, rows: HeldOut) -> str:
    """Say why a scorer cannot judge these rows; "" where it can.

    It is asked about made-up answers, right ones for the most part.
    """
    if rows.task != "classification":
        some = _says(name, _Numbers(_SOME_NUMBERS), _SOME_NUMBERS)
        return some or _says(name, _Numbers(rows.numbers), rows.numbers)
    if _says(name, _Numbers(_SOME_NUMBERS), _SOME_NUMBERS) == "":
        return "it judges numbers, the model answers classes"
    count = len(rows.names)
    if name in _MEANINGLESS_FOR_TWO and count <= TWO_CLASSES:
        return "of two classes it is always 1"
    wrong = np.arange(rows.count) % 5 == 1
    answered = np.where(wrong, (rows.truth_codes + 1) % count, rows.truth_codes)
    scores = np.eye(count)[answered] * 0.5 + 0.5 / count
    made = _classes(rows, answered, scores if _has_scores(rows) else None)
    return _says(name, made, rows.truth_codes, strict=False)


def _has_scores(rows: HeldOut) -> bool:
    return not rows.roles.keys().isdisjoint({"probability", "score"})


def _statistic(name: str, estimator: _Answers, truth: Array) -> Statistic:
    scorer = get_scorer(name)
    sign = -1.0 if name.startswith(NEGATED) else 1.0

    def score(numbers: Numbers) -> float:
        try:
            return sign * float(scorer(estimator, numbers[:, None], truth[numbers]))
        except ValueError:  # a class that was not drawn, for example
            return float("nan")

    def each(drawn: Numbers) -> Floats:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.array([score(numbers) for numbers in drawn])

    return each


def _says(name: str, estimator: _Answers, truth: Array, *, strict: bool = True) -> str:
    """Return what a scorer says against an estimator; "" where nothing.

    Args:
        name: scikit-learn's own.
        estimator: answers rows by their number.
        truth: what is true of them.
        strict: whether a warning is an objection, too.
    """
    numbers = np.arange(len(truth))[:, None]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error" if strict else "ignore")
            found = get_scorer(name)(estimator, numbers, truth)
    except (ValueError, TypeError, AttributeError, Warning) as error:
        return _first_sentence(error)
    return "" if np.isfinite(found) else "on these rows it has no value"


def _first_sentence(error: BaseException) -> str:
    line = " ".join(str(error).split())
    return f"scikit-learn says: {line.partition('. ')[0].rstrip('.')[:160]}"


def plain_names(names: Iterable[str]) -> list[str]:
    """Return names as people write them, in order."""
    return sorted({name.removeprefix(NEGATED) for name in names})
