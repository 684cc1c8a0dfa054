"""Probe rows, made for a model where conversions go wrong and held-out rows hardly stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_runtime.contract.table import Column
from edge_runtime.contract.tensors import DTYPES, Arrays, TensorSpec
from packager.answers import row_count, take_rows
from packager.graph import Graph
from packager.graphs.split_rows import FAREST, INT_FAREST, Ways, around
from packager.graphs.tree_splits import tree_splits
from packager.synthetic import learned_values, tokenized_inputs
from packager.yards import rounded

MISSING = "missing values"
UNSEEN = "unseen categories"
TEXT = "text"
EXTREMES = "extremes"
THRESHOLDS = "thresholds"

MAX_SPLITS = 512
# The probes of a kind have no more cells.
MAX_CELLS = 2_000_000
_BASES = 64
_COLUMNS = 64
_FEWEST_COLUMNS = 8
_MISSING_ROWS = 32
_MISSING_SPLITS = 64
_MISSING_SHARE = 0.4
_ROUNDS = 4

_TINY = 1e-30
# A value this many times as large as any of its column.
_FAR_SHARE = 1e6
# What a graph's input can hold.
_MOST = {"float": float(np.finfo(np.float32).max), "integer": (1 << 63) - 1}

_WORD = "edgepack"
_FOREIGN = ("é", "東京", "😀", "a\u0301", "Ж", "x" * 2000)
# What a tokenizer may part, join, fold or drop otherwise; {a} and {b} are words that it knows.
_TEXTS = (
    *(
        "{a} {b}",
        "{A} {B}",
        "{a}{b}",
        "{a}, {b}!",
        "{a}-{b}",
        "{a}_{b}",
        "{a}.{b}",
        "{a}'s {b}",
    ),
    *("{a}é{b}", "{a}ñ {b}", "{a}東京{b}", "東京タワー {a}", "{a}。{b}"),
    *("{a}\u3000{b}", "한국어 {a}"),
    *("{a}😀{b}", "{a} 😀 {b}", "{a}\u0301 {b}", "e\u0301{a}", "{a}\u00a0{b}", "{a}\u200b{b}"),
    *("{a}\u200d{b}", "{a}\u00ad{b}", "{a}\t{b}\r\n{a}", "{a}1{b}", "{a} 42 {b}", "{a}१२ {b}"),
    *("½{a} Ⅷ{b}", "ﬁ{a}", "straße{a} {B}ẞ", "Привет {a}", "{A}Ж{B}", "مرحبا {a}", "שלום {b}"),
    *("a {a} b {b}", "!!!", " ", "{a} " * 2000),
)
# Letters whose lower case is longer, or depends on their neighbours: no device has such rules.
LETTERS = ("İ", "Σ")
_LETTER_TEXTS = ("{L}{a}", "{a}{L}", "{a} {L}{B}", "{L} {a} {b}")


@dataclass(frozen=True)
class Probe:
    """Rows of one kind that are alike.

    Attributes:
        kind: one of the words above.
        rows: raw rows by column name, or by input name for a graph of bare tensors.
        column: the column that was changed; empty where several were, or none.
        far: whether one value is so large that float32 loses sight of the others.
        letter: a letter of ``LETTERS`` whose case a device may fold otherwise; else empty.
    """

    kind: str
    rows: Arrays
    column: str = ""
    far: bool = False
    letter: str = ""


class Maker:
    """Makes probes of a graph's columns out of held-out rows.

    Args:
        graph: its columns say which may be missing.
        rows: held-out rows by column name, as typed.
    """

    def __init__(self, graph: Graph, rows: Arrays) -> None:
        self._columns = graph.columns
        self._rows = rows
        self._dtypes = {spec.name: DTYPES[spec.dtype] for spec in graph.inputs}
        self._base = base_rows(rows, graph.columns)
        self._count = row_count(self._base)
        self._limit = max(1, min(MAX_SPLITS, MAX_CELLS // (3 * len(graph.columns))))
        self._splits = tree_splits(graph.model, graph.columns, self._limit)
        others = {name: values[:_BASES] for name, values in rows.items()}
        self._ways = Ways(graph.columns, self._base, others)
        learned = learned_values(graph.model)
        tokenized = tokenized_inputs(graph.model)
        self._learned = {c.name: learned.get(c.input) for c in graph.columns if c.index is None}
        self._documents = {c.name for c in graph.columns if c.input in tokenized}

    def probes(self) -> list[Probe]:
        """Return all probes, by kind in the order that reports show them."""
        made = (
            *map(self._unseen, self._some(_FEWEST_COLUMNS, self._is_category)),
            *(self._texts(c) for c in self._some(_FEWEST_COLUMNS, lambda c: c.kind == "text")),
            self._missing(),
            *(self._extremes(c) for c in self._some(_COLUMNS, self._is_number)),
            *(self._far(c) for c in self._some(_COLUMNS, self._is_number)),
            self._thresholds(),
        )
        return [probe for group in made for probe in group if row_count(probe.rows)]

    def _some(self, limit: int, wanted: Callable[[Column], bool]) -> list[Column]:
        return spread([column for column in self._columns if wanted(column)], limit)

    def _is_category(self, column: Column) -> bool:
        learned = self._learned.get(column.name)
        return column.kind == "text" or (column.kind == "integer" and learned is not None)

    def _is_number(self, column: Column) -> bool:
        return column.kind != "text" and not self._is_category(column)

    def _changed(
        self, changes: Sequence[Mapping[str, Any]], bases: Sequence[int] | None = None
    ) -> Arrays:
        """Return one row for each change, made of base rows: these, or one after another."""
        which = np.arange(len(changes)) if bases is None else np.array(bases, dtype=np.int64)
        taken = take_rows(self._base, which % self._count)
        for row, change in enumerate(changes):
            for name, value in change.items():
                taken[name][row] = value
        return taken

    # --- missing values ----------------------------------------------------------------------

    def _missing(self) -> Iterator[Probe]:
        """Leave out each column alone, several at once, and one that a tree asks."""
        absent = {
            column.name: "" if column.kind == "text" else np.nan
            for column in self._columns
            if column.missing == "allow" and column.kind != "integer"
        }
        generator = np.random.default_rng(0)
        sets = [[name] for name in spread(list(absent), _MISSING_ROWS)]
        if len(absent) > 1:
            sets.append(list(absent))
            drawn = generator.random((_MISSING_ROWS, len(absent))) < _MISSING_SHARE
            sets += [[n for n, out in zip(absent, row, strict=True) if out] for row in drawn]
        changes: list[dict[str, Any]] = [{name: absent[name] for name in one} for one in sets]
        asked = [split for split in self._splits if split.column.name in absent]
        for row, split in enumerate(spread(asked, _MISSING_SPLITS), start=len(changes)):
            changes.append({**self._ways.to(split, row), split.column.name: np.nan})
        yield Probe(MISSING, self._changed(changes))

    # --- categories and text -----------------------------------------------------------------

    def _unseen(self, column: Column) -> Iterator[Probe]:
        """Ask for categories that nobody knows, some of them nearly known."""
        known = self._known(column)
        values: list[Any]
        if column.kind == "integer":
            low, high = int(min(known)), int(max(known))
            values = [low - 1, high + 1, -(1 << 40)]
        else:
            first = str(known[0]) if known else _WORD
            near = (_WORD, first.swapcase(), f"{first} ", f" {first}", f"{first}x", first[:-1])
            values = [word for word in near if word and word not in known]
        yield Probe(UNSEEN, self._changed([{column.name: one} for one in values]), column.name)

    def _texts(self, column: Column) -> Iterator[Probe]:
        """Ask for letters and signs that engines without Unicode tables get wrong."""
        if column.name not in self._documents:
            changes = [{column.name: text} for text in _FOREIGN]
            yield Probe(TEXT, self._changed(changes), column.name)
            return
        words = [str(one) for one in self._known(column) if str(one).isalpha()] or [_WORD]
        ends = {"a": words[0], "b": words[-1], "A": words[0].upper(), "B": words[-1].upper()}
        changes = [{column.name: text.format(**ends)} for text in _TEXTS]
        yield Probe(TEXT, self._changed(changes), column.name)
        for letter in LETTERS:
            changes = [{column.name: text.format(L=letter, **ends)} for text in _LETTER_TEXTS]
            yield Probe(TEXT, self._changed(changes), column.name, letter=letter)

    def _known(self, column: Column) -> list[Any]:
        """Return the categories or words that the graph holds, else those of the rows."""
        learned = self._learned.get(column.name)
        if learned is not None and len(learned):
            return sorted(learned.tolist())
        return sorted({value for value in self._base[column.name].tolist() if value != ""})

    # --- numbers -----------------------------------------------------------------------------

    def _extremes(self, column: Column) -> Iterator[Probe]:
        """Ask for a column's ends, for what lies a whole range beyond, and for zeros."""
        low, high = self._ends(column)
        if low > high:
            return
        span = (high - low) or max(abs(high), 1)
        most = _MOST[column.kind]
        values = [low, high, max(low - span, -most), min(high + span, most)]
        if column.kind == "float":
            # Zeros far outside the column are as far as any other value: see ``_far``.
            near = low - span <= 0 <= high + span
            values += [0.0, -0.0, _TINY, -_TINY] if near else []
        yield Probe(EXTREMES, self._changed([{column.name: v} for v in values]), column.name)

    def _far(self, column: Column) -> Iterator[Probe]:
        """Ask for values a million times as large as any of the column."""
        low, high = self._ends(column)
        if low > high:
            return
        far = _FAR_SHARE * max(abs(low), abs(high), 1)
        far = min(far, FAREST) if column.kind == "float" else int(min(far, INT_FAREST))
        changes = [{column.name: value} for value in (-far, far)]
        yield Probe(EXTREMES, self._changed(changes), column.name, far=True)

    def _ends(self, column: Column) -> tuple[Any, Any]:
        values = self._rows[column.name]
        values = values[np.isfinite(values)]
        return (values.min().item(), values.max().item()) if len(values) else (1, 0)

    # --- thresholds --------------------------------------------------------------------------

    def _thresholds(self) -> Iterator[Probe]:
        """Lead rows to splits, with values at the threshold and one step to either side.

        Where there are few splits each is asked with several rows: below it both sides may
        well come to the same answer for one of them.
        """
        rounds = min(_ROUNDS, self._limit // max(1, len(self._splits)))
        changes, bases = [], []
        for number, split in enumerate(self._splits * rounds):
            base = number + number // len(self._splits)  # another row in each round
            way, name = self._ways.to(split, base), split.column.name
            values = around(split, self._dtypes[split.column.input])
            changes += [{**way, name: value} for value in values]
            bases += [base] * len(values)
        yield Probe(THRESHOLDS, self._changed(changes, bases))


# --- all columns ---------------------------------------------------------------------------


def base_rows(rows: Arrays, columns: Sequence[Column], limit: int = _BASES) -> Arrays:
    """Return some rows, complete ones where there are any, floats as float32 holds them."""
    complete = np.ones(row_count(rows), dtype=bool)
    for column in columns:
        values = rows[column.name]
        complete &= (values != "") if column.kind == "text" else ~np.isnan(values)
    numbers = np.flatnonzero(complete) if complete.any() else np.arange(len(complete))
    taken = take_rows(rows, np.array(spread(numbers.tolist(), limit)))
    return {name: rounded(values) for name, values in taken.items()}


def spread(items: Sequence[Any], limit: int) -> list[Any]:
    """Return at most so many items, evenly spread, always the same ones."""
    places = np.linspace(0, len(items) - 1, min(limit, len(items))).astype(int)
    return [items[place] for place in np.unique(places)]


def tensor_probes(inputs: Sequence[TensorSpec], rows: Arrays) -> list[Probe]:
    """Return probes of a graph of bare tensors: whole inputs at their ends, and holes in them.

    Args:
        inputs: the graph's inputs.
        rows: a feed of held-out rows.
    """
    probes = []
    for spec in inputs:
        values = rows[spec.name]
        finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        if values.dtype.kind not in "fiu" or not finite.size:
            continue
        low, high = finite.min(), finite.max()
        ends = [low, high]
        if values.dtype.kind == "f":
            ends += [np.zeros_like(low), low - (high - low), high + (high - low)]
            holes = take_rows(rows, np.zeros(2, dtype=np.int64))
            flat = holes[spec.name].reshape(2, -1)
            flat[0, 0] = flat[1] = np.nan
            probes.append(Probe(MISSING, holes, spec.name))
        filled = take_rows(rows, np.zeros(len(ends), dtype=np.int64))
        for row, value in enumerate(ends):
            filled[spec.name][row] = value
        probes.append(Probe(EXTREMES, filled, spec.name))
    return probes
