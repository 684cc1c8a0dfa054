"""What one column may hold: the one meaning of float, integer, text and missing."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from edge_runtime.contract.errors import (
    InputDtype,
    InputMissing,
    InputName,
    InputShape,
    InputValue,
)
from edge_runtime.contract.tensors import Array, dtype_name

KINDS = ("float", "integer", "text")
MISSING_RULES = ("allow", "refuse")

# Names the place of a row in errors, given its position in what is being read.
Where: TypeAlias = Callable[[int], str]
Number: TypeAlias = float | int

_BLANKS = " \t"
_FLOAT = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"([+-]?[0-9]{1,40})(?:\.0*)?")
_BOOLEANS = {"true": 1, "True": 1, "TRUE": 1, "false": 0, "False": 0, "FALSE": 0}
_INT64 = np.iinfo(np.int64)
# A column made of these characters alone is read at once: where Python's own parser takes such
# a text, the strict grammar takes it too (no "inf", no "1_000", no other script's digits).
_FLOAT_CHARACTERS = re.compile(r"[0-9+\-.eE]*")
_INTEGER_CHARACTERS = re.compile(r"[0-9+\-]*")
_SAFE_DIGITS = 18
_SURROGATE = re.compile("[\ud800-\udfff]")

_MEANING = {
    "float": "a finite decimal number",
    "integer": "an integer within 64 bits",
    "text": "text",
}
_MENDING = {
    "float": "Write numbers with a decimal point, without thousands separators or units.",
    "integer": "Write whole numbers in digits; the model learned this column as integers.",
    "text": "Hand over text, with quotes where the format has them.",
}


@dataclass(frozen=True)
class Column:
    """One column of the user's table and where it goes.

    Attributes:
        name: the user's own name, any text.
        kind: one of ``KINDS``.
        input: the graph input it feeds.
        index: its position in a ``[?, n]`` input; None when it is the whole ``[?, 1]`` input.
        missing: ``allow`` (NaN for a float, "" for text) or ``refuse``. No integer means
            missing, so an integer column refuses whatever stands here.
    """

    name: str
    kind: str
    input: str
    index: int | None
    missing: str


def from_cells(
    column: Column, cells: Sequence[str], tokens: frozenset[str], where: Where
) -> Array:
    """Read cells of text as a column's values: float64 with NaN, int64, or objects of text.

    Blanks around a number are ignored; text is taken as it is. ``True`` and ``False`` (also
    all lower and all upper case) are the numbers 1 and 0, as data frames write them.

    Raises:
        InputValue: when a cell is no finite decimal number, or no integer within 64 bits.
        InputMissing: when a cell is a missing token where the column refuses it.
    """
    if column.kind == "text":
        return _texts(column, ["" if cell in tokens else cell for cell in cells], where)
    array = _at_once(column.kind, cells) if tokens.isdisjoint(cells) else None
    if array is not None:
        return array
    cells = [cell.strip(_BLANKS) for cell in cells]
    read = parse_float if column.kind == "float" else parse_integer
    return _numbers(column, [None if cell in tokens else cell for cell in cells], read, where)


def from_json(column: Column, values: Sequence[Any], where: Where) -> Array:
    """Read plain Python values as a column's values; None and NaN are missing, so is "".

    Numbers written as text stay text, and the other way round: JSON has types, so they count.

    Raises:
        InputValue: when a value is of another kind or out of range.
        InputMissing: when a value is missing where the column refuses it.
    """
    plain = [None if _is_nan(value) else value for value in values]
    if column.kind == "text":
        for row, value in enumerate(plain):
            if value is not None and not _is_text(value):
                raise no_value(column, where(row), value)
        return _texts(column, [value or "" for value in plain], where)
    read = _float_of if column.kind == "float" else _integer_of
    return _numbers(column, plain, read, where)


def from_array(column: Column, array: Array, where: Where) -> Array:
    """Read a 1-D array of any fitting element type as a column's values; NaN is missing.

    Raises:
        InputShape: when it is not 1-D.
        InputDtype: when its element type can never be of the column's kind.
        InputValue: when a value is infinite, no integer, or out of range.
        InputMissing: when a value is missing where the column refuses it.
    """
    if array.ndim != 1:
        raise InputShape(
            f"column {column.name!r} takes a 1-D array, found shape {list(array.shape)}",
            hint="Give one value a row.",
            column=column.name,
            expected="one axis",
            found=list(array.shape),
        )
    if array.dtype.kind == "O":
        return from_json(column, array.tolist(), where)
    if array.dtype.kind not in ("U" if column.kind == "text" else "biuf"):
        raise InputDtype(
            f"column {column.name!r} takes {column.kind}, found dtype {dtype_name(array)}",
            hint="Convert the column first, or name the column that was meant.",
            column=column.name,
            expected=column.kind,
            found=dtype_name(array),
        )
    if column.kind != "float":
        return from_json(column, array.tolist(), where)
    values = array.astype(np.float64)
    if not np.isfinite(values).all():
        _refuse_not_finite(column, values, where)
    return values


def gather(
    columns: Sequence[Column], records: Sequence[Any], where: Where
) -> dict[str, list[Any]]:
    """Turn rows of names and values into columns; what no column asks for is left out.

    Raises:
        InputName: when a record lacks a column, or is no object at all.
    """
    for row, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise InputName(
                f"{where(row)} is a {type(record).__name__}, not names with values",
                hint="Give one object a row, its keys being the column names.",
                expected="object",
                found=type(record).__name__,
            )
        absent = [column.name for column in columns if column.name not in record]
        if absent:
            raise InputName(
                f"{where(row)} lacks {listed(absent)}; it has {listed(list(record))}",
                hint="Name every column in every row; null or None stands for a missing value.",
                expected=absent,
                found=[str(key) for key in record],
            )
    return {column.name: [record[column.name] for record in records] for column in columns}


def common_length(what: str, arrays: Mapping[str, Array]) -> int:
    """Return how many rows all arrays have; 0 where there are none.

    Raises:
        InputShape: when two differ.
    """
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    first = next(iter(lengths.items()), ("", 0))
    other = next((item for item in lengths.items() if item[1] != first[1]), None)
    if other is not None:
        raise InputShape(
            f"{what} differ in their number of rows: {first[0]!r} has {first[1]}, "
            f"{other[0]!r} has {other[1]}",
            hint="Give every one of them the same number of rows.",
            expected=dict([first]),
            found=dict([other]),
        )
    return first[1]


def parse_float(cell: str) -> Number | None:
    """Read a finite decimal number; None when the text is none."""
    if not _FLOAT.fullmatch(cell):
        return _BOOLEANS.get(cell)
    return _float_of(float(cell))


def parse_integer(cell: str) -> Number | None:
    """Read an integer within 64 bits, ``42`` or ``42.0``; None when the text is none."""
    match = _INTEGER.fullmatch(cell)
    return _integer_of(int(match[1])) if match else _BOOLEANS.get(cell)


def listed(names: Sequence[Any], limit: int = 6) -> str:
    """Return names as a message shows them: quoted, and cut where there are many."""
    shown = ", ".join(repr(str(name)[:60]) for name in names[:limit])
    more = len(names) - limit
    return (shown or "nothing") if more <= 0 else f"{shown} and {more} more"


def missing_value(column: Column, place: str) -> InputMissing:
    """Return the error for a missing value where a column refuses it."""
    return InputMissing(
        f"{place}: column {column.name!r} has no value, and the model needs one of kind "
        f"{column.kind}",
        hint="Fill the value in or leave the row out; the model knows no missing ones here.",
        column=column.name,
        place=place,
        expected=column.kind,
        found="nothing",
    )


def no_value(column: Column, place: str, found: Any, wanted: str = "") -> InputValue:
    """Return the error for a value that is not of its column's kind, or not what is wanted."""
    shown = repr(found)[:60]
    wanted = wanted or _MEANING[column.kind]
    return InputValue(
        f"{place}: column {column.name!r} takes {wanted}, found {shown}",
        hint=_MENDING[column.kind],
        column=column.name,
        place=place,
        expected=wanted,
        found=shown,
    )


def _at_once(kind: str, cells: Sequence[str]) -> Array | None:
    joined = "".join(cells)
    try:
        if kind == "float" and _FLOAT_CHARACTERS.fullmatch(joined):
            array = np.array(list(map(float, cells)), dtype=np.float64)
            return array if np.isfinite(array).all() else None
        short = max(map(len, cells), default=0) <= _SAFE_DIGITS
        if kind == "integer" and short and _INTEGER_CHARACTERS.fullmatch(joined):
            return np.array(list(map(int, cells)), dtype=np.int64)
    except ValueError:
        return None  # the careful way names the cell
    return None


def _numbers(
    column: Column,
    values: Sequence[Any],
    read: Callable[[Any], Number | None],
    where: Where,
) -> Array:
    integer = column.kind == "integer"
    numbers: list[Number] = []
    for row, value in enumerate(values):
        if value is None and (integer or column.missing == "refuse"):
            raise missing_value(column, where(row))
        number = math.nan if value is None else read(value)
        if number is None:
            raise no_value(column, where(row), value)
        numbers.append(number)
    return np.array(numbers, dtype=np.int64 if integer else np.float64)


def _refuse_not_finite(column: Column, values: Array, where: Where) -> None:
    missing = np.isnan(values)
    if column.missing == "refuse" and missing.any():
        raise missing_value(column, where(int(missing.argmax())))
    infinite = np.isinf(values)
    if infinite.any():
        row = int(infinite.argmax())
        raise no_value(column, where(row), float(values[row]))


def _texts(column: Column, values: list[str], where: Where) -> Array:
    if column.missing == "refuse" and "" in values:
        raise missing_value(column, where(values.index("")))
    return np.array(values, dtype=object)


def _is_nan(value: Any) -> bool:
    return isinstance(value, (float, np.floating)) and math.isnan(value)


def _is_text(value: Any) -> bool:
    # Half of a surrogate pair is text to Python and JSON, but to no UTF-8 and so to no engine.
    return isinstance(value, str) and (value.isascii() or not _SURROGATE.search(value))


def _float_of(value: Any) -> Number | None:
    if not isinstance(value, (int, float, np.integer, np.floating, np.bool_)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _integer_of(value: Any) -> Number | None:
    number = _float_of(value)
    if number is None or int(number) != number:
        return None
    whole = int(value)
    return whole if _INT64.min <= whole <= _INT64.max else None
