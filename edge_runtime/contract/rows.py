"""Rows of text out of a byte stream, CSV or one a line, in bounded memory."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, TypeAlias

from edge_runtime.contract.errors import InputUnreadable, TableMalformed
from edge_runtime.contract.values import Where, listed

# A row is held whole, and so is a chunk: neither may outgrow a small device.
MAX_ROW_BYTES = 4 << 20
MAX_CHUNK_BYTES = 8 << 20

# The line that a row begins on, and the row.
Row: TypeAlias = tuple[int, Any]


class Lines:
    """Lines of text out of a stream, a row's bytes bounded however many lines it spans.

    Args:
        stream: where the bytes come from.
        what: how errors name it.
    """

    def __init__(self, stream: BinaryIO, what: str) -> None:
        self.what = what
        self.bytes = 0
        self._stream = stream
        self._number = 0
        self._left = MAX_ROW_BYTES

    def __iter__(self) -> Iterator[str]:
        """Return itself: a stream is read once."""
        return self

    def __next__(self) -> str:
        """Return the next line with its end.

        Raises:
            InputUnreadable: when reading or decoding fails.
            TableMalformed: when the row grows too large or holds a NUL.
        """
        try:
            line = self._stream.readline(self._left + 1)
        except OSError as error:
            raise unreadable(self.what, error.strerror or str(error)) from None
        if not line:
            raise StopIteration
        self._number += 1
        self.bytes += len(line)
        self._left -= len(line)
        if self._left < 0:
            raise self.wrong(self._number, f"the row has more than {MAX_ROW_BYTES} bytes")
        return self._decoded(line)

    def _decoded(self, line: bytes) -> str:
        try:
            text = line.decode("utf-8-sig" if self._number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            reason = f"line {self._number} is not UTF-8 ({error.reason})"
            raise unreadable(self.what, reason) from None
        if "\0" in text:
            raise self.wrong(self._number, "it holds a NUL character, which no text has")
        return text

    def next_row(self) -> int:
        """Begin a row and return the line it begins on."""
        self._left = MAX_ROW_BYTES
        return self._number + 1

    def wrong(
        self, line: int, reason: str, hint: str = "Check the quotes and commas near that line."
    ) -> TableMalformed:
        """Return the error for a line that breaks the format."""
        message = f"{self.what} line {line}: {reason}"
        return TableMalformed(message, hint=hint, what=self.what, line=line, reason=reason)


def csv_table(lines: Lines) -> tuple[list[str], Iterator[Row]]:
    """Read the header of a CSV and return it with the rows, all of the header's width.

    Raises:
        TableMalformed: when there is no header or it names a column twice; the rows raise it
            for quotes that do not close, another width, or a blank line among them.
    """
    rows = _without_blanks(lines, _csv_rows(lines))
    _, header = next(rows, (1, []))
    if not header:
        raise lines.wrong(1, "there is no header row", "Name the columns in the first line.")
    twice = [name for name, times in Counter(header).items() if times > 1]
    if twice:
        raise lines.wrong(
            1, f"the header names {listed(twice)} more than once", "Rename one of the columns."
        )
    return header, _of_width(lines, rows, len(header))


def text_rows(lines: Lines) -> Iterator[Row]:
    """Return the lines as rows, without the blanks around them.

    Raises:
        TableMalformed: when a blank line stands among the rows.
    """
    return _without_blanks(lines, _stripped(lines))


def chunks(
    lines: Lines, rows: Iterator[Row], chunk_rows: int
) -> Iterator[tuple[Where, list[Any]]]:
    """Yield rows together, at most ``chunk_rows`` and few enough bytes, with their places."""
    numbers: list[int] = []
    held: list[Any] = []
    begun = lines.bytes
    for number, row in rows:
        numbers.append(number)
        held.append(row)
        if len(held) >= chunk_rows or lines.bytes - begun >= MAX_CHUNK_BYTES:
            yield places(lines.what, numbers), held
            numbers, held, begun = [], [], lines.bytes
    if held:
        yield places(lines.what, numbers), held


def places(what: str, lines: Sequence[int]) -> Where:
    """Return how errors name rows, given the line that each begins on."""
    return lambda row: f"{what} line {lines[row]}"


def unreadable(what: str, reason: str) -> InputUnreadable:
    """Return the error for bytes that cannot be had or are no text."""
    return InputUnreadable(
        f"{what} cannot be read: {reason}",
        hint="Name a readable file; text must be UTF-8.",
        what=what,
        reason=reason,
    )


def _csv_rows(lines: Lines) -> Iterator[Row]:
    reader = csv.reader(lines, strict=True)
    while True:
        line = lines.next_row()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise lines.wrong(line, f"it is no CSV: {error}") from None
        yield line, row


def _stripped(lines: Lines) -> Iterator[Row]:
    while True:
        line = lines.next_row()
        text = next(lines, None)
        if text is None:
            return
        yield line, text.strip()


def _without_blanks(lines: Lines, rows: Iterator[Row]) -> Iterator[Row]:
    blank = 0
    for line, row in rows:
        if not row:
            blank = blank or line
        elif blank:
            hint = 'Remove the line; a lone empty cell of a CSV is written as "".'
            raise lines.wrong(blank, "it is blank, with rows after it", hint)
        else:
            yield line, row


def _of_width(lines: Lines, rows: Iterator[Row], width: int) -> Iterator[Row]:
    for line, row in rows:
        if len(row) != width:
            raise lines.wrong(line, f"it has {len(row)} cells, the header has {width}")
        yield line, row
