"""A saved model that plans its own columns: scikit-learn's and the boosters'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edge_runtime.contract.strictjson import Fields
from edge_runtime.contract.table import KINDS, Column
from edge_runtime.contract.tensors import DTYPES, Array, Arrays, TensorSpec
from packager.errors import ColumnMissing, ConversionFailed, SourceFailed
from packager.graph import MissingProbe
from packager.sources import wire
from packager.sources.child_source import ChildSource, Planned, one_of, unexpected
from packager.sources.sandbox import CrashError
from packager.sources.wire import WireBrokenError

PROBE_ROWS = 8


class ColumnSource(ChildSource):
    """A model whose fitted parts say what its columns are."""

    def missing_probe(self, columns: Mapping[str, Array]) -> tuple[MissingProbe, ...]:
        """Ask the model for a few of these rows with one column missing, column by column.

        Raises:
            ColumnMissing: when a column of the plan is not there.
        """
        rows = self._rows(columns)
        count = len(next(iter(rows.values())))
        few = np.unique(np.linspace(0, count - 1, PROBE_ROWS).astype(np.int64))
        rows = {name: values[few] for name, values in rows.items()}
        try:
            answer = self._ask_rows("probe", rows)
            accepted = Fields(answer.head, "the probe", SourceFailed).texts("accepted")
            blocks = _blocks(wire.unpack(answer), accepted, len(few))
        except CrashError as crash:
            raise SourceFailed(
                f"the {self._facts.kind} fails on rows with a missing value: {crash}",
                hint="Save a model that answers such rows or refuses them with a ValueError.",
                expected="answers or a refusal",
                found=str(crash),
            ) from None
        except WireBrokenError as broken:
            raise unexpected("arrays", broken) from None
        return tuple(
            MissingProbe(column.name, _without(rows, column), blocks.get(column.name))
            for column in self.described().columns
            if column.kind != "integer"
        )

    def _plan(self, kinds: Mapping[str, str] | None) -> Planned:
        try:
            asked = None if kinds is None else dict(kinds)
            answer = self._sandbox.ask({"do": "plan", "kinds": asked})
        except CrashError as crash:
            raise ConversionFailed(
                f"the columns of the {self._facts.kind} cannot be told: {crash}",
                hint="Save the fitted pipeline itself, without wrappers of your own.",
                expected="columns",
                found=str(crash),
            ) from None
        told = Fields(answer.head, "the plan", SourceFailed)
        columns = tuple(map(_column, told.list("columns")))
        return columns, tuple(map(_spec, told.list("inputs")))

    def _rows(self, columns: Mapping[str, Array]) -> Arrays:
        wanted = [column.name for column in self.described().columns]
        missing = [name for name in wanted if name not in columns]
        if missing:
            raise ColumnMissing(
                f"the model reads the column {missing[0]!r}, the rows have "
                f"{', '.join(map(repr, columns)) or 'none'}",
                hint="Give the rows every column that the model reads.",
                expected=wanted,
                found=list(columns),
            )
        return {name: columns[name] for name in wanted}


def _column(told: Any) -> Column:
    fields = Fields(told, "the plan's column", SourceFailed)
    return Column(
        name=fields.text("name"),
        kind=one_of(fields.text("kind"), KINDS),
        input=fields.text("input"),
        index=fields.integer("index") if fields.has("index") else None,
        missing="refuse",
    )


def _spec(told: Any) -> TensorSpec:
    fields = Fields(told, "the plan's input", SourceFailed)
    dtype = one_of(fields.text("dtype"), tuple(DTYPES))
    return TensorSpec(fields.text("name"), dtype, (None, fields.integer("width")))


def _blocks(answers: Arrays, accepted: tuple[str, ...], rows: int) -> dict[str, Arrays]:
    return {
        name: {output: values[rows * i : rows * (i + 1)] for output, values in answers.items()}
        for i, name in enumerate(accepted)
    }


def _without(rows: Arrays, column: Column) -> Arrays:
    values = rows[column.name]
    absent = (
        np.full(len(values), "", dtype=object)
        if column.kind == "text"
        else np.full(len(values), np.nan)
    )
    return {**rows, column.name: absent}
