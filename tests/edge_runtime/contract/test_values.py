"""Kinds of values: text, JSON and arrays mean the same, and every refusal names its place."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.errors import EdgepackError, InputMissing, InputName, InputValue
from edge_runtime.contract.values import (
    Column,
    from_array,
    from_cells,
    from_json,
    gather,
    listed,
    parse_float,
    parse_integer,
)

TOKENS = frozenset({"", "NA"})


def column(kind, missing="allow"):
    return Column("c", kind, "c", None, missing)


def place(row):
    return f"row {row}"


@given(st.text(max_size=20))
def test_the_fast_and_the_careful_way_agree_on_every_cell(cell):
    """A blank keeps a column from being read at once."""
    for kind in ("float", "integer"):
        answers = []
        for cells in ([cell], [cell, " 1"]):
            try:
                answers.append(from_cells(column(kind), cells, TOKENS, place)[0])
            except EdgepackError as error:
                answers.append(error.code)
        np.testing.assert_equal(answers[0], answers[1])


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_float_survives_its_text(value):
    assert parse_float(repr(value)) == value


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_64_bit_integer_survives_its_text(value):
    assert parse_integer(str(value)) == value


@given(st.lists(st.integers(-(2**53), 2**53), min_size=1))
def test_text_json_and_arrays_of_numbers_mean_the_same(numbers):
    for kind in ("float", "integer"):
        read = [
            from_cells(column(kind), list(map(str, numbers)), TOKENS, place),
            from_json(column(kind), numbers, place),
            from_array(column(kind), np.array(numbers), place),
            from_array(column(kind), np.array(numbers, dtype=np.float64), place),
            from_array(column(kind), np.array(numbers, dtype=object), place),
        ]
        for other in read[1:]:
            np.testing.assert_array_equal(read[0], other)
            assert other.dtype == read[0].dtype


def test_none_and_nan_are_missing_wherever_they_stand():
    values = [None, math.nan, np.float32("nan"), 1]
    assert np.isnan(from_json(column("float"), values, place)).tolist() == [True] * 3 + [False]
    assert from_json(column("text"), [None, math.nan, "a"], place).tolist() == ["", "", "a"]
    with pytest.raises(InputMissing, match="row 1"):
        from_json(column("integer"), [1, None], place)
    with pytest.raises(InputMissing, match="row 0"):
        from_array(column("float", "refuse"), np.array([np.nan, 1]), place)
    with pytest.raises(InputMissing, match="row 1"):
        from_json(column("text", "refuse"), ["a", ""], place)


@pytest.mark.parametrize("value", [math.inf, 10**400, "1", [1], {}, b"1", 1j, object()])
def test_what_is_no_number_is_refused_with_its_place(value):
    for kind in ("float", "integer"):
        with pytest.raises(InputValue, match="row 0: column 'c'"):
            from_json(column(kind), [value], place)


@pytest.mark.parametrize("value", [1, True, b"a", ["a"], "\ud800"])
def test_what_is_no_text_is_refused(value):
    with pytest.raises(InputValue):
        from_json(column("text"), [value], place)


def test_an_infinite_number_is_refused_even_where_missing_is_allowed():
    with pytest.raises(InputValue, match=r"row 1.*inf"):
        from_array(column("float"), np.array([np.nan, -np.inf]), place)


def test_records_become_columns_and_other_names_are_left_out():
    records = [{"c": 1, "id": 7}, {"c": None}]
    assert gather([column("float")], records, place) == {"c": [1, None]}


@pytest.mark.parametrize(
    ("record", "words"), [({"C": 1}, "lacks 'c'"), ([1], "row 0 is a list")]
)
def test_a_record_without_its_columns_is_refused(record, words):
    with pytest.raises(InputName, match=words):
        gather([column("float")], [record], place)


def test_a_message_lists_few_names():
    assert listed([]) == "nothing"
    assert listed(["a", 1]) == "'a', '1'"
    assert listed(list("abcdefghi")) == "'a', 'b', 'c', 'd', 'e', 'f' and 3 more"
