"""Rows as a file has them, typed by the device's own code once a column's kind is known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from edge_runtime.contract.columns import assemble
from edge_runtime.contract.errors import InputMissing, InputValue
from edge_runtime.contract.table import Column, TableFormat
from edge_runtime.contract.tensors import DTYPES, Array, Arrays, TensorSpec, check_feed
from edge_runtime.contract.values import (
    from_array,
    from_cells,
    listed,
    parse_float,
    parse_integer,
)
from packager.errors import ColumnMissing, DataUnusable, LabelMissing, nearest
from packager.samples.large import taken

TABLE = TableFormat()
_TOKENS = frozenset(TABLE.missing_tokens)
# A code such as 00715 is no quantity.
# Fewer cells than this share of a column are slips in numbers rather than text of their own.
STRAY_SHARE = 0.1
_LEADING_ZERO = re.compile(r"^[ \t]*[+-]?0[0-9]", re.MULTILINE)


@dataclass(frozen=True)
class Samples:
    """Rows of a file, as the file has them until a column's kind is known.

    Attributes:
        what: how errors name the file.
        digest: sha256 of the whole file, in hex.
        raw: every usable column but the label, a row a sample along the first axis.
        places: how errors name each row.
        label: the label column's name, if there is one.
        raw_label: its values.
        cells: True when the values are a CSV's text and still have no type.
        unusable: columns of types that no model takes, with the type's name.
        matrix: how many columns came out of a matrix ``X``, known by their order alone.
    """

    what: str
    digest: str
    raw: Arrays = field(repr=False)
    places: Array = field(repr=False)
    label: str | None = None
    raw_label: Array | None = field(default=None, repr=False)
    cells: bool = False
    unusable: dict[str, str] = field(default_factory=dict)
    matrix: int = 0

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.places)

    @cached_property
    def kinds(self) -> dict[str, str]:
        """What each column seems to be: ``float``, ``integer``, ``text`` or ``tensor``."""
        return {name: _kind(array, cells=self.cells) for name, array in self.raw.items()}

    @cached_property
    def columns(self) -> Arrays:
        """Every column by what it seems to be; a model's own columns may want it otherwise."""
        table = {
            name: Column(name, kind, name, None, "allow")
            for name, kind in self.kinds.items()
            if kind != "tensor"
        }
        tensors = {name: array for name, array in self.raw.items() if name not in table}
        return self.typed(list(table.values())) | tensors

    def typed(self, columns: Sequence[Column]) -> Arrays:
        """Return 1-D arrays by column name, read exactly as the device reads them.

        Raises:
            ColumnMissing: when the file lacks a column.
            DataUnusable: when a column has a type that no model takes.
            InputError: when a value is not of its column's kind or must not be missing.
        """
        return {
            column.name: self._read(column, self._found(column, columns)) for column in columns
        }

    def feed(self, columns: Sequence[Column], inputs: Sequence[TensorSpec]) -> Arrays:
        """Return the graph's feed of all rows.

        Without columns the file has an array of each input's name; or, where the graph has one
        input, ``X``, or columns that stand side by side in it.

        Raises:
            ColumnMissing: when the file lacks a column or an input.
            InputError: when names, types, shapes or values do not fit.
        """
        if columns:
            return assemble(columns, inputs, self.typed(columns))
        arrays = {spec.name: self._tensor(spec, alone=len(inputs) == 1) for spec in inputs}
        return check_feed(inputs, arrays)

    def column(self, name: str) -> Array:
        """Return a column as the file has it.

        Raises:
            ColumnMissing: when the file lacks it.
            DataUnusable: when it has a type that no model takes.
        """
        if name not in self.raw:
            raise self._lacks(name)
        return self.raw[name]

    def take(self, rows: Array) -> Samples:
        """Return some of the rows, in the order given."""
        return replace(
            self,
            raw={name: taken(array, rows) for name, array in self.raw.items()},
            places=self.places[rows],
            raw_label=None if self.raw_label is None else self.raw_label[rows],
        )

    def label_classes(self, classes: Sequence[str | int | float | bool]) -> Array:
        """Return the label column as the model's own classes.

        Raises:
            LabelMissing: when there is no label column, or it holds another class.
        """
        text = all(isinstance(one, str) for one in classes)
        known = {one: one for one in classes}
        found = []
        for row, value in enumerate(self._labels().tolist()):
            key = value if text or not isinstance(value, str) else _number(value)
            if key not in known:
                raise LabelMissing(
                    f"{self._place(row)}: label {self.label!r} is {value!r}, "
                    f"the model's classes are {listed(classes)}",
                    hint="Name the column that holds the classes the model was trained on.",
                    label=self.label,
                    expected=list(classes),
                    found=str(value),
                )
            found.append(known[key])
        return np.array(found, dtype=object if text else None)

    def label_numbers(self) -> Array:
        """Return the label column as float64, for a regression.

        Raises:
            LabelMissing: when there is no label column.
            InputError: when a label is no finite number.
        """
        column = Column(str(self.label), "float", "", None, "refuse")
        return self._read(column, self._labels())

    def _labels(self) -> Array:
        if self.raw_label is None:
            raise LabelMissing(
                f"no column of {self.what} was named as the label",
                hint="Name it with --label.",
                expected="a label column",
                found=None,
            )
        return self.raw_label

    def _read(self, column: Column, array: Array) -> Array:
        if self.cells:
            return from_cells(column, array.tolist(), _TOKENS, self._place)
        return from_array(column, array, self._place)

    def refuse_stray_text(self, names: Sequence[str]) -> None:
        """Refuse a CSV's column that is text only because of a few cells among its numbers.

        Raises:
            DataUnusable: naming the first of these cells.
        """
        for name in names if self.cells else ():
            cells = self.raw[name].tolist()
            stray = [
                row
                for row, cell in enumerate(cells)
                if cell.strip() not in _TOKENS and _number(cell) is None
            ]
            if 0 < len(stray) <= STRAY_SHARE * len(cells):
                raise DataUnusable(
                    f"{self._place(stray[0])}: column {name!r} holds {cells[stray[0]]!r} among "
                    f"numbers; {len(stray)} of {len(cells)} cells are no numbers",
                    hint="Mend these cells, or leave them empty where the value is missing.",
                    column=name,
                    expected="numbers",
                    found=cells[stray[0]],
                )

    def _place(self, row: int) -> str:
        return f"{self.what} {'line' if self.cells else 'row'} {self.places[row]}"

    def _found(self, column: Column, columns: Sequence[Column]) -> Array:
        if column.name not in self.raw and self.matrix == len(columns):
            return self.raw[f"x{columns.index(column)}"]
        return self.column(column.name)

    def _tensor(self, spec: TensorSpec, *, alone: bool) -> Array:
        names = self._parts(spec.name, alone=alone)
        if names[0] not in self.raw:
            raise self._lacks(names[0])
        arrays = [self.columns[name] for name in names]
        array = arrays[0] if len(names) == 1 else np.column_stack(arrays)
        wanted = DTYPES[spec.dtype]
        if not np.can_cast(array.dtype, wanted, "same_kind"):
            return array
        with np.errstate(over="ignore"):
            cast = array.astype(wanted, copy=False)
        # A whole number that does not fit would come out as another one.
        lost = cast is not array and wanted.kind in "iu" and not np.array_equal(cast, array)
        return array if lost else cast

    def _parts(self, name: str, *, alone: bool) -> list[str]:
        """Name the columns that make an input: itself, a matrix, or all that the file has."""
        matrix = [f"x{index}" for index in range(self.matrix)]
        if matrix and (alone or name == "X"):
            return matrix
        if alone and name not in self.raw and "X" in self.raw:
            return ["X"]
        flat = bool(self.raw) and "tensor" not in self.kinds.values()
        return list(self.raw) if alone and name not in self.raw and flat else [name]

    def _lacks(self, name: str) -> ColumnMissing | DataUnusable:
        if name in self.unusable:
            return DataUnusable(
                f"column {name!r} of {self.what} has the type {self.unusable[name]}; "
                "models take numbers and text",
                hint="Write the column as numbers or as text.",
                column=name,
                expected=["number", "text"],
                found=self.unusable[name],
            )
        return ColumnMissing(
            f"{self.what} lacks the column {name!r}{nearest(name, self.raw)}; "
            f"it has {listed(list(self.raw))}",
            hint="Give the file every column that the model was trained on, by the same name.",
            expected=name,
            found=list(self.raw),
        )


def _kind(array: Array, *, cells: bool) -> str:
    if array.ndim != 1:
        return "tensor"
    if not cells:
        return {"b": "integer", "i": "integer", "u": "integer", "f": "float"}.get(
            array.dtype.kind, "text"
        )
    texts = array.tolist()
    if _LEADING_ZERO.search("\n".join(texts)):
        return "text"
    for kind, missing in (("integer", "refuse"), ("float", "allow")):
        with suppress(InputValue, InputMissing):
            from_cells(Column("", kind, "", None, missing), texts, _TOKENS, str)
            return kind
    return "text"


def _number(text: str) -> int | float | None:
    whole = parse_integer(text.strip())
    return parse_float(text.strip()) if whole is None else whole
