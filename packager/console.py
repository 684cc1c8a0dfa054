"""Terminal and JSON output of the host's commands; the only place that prints."""

from __future__ import annotations

import json
import os
import sys
import traceback
from dataclasses import dataclass
from typing import Any, TextIO

import click

from edge_runtime.contract.errors import EdgepackError

_STEP_WIDTH = 12
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
    """Print an outcome on stdout."""
    if as_json:
        document = {"schema": outcome.schema, **outcome.document}
        _print(sys.stdout, json.dumps(document, default=str))
    elif outcome.text:
        _print(sys.stdout, outcome.text)


def show_error(error: EdgepackError, *, as_json: bool) -> None:
    """Print an error: an object on stdout for machines, two lines on stderr for people."""
    if as_json:
        _print(sys.stdout, json.dumps(error.as_json(), default=str))
        return
    head = f"error[{error.code}]: {error.message}"
    _print(sys.stderr, f"{_styled(head, sys.stderr, fg='red')}\nhint: {error.hint}")


def show_bug(error: Exception, *, as_json: bool) -> None:
    """Print an error that should not exist, with the one line that tells where it came from."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{last.name} line {last.lineno}"
    message = f"{type(error).__name__} in {place}: {error}"
    hint = "This is a defect of the packager; report this line with the command."
    if as_json:
        values = {"code": "bug", "message": message, "hint": hint, "values": {"place": place}}
        _print(sys.stdout, json.dumps({"error": values}))
    else:
        _print(sys.stderr, f"error[bug]: {message}\nhint: {hint}")


def step(name: str, text: str) -> None:
    """Say on stderr what a step of the build found."""
    _print(sys.stderr, f"{_styled(name.ljust(_STEP_WIDTH), sys.stderr, bold=True)} {text}")


def heading(text: str) -> str:
    """Return a heading, bold on a terminal."""
    return _styled(text, sys.stdout, bold=True)


def _styled(text: str, stream: TextIO, **style: Any) -> str:
    plain = os.environ.get("NO_COLOR") or not stream.isatty()
    return text if plain else click.style(text, **style)


def _print(stream: TextIO, text: str) -> None:
    """Print whatever the terminal's encoding, replacing what it cannot show."""
    encoding = stream.encoding or "ascii"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_IN_ASCII).encode(encoding, "replace").decode(encoding)
    click.echo(text, file=stream)
