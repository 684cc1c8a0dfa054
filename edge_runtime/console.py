"""Terminal and JSON output of the device's commands; the only place that prints."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from edge_runtime.contract.errors import EdgepackError

_BOLD, _RED, _PLAIN = "\033[1m", "\033[31m", "\033[0m"
_IN_ASCII = str.maketrans({"…": "...", "×": "x", "→": "->", "≤": "<=", "≥": ">=", "·": "-"})


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


def show(outcome: Outcome, *, as_json: bool, on_stderr: bool = False) -> None:
    """Print an outcome; on stderr when stdout carries rows."""
    stream = sys.stderr if on_stderr else sys.stdout
    if as_json:
        _print(stream, json.dumps({"schema": outcome.schema, **outcome.document}))
    elif outcome.text:
        _print(stream, outcome.text)


def show_error(error: EdgepackError, *, as_json: bool) -> None:
    """Print an error: an object on stdout for machines, two lines on stderr for people."""
    if as_json:
        _print(sys.stdout, json.dumps(error.as_json(), default=str))
        return
    head, hint = error.render().split("\nhint: ", 1)
    _print(sys.stderr, f"{_styled(head, _RED, sys.stderr)}\nhint: {hint}")


def show_bug(error: Exception, *, as_json: bool) -> None:
    """Print an error that should not exist, with the one line that tells where it came from."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(last.filename)}:{last.lineno}"  # noqa: PTH119 - a name, no path
    bug = EdgepackError(
        f"{type(error).__name__} at {place}: {error}",
        hint="This is a defect of edge-runtime; report this line with the command.",
        place=place,
    )
    if as_json:
        _print(sys.stdout, json.dumps({"error": {**bug.as_json()["error"], "code": "bug"}}))
    else:
        _print(sys.stderr, f"error[bug]: {bug.message}\nhint: {bug.hint}")


def note(text: str) -> None:
    """Say on stderr what a person should know although nothing failed."""
    _print(sys.stderr, text)


def progress(text: str) -> None:
    """Overwrite the last line of a terminal; nothing where stderr is no terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


def progress_done() -> None:
    """Clear the progress line."""
    progress("")


def heading(text: str) -> str:
    """Return a heading, bold on a terminal."""
    return _styled(text, _BOLD, sys.stdout)


def table(rows: Sequence[tuple[str, str]], indent: str = "  ") -> str:
    """Return rows of name and value with the values in one column."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{indent}{name.ljust(width)}  {value}".rstrip() for name, value in rows)


def size(count: float) -> str:
    """Return a number of bytes for people: 1.5 MiB."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:  # noqa: PLR2004 - what a KiB is
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def _styled(text: str, style: str, stream: TextIO) -> str:
    plain = os.environ.get("NO_COLOR") or not stream.isatty()
    return text if plain else f"{style}{text}{_PLAIN}"


def _print(stream: TextIO, text: str) -> None:
    """Print whatever the terminal's encoding, replacing what it cannot show."""
    encoding = stream.encoding or "ascii"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_IN_ASCII).encode(encoding, "replace").decode(encoding)
    stream.write(text + "\n")
    stream.flush()
