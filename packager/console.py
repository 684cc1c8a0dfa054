"""Terminal and JSON output of the host's commands; the only place that prints."""

from __future__ import annotations

import json
import os
import sys
import textwrap
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import click

from edge_runtime.contract.errors import Bug, EdgepackError, OutputUnwritable

WIDTH = 100
_NAME_WIDTH = 12
_IN_ASCII = str.maketrans({"…": "...", "→": "->", "≤": "<=", "≥": ">=", "·": "-"})


@dataclass(frozen=True)
class Outcome:
    """What a command found.

    Attributes:
        schema: the name of the JSON object, for example ``edgepack.build/1``.
        document: for machines.
        text: for people.
    """

    schema: str
    document: dict[str, Any]
    text: str


def show(outcome: Outcome, *, as_json: bool) -> None:
    """Print an outcome on stdout.

    Raises:
        OutputUnwritable: when stdout cannot be written.
        BrokenPipeError: when nobody reads it any more.
    """
    text = outcome.text
    if as_json:
        text = json.dumps({"schema": outcome.schema, **outcome.document}, allow_nan=False)
    if text:
        tell(text)


def show_error(error: EdgepackError, *, as_json: bool) -> None:
    """Print an error: an object on stdout for machines, two lines on stderr for people."""
    if as_json:
        tell(json.dumps(error.as_json(), default=str))
        return
    head, hint = error.render().rsplit("\n", 1)
    note(f"{_styled(head, sys.stderr, fg='red')}\n{hint}")


def show_bug(error: Exception, *, as_json: bool) -> None:
    """Print an error that should not exist, with the one place that tells where it arose."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last.filename).name}:{last.lineno}"
    bug = Bug(
        f"{type(error).__name__} at {place}: {error}",
        hint="This is a defect of the packager: report this line with the command.",
        place=place,
    )
    show_error(bug, as_json=as_json)


def step(name: str, text: str) -> None:
    """Say on stderr what a step found."""
    note(entry(name, text, sys.stderr))


def entry(name: str, text: str, stream: TextIO, indent: str = "") -> str:
    """Return a name and what there is to say of it, wrapped beside it."""
    margin = indent + " " * (_NAME_WIDTH + 1)
    lines = textwrap.wrap(text, WIDTH - len(margin), break_long_words=False) or [""]
    head = indent + _styled(name.ljust(_NAME_WIDTH), stream, bold=True)
    return f"\n{margin}".join([f"{head} {lines[0]}".rstrip(), *lines[1:]])


def cut(text: str, width: int) -> str:
    """Return a text in one line that fits; whoever wants the whole of it reads the report."""
    line = text.replace("\n", " ")
    return line if len(line) <= width else f"{line[: width - 2].rstrip()} …"


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
        reason = error.strerror or str(error)
        raise OutputUnwritable(
            f"the standard output is to be written, and it cannot be: {reason}",
            hint="Free space there, or choose another place.",
            path="the standard output",
            reason=reason,
        ) from None


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


def _styled(text: str, stream: TextIO, **style: Any) -> str:
    plain = os.environ.get("NO_COLOR") or not stream.isatty()
    return text if plain else click.style(text, **style)


def _print(stream: TextIO, text: str) -> None:
    """Print whatever the terminal's encoding, writing what it cannot show in another way."""
    encoding = stream.encoding or "ascii"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        plain = text.translate(_IN_ASCII)
        text = plain.encode(encoding, "backslashreplace").decode(encoding)
    stream.write(text + "\n")
    stream.flush()
