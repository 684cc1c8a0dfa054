"""What people and machines read: plain where it must be, and telling it never fails."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest

from edge_runtime.contract.errors import InputName, OutputUnwritable
from edge_runtime.contract.terminal import (
    BOLD,
    Outcome,
    note,
    show,
    show_bug,
    show_error,
    styled,
    tell,
)

TIMES = "\N{MULTIPLICATION SIGN}"
FOUND = Outcome("edgepack.test/1", {"name": "naïve…"}, f"naïve… {TIMES} → ≤ model")
WRONG = InputName("column 'größe…' is missing", hint="Name it.", expected={"größe…"}, found=[])


class Terminal(io.TextIOWrapper):
    """A stream that claims to be a terminal."""

    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding, newline="")

    def isatty(self) -> bool:
        return True

    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)  # type: ignore[attr-defined]


def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Let both streams be one terminal for the rest of the test."""
    stream = Terminal("utf-8")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def test_an_outcome_is_text_for_people_and_one_object_for_machines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(FOUND, as_json=False)
    assert capsys.readouterr().out == f"naïve… {TIMES} → ≤ model\n"
    show(FOUND, as_json=True)
    out = capsys.readouterr().out
    assert (out.count("\n"), out.isascii()) == (1, True)
    assert json.loads(out) == {"schema": "edgepack.test/1", "name": "naïve…"}


def test_where_stdout_carries_rows_everything_else_is_on_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(FOUND, as_json=True, rows_on_stdout=True)
    show_error(WRONG, as_json=True, rows_on_stdout=True)
    said = capsys.readouterr()
    assert said.out == ""
    assert [list(json.loads(line)) for line in said.err.splitlines()] == [
        ["schema", "name"],
        ["error"],
    ]


def test_an_error_is_two_lines_or_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(WRONG, as_json=False)
    said = capsys.readouterr()
    assert said.err == "error[input-name]: column 'größe…' is missing\nhint: Name it.\n"
    show_error(WRONG, as_json=True)
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], error["hint"]) == ("input-name", "Name it.")
    assert error["values"] == {"expected": "{'größe…'}", "found": []}


def test_what_an_error_quotes_cannot_draw_on_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = InputName("\x1b[2Jgone\r\nhint: lie \u202e\udcff", hint="Look\aout.", name="x")
    show_error(error, as_json=False)
    assert capsys.readouterr().err == (
        "error[input-name]: ?[2Jgone??hint: lie ??\nhint: Look?out.\n"
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_that_cannot_show_a_sign_gets_another(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    stream = Terminal(encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    show(FOUND, as_json=False)
    assert stream.text().endswith("... x -> <= model\n") or encoding != "ascii"
    assert "model" in stream.text()


def test_a_file_name_that_is_no_text_can_be_told(capsys: pytest.CaptureFixture[str]) -> None:
    odd = os.fsdecode(b"/media/\xff.tar")
    show(Outcome("x/1", {"path": odd}, odd), as_json=False)
    show(Outcome("x/1", {"path": odd}, odd), as_json=True)
    assert "/media/" in capsys.readouterr().out


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_a_terminal(monkeypatch)
    assert styled("a", BOLD, terminal) == "\033[1ma\033[0m"
    show_error(WRONG, as_json=False)
    assert terminal.text().startswith("\033[31merror[input-name]")
    monkeypatch.setenv("NO_COLOR", "1")
    assert styled("a", BOLD, terminal) == "a"


def test_streams_that_were_closed_before_the_start_are_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    show(FOUND, as_json=False)
    show_error(WRONG, as_json=False)
    assert styled("a", BOLD, None) == "a"


@pytest.fixture
def full() -> io.TextIOWrapper:
    """A stream whose disk is full."""
    return Path("/dev/full").open("w", encoding="utf-8")


def test_a_stdout_that_takes_nothing_is_a_typed_error_once(
    monkeypatch: pytest.MonkeyPatch, full: io.TextIOWrapper
) -> None:
    monkeypatch.setattr(sys, "stdout", full)
    with pytest.raises(OutputUnwritable, match="standard output") as caught:
        show(FOUND, as_json=False)
    stderr = Terminal("utf-8")
    monkeypatch.setattr(sys, "stderr", stderr)
    show_error(caught.value, as_json=True)
    assert json.loads(stderr.text())["error"]["code"] == "output-unwritable"
    full.close()  # and does not fail over what it still held


def test_a_stderr_that_takes_nothing_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, full: io.TextIOWrapper
) -> None:
    monkeypatch.setattr(sys, "stderr", full)
    note("a warning")
    note("another")
    full.close()


def test_a_bug_says_where_it_arose_and_prints_no_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        divmod(1, 0)
    except ZeroDivisionError as error:
        show_bug(error, "edge-runtime", as_json=False)
        show_bug(error, "edge-runtime", as_json=True)
    said = capsys.readouterr()
    assert said.err.startswith("error[bug]: ZeroDivisionError at test_terminal.py:")
    assert (said.err.count("\n"), "Traceback" in said.err) == (2, False)
    assert json.loads(said.out)["error"]["code"] == "bug"


def test_an_ascii_terminal_gets_every_character_in_another_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = Terminal("ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    tell("naïve → ≤ 3 …")
    assert stream.text() == "na\\xefve -> <= 3 ...\n"
