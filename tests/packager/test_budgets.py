"""Budgets: how much may be lost, read and written back, in whose unit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packager.budgets import Drop, parse_drop


@pytest.mark.parametrize(
    ("text", "drop"),
    [
        ("0.01", Drop(0.01)),
        ("0", Drop(0.0)),
        ("1", Drop(1.0)),
        ("1%", Drop(0.01, True)),
        (" 0.5 % ", Drop(0.005, True)),
        ("100%", Drop(1.0, True)),
        ("1.1%", Drop(0.011, True)),
        ("1e-3", Drop(0.001)),
    ],
)
def test_a_drop_is_a_number_or_a_share(text, drop):
    assert parse_drop(text) == drop


@pytest.mark.parametrize(
    "text",
    ["", "%", "-0.1", "1.5", "101%", "nan", "inf", "1e999", "1 %%", "one", "1,5%", "0x1"],
)
def test_what_is_neither_is_none(text):
    assert parse_drop(text) is None


@given(st.floats(0, 1), st.booleans())
def test_every_drop_reads_back_as_it_was(amount, share):
    drop = Drop(amount, True if share else None)
    assert parse_drop(drop.text()) == drop


@pytest.mark.parametrize(
    ("drop", "text"),
    [
        (Drop(0.01), "0.01"),
        (Drop(0.0), "0"),
        (Drop(1e-7), "0.0000001"),
        (Drop(0.0, True), "0%"),
        (Drop(0.1, True), "10%"),
        (Drop(1.0, True), "100%"),
        (Drop(0.0025, True), "0.25%"),
    ],
)
def test_a_drop_is_told_as_people_write_it(drop, text):
    assert drop.text() == text


def test_without_a_word_the_metric_says_whether_a_drop_is_a_share():
    assert Drop(0.01).of(bounded=True) == Drop(0.01, False)
    assert Drop(0.01).of(bounded=False) == Drop(0.01, True)
    assert Drop(0.01, True).of(bounded=True) == Drop(0.01, True)
