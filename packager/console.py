"""What a person at the workstation sees beside results: steps, and long texts made to fit."""

from __future__ import annotations

import sys
import textwrap
from typing import TextIO

from edge_runtime.contract.terminal import BOLD, note, styled

WIDTH = 100
_NAME_WIDTH = 12


def step(name: str, text: str) -> None:
    """Say on stderr what a step found."""
    note(entry(name, text, sys.stderr))


def entry(name: str, text: str, stream: TextIO, indent: str = "") -> str:
    """Return a name and what there is to say of it, wrapped beside it."""
    margin = indent + " " * (_NAME_WIDTH + 1)
    head = indent + styled(name.ljust(_NAME_WIDTH), BOLD, stream)
    lines = wrapped(text, margin)
    return "\n".join([f"{head} {lines[0].strip()}".rstrip(), *lines[1:]])


def wrapped(text: str, indent: str) -> list[str]:
    """Return a text as indented lines of at most ``WIDTH``; a path is never broken."""
    lines = textwrap.wrap(text, WIDTH - len(indent), break_long_words=False) or [""]
    return [f"{indent}{line}" for line in lines]


def cut(text: str, width: int) -> str:
    """Return a text in one line that fits; whoever wants the whole of it reads the report."""
    line = text.replace("\n", " ")
    return line if len(line) <= width else f"{line[: width - 2].rstrip()} …"
