"""What both programs print, and how: text for people, one object for machines."""

from __future__ import annotations

import json
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from edge_runtime.contract.errors import Bug, EdgepackError, OutputUnwritable

STANDARD_OUTPUT = "the standard output"
BOLD, RED = "\033[1m", "\033[31m"

_PLAIN = "\033[0m"
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


def show(outcome: Outcome, *, as_json: bool, rows_on_stdout: bool = False) -> None:
    """Print an outcome; on stderr when stdout carries rows.

    Raises:
        OutputUnwritable: when stdout cannot be written.
        BrokenPipeError: when nobody reads it any more.
    """
    text = outcome.text
    if as_json:
        text = json.dumps({"schema": outcome.schema, **outcome.document}, allow_nan=False)
    if rows_on_stdout:
        note(text)
    elif text:
        tell(text)


def show_error(error: EdgepackError, *, as_json: bool, rows_on_stdout: bool = False) -> None:
    """Print an error: an object on stdout for machines, two lines on stderr for people.

    Where stdout carries rows or cannot be written, the object is on stderr too.
    """
    if not as_json:
        head = f"error[{error.code}]: {harmless(error.message)}"
        note(f"{styled(head, RED, sys.stderr)}\nhint: {harmless(error.hint)}")
        return
    text = json.dumps(error.as_json(), default=str)
    if rows_on_stdout or error.values.get("path") == STANDARD_OUTPUT:
        note(text)
    else:
        tell(text)


def show_bug(
    error: Exception, program: str, *, as_json: bool, rows_on_stdout: bool = False
) -> None:
    """Print an error that should not exist, with the one place that tells where it arose."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last.filename).name}:{last.lineno}"
    bug = Bug(
        f"{type(error).__name__} at {place}: {error}",
        hint=f"This is a defect of {program}: report this line with the command.",
        place=place,
    )
    show_error(bug, as_json=as_json, rows_on_stdout=rows_on_stdout)


def tell(text: str) -> None:
    """Print on stdout.

    Raises:
        OutputUnwritable: when stdout cannot be written.
        BrokenPipeError: when nobody reads it any more.
    """
    try:
        _print(sys.stdout, text)
    except BrokenPipeError:
        raise
    except OSError as error:
        abandon(sys.stdout)
        raise unwritable(STANDARD_OUTPUT, error) from None


def note(text: str) -> None:
    """Print on stderr; a stderr that takes nothing stops no command."""
    try:
        _print(sys.stderr, text)
    except OSError:
        abandon(sys.stderr)


def abandon(stream: TextIO) -> None:
    """Let what a stream still holds go nowhere, so that leaving does not fail over it again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def unwritable(place: str, error: OSError) -> OutputUnwritable:
    """Return the error for a place that the system does not let us write."""
    reason = error.strerror or str(error)
    return OutputUnwritable(
        f"{place} is to be written, and it cannot be: {reason}",
        hint="Free space there, or choose another place.",
        path=place,
        reason=reason,
    )


def harmless(text: str) -> str:
    """Return a text that cannot draw on a terminal, whatever file name or row it quotes."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def styled(text: str, style: str, stream: TextIO | None) -> str:
    """Return a text in a style, where the stream is a terminal that wants any."""
    plain = os.environ.get("NO_COLOR") or not is_terminal(stream)
    return text if plain else f"{style}{text}{_PLAIN}"


# A stream is None where the process was started with it closed.


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a person looks at a stream."""
    return stream is not None and stream.isatty()


def _print(stream: TextIO | None, text: str) -> None:
    """Print whatever the terminal's encoding, writing what it cannot show in another way."""
    if stream is None:
        return
    encoding = stream.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        plain = text.translate(_IN_ASCII)
        text = plain.encode(encoding, "backslashreplace").decode(encoding)
    stream.write(text + "\n")
    stream.flush()
