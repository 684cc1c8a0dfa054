"""What golden rows are chosen from: nobody's rows, some of them where models go wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator

from edge_runtime.contract.table import Column
from edge_runtime.contract.tensors import Array, Arrays
from packager.answers import row_count, take_rows
from packager.graph import Graph
from packager.graphs.split_rows import Ways, beside
from packager.graphs.tree_splits import tree_splits
from packager.synthetic import draw_rows, learned_values, nobodys_rows

POOL = 96
# Of given rows so many are looked at.
GIVEN = 512
_SEED = 1
# Rows at the ends of some columns, and the share of columns that stands at each end there.
_ENDS, _END_SHARE = 6, 0.25
_MIXES = 32
_GAPS = 8
_SPLITS = 16
# Ends are looked for in so many known rows.
_LOOKED_AT = 1024


def golden_pool(graph: Graph, known: Arrays | None, private: Sequence[Arrays]) -> Arrays:
    """Return rows to choose golden ones from, the same on every machine; drawn rows come first.

    To the drawn rows come some at the ends of columns, some with missing values, some half-way
    between two others, where a class may end, and pairs on either side of a tree's split. An
    end lies half-way between a column's two outermost values, so it is nobody's either.

    Args:
        graph: the graph.
        known: a feed that shows how each column is spread; None for bare numbers.
        private: feeds none of whose rows may be there, unless they are common.

    Raises:
        NoGoldenRows: when every row that can be drawn is somebody's.
    """
    drawn = draw_rows(
        graph.inputs, POOL, known=known, private=private, learned=learned_values(graph.model)
    )
    parts = [drawn, _at_ends(drawn, known), _with_gaps(graph.columns, drawn), _mixed(drawn)]
    parts.append(_beside_splits(graph, drawn))
    together = {name: np.concatenate([part[name] for part in parts]) for name in drawn}
    return take_rows(together, nobodys_rows(together, private))


def _numbers(rows: int, total: int) -> Array:
    return np.arange(rows) % total


def _at_ends(drawn: Arrays, known: Arrays | None) -> Arrays:
    """Return a row of least values, one of greatest, and some at ends here and there."""
    generator = np.random.default_rng(_SEED)
    made = take_rows(drawn, _numbers(2 + _ENDS, row_count(drawn)))
    for name in sorted(made):
        if made[name].dtype.kind in "fiu":
            low, high = _ends(drawn[name], known[name] if known else None)
            made[name] = _placed(made[name], low, high, generator)
    return made


def _placed(values: Array, low: Array, high: Array, generator: Generator) -> Array:
    place = generator.random(values.shape)
    at_low, at_high = place < _END_SHARE, place > 1 - _END_SHARE
    at_low[0], at_high[0], at_low[1], at_high[1] = True, False, False, True
    # A column without any value has no ends: it keeps what was drawn.
    placed = np.where(at_low & np.isfinite(low), low, values)
    return np.asarray(np.where(at_high & np.isfinite(high), high, placed), values.dtype)


def _ends(drawn: Array, known: Array | None) -> tuple[Array, Array]:
    """Return the ends of each column, in the type that is drawn."""
    low, high = _outermost(drawn, 1)
    if known is not None and len(known) > 1 and drawn.dtype.kind == "f":
        inside = _outermost(known[:_LOOKED_AT], 2)
        low, high = np.minimum(low, inside[0]), np.maximum(high, inside[1])
    return low, high


def _outermost(values: Array, count: int) -> tuple[Array, Array]:
    """Return by column the mean of so many least values, and of as many greatest."""
    known = np.isfinite(values)
    least = np.partition(np.where(known, values, np.inf), count - 1, axis=0)[:count]
    most = np.partition(np.where(known, values, -np.inf), -count, axis=0)[-count:]
    return least.mean(axis=0), most.mean(axis=0)


def _with_gaps(columns: Sequence[Column], drawn: Arrays) -> Arrays:
    """Return a row without all values that may be missing, and some without one."""
    able = [one for one in columns if one.missing == "allow" and one.kind != "integer"]
    places = np.unique(np.linspace(0, len(able) - 1, min(_GAPS, len(able))).astype(int))
    groups = [able, *([able[place]] for place in places)] if able else []
    made = take_rows(drawn, _numbers(len(groups), row_count(drawn)))
    for row, group in enumerate(groups):
        for column in group:
            _cells(made, column)[row] = "" if column.kind == "text" else np.nan
    return made


def _cells(feed: Arrays, column: Column) -> Array:
    """Return a column's cells as a view into its input."""
    array = feed[column.input]
    return array.reshape(len(array), -1)[:, column.index or 0]


def _mixed(drawn: Arrays) -> Arrays:
    """Return rows half-way between neighbours; what is no float stays as in the first."""
    first = _numbers(min(_MIXES, row_count(drawn) - 1), row_count(drawn))
    mixed = take_rows(drawn, first)
    for name, values in drawn.items():
        if values.dtype.kind == "f":
            mixed[name] = (values[first] / 2 + values[first + 1] / 2).astype(values.dtype)
    return mixed


def _beside_splits(graph: Graph, drawn: Arrays) -> Arrays:
    """Return pairs of rows, alike but for a value on either side of a split."""
    base = {column.name: _cells(drawn, column) for column in graph.columns}
    ways = Ways(graph.columns, base, base)
    changes: list[Mapping[Column, Any]] = []
    named = {column.name: column for column in graph.columns}
    splits = tree_splits(graph.model, graph.columns, _SPLITS) if graph.columns else []
    for row, split in enumerate(splits):
        way = {named[name]: value for name, value in ways.to(split, row).items()}
        changes += [{**way, split.column: value} for value in beside(split)]
    made = take_rows(drawn, np.arange(len(changes)) // 2 % row_count(drawn))
    for row, change in enumerate(changes):
        for column, value in change.items():
            _cells(made, column)[row] = value
    return made
