"""A graph beside its source: held-out rows first, then rows made to part them, kind by kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_runtime.contract.columns import assemble
from edge_runtime.contract.errors import InputError, PredictionFailed
from edge_runtime.contract.tensors import Array, Arrays
from packager.answers import BATCH, fixed_batch, open_graph, row_count, run_rows, take_rows
from packager.errors import ParityFailed
from packager.graph import Graph
from packager.parity.compared import Compared, Kind
from packager.sources.source import Source
from packager.stages.parity import Asked, Gate, Parity, check_parity
from packager.stages.probes import (
    EXTREMES,
    LETTERS,
    MISSING,
    TEXT,
    THRESHOLDS,
    UNSEEN,
    Maker,
    Probe,
    tensor_probes,
)
from packager.stages.ties import tied_rows
from packager.yards import measure, rounded

HELD_OUT, TIES, BATCHES = "held-out", "ties", "batches"

# How errors name the rows of a kind.
_ROWS = {
    HELD_OUT: "held-out rows",
    MISSING: "rows with missing values",
    UNSEEN: "rows of unseen categories",
    TEXT: "rows of foreign text",
    EXTREMES: "rows at the columns' extremes",
    THRESHOLDS: "rows at tree thresholds",
    TIES: "rows between two labels",
    BATCHES: "rows in batches of other sizes",
}
BATCH_SIZES = (1, 3, 7, 33)
# Probes are asked in batches that held-out rows are not; foreign text row by row, because a
# whole batch without a single known word is what a tokenizer may fall over.
_ODD_BATCH = 7
# How many rows tell what rounding the inputs does.
_FEW = 64
_NOTHING = Parity(0, 0, 0, {}, 0, 0.0, {})


@dataclass(frozen=True)
class _Asked:
    """A probe, which of its rows the source answered, and these answers."""

    probe: Probe
    answered: NDArray[np.bool_]
    answers: Arrays


class Comparison:
    """Compares kind by kind, and keeps what it found.

    Args:
        source: the source, which has answered the held-out rows.
        graph: its graph, whose columns say which may be missing.
        rows: the held-out rows.
        show_rows: whether errors hold values of the rows that differ most.

    Attributes:
        found: the kinds that were compared.
        notes: what was found wanting, as sentences.
    """

    def __init__(
        self, source: Source, graph: Graph, rows: Compared, *, show_rows: bool
    ) -> None:
        self.found: list[Kind] = []
        self.notes: list[str] = []
        self._source = source
        self._graph = graph
        self._rows = rows
        self._show_rows = show_rows
        self._session = open_graph(graph)
        yards = measure(rows.reference, *self._moved())
        label = rows.reference.get(graph.roles.get("label", ""), np.array([]))
        known = frozenset(label.reshape(-1).tolist())
        self._gate = Gate(graph.task, graph.roles, graph.outputs, yards, known, graph.threshold)

    def _moved(self) -> tuple[Arrays | None, Arrays | None]:
        """Return the source's answers to some rows as they are, and as float32 holds them."""
        few = take_rows(self._rows.columns, np.arange(min(_FEW, row_count(self._rows.feed))))
        both = {name: np.concatenate([one, rounded(one)]) for name, one in few.items()}
        count = row_count(few)
        answered, answers = self._source.attempt(both, [count, count])
        if not answered.all():
            return None, None
        return take_rows(answers, slice(count)), take_rows(answers, slice(count, None))

    # --- the user's own rows -----------------------------------------------------------------

    def held_out(self) -> None:
        """Compare the held-out rows.

        Raises:
            ParityFailed: when the graph answers otherwise, or not at all.
        """
        rows = self._rows
        actual = self._run(HELD_OUT, rows.feed, BATCH)
        self._add(Kind(HELD_OUT, rows.columns, (), self._judged(HELD_OUT, rows, actual)))

    def batches(self) -> None:
        """Compare some of them one by one, and in batches of odd sizes.

        Raises:
            ParityFailed: when the graph answers otherwise, or not at all.
        """
        if fixed_batch(self._session) is not None:
            return
        few = np.arange(max(BATCH_SIZES)) % row_count(self._rows.feed)
        feed = take_rows(self._rows.feed, few)
        parts = [self._run(BATCHES, feed, size) for size in BATCH_SIZES]
        actual = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        again = np.tile(few, len(BATCH_SIZES))
        rows = Compared(*(take_rows(one, again) for one in vars(self._rows).values()))
        self._add(Kind(BATCHES, rows.columns, (), self._judged(BATCHES, rows, actual)))

    # --- rows that were made -----------------------------------------------------------------

    def probes(self) -> None:
        """Compare rows that were made for this graph.

        Raises:
            ParityFailed: when the graph answers otherwise, or not at all.
        """
        asked = self._asked([probe for probe in self._made() if self._fits(probe)])
        for kind in dict.fromkeys(one.probe.kind for one in asked):
            own = [one for one in asked if one.probe.kind == kind]
            self._note_refusals(kind, own)
            plain = [one for one in own if not one.probe.letter]
            refused = sum(int((~one.answered).sum()) for one in plain)
            plain = self._note_failures(plain) if kind == MISSING else plain
            self._add(replace(self._compared(kind, plain), refused=refused))
            for letter in LETTERS:
                self._letter(letter, [one for one in own if one.probe.letter == letter])

    def _made(self) -> list[Probe]:
        graph, rows = self._graph, self._rows.columns
        if not graph.columns:
            return tensor_probes(graph.inputs, rows)
        tied = tied_rows(rows, graph.columns, graph.task, graph.roles, self._attempt)
        return [*([Probe(TIES, tied)] if row_count(tied) else []), *Maker(graph, rows).probes()]

    def _attempt(self, rows: Arrays) -> tuple[NDArray[np.bool_], Arrays]:
        count = row_count(rows)
        blocks = [min(BATCH, count - start) for start in range(0, count, BATCH)]
        return self._source.attempt(rows, blocks)

    def _fits(self, probe: Probe) -> bool:
        """Tell whether the rows pass the device's own check of its input."""
        try:
            self._feed(probe.rows)
        except InputError:
            return False
        return True

    def _asked(self, probes: Sequence[Probe]) -> list[_Asked]:
        """Ask the source for all rows at once."""
        if not probes:
            return []
        sizes = [row_count(probe.rows) for probe in probes]
        answered, answers = self._source.attempt(_together([p.rows for p in probes]), sizes)
        places = np.concatenate([[0], np.cumsum(answered)])
        found = []
        for probe, end, size in zip(probes, np.cumsum(sizes), sizes, strict=True):
            own = take_rows(answers, slice(places[end - size], places[end]))
            found.append(self._meant(_Asked(probe, answered[end - size : end], own)))
        return found

    def _meant(self, asked: _Asked) -> _Asked:
        """Take it for a refusal where a model of bare tensors makes holes of holes."""
        if self._graph.columns or asked.probe.kind != MISSING:
            return asked
        whole = _whole(asked.answers, int(asked.answered.sum()))
        answered = asked.answered.copy()
        answered[asked.answered] = whole
        return _Asked(asked.probe, answered, take_rows(asked.answers, whole))

    def _note_refusals(self, kind: str, asked: Sequence[_Asked]) -> None:
        """Name the columns where the graph answers what the source refuses."""
        names = [
            repr(one.probe.column) if one.probe.column else "several columns at once"
            for one in asked
            if any(self._answers(one, row) for row in np.flatnonzero(~one.answered).tolist())
        ]
        if names:
            told = ", ".join(dict.fromkeys(names))
            self.notes.append(
                f"{kind}: the source refuses some in {told}, the graph answers, and so will "
                "devices"
            )

    def _answers(self, asked: _Asked, row: int) -> bool:
        answers = self._alone(asked, row)
        return answers is not None and bool(_whole(answers, 1).all())

    def _note_failures(self, asked: Sequence[_Asked]) -> list[_Asked]:
        """Leave out rows that the graph fails on: it says so, and that is no wrong answer.

        Each column alone may be missing; of many at once there are more sets than one can ask.
        """
        kept, failing = [], 0
        for one in asked:
            rows = range(len(one.answered))
            sound = np.array([self._alone(one, row) is not None for row in rows])
            failing += int((one.answered & ~sound).sum())
            answers = take_rows(one.answers, sound[one.answered])
            kept.append(_Asked(one.probe, one.answered & sound, answers))
        if failing:
            self.notes.append(
                f"{MISSING}: the graph fails on {failing} rows that lack several values and "
                "that the source answers; devices will say so"
            )
        return kept

    def _alone(self, asked: _Asked, row: int) -> Arrays | None:
        """Return the graph's answer to one row; None where it fails."""
        feed = self._feed(take_rows(asked.probe.rows, slice(row, row + 1)))
        try:
            return run_rows(self._session, feed)
        except PredictionFailed:
            return None

    def _compared(self, kind: str, asked: Sequence[_Asked]) -> Kind:
        asked = [one for one in asked if one.answered.any()]
        if not asked:
            return Kind(kind, {}, (), _NOTHING)
        counts = [int(one.answered.sum()) for one in asked]
        rows = _together([take_rows(one.probe.rows, one.answered) for one in asked])
        reference = _together([one.answers for one in asked])
        feed = self._feed(rows)
        actual = self._run(kind, feed, 1 if kind == TEXT else _ODD_BATCH)
        far = np.repeat([one.probe.far for one in asked], counts)
        parity = self._judged(kind, Compared(rows, feed, reference), actual, far)
        columns = np.repeat([one.probe.column for one in asked], counts).tolist()
        return Kind(kind, rows, columns, parity)

    def _letter(self, letter: str, asked: Sequence[_Asked]) -> None:
        """Compare words with a letter that devices fold otherwise, which is told, not refused.

        It is refused where such words stand in the user's own rows.
        """
        if not asked:
            return
        try:
            self._compared(TEXT, asked)
        except ParityFailed:
            if any(_stands_in(letter, values) for values in self._rows.columns.values()):
                raise
            columns = ", ".join(dict.fromkeys(repr(one.probe.column) for one in asked))
            self.notes.append(
                f"{TEXT}: words with the letter {letter} in {columns} are answered otherwise "
                "than by the source; no held-out row has one"
            )

    # --- the parts of every comparison -------------------------------------------------------

    def _add(self, kind: Kind) -> None:
        if kind.parity.rows or kind.refused:
            self.found.append(kind)

    def _feed(self, rows: Arrays) -> Arrays:
        graph = self._graph
        return assemble(graph.columns, graph.inputs, rows) if graph.columns else rows

    def _run(self, kind: str, feed: Arrays, batch: int) -> Arrays:
        try:
            return run_rows(self._session, feed, batch)
        except PredictionFailed as failure:
            reason = f": {failure.values['reason']}" if self._show_rows else ""
            raise ParityFailed(
                f"the graph fails on {_ROWS[kind]} that the source model answers{reason}",
                hint="Change the step that does not convert faithfully; --show-rows says more.",
                rows=_ROWS[kind],
                expected="answers",
                found="a failure",
            ) from None

    def _judged(
        self, kind: str, rows: Compared, actual: Arrays, far: NDArray[np.bool_] | None = None
    ) -> Parity:
        show = Kind(kind, rows.columns, (), _NOTHING).row if self._show_rows else None
        asked = Asked(_ROWS[kind], far, show)
        return check_parity(rows.reference, actual, self._gate, asked)


def _together(parts: Sequence[Arrays]) -> Arrays:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _whole(answers: Arrays, rows: int) -> NDArray[np.bool_]:
    """Mark rows without a NaN among their answers."""
    whole = np.ones(rows, dtype=bool)
    for array in answers.values():
        if array.dtype.kind == "f":
            whole &= ~np.isnan(array).reshape(rows, -1).any(axis=1)
    return whole


def _stands_in(letter: str, values: Array) -> bool:
    return values.dtype.kind == "O" and any(letter in str(value) for value in values.ravel())
