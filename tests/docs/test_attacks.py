"""The page of attacks is whole: every row, graph and kind of input, and tests that exist."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from types import ModuleType

import fuzz_kinds
import hostile_graphs
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "attacks.md").read_text("utf-8")


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("attack_rows")


def test_every_row_stands_on_the_page_with_its_tests(rows: ModuleType) -> None:
    for table in rows.TABLES.values():
        for row in table:
            (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {row.what} |")]
            assert row.then in line
            assert set(re.findall(r"`(tests/[^`]+)`", line)) == set(row.tests)


def test_every_test_of_a_row_is_there(rows: ModuleType) -> None:
    named = {test for table in rows.TABLES.values() for row in table for test in row.tests}
    assert {test for test in named if test not in _defined(test.partition("::")[0])} == set()


def _defined(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return {f"{file}::{item.name}" for item in tree.body if isinstance(item, ast.FunctionDef)}


def test_every_hostile_graph_and_every_kind_of_input_stands_on_the_page() -> None:
    for hostile in hostile_graphs.LISTED:
        assert f"| {hostile.what} |" in PAGE
    for kind in fuzz_kinds.KINDS:
        assert f"| {kind.what} |" in PAGE


def test_the_script_fuzzed_enough_and_found_nothing() -> None:
    told = r"^([\d,]+) inputs of .*?: (\d+) accepted .*?, (\d+) tracebacks, (\d+) files"
    found = re.search(told, PAGE.replace("\n", " ").replace("  ", "\n"), re.MULTILINE)
    assert found is not None
    assert int(found[1].replace(",", "")) >= 200_000
    assert found.groups()[1:] == ("0", "0", "0")
