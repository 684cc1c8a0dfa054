"""Golden vectors: inputs and each variant's answers, which every device must reproduce.

A device's answers differ from ours in the last bits.  That must never turn a label or lift a
value over a tree's threshold, so rows are chosen whose answers hold still when their inputs are
nudged; and a tolerance must be wide enough for the nudges, yet far narrower than what int8 sums
do when they saturate, which is what golden vectors are there to catch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.contract.errors import PredictionFailed
from edge_runtime.contract.npz import write_npz
from edge_runtime.contract.tensors import Array, Arrays, Tolerance
from edge_runtime.engine.session import CPU, Session
from packager.answers import fixed_batch, label_margins, row_count, run_rows, take_rows
from packager.errors import NoGoldenRows
from packager.record import Record, answers_within, fingerprint
from packager.variant import Candidate

ROWS = 32
POOL = 96
# Inputs are nudged by this share of themselves, up or down at random.
NUDGE = 1e-5
NUDGES = 3
# What a tolerance allows for the nudges, in medians of what they did to a row.
MEDIANS = 4
# The least tolerance, as a share of the answer and of the largest one.  Processors differ by
# 1e-6 in float32; half precision and an accelerator's own arithmetic are far coarser.
SHARE, FLOOR = 1e-4, 1e-5
ACCELERATOR_FLOOR = 1e-3
HALF_FLOOR = 1e-2
# Between processors int8 differs by far less than this share of what it differs from float32
# where no sum saturates, and by more where sums do.
NOISE_SHARE = 0.1

Tolerances = dict[str, Tolerance]


@dataclass(frozen=True)
class GoldenVectors:
    """What a device proves its variants with.

    Attributes:
        inputs: the graph's inputs, all rows in one batch.
        outputs: by variant, the answers to this batch.
        tolerances: by variant, how far each output may differ.
        steady: False when no row held still, so that a tie may make a sound device fail.
    """

    inputs: Arrays
    outputs: Mapping[str, Arrays]
    tolerances: Mapping[str, Tolerances]
    steady: bool

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return row_count(self.inputs)

    def to_npz(self) -> bytes:
        """Return the file: ``in/<input>`` and ``out/<variant>/<output>``."""
        arrays = {f"in/{name}": array for name, array in self.inputs.items()}
        for variant, answers in self.outputs.items():
            arrays |= {f"out/{variant}/{name}": array for name, array in answers.items()}
        return write_npz(arrays)


def make_golden(
    ladder: Sequence[Candidate],
    pool: Arrays,
    *,
    task: str,
    roles: Mapping[str, str],
    record: Record,
    threshold: float | None = None,
) -> GoldenVectors:
    """Choose rows out of a pool and let every variant answer them.

    Args:
        ladder: the variants that ship; the last one is float32.
        pool: a feed to choose from, ``POOL`` rows or fewer; the first rows are taken first.
        task: the graph's task.
        roles: which output is ``label``, ``probability`` or ``score``.
        record: keeps the choice, the answers and what nudges did to them.
        threshold: the score from which the second of two classes is answered, if one decides.

    Raises:
        NoGoldenRows: when the graph takes no row of the pool.
        ReplayMismatch: when answers do not agree with the recorded ones.
    """
    prover = _Prover(ladder, task, roles, threshold)
    mark = fingerprint(*(candidate.model.mark for candidate in ladder), pool)
    total = row_count(pool)
    choice = record.measured(
        f"golden/rows/{mark}",
        lambda: prover.choose(pool),
        lambda recorded, _: None if _is_choice(recorded, total) else "it is no choice of rows",
    )
    inputs = take_rows(pool, np.array(choice["rows"]))
    outputs: dict[str, Arrays] = {}
    tolerances: dict[str, Tolerances] = {}
    for candidate in reversed(ladder):  # float32 first: the others are held against it
        outputs[candidate.name], tolerances[candidate.name] = _recorded_answers(
            candidate,
            prover.probe(candidate.name, inputs),
            outputs.get(ladder[-1].name),
            record,
            mark,
        )
    return GoldenVectors(
        inputs,
        {candidate.name: outputs[candidate.name] for candidate in ladder},
        {candidate.name: tolerances[candidate.name] for candidate in ladder},
        choice["steady"],
    )


def _is_choice(value: dict[str, Any], total: int) -> bool:
    rows = value.get("rows")
    return (
        isinstance(rows, list)
        and len(rows) > 0
        and all(type(row) is int and 0 <= row < total for row in rows)
        and type(value.get("steady")) is bool
    )


def _recorded_answers(
    candidate: Candidate, probe: _Probe, base: Arrays | None, record: Record, mark: str
) -> tuple[Arrays, Tolerances]:
    def limits(answers: Arrays) -> Tolerances:
        return _tolerances(candidate, answers, base or answers, spread)

    def agree(recorded: Arrays, fresh: Arrays) -> str | None:
        return answers_within(limits(fresh))(recorded, fresh)

    spread = record.measured(
        f"golden/spread/{candidate.name}/{mark}", probe.spread, _same_outputs
    )
    answers = record.measured(
        f"golden/answers/{candidate.name}/{mark}", lambda: probe.answers, agree
    )
    return answers, limits(answers)


def _same_outputs(recorded: dict[str, float], fresh: dict[str, float]) -> str | None:
    sound = all(type(value) is float and np.isfinite(value) for value in recorded.values())
    return None if sound and recorded.keys() == fresh.keys() else "its outputs are others"


def _tolerances(
    candidate: Candidate, answers: Arrays, base: Arrays, spread: Mapping[str, float]
) -> Tolerances:
    """Return how far each output may differ on another processor; a pure function."""
    share, floor = SHARE, FLOOR
    if candidate.precision == "float16":
        share = floor = HALF_FLOOR
    elif candidate.provider != CPU:
        share = floor = ACCELERATOR_FLOOR
    tolerances = {}
    for name, array in answers.items():
        if array.dtype.kind != "f":
            tolerances[name] = Tolerance(0.0, 0.0)
            continue
        size = _largest(np.abs(base[name].astype(np.float64)))
        noise = _largest(_distance(array, base[name]))
        atol = max(floor * size, NOISE_SHARE * noise, MEDIANS * spread[name])
        tolerances[name] = Tolerance(share, atol)
    return tolerances


def _size(values: Array) -> float:
    return _largest(np.abs(values.astype(np.float64))) if values.dtype.kind == "f" else 0.0


def _largest(values: NDArray[np.float64]) -> float:
    return float(values[np.isfinite(values)].max(initial=0.0))


def _distance(left: Array, right: Array) -> NDArray[np.float64]:
    """Return how far two arrays stand apart, infinitely far where only one is a number."""
    if left.dtype.kind != "f":
        return np.where(left == right, 0.0, np.inf)
    first, second = left.astype(np.float64), right.astype(np.float64)
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    with np.errstate(invalid="ignore"):
        return np.where(same, 0.0, np.nan_to_num(np.abs(first - second), nan=np.inf))


@dataclass(frozen=True)
class _Probe:
    """One variant's answers to a batch, and by output how far nudges moved each row."""

    answers: Arrays
    moved: dict[str, NDArray[np.float64]]

    def spread(self) -> dict[str, float]:
        """Return by output what nudges do to a middling row."""
        half = {name: np.sort(rows)[: len(rows) // 2 + 1] for name, rows in self.moved.items()}
        return {name: _largest(rows) for name, rows in half.items()}


class _Prover:
    """The variants of a ladder, open on this machine."""

    def __init__(
        self,
        ladder: Sequence[Candidate],
        task: str,
        roles: Mapping[str, str],
        threshold: float | None,
    ) -> None:
        self._ladder = ladder
        self._task = task
        self._roles = roles
        self._threshold = threshold
        self._sessions = {c.name: c.open_here() for c in ladder}

    def choose(self, pool: Arrays) -> dict[str, Any]:
        """Return which rows of the pool to take, and whether they all hold still.

        A variant may round a row by what else stands in its batch, so rows are tried together:
        those that do not hold still make way for others until all do.

        Raises:
            NoGoldenRows: when the graph takes too few rows of the pool.
        """
        base = self._sessions[self._ladder[-1].name]
        fixed = fixed_batch(base)
        count, least = fixed or ROWS, fixed or 1
        taken = _taken_rows(base, pool)
        if len(taken) < least:
            raise NoGoldenRows(
                f"golden inputs need {least} rows, the graph takes {len(taken)} "
                f"of the {row_count(pool)} offered",
                hint="Give rows that the model takes: --golden FILE",
                expected=least,
                found=len(taken),
            )
        rows, spare = taken[:count], taken[count:]
        while len(rows) >= least:
            shaky = self._shaky(take_rows(pool, np.array(rows)))
            if not shaky.any():
                return {"rows": rows, "steady": True}
            kept = [row for row, out in zip(rows, shaky, strict=True) if not out]
            missing = count - len(kept)
            rows, spare = kept + spare[:missing], spare[missing:]
        return {"rows": taken[:count], "steady": False}

    def probe(self, name: str, feed: Arrays) -> _Probe:
        """Run a variant on a batch as it is, and nudged."""
        session = self._sessions[name]
        answers = session.run(feed)
        # Bytes and text cannot be nudged: assume that a nudge passes through as it is.
        still = not any(array.dtype.kind == "f" for array in feed.values())
        moved = {
            output: np.full(row_count(feed), NUDGE * _size(array) if still else 0.0)
            for output, array in answers.items()
        }
        for seed in range(NUDGES):
            nudged = session.run(_nudged(feed, seed))
            for output, rows in moved.items():
                distance = _distance(nudged[output], answers[output])
                np.maximum(rows, distance.reshape(len(rows), -1).max(axis=1), out=rows)
        return _Probe(answers, moved)

    def _shaky(self, feed: Arrays) -> NDArray[np.bool_]:
        """Mark the rows whose answers another processor might change by more than allowed."""
        probes = {
            candidate.name: self.probe(candidate.name, feed) for candidate in self._ladder
        }
        base = probes[self._ladder[-1].name].answers
        shaky = np.zeros(row_count(feed), dtype=bool)
        for candidate in self._ladder:
            probe = probes[candidate.name]
            limits = _tolerances(candidate, probe.answers, base, probe.spread())
            for output, rows in probe.moved.items():
                shaky |= rows > limits[output].atol
            shaky |= self._near_ties(probe.answers, limits)
        return shaky

    def _near_ties(self, answers: Arrays, limits: Tolerances) -> NDArray[np.bool_]:
        """Mark the rows whose label turns while every score stays within its tolerance."""
        margins = label_margins(self._task, self._roles, answers, self._threshold)
        if margins is None or "label" not in self._roles:
            return np.zeros(row_count(answers), dtype=bool)
        name = self._roles.get("probability", self._roles.get("score", ""))
        size = _largest(np.abs(answers[name].astype(np.float64)))
        return np.asarray(margins <= 2 * (limits[name].atol + limits[name].rtol * size))


def _taken_rows(session: Session, pool: Arrays) -> list[int]:
    """Return the rows that the graph takes: an encoder may refuse a category."""
    rows = list(range(row_count(pool)))
    try:
        run_rows(session, pool)
    except PredictionFailed:
        return [row for row in rows if _takes(session, take_rows(pool, np.array([row])))]
    return rows


def _takes(session: Session, feed: Arrays) -> bool:
    try:
        run_rows(session, feed)
    except PredictionFailed:
        return False
    return True


def _nudged(feed: Arrays, seed: int) -> Arrays:
    generator = np.random.default_rng(seed)
    nudged = {}
    for name in sorted(feed):
        array = feed[name]
        sign = generator.integers(0, 2, array.shape) * 2 - 1
        moves = array.dtype.kind == "f"
        nudged[name] = (array * (1 + NUDGE * sign)).astype(array.dtype) if moves else array
    return nudged
