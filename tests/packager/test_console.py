"""What is printed where: objects and results on stdout, progress and complaints on stderr."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from edge_runtime.contract.errors import InputName, OutputUnwritable
from packager.console import (
    WIDTH,
    Outcome,
    cut,
    entry,
    note,
    show,
    show_bug,
    show_error,
    step,
    tell,
)

OUTCOME = Outcome("edgepack.test/1", {"found": "ä"}, "found ä")
ERROR = InputName("wanted a, found b", hint="Rename b.", expected="a", found="b")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Ascii(io.TextIOWrapper):
    def __init__(self) -> None:
        super().__init__(io.BytesIO(), "ascii", write_through=True)

    def text(self) -> str:
        return self.buffer.getvalue().decode("ascii")


def test_people_read_the_text(capsys):
    show(OUTCOME, as_json=False)
    assert capsys.readouterr() == ("found ä\n", "")


def test_machines_read_one_object_with_its_schema(capsys):
    show(OUTCOME, as_json=True)
    out, err = capsys.readouterr()
    assert json.loads(out) == {"schema": "edgepack.test/1", "found": "ä"}
    assert out.count("\n") == 1
    assert err == ""


def test_an_error_is_two_lines_on_stderr(capsys):
    show_error(ERROR, as_json=False)
    expected = "error[input-name]: wanted a, found b\nhint: Rename b.\n"
    assert capsys.readouterr() == ("", expected)


def test_an_error_for_machines_is_one_object_on_stdout(capsys):
    show_error(ERROR, as_json=True)
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["values"] == {"expected": "a", "found": "b"}
    assert err == ""


def test_a_bug_names_the_place_it_arose_at(capsys):
    try:
        json.loads("{")
    except ValueError as error:
        show_bug(error, as_json=False)
    err = capsys.readouterr().err
    assert "error[bug]: JSONDecodeError at decoder.py:" in err
    assert "report this line" in err


# --- streams of all kinds ------------------------------------------------------------------


def test_a_terminal_gets_style(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stderr", Terminal())
    show_error(ERROR, as_json=False)
    assert "\033[31m" in sys.stderr.getvalue()


def test_no_color_means_none(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", Terminal())
    show_error(ERROR, as_json=False)
    step("graph", "two nodes")
    assert "\033" not in sys.stderr.getvalue()


def test_an_ascii_terminal_gets_every_character_in_another_way(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Ascii())
    tell("naïve → ≤ 3 …")
    assert sys.stdout.text() == "na\\xefve -> <= 3 ...\n"


def test_a_full_stdout_is_a_typed_error(monkeypatch):
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(OutputUnwritable, match="standard output"):
            tell("text")
        monkeypatch.undo()


def test_a_full_stderr_stops_nothing(monkeypatch):
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        note("text")
        monkeypatch.undo()


# --- steps ---------------------------------------------------------------------------------


def test_a_step_stands_beside_its_name(capsys):
    step("graph", "22 nodes")
    assert capsys.readouterr() == ("", "graph        22 nodes\n")


def test_a_long_step_is_wrapped_beside_its_name():
    lines = entry("source", "many words " * 20, io.StringIO(), indent="  ").splitlines()
    assert len(lines) > 1
    assert all(len(line) <= WIDTH for line in lines)
    assert {line[:15] for line in lines[1:]} == {" " * 15}


def test_a_path_is_never_broken():
    path = "/a/" + "long/" * 40
    assert path in entry("where", f"in {path}", io.StringIO())


@pytest.mark.parametrize(
    ("text", "shown"), [("short", "short"), ("a line", "a line"), ("a long line", "a lo …")]
)
def test_a_text_is_cut_only_where_it_does_not_fit(text, shown):
    assert cut(text, 6) == shown
