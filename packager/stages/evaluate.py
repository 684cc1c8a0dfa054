"""What each candidate is worth: quality on held-out rows, bytes, and speed on this chip."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from edge_runtime.contract.tensors import Array, Arrays, Tolerance
from edge_runtime.engine.session import CPU, Session
from packager.answers import BATCH, fixed_batch, row_count, run_rows, take_rows
from packager.errors import ConfigInvalid
from packager.record import Record, fingerprint, within
from packager.variant import Candidate, Measured

Label = str | int | float | bool

# A class rarer than this makes every accuracy look good.
RARE = 0.1
# Quality of the same bytes on two processors.
QUALITY_TOLERANCE = Tolerance(rtol=0.0, atol=0.02)
TIMED_BATCHES = (1, BATCH)
ROUNDS = 21
# One reading lasts about this long, so that the clock's own grain does not count.
READING_NS = 2_000_000

_TWO_CLASSES = 2
_ARCHITECTURES = {"x86_64": "x86-64", "amd64": "x86-64", "aarch64": "arm64", "arm64": "arm64"}


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


def choose_metric(wanted: str | None, rows: HeldOut) -> str:
    """Return the metric that judges: the one wanted, or the one that suits the labels.

    Raises:
        ConfigInvalid: when the wanted one does not suit the model.
    """
    possible = _possible_metrics(rows)
    if wanted is None:
        return possible[0]
    if wanted in possible:
        return wanted
    raise ConfigInvalid(
        f"the metric {wanted} does not suit this model and its labels; "
        f"{' or '.join(possible)} would",
        hint="Leave out --metric, or name one that suits.",
        key="metric",
        expected=possible,
        found=wanted,
    )


def _possible_metrics(rows: HeldOut) -> list[str]:
    if rows.truth is not None and rows.task == "classification":
        if rows.roles.keys().isdisjoint({"probability", "score"}):
            return ["balanced_accuracy"]
        _, counts = np.unique(_classes(rows.truth), return_counts=True)
        rare = counts.min() < RARE * counts.sum()
        both = ["balanced_accuracy", "average_precision"]
        return both[::-1] if rare else both
    if rows.truth is not None and rows.task == "regression":
        return ["r2"]
    return ["agreement"]


def evaluate(
    candidates: Sequence[Candidate],
    rows: HeldOut | None,
    *,
    metric: str,
    architecture: str,
    record: Record,
) -> tuple[Measured, ...]:
    """Measure every candidate on the same rows; without rows, only its bytes.

    Args:
        candidates: in the order of the ladder; the last one is float32, the measure of all.
        rows: the held-out rows, if there are any.
        metric: see ``choose_metric``.
        architecture: the target's. Time is measured only where this host is that chip, and of
            the CPU alone; a replay has the recorded times wherever it runs, or none.
        record: keeps the figures.

    Raises:
        ReplayMismatch: when quality does not agree with the recorded one.
    """
    if rows is None:
        return tuple(Measured(c.name, c.precision, c.model.size) for c in candidates)
    sessions = {c.name: c.open_here() for c in candidates}
    base = run_rows(sessions[candidates[-1].name], rows.feed)
    models = fingerprint(*(candidate.model.mark for candidate in candidates), rows.feed)
    latency = _latency(
        sessions,
        rows.feed,
        f"latency/{architecture}/{models}",
        here=host_is(architecture) and all(c.provider == CPU for c in candidates),
        record=record,
    )
    truth = {} if rows.truth is None else {"truth": _classes(rows.truth)}
    mark = fingerprint(candidates[-1].model.mark, rows.feed, truth, metric)
    measured = []
    for candidate in candidates:
        figures = record.measured(
            f"quality/{candidate.name}/{fingerprint(candidate.model.mark)}/{mark}",
            _Judgement(candidate, sessions[candidate.name], rows, base, metric).figures,
            within(QUALITY_TOLERANCE),
        )
        measured.append(
            Measured(
                candidate.name,
                candidate.precision,
                candidate.model.size,
                quality=figures["quality"],
                agreement=figures["agreement"],
                latency={batch: found[candidate.name] for batch, found in latency.items()},
            )
        )
    return tuple(measured)


# --- quality -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Judgement:
    """One candidate before the held-out rows."""

    candidate: Candidate
    session: Session
    rows: HeldOut
    base: Arrays
    metric: str

    def figures(self) -> dict[str, float]:
        """Return quality and agreement, each the worst over the batch sizes that matter."""
        # With ranges measured at each call, an answer depends on what else is in the batch.
        dynamic = b"DynamicQuantizeLinear" in self.candidate.model.graph
        batches = (1, BATCH) if dynamic else (BATCH,)
        found = [self._judge(run_rows(self.session, self.rows.feed, n)) for n in batches]
        quality, agreement = np.min(found, axis=0)  # NaN wins
        return {"quality": float(quality), "agreement": float(agreement)}

    def _judge(self, answers: Arrays) -> tuple[float, float]:
        floats = [array for array in answers.values() if array.dtype.kind == "f"]
        expected = [array for array in self.base.values() if array.dtype.kind == "f"]
        agreement = _agreement(self.rows, answers, self.base)
        if any(
            (np.isfinite(wanted) & ~np.isfinite(array)).any()
            for array, wanted in zip(floats, expected, strict=True)
        ):
            return float("nan"), agreement
        if self.metric == "agreement" or self.rows.truth is None:
            return agreement, agreement
        return _METRICS[self.metric](self.rows, self.rows.truth, answers), agreement


def _agreement(rows: HeldOut, answers: Arrays, base: Arrays) -> float:
    """Return the share of equal labels; of other answers, the share of variance explained."""
    if "label" in rows.roles:
        name = rows.roles["label"]
        return float((answers[name] == base[name]).mean())
    shares = [
        _explained(base[name], array)
        if array.dtype.kind == "f"
        else (array == base[name]).mean()
        for name, array in answers.items()
    ]
    return float(min(shares))


def _explained(truth: Array, found: Array) -> float:
    """Return R²: 1 for exact answers, 0 for answers no better than the mean."""
    wanted = np.nan_to_num(truth.astype(np.float64).ravel())
    error = np.square(np.nan_to_num(found.astype(np.float64).ravel()) - wanted).sum()
    spread = np.square(wanted - wanted.mean()).sum()
    if spread == 0:
        return 1.0 if error == 0 else 0.0
    return float(1 - error / spread)


def _balanced_accuracy(rows: HeldOut, truth: Array, answers: Arrays) -> float:
    found, wanted = _classes(answers[rows.roles["label"]]), _classes(truth)
    return float(np.mean([(found[wanted == one] == one).mean() for one in np.unique(wanted)]))


def _average_precision(rows: HeldOut, truth: Array, answers: Arrays) -> float:
    """Return the rarer class's average precision, or of several classes their mean."""
    from sklearn.metrics import average_precision_score

    name = rows.roles.get("probability", rows.roles.get("score", ""))
    wanted, scores = _classes(truth), np.nan_to_num(answers[name])
    present, counts = np.unique(wanted, return_counts=True)
    judged = present[[counts.argmin()]] if len(rows.labels) == _TWO_CLASSES else present
    order = {_class(label): index for index, label in enumerate(rows.labels)}
    found = [average_precision_score(wanted == one, scores[:, order[one]]) for one in judged]
    return float(np.mean(found))


def _r2(rows: HeldOut, truth: Array, answers: Arrays) -> float:
    return _explained(truth, answers[rows.roles["value"]])


_METRICS: dict[str, Callable[[HeldOut, Array, Arrays], float]] = {
    "average_precision": _average_precision,
    "balanced_accuracy": _balanced_accuracy,
    "r2": _r2,
}


def _classes(values: Array) -> Array:
    """Return classes as texts that are equal whether a class is told as 1, 1.0 or True."""
    return np.array([_class(value) for value in values.ravel().tolist()], dtype=str)


def _class(value: Label) -> str:
    return value if isinstance(value, str) else repr(float(value))


# --- time ----------------------------------------------------------------------------------


def host_is(architecture: str) -> bool:
    """Tell whether this machine's processor is of a target's architecture."""
    return _ARCHITECTURES.get(platform.machine().lower()) == architecture


def _latency(
    sessions: Mapping[str, Session], feed: Arrays, mark: str, *, here: bool, record: Record
) -> dict[int, dict[str, float]]:
    """Return each variant's median call by batch size; nothing where this host may not tell."""
    fixed = fixed_batch(next(iter(sessions.values())))
    found = {}
    for batch in (fixed,) if fixed else TIMED_BATCHES:
        key = f"{mark}/batch-{batch}"
        if record.will_hold(key, fresh=here):
            part = take_rows(feed, np.resize(np.arange(row_count(feed)), batch))
            calls = {name: partial(one.run, part) for name, one in sessions.items()}
            found[batch] = record.durations(key, partial(interleaved_medians, calls))
    return found


def interleaved_medians(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Return each call's median nanoseconds; they take turns, so that disturbances spread."""
    repeats = {name: _repeats(call) for name, call in calls.items()}
    readings: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            readings[name].append(_reading(call, repeats[name]))
    return {name: statistics.median(found) for name, found in readings.items()}


def _repeats(call: Callable[[], object]) -> int:
    _reading(call, 3)  # the first calls of a session are slower
    return max(1, round(READING_NS / _reading(call, 3)))


def _reading(call: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter_ns()
    for _ in range(repeats):
        call()
    return (time.perf_counter_ns() - start) / repeats
