"""Prediction of whole tables: rows in, answers out, in bounded memory, all or nothing."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from edge_runtime.contract.answers import flat_rows
from edge_runtime.contract.errors import InputName, OutputUnwritable, UsageError
from edge_runtime.contract.npz import write_npz
from edge_runtime.contract.table import read_table
from edge_runtime.contract.tensors import Arrays
from edge_runtime.model import Model

STANDARD_STREAM = "-"
FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".npz": "npz"}


def format_of(path: str, named: str | None) -> str:
    """Return ``csv``, ``jsonl`` or ``npz``: as named, by the suffix, CSV for a stream.

    Raises:
        UsageError: when the suffix says nothing.
    """
    found = named or (
        "csv" if path == STANDARD_STREAM else FORMATS.get(Path(path).suffix.lower())
    )
    if found is None:
        raise UsageError(
            f"the format of {path} must be one of csv, jsonl, npz; its suffix does not say which",
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
        sink: path or ``-``, and its format; a file appears whole or not at all.
        progress: called with the number of rows answered so far.

    Raises:
        InputError: when a row cannot be read or is not as declared, naming its line.
        OutputUnwritable: when the answers cannot be written.
    """
    interface = model.interface
    if not interface.columns and source[1] != "npz":
        raise InputName(
            f"{model.name} takes tensors ({', '.join(s.name for s in interface.inputs)}), "
            f"and a table of {source[1]} has named columns",
            hint="Give an .npz file whose keys are the input names.",
            expected=[spec.name for spec in interface.inputs],
            found=source[1],
        )
    rows = sys.stdin.buffer if source[0] == STANDARD_STREAM else Path(source[0])
    with _replacing(sink[0]) as out:
        chunks = read_table(rows, source[1], interface.columns, interface.table)
        return _WRITERS[sink[1]](model, _answered(model, chunks, progress), out)


def _answered(
    model: Model, chunks: Iterable[Arrays], progress: Callable[[int], None]
) -> Iterator[Arrays]:
    done = 0
    for chunk in chunks:
        answers = model.predict(chunk)
        done += len(next(iter(answers.values())))
        progress(done)
        yield answers


def _write_csv(model: Model, chunks: Iterator[Arrays], out: IO[bytes]) -> int:
    count = 0
    for answers in chunks:
        rows = list(flat_rows(model.interface, answers))
        if not count and rows:
            out.write(_csv_line(rows[0].keys()))
        out.writelines(_csv_line(row.values()) for row in rows)
        count += len(rows)
    return count


class _Line:
    """What ``csv.writer`` writes into: keeps the one line."""

    text = ""

    def write(self, text: str) -> None:
        self.text = text


def _csv_line(values: Iterable[Any]) -> bytes:
    line = _Line()
    csv.writer(line, lineterminator="\n").writerow(list(values))
    return line.text.encode("utf-8", "replace")


def _write_jsonl(model: Model, chunks: Iterator[Arrays], out: IO[bytes]) -> int:
    count = 0
    for answers in chunks:
        for row in flat_rows(model.interface, answers):
            out.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
            count += 1
    return count


def _write_npz(model: Model, chunks: Iterator[Arrays], out: IO[bytes]) -> int:
    del model  # the outputs keep the graph's own names
    parts = list(chunks)
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    out.write(write_npz(whole))
    return len(next(iter(whole.values())))


_WRITERS = {"csv": _write_csv, "jsonl": _write_jsonl, "npz": _write_npz}


@contextmanager
def _replacing(path: str) -> Iterator[IO[bytes]]:
    """Open a temporary file that takes the path's place only if nothing failed."""
    if path == STANDARD_STREAM:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    final = Path(path)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    try:
        try:
            with temporary.open("xb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(final)
        except OSError as error:
            raise OutputUnwritable(
                f"answers are written to {final}, which cannot be written: {error.strerror}",
                hint="Choose another --output, or free space there.",
                path=str(final),
                reason=error.strerror,
            ) from None
    finally:
        temporary.unlink(missing_ok=True)
