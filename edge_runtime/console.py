"""What a person at the device sees beside results: headings, tables, progress."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from edge_runtime.contract.terminal import BOLD, is_terminal, styled


def progress(text: str) -> None:
    """Overwrite the last line of a terminal; nothing where stderr is no terminal."""
    if is_terminal(sys.stderr):
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


def heading(text: str) -> str:
    """Return a heading, bold on a terminal."""
    return styled(text, BOLD, sys.stdout)


def table(rows: Sequence[tuple[str, str]], indent: str = "  ") -> str:
    """Return rows of name and value with the values in one column."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{indent}{name.ljust(width)}  {value}".rstrip() for name, value in rows)
