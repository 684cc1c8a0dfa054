"""What a person at the device sees beside results."""

from __future__ import annotations

import io
import sys

import pytest

from edge_runtime.console import heading, progress, table


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_heading_is_bold_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert heading("a") == "\033[1ma\033[0m"
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert heading("a") == "a"


def test_progress_is_for_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, told in (
        (Terminal(), "\r\033[K7 rows\r\033[K"),
        (io.StringIO(), ""),
        (None, ""),
    ):
        monkeypatch.setattr(sys, "stderr", stream)
        progress("7 rows")
        progress("")
        assert stream is None or stream.getvalue() == told


def test_tables_are_for_people() -> None:
    assert table([("a", "1"), ("long", "")]) == "  a     1\n  long"
    assert table([]) == ""
