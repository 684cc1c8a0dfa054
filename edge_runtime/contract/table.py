"""The one reader of tables for host and device: CSV, JSON lines and NPZ, in bounded memory.

CSV is UTF-8 (a byte-order mark is skipped) with LF or CRLF, commas, RFC 4180 quotes and a
header row; columns stand in any order, and those that nobody asks for are ignored. A cell that
equals a missing token is missing. JSON lines are one object a line, null being missing.

An NPZ archive holds either one 1-D array a column, named by the column, or one array a graph
input, named by the input and of its exact element type; the two are never mixed. Text is
stored as ``<U``; objects are never unpickled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from edge_runtime.contract import strictjson
from edge_runtime.contract.errors import (
    InputName,
    InputUnreadable,
    JsonMalformed,
    TableMalformed,
)
from edge_runtime.contract.npz import MAX_NPZ_BYTES, read_npz
from edge_runtime.contract.rows import Lines, chunks, csv_table, text_rows, unreadable
from edge_runtime.contract.tensors import Array, Arrays
from edge_runtime.contract.values import (
    KINDS,
    MISSING_RULES,
    Column,
    Where,
    common_length,
    from_array,
    from_cells,
    from_json,
    gather,
    listed,
)

__all__ = [
    "DEFAULT_MISSING_TOKENS",
    "FORMATS",
    "KINDS",
    "MISSING_RULES",
    "Cells",
    "Column",
    "Rows",
    "TableFormat",
    "format_of",
    "read_cells",
    "read_table",
]

DEFAULT_MISSING_TOKENS = ("", "#N/A", "N/A", "NA", "NULL", "NaN", "None", "nan", "null")
FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".npz": "npz"}

Source: TypeAlias = Path | BinaryIO


@dataclass(frozen=True)
class TableFormat:
    """What text means before it has a type: UTF-8, comma, header row, these missing tokens."""

    missing_tokens: tuple[str, ...] = DEFAULT_MISSING_TOKENS


class Rows(dict[str, Array]):
    """One chunk of a table: arrays by name.

    Attributes:
        where: names the place of a row in errors, for those who check the values further.
        count: how many rows; arrays without a common row count as one.
    """

    def __init__(self, values: Arrays, where: Where, count: int) -> None:
        super().__init__(values)
        self.where = where
        self.count = count


@dataclass(frozen=True)
class Cells:
    """A whole CSV as text, for those who must find out what kinds its columns are.

    Attributes:
        columns: every column's cells by name, in the order of the file.
        lines: the line that each row begins on.
    """

    columns: dict[str, list[str]]
    lines: list[int]


def format_of(path: Path) -> str:
    """Tell the format of a table by the end of its name.

    Raises:
        InputUnreadable: when it is none of ``FORMATS``.
    """
    found = FORMATS.get(path.suffix.lower())
    if found is None:
        raise InputUnreadable(
            f"{path.name} ends with {path.suffix!r}, tables end with {', '.join(FORMATS)}",
            hint="Give the file the ending of what it holds.",
            path=str(path),
            expected=list(FORMATS),
            found=path.suffix,
        )
    return found


def read_table(
    source: Source,
    fmt: str,
    columns: Sequence[Column],
    table: TableFormat,
    *,
    chunk_rows: int = 1024,
) -> Iterator[Rows]:
    """Read a table chunk by chunk.

    Args:
        source: a file, or a binary stream that is left open.
        fmt: ``csv``, ``jsonl`` or ``npz``.
        columns: what to read; an NPZ of graph inputs may be read without any.
        table: what counts as missing in a CSV.
        chunk_rows: the most rows a chunk holds; wide rows make smaller chunks.

    Yields:
        1-D arrays by column name: float64 with NaN, int64, or objects of text with "" where
        missing. An NPZ of graph inputs yields its arrays as they are, by input name.

    Raises:
        InputUnreadable: when the source cannot be opened, read or decoded.
        TableMalformed: when the bytes are not of the format.
        InputName: when a column is absent.
        InputValue: when a cell is not of its column's kind.
        InputMissing: when a value is missing where the column refuses it.
    """
    if not columns and fmt != "npz":
        raise TableMalformed(
            f"the model takes bare tensors, a table of format {fmt} has columns",
            hint="Hand the tensors over as NPZ, one array a graph input.",
            expected="npz",
            found=fmt,
        )
    with _opened(source) as (stream, what):
        if fmt == "npz":
            yield from _read_npz(stream, what, columns, chunk_rows)
        elif fmt == "jsonl":
            yield from _read_json_lines(Lines(stream, what), columns, chunk_rows)
        else:
            yield from _read_csv(Lines(stream, what), columns, table, chunk_rows)


def read_cells(source: Source) -> Cells:
    """Read a whole CSV as text, every column of it.

    Raises:
        InputUnreadable: when the source cannot be opened, read or decoded.
        TableMalformed: when the bytes are no CSV with a header.
    """
    with _opened(source) as (stream, what):
        header, rows = csv_table(Lines(stream, what))
        read = list(rows)
    cells = [list(column) for column in zip(*(row for _, row in read), strict=True)]
    columns = dict(zip(header, cells or [[] for _ in header], strict=True))
    return Cells(columns, [line for line, _ in read])


@contextmanager
def _opened(source: Source) -> Iterator[tuple[BinaryIO, str]]:
    if not isinstance(source, Path):
        yield source, "the input"
        return
    try:
        stream = source.open("rb")
    except OSError as error:
        raise unreadable(source.name, error.strerror or str(error)) from None
    with stream:
        yield stream, source.name


def _read_csv(
    lines: Lines, columns: Sequence[Column], table: TableFormat, chunk_rows: int
) -> Iterator[Rows]:
    header, rows = csv_table(lines)
    _check_names(lines.what, columns, header)
    position = {name: index for index, name in enumerate(header)}
    tokens = frozenset(table.missing_tokens)
    for where, held in chunks(lines, rows, chunk_rows):
        cells = list(zip(*held, strict=True))
        arrays = {
            column.name: from_cells(column, cells[position[column.name]], tokens, where)
            for column in columns
        }
        yield Rows(arrays, where, len(held))


def _read_json_lines(
    lines: Lines, columns: Sequence[Column], chunk_rows: int
) -> Iterator[Rows]:
    for where, held in chunks(lines, text_rows(lines), chunk_rows):
        records = [_parsed(text, where(row)) for row, text in enumerate(held)]
        values = gather(columns, records, where)
        arrays = {
            column.name: from_json(column, values[column.name], where) for column in columns
        }
        yield Rows(arrays, where, len(held))


def _parsed(text: str, place: str) -> Any:
    try:
        return strictjson.loads(text.encode(), what=place)
    except JsonMalformed as error:
        raise TableMalformed(
            error.message,
            hint="Write one JSON object a line; a missing value is null, never NaN.",
            **error.values,
        ) from None


def _read_npz(
    stream: BinaryIO, what: str, columns: Sequence[Column], chunk_rows: int
) -> Iterator[Rows]:
    try:
        data = stream.read(MAX_NPZ_BYTES + 1)
    except OSError as error:
        raise unreadable(what, error.strerror or str(error)) from None
    arrays = read_npz(data, what=what)
    inputs = {column.input for column in columns} or set(arrays)
    named = [arrays[column.name] for column in columns if column.name in arrays]
    is_table = len(named) == len(columns) and all(array.ndim == 1 for array in named)
    if columns and (is_table or not inputs <= arrays.keys()):
        arrays = _typed(what, columns, arrays)
    else:
        arrays = {name: array for name, array in arrays.items() if name in inputs}
    yield from _slices(what, arrays, chunk_rows)


def _typed(what: str, columns: Sequence[Column], arrays: Arrays) -> Arrays:
    _check_names(what, columns, list(arrays))
    where = _npz_places(what)
    arrays = {column.name: from_array(column, arrays[column.name], where) for column in columns}
    common_length(f"the columns of {what}", arrays)
    return arrays


def _npz_places(what: str, begin: int = 0) -> Where:
    return lambda row: f"{what} row {begin + row} (counted from 0)"


def _slices(what: str, arrays: Arrays, chunk_rows: int) -> Iterator[Rows]:
    lengths = {len(array) if array.ndim else None for array in arrays.values()}
    rows = lengths.pop() if len(lengths) == 1 else None
    if rows is None:
        yield Rows(arrays, _npz_places(what), 1)  # there is no row to cut at
        return
    for begin in range(0, rows, chunk_rows):
        end = min(begin + chunk_rows, rows)
        part = {name: array[begin:end] for name, array in arrays.items()}
        yield Rows(part, _npz_places(what, begin), end - begin)


def _check_names(what: str, columns: Sequence[Column], found: Sequence[str]) -> None:
    there = set(found)
    absent = [column.name for column in columns if column.name not in there]
    if absent:
        raise InputName(
            f"{what} lacks {listed(absent)}; it has {listed(found)}",
            hint="Name the columns as the model's own data did, blanks and case included.",
            expected=[column.name for column in columns],
            found=list(found),
        )
