"""The page of power cuts is that of the operations as they are now, and none was bad."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from power_broken import STYLES
from power_operations import OPERATIONS


@pytest.fixture(scope="module")
def page(checkout: Path) -> str:
    return (checkout / "docs" / "power-cuts.md").read_text(encoding="utf-8")


def test_every_operation_is_cut_and_fails_there_without_a_bad_store(page: str) -> None:
    for operation in OPERATIONS:
        rows = re.findall(rf"^\| {re.escape(operation.name)} \|.*\|$", page, re.MULTILINE)
        assert len(rows) == 2, operation.name
        assert rows[0].endswith("| 0 |"), rows[0]
        assert [cell.split(",")[-1].strip() for cell in rows[1].split("|")[3:6]] == ["0"] * 3


def test_every_broken_store_is_caught_on_each_disk(page: str) -> None:
    for style in STYLES:
        (row,) = re.findall(rf"^\| {re.escape(style)} \|.*\|$", page, re.MULTILINE)
        assert row.count("**") == 2 * (4 + (style in ("in place", "backup, then move"))), row
