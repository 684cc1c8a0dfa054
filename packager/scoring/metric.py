"""Which metric judges: the one that the user names, or the one that suits the rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from edge_runtime.contract.tensors import Arrays
from packager.errors import ConfigInvalid, nearest
from packager.scoring.closed_forms import AGAINST_FLOAT32, OF_CLASSES, OF_NUMBERS, Statistic
from packager.scoring.held_out import HeldOut

# A class rarer than this makes every accuracy look good.
RARE = 0.1

_NEGATED = "neg_"
_ERRORS = frozenset(
    {"log_loss", "root_mean_squared_error", "mean_absolute_error", "mean_squared_error"}
)
# Scores that know no upper end; all others end at 1.
_UNBOUNDED = frozenset({"positive_likelihood_ratio", "mutual_info_score"})
_OWN = (*AGAINST_FLOAT32, *OF_CLASSES, *OF_NUMBERS)


@dataclass(frozen=True)
class Metric:
    """What quality means for a build.

    Attributes:
        name: ``balanced_accuracy``, ``r2``, ``agreement`` or another of scikit-learn's scorers,
            an error without its ``neg_``.
        lower_is_better: whether it counts errors.
        bounded: whether it ends at 1, so that a drop is told in its own unit.
    """

    name: str
    lower_is_better: bool = False
    bounded: bool = True

    def statistic(self, rows: HeldOut, answers: Arrays, base: Arrays) -> Statistic:
        """Return the quality of answers, for any rows that are drawn.

        Args:
            rows: the held-out rows.
            answers: a candidate's, by output.
            base: float32's on this machine.

        Raises:
            ConfigInvalid: when the answers are not of the form that it needs.
        """
        if self.name in AGAINST_FLOAT32:
            return AGAINST_FLOAT32[self.name](rows, answers, base)
        form = {**OF_CLASSES, **OF_NUMBERS}.get(self.name)
        if form is not None:
            return form(rows, answers)
        from packager.scoring.scorers import scored

        return scored(self._scorer, rows, answers)

    @property
    def closed(self) -> bool:
        """Whether many draws cost little; else scikit-learn is asked for each."""
        return self.name in _OWN

    def objection(self, rows: HeldOut) -> str:
        """Say why it cannot judge these rows; "" where it can."""
        if self.name in AGAINST_FLOAT32:
            return ""
        if rows.truth is None:
            return "nobody knows the truth about the rows (--label)"
        if self.name in OF_CLASSES:
            return _against_classes(self.name, rows)
        if self.name in OF_NUMBERS:
            return _against_numbers(self.name, rows)
        from packager.scoring.scorers import objection

        return objection(self._scorer, rows)

    @property
    def _scorer(self) -> str:
        return f"{_NEGATED}{self.name}" if self.lower_is_better else self.name


def _against_classes(name: str, rows: HeldOut) -> str:
    if rows.task != "classification":
        return "it judges classes, the model answers numbers"
    if name == "log_loss" and "probability" not in rows.roles:
        return "the model shows no probabilities"
    if name == "average_precision" and rows.roles.keys().isdisjoint({"probability", "score"}):
        return "the model shows neither probabilities nor scores"
    if name == "average_precision" and len(np.unique(rows.truth_codes)) == 1:
        return "all held-out rows are of one class"
    return ""


def _against_numbers(name: str, rows: HeldOut) -> str:
    if rows.task != "regression":
        return "it judges numbers, the model answers classes"
    if name == "r2" and len(np.unique(rows.numbers)) == 1:
        return "the truth of all held-out rows is one number, of which nothing can be explained"
    return ""


def named_metric(wanted: str) -> Metric:
    """Return the metric of a name: one of ours, or scikit-learn's with or without ``neg_``.

    Raises:
        ConfigInvalid: when nobody knows the name; the nearest is told.
    """
    name = wanted.removeprefix(_NEGATED)
    if name in _OWN and (name in _ERRORS or name == wanted):
        error = name in _ERRORS
        return Metric(name, lower_is_better=error, bounded=not error)
    from packager.scoring.scorers import plain_names, scorer_names

    known = scorer_names()
    if name in known and (known[name] or name == wanted):
        error = known[name]
        bounded = not error and name not in _UNBOUNDED
        return Metric(name, lower_is_better=error, bounded=bounded)
    names = plain_names([*known, *_OWN])
    raise ConfigInvalid(
        f"{wanted} is no metric{nearest(name, names)}",
        hint="Name agreement, cosine, or a scorer of scikit-learn, or leave out --metric.",
        key="metric",
        expected=names,
        found=wanted,
    )


def choose_metric(wanted: str | None, rows: HeldOut) -> Metric:
    """Return the metric that judges: the one wanted, or the one that suits the rows.

    Raises:
        ConfigInvalid: when the wanted one is none, or does not suit model and rows.
    """
    if wanted is None:
        return named_metric(_suiting(rows)[0])
    metric = named_metric(wanted)
    reason = metric.objection(rows)
    if reason:
        suiting = _suiting(rows)
        raise ConfigInvalid(
            f"the metric {wanted} does not suit this model and its rows: {reason}; "
            f"{_either(suiting)} would",
            hint="Leave out --metric, or name one that suits.",
            key="metric",
            expected=suiting,
            found=wanted,
        )
    return metric


def _suiting(rows: HeldOut) -> list[str]:
    """Return metrics that can judge these rows, the one for them first."""
    known = {"classification": OF_CLASSES, "regression": OF_NUMBERS}.get(rows.task, {})
    names = [name for name in known if not Metric(name).objection(rows)]
    if not names:
        against = list(AGAINST_FLOAT32)
        return against if "label" in rows.roles else against[::-1]
    if "average_precision" in names:
        _, counts = np.unique(rows.truth_codes, return_counts=True)
        if counts.min() < RARE * counts.sum():
            names.sort(key=lambda name: name != "average_precision")
    return names


def _either(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
