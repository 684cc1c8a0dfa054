"""Terminal and JSON output of the device's commands; the only place that prints."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from edge_runtime.contract.errors import Bug, EdgepackError, OutputUnwritable

STANDARD_OUTPUT = "the standard output"

_BOLD, _RED, _PLAIN = "\033[1m", "\033[31m", "\033[0m"
_IN_ASCII = str.maketrans(
    {"…": "...", "\N{MULTIPLICATION SIGN}": "x", "→": "->", "≤": "<=", "≥": ">=", "·": "-"}
)


@dataclass(frozen=True)
class Outcome:
    """What a command found.

    Attributes:
        schema: the name of the JSON object, for example ``edgepack.status/1``.
        document: for machines.
        text: for people.
    """

    schema: str
    document: dict[str, Any]
    text: str


def show(outcome: Outcome, *, as_json: bool, rows_on_stdout: bool) -> None:
    """Print an outcome; on stderr when stdout carries rows.

    Raises:
        OutputUnwritable: when stdout cannot be written.
        BrokenPipeError: when nobody reads it any more.
    """
    text = outcome.text
    if as_json:
        text = json.dumps({"schema": outcome.schema, **outcome.document})
    if rows_on_stdout:
        note(text)
    elif text:
        _print_out(text)


def show_error(error: EdgepackError, *, as_json: bool, rows_on_stdout: bool) -> None:
    """Print an error: an object on stdout for machines, two lines on stderr for people.

    Where stdout carries rows or cannot be written, the object is on stderr too.
    """
    if not as_json:
        head = f"error[{error.code}]: {_harmless(error.message)}"
        note(f"{_styled(head, _RED, sys.stderr)}\nhint: {_harmless(error.hint)}")
        return
    text = json.dumps(error.as_json(), default=str)
    if rows_on_stdout or error.values.get("path") == STANDARD_OUTPUT:
        note(text)
    else:
        _print_out(text)


def show_bug(error: Exception, *, as_json: bool, rows_on_stdout: bool) -> None:
    """Print an error that should not exist, with the one place that tells where it arose."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last.filename).name}:{last.lineno}"
    bug = Bug(
        f"{type(error).__name__} at {place}: {error}",
        hint="This is a defect of edge-runtime: report this line with the command.",
        place=place,
    )
    show_error(bug, as_json=as_json, rows_on_stdout=rows_on_stdout)


def note(text: str) -> None:
    """Say something on stderr; a stderr that takes nothing stops no command."""
    try:
        _print(sys.stderr, text)
    except OSError:
        abandon(sys.stderr)


def progress(text: str) -> None:
    """Overwrite the last line of a terminal; nothing where stderr is no terminal."""
    if _is_terminal(sys.stderr):
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


def abandon(stream: TextIO) -> None:
    """Let what a stream still holds go nowhere, so that leaving does not fail over it again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def heading(text: str) -> str:
    """Return a heading, bold on a terminal."""
    return _styled(text, _BOLD, sys.stdout)


def table(rows: Sequence[tuple[str, str]], indent: str = "  ") -> str:
    """Return rows of name and value with the values in one column."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{indent}{name.ljust(width)}  {value}".rstrip() for name, value in rows)


def unwritable(place: str, error: OSError) -> OutputUnwritable:
    """Return the error for a place that the system does not let us write."""
    reason = error.strerror or str(error)
    return OutputUnwritable(
        f"{place} is to be written, and it cannot be: {reason}",
        hint="Free space there, or choose another place.",
        path=place,
        reason=reason,
    )


def _print_out(text: str) -> None:
    try:
        _print(sys.stdout, text)
    except BrokenPipeError:
        raise
    except OSError as error:
        abandon(sys.stdout)
        raise unwritable(STANDARD_OUTPUT, error) from None


# A stream is None where the process was started with it closed.


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def _harmless(text: str) -> str:
    """Return a text that cannot draw on a terminal, whatever file name or row it quotes."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _styled(text: str, style: str, stream: TextIO | None) -> str:
    plain = os.environ.get("NO_COLOR") or not _is_terminal(stream)
    return text if plain else f"{style}{text}{_PLAIN}"


def _print(stream: TextIO | None, text: str) -> None:
    """Print whatever the terminal's encoding, replacing what it cannot show."""
    if stream is None:
        return
    encoding = stream.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_IN_ASCII).encode(encoding, "replace").decode(encoding)
    stream.write(text + "\n")
    stream.flush()
