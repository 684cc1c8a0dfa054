"""Versions are compared by their leading numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.versions import at_least, release_numbers


@pytest.mark.parametrize(
    ("version", "numbers"),
    [
        ("1.20", (1, 20)),
        ("1.23.2rc1", (1, 23, 2)),
        ("1.32.0+cu12", (1, 32, 0)),
        ("1.x.9", (1,)),
        ("next", ()),
        ("", ()),
        ("1.\N{ARABIC-INDIC DIGIT TWO}", (1,)),
    ],
)
def test_the_numbers_of_a_version_end_where_text_begins(
    version: str, numbers: tuple[int, ...]
) -> None:
    assert release_numbers(version) == numbers


@pytest.mark.parametrize(
    ("found", "wanted", "enough"),
    [
        ("1.20", "1.20.0", True),
        ("1.20.0", "1.20", True),
        ("1.9", "1.20", False),
        ("1.20", "1.9", True),
        ("2", "1.99.99", True),
        ("1.20rc1", "1.20", True),
        ("", "0.1", False),
    ],
)
def test_numbers_are_compared_as_numbers(found: str, wanted: str, enough: bool) -> None:
    assert at_least(found, wanted) is enough


releases = st.lists(st.integers(0, 10**6), min_size=1, max_size=4).map(
    lambda numbers: ".".join(map(str, numbers))
)


@given(releases, releases)
def test_of_two_versions_one_is_at_least_the_other(left: str, right: str) -> None:
    assert at_least(left, right) or at_least(right, left)
    assert at_least(left, left)
