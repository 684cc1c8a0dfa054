"""Prediction of whole tables: rows in, answers out, in bounded memory, all or nothing."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from edge_runtime.contract.answers import answer_rows, check_rows, flat_rows
from edge_runtime.contract.bundle.manifest import Interface
from edge_runtime.contract.errors import (
    InputError,
    InputUnreadable,
    OutputUnwritable,
    UsageError,
)
from edge_runtime.contract.npz import MAX_NPZ_BYTES, write_npz
from edge_runtime.contract.table import FORMATS, Rows, read_table
from edge_runtime.contract.tensors import DTYPES, Arrays
from edge_runtime.contract.terminal import STANDARD_OUTPUT, abandon, unwritable
from edge_runtime.model import Model

STANDARD_STREAM = "-"
CHUNK_ROWS = 1024


def format_of(path: str, named: str | None) -> str:
    """Return ``csv``, ``jsonl`` or ``npz``: as named, by the suffix, CSV for a stream.

    Raises:
        UsageError: when the suffix says nothing.
    """
    by_suffix = FORMATS.get(Path(path).suffix.lower())
    found = named or ("csv" if path == STANDARD_STREAM else by_suffix)
    if found is None:
        raise UsageError(
            f"the format of {path} must be csv, jsonl or npz; its suffix does not say which",
            hint="Name it: --input-format or --output-format.",
            path=path,
            expected=["csv", "jsonl", "npz"],
        )
    return found


def predict_table(
    model: Model,
    source: tuple[str, str],
    sink: tuple[str, str],
    progress: Callable[[int], None],
) -> int:
    """Predict every row of a table and return how many there were.

    Args:
        model: the loaded model.
        source: path or ``-``, and its format.
        sink: path or ``-``, and its format; a file appears whole or not at all, a stream holds
            what was answered before an error.
        progress: called with the number of rows answered so far.

    Raises:
        InputError: when a row cannot be read or is not as declared, naming its line.
        OutputUnwritable: when the answers cannot be written.
        PredictionFailed: when the engine fails, or does not give one answer a row.
    """
    answers = _Answers(model, source, progress, whole=sink[1] == "npz")
    with _replacing(sink[0]) as out:
        _WRITERS[sink[1]](model.interface, answers, out)
    return answers.rows


class _Answers:
    """The answers to a table, chunk by chunk, each with its number of rows.

    Attributes:
        rows: how many were answered so far.
    """

    def __init__(
        self,
        model: Model,
        source: tuple[str, str],
        progress: Callable[[int], None],
        *,
        whole: bool,
    ) -> None:
        interface = model.interface
        self.rows = 0
        self._model = model
        self._progress = progress
        # Arrays that are no rows of anything can only be answered at once and handed on whole.
        self._bare = whole and not interface.roles
        self._table = read_table(
            _opened(source[0]),
            source[1],
            interface.columns,
            interface.table,
            chunk_rows=sys.maxsize if self._bare else _fixed_batch(interface) or CHUNK_ROWS,
        )

    def __iter__(self) -> Iterator[tuple[int, Arrays]]:
        for rows in self._read():
            answers = self._model.predict(rows, where=rows.where)
            if not self._bare:
                check_rows(answers, rows.count)
            self.rows += rows.count
            self._progress(self.rows)
            yield rows.count, answers

    def _read(self) -> Iterator[Rows]:
        try:
            yield from self._table
        except InputError as error:
            self._model.count_refused(error)
            raise


def _opened(path: str) -> Path | BinaryIO:
    if path != STANDARD_STREAM:
        return Path(path)
    if sys.stdin is None:
        raise InputUnreadable(
            "rows are to be read from the standard input, and it is closed",
            hint="Pipe the rows in, or name a file: --input FILE",
            path=path,
        )
    return sys.stdin.buffer


def _fixed_batch(interface: Interface) -> int | None:
    """Return the only number of rows that the graph takes at once; None where any will do."""
    return next((spec.shape[0] for spec in interface.inputs if spec.shape), None)


# --- writing -------------------------------------------------------------------------------


def _write_csv(interface: Interface, answers: _Answers, out: IO[bytes]) -> None:
    header: list[str] = []
    for count, chunk in answers:
        rows = list(flat_rows(interface, chunk, count))
        if not header:
            header = list(rows[0])
            out.write(_csv([header]))
        if list(rows[0]) != header:
            raise OutputUnwritable(
                f"every row of a CSV has the same columns; after {header} came {list(rows[0])}",
                hint="Write JSON lines: --output-format jsonl",
                expected=header,
                found=list(rows[0]),
            )
        out.write(_csv(row.values() for row in rows))
    if not header:
        out.write(_csv(map(list, flat_rows(interface, _blank(interface, 1), 1))))


def _csv(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _write_jsonl(interface: Interface, answers: _Answers, out: IO[bytes]) -> None:
    for count, chunk in answers:
        for row in answer_rows(interface, chunk, count):
            out.write(_json(row).encode() + b"\n")


def _json(row: dict[str, Any]) -> str:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_without_nan(row), ensure_ascii=False)


def _without_nan(value: Any) -> Any:
    """Return a value as JSON can hold it: null for NaN, the name of an infinity."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    return value


def _write_npz(interface: Interface, answers: _Answers, out: IO[bytes]) -> None:
    """Write the outputs under the graph's own names; they are held until the last one is in."""
    parts: list[Arrays] = []
    size = 0
    for _, chunk in answers:
        # Text is held as it will be written, to know its size.
        plain = {
            name: array.astype(str) if array.dtype.kind == "O" else array
            for name, array in chunk.items()
        }
        parts.append(plain)
        size += sum(array.nbytes for array in plain.values())
        if size > MAX_NPZ_BYTES:
            raise OutputUnwritable(
                f"an NPZ of answers may take {MAX_NPZ_BYTES} bytes, these take {size} and more",
                hint="Write a format that is not held in memory: --output-format csv",
                expected=MAX_NPZ_BYTES,
                found=size,
            )
    first, *others = parts or [_blank(interface, 0)]
    joined = {
        name: np.concatenate([array, *(part[name] for part in others)]) if others else array
        for name, array in first.items()
    }
    out.write(write_npz(joined))


_WRITERS = {"csv": _write_csv, "jsonl": _write_jsonl, "npz": _write_npz}


def _blank(interface: Interface, rows: int) -> Arrays:
    """Return outputs without meaning, for what their form alone tells."""
    classes = len(interface.labels)  # the width of what declares none
    return {
        spec.name: np.zeros(
            (rows, *(axis or classes for axis in spec.shape[1:])), DTYPES[spec.dtype]
        )
        for spec in interface.outputs
    }


# --- where to ------------------------------------------------------------------------------


@contextmanager
def _replacing(path: str) -> Iterator[IO[bytes]]:
    """Open what answers are written into; a plain file appears only if nothing failed."""
    final = Path(path)
    try:
        if path == STANDARD_STREAM:
            with _standard_output() as stream:
                yield stream
        elif final.exists() and not final.is_file():
            with final.open("wb") as stream:  # a pipe or a device; a directory refuses
                yield stream
        else:
            # The file behind a link is replaced, not the link.
            with _whole_file(final.resolve()) as stream:
                yield stream
    except BrokenPipeError:
        raise
    except OSError as error:
        place = STANDARD_OUTPUT if path == STANDARD_STREAM else path
        raise unwritable(place, error) from None


@contextmanager
def _standard_output() -> Iterator[IO[bytes]]:
    if sys.stdout is None:
        raise OSError(None, "it is closed")
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError:
        abandon(sys.stdout)
        raise


@contextmanager
def _whole_file(final: Path) -> Iterator[IO[bytes]]:
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)
