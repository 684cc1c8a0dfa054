"""Steps and long texts, made to fit a terminal."""

from __future__ import annotations

import io

import pytest

from packager.console import WIDTH, cut, entry, step, wrapped

# --- steps ---------------------------------------------------------------------------------


def test_a_step_stands_beside_its_name(capsys):
    step("graph", "22 nodes")
    assert capsys.readouterr() == ("", "graph        22 nodes\n")


def test_a_long_step_is_wrapped_beside_its_name():
    lines = entry("source", "many words " * 20, io.StringIO(), indent="  ").splitlines()
    assert len(lines) > 1
    assert all(len(line) <= WIDTH for line in lines)
    assert {line[:15] for line in lines[1:]} == {" " * 15}


def test_a_long_reason_is_told_whole():
    lines = wrapped("many words " * 30, "  ")
    assert " ".join(line.strip() for line in lines) == ("many words " * 30).strip()
    assert all(len(line) <= WIDTH for line in lines)


def test_a_path_is_never_broken():
    path = "/a/" + "long/" * 40
    assert path in entry("where", f"in {path}", io.StringIO())


@pytest.mark.parametrize(
    ("text", "shown"), [("short", "short"), ("a line", "a line"), ("a long line", "a lo …")]
)
def test_a_text_is_cut_only_where_it_does_not_fit(text, shown):
    assert cut(text, 6) == shown
