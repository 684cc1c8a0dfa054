"""Golden vectors: inputs and each variant's answers, which every device must reproduce.

A device's answers differ from ours in the last bits.  That must never turn a label or lift a
value over a tree's threshold, so rows are chosen whose answers hold still when their inputs are
nudged; and a tolerance must be wide enough for the nudges and for what was measured on other
processors, yet far narrower than what int8 sums do when they saturate, which is what golden
vectors are there to catch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.contract.errors import PredictionFailed
from edge_runtime.contract.npz import write_npz
from edge_runtime.contract.tensors import Arrays
from edge_runtime.engine.session import Session
from packager.answers import fixed_batch, label_margins, row_count, run_rows, take_rows
from packager.emulation.machines import Machine
from packager.errors import NoGoldenRows
from packager.golden_vectors.limits import (
    Tolerances,
    largest,
    limits_of,
    otherwise,
    size,
    turns,
    widened,
)
from packager.golden_vectors.rows import classes_of, in_order, shares_of_margins
from packager.golden_vectors.spread import distance, measure_spread
from packager.record import Record, answers_within, fingerprint
from packager.variant import Candidate

ROWS = 32
# Inputs are nudged by this share of themselves, up or down at random.
NUDGE = 1e-5
NUDGES = 3


@dataclass(frozen=True)
class GoldenVectors:
    """What a device proves its variants with.

    Attributes:
        inputs: the graph's inputs, all rows in one batch.
        outputs: by variant, the answers to this batch.
        tolerances: by variant, how far each output may differ.
        steady: False when no row held still, so that a tie may make a sound device fail.
        rejected: variants that must not ship, and why: elsewhere they answer otherwise than
            here, by more than rounding does.
    """

    inputs: Arrays
    outputs: Mapping[str, Arrays]
    tolerances: Mapping[str, Tolerances]
    steady: bool
    rejected: Mapping[str, str]

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


@dataclass(frozen=True)
class Meaning:
    """What the outputs of a graph mean.

    Attributes:
        task: the graph's task.
        roles: which output is ``label``, ``probability`` or ``score``.
        threshold: the score from which the second of two classes is answered, if one decides.
    """

    task: str
    roles: Mapping[str, str]
    threshold: float | None = None


def make_golden(
    ladder: Sequence[Candidate],
    plain: Candidate,
    pool: Arrays,
    meaning: Meaning,
    record: Record,
    machines: Sequence[Machine],
) -> GoldenVectors:
    """Choose rows out of a pool, let every variant answer them, and compare with other CPUs.

    Args:
        ladder: the variants that are to ship.
        plain: plain float32, which the others are held against.
        pool: a feed to choose from; of rows that prove alike the first are taken.
        meaning: what the outputs mean.
        record: keeps the choice, the answers, what nudges did to them, and how far they are
            apart elsewhere.
        machines: the promised CPUs that this machine can ask.

    Raises:
        NoGoldenRows: when the graph takes no row of the pool.
        ReplayMismatch: when answers do not agree with the recorded ones.
    """
    prover = _Prover(ladder, plain, meaning)
    mark = fingerprint(*(one.model.mark for one in (*ladder, plain)), pool)
    total = row_count(pool)
    choice = record.measured(
        f"golden/rows/{mark}",
        lambda: prover.choose(pool),
        lambda recorded, _: None if _is_choice(recorded, total) else "it is no choice of rows",
    )
    inputs = take_rows(pool, np.array(choice["rows"]))
    base, _ = _recorded_answers(plain, prover.probe(plain.name, inputs), None, record, mark)
    outputs: dict[str, Arrays] = {}
    limits: dict[str, Tolerances] = {}
    for one in ladder:
        outputs[one.name], limits[one.name] = _recorded_answers(
            one, prover.probe(one.name, inputs), base, record, mark
        )
    spreads = measure_spread(ladder, inputs, outputs, machines, record, mark)
    reasons = {one.name: otherwise(one, limits[one.name], spreads) for one in ladder}
    return GoldenVectors(
        inputs,
        outputs,
        {one.name: widened(one, limits[one.name], spreads) for one in ladder},
        choice["steady"] and not any(turns(name, spreads) for name in outputs),
        {name: reason for name, reason in reasons.items() if reason},
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
        return limits_of(candidate, answers, base or answers, spread)

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


@dataclass(frozen=True)
class _Probe:
    """One variant's answers to a batch, and by output how far nudges moved each row."""

    answers: Arrays
    moved: dict[str, NDArray[np.float64]]

    def spread(self) -> dict[str, float]:
        """Return by output what nudges do to a middling row."""
        half = {name: np.sort(rows)[: len(rows) // 2 + 1] for name, rows in self.moved.items()}
        return {name: largest(rows) for name, rows in half.items()}


class _Prover:
    """The variants of a ladder and plain float32, open on this machine."""

    def __init__(self, ladder: Sequence[Candidate], plain: Candidate, meaning: Meaning) -> None:
        self._ladder = list({one.name: one for one in (*ladder, plain)}.values())
        self._plain = plain.name
        self._meaning = meaning
        self._sessions = {c.name: c.open_here() for c in self._ladder}

    def choose(self, pool: Arrays) -> dict[str, Any]:
        """Return which rows of the pool to take, and whether they all hold still.

        A variant may round a row by what else stands in its batch, so rows are tried together:
        those that do not hold still make way for others until all do.

        Raises:
            NoGoldenRows: when the graph takes too few rows of the pool.
        """
        base = self._sessions[self._plain]
        fixed = fixed_batch(base)
        count, least = fixed or ROWS, fixed or 1
        taken, answers = _taken_rows(base, pool)
        if len(taken) < least:
            raise NoGoldenRows(
                f"golden inputs need {least} rows, the graph takes {len(taken)} "
                f"of the {row_count(pool)} offered",
                hint="Give rows that the model takes: --golden FILE",
                expected=least,
                found=len(taken),
            )
        offered, meaning = take_rows(pool, np.array(taken)), self._meaning
        labels = classes_of(meaning.roles, answers)
        margins = shares_of_margins(meaning.task, meaning.roles, answers, meaning.threshold)

        def best(rows: Sequence[int]) -> list[int]:
            return in_order(offered, rows, labels, margins, count)[:count]

        allowed = list(range(len(taken)))
        while len(rows := best(allowed)) >= least:
            shaky = self._shaky(take_rows(offered, np.array(rows)))
            if not shaky.any():
                return {"rows": [taken[row] for row in rows], "steady": True}
            out = {row for row, one in zip(rows, shaky, strict=True) if one}
            allowed = [row for row in allowed if row not in out]
        rows = best(range(len(taken)))
        return {"rows": [taken[row] for row in rows], "steady": False}

    def probe(self, name: str, feed: Arrays) -> _Probe:
        """Run a variant on a batch as it is, and nudged."""
        session = self._sessions[name]
        answers = session.run(feed)
        # Bytes and text cannot be nudged: assume that a nudge passes through as it is.
        still = not any(array.dtype.kind == "f" for array in feed.values())
        moved = {
            output: np.full(row_count(feed), NUDGE * size(array) if still else 0.0)
            for output, array in answers.items()
        }
        for seed in range(NUDGES):
            nudged = session.run(_nudged(feed, seed))
            for output, rows in moved.items():
                apart = distance(nudged[output], answers[output])
                np.maximum(rows, apart.reshape(len(rows), -1).max(axis=1), out=rows)
        return _Probe(answers, moved)

    def _shaky(self, feed: Arrays) -> NDArray[np.bool_]:
        """Mark the rows whose answers another processor might change by more than allowed."""
        probes = {
            candidate.name: self.probe(candidate.name, feed) for candidate in self._ladder
        }
        base = probes[self._plain].answers
        shaky = np.zeros(row_count(feed), dtype=bool)
        for candidate in self._ladder:
            probe = probes[candidate.name]
            limits = limits_of(candidate, probe.answers, base, probe.spread())
            for output, rows in probe.moved.items():
                shaky |= rows > limits[output].atol
            shaky |= self._near_ties(probe.answers, limits)
        return shaky

    def _near_ties(self, answers: Arrays, limits: Tolerances) -> NDArray[np.bool_]:
        """Mark the rows whose label turns while every score stays within its tolerance."""
        roles = self._meaning.roles
        margins = label_margins(self._meaning.task, roles, answers, self._meaning.threshold)
        if margins is None or "label" not in roles:
            return np.zeros(row_count(answers), dtype=bool)
        name = roles.get("probability", roles.get("score", ""))
        size = largest(np.abs(answers[name].astype(np.float64)))
        return np.asarray(margins <= 2 * (limits[name].atol + limits[name].rtol * size))


def _taken_rows(session: Session, pool: Arrays) -> tuple[list[int], Arrays]:
    """Return the rows that the graph takes, and its answers: it may refuse a category."""
    rows = list(range(row_count(pool)))
    try:
        return rows, run_rows(session, pool)
    except PredictionFailed:
        rows = [row for row in rows if _takes(session, take_rows(pool, np.array([row])))]
    return rows, run_rows(session, take_rows(pool, np.array(rows))) if rows else {}


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
