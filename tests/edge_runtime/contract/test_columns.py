"""Columns become graph inputs: by exactly their types, or with an error naming both sides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.columns import accepts, assemble, check_missing, records_to_raw
from edge_runtime.contract.errors import (
    InputDtype,
    InputMissing,
    InputName,
    InputShape,
    InputValue,
)
from edge_runtime.contract.table import Column
from edge_runtime.contract.tensors import TensorSpec

COLUMNS = (
    Column("b (kg)", "float", "features", 1, "allow"),
    Column("a", "float", "features", 0, "refuse"),
    Column("my plan", "text", "my_plan", None, "allow"),
    Column("visits", "integer", "visits", None, "refuse"),
)
INPUTS = (
    TensorSpec("features", "float32", (None, 2)),
    TensorSpec("my_plan", "string", (None, 1)),
    TensorSpec("visits", "int64", (None, 1)),
)


def raw(**changes):
    values = {"a": [1.5, 2], "b (kg)": [None, 4], "my plan": ["x", None], "visits": [3, 4]}
    return {**values, **changes}


def test_columns_become_tensors_of_exactly_the_graphs_types():
    feed = assemble(COLUMNS, INPUTS, raw())
    assert list(feed) == ["features", "my_plan", "visits"]
    assert [array.dtype for array in feed.values()] == [np.float32, object, np.int64]
    np.testing.assert_array_equal(feed["features"], [[1.5, np.nan], [2, 4]])
    assert feed["my_plan"].tolist() == [["x"], [""]]
    assert feed["visits"].tolist() == [[3], [4]]


@pytest.mark.parametrize(
    "values",
    [
        (1.5, 2),
        np.array([1.5, 2], dtype=np.float16),
        np.array([[1.5], [2.0]]),
        np.array([1.5, 2], dtype=object),
        [np.float32(1.5), np.int8(2)],
    ],
)
def test_a_column_is_any_sequence_of_numbers(values):
    assert assemble(COLUMNS, INPUTS, raw(a=values))["features"][:, 0].tolist() == [1.5, 2.0]


def test_a_data_frame_is_a_feed():
    frame = pytest.importorskip("pandas").DataFrame(raw())
    assert accepts(COLUMNS, frame.keys())
    np.testing.assert_array_equal(
        assemble(COLUMNS, INPUTS, frame)["features"], [[1.5, np.nan], [2, 4]]
    )


def test_scalars_are_one_row():
    feed = assemble(COLUMNS, INPUTS, {"a": 1, "b (kg)": None, "my plan": "x", "visits": True})
    assert [array.shape for array in feed.values()] == [(1, 2), (1, 1), (1, 1)]


def test_no_rows_make_empty_tensors():
    feed = assemble(COLUMNS, INPUTS, {name: [] for name in raw()})
    assert [array.shape for array in feed.values()] == [(0, 2), (0, 1), (0, 1)]


def test_missing_and_unknown_columns_are_both_named():
    given_columns = raw(plan=["x"])
    del given_columns["my plan"]
    with pytest.raises(InputName, match="missing 'my plan' and unknown 'plan'"):
        assemble(COLUMNS, INPUTS, given_columns)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"a": [1]}, InputShape, "differ in their number of rows"),
        ({"a": np.zeros((2, 2))}, InputShape, r"found shape \[2, 2\]"),
        ({"a": np.array(["1", "2"])}, InputDtype, "takes float, found dtype string"),
        ({"a": {"x": 1}}, InputDtype, "found a dict"),
        ({"my plan": np.array([1, 2])}, InputDtype, "takes text"),
        ({"my plan": ["x", 2]}, InputValue, "row 1"),
        ({"visits": [1, 2.5]}, InputValue, "row 1.*integer"),
        ({"a": ["1", 2]}, InputValue, "row 0.*'1'"),
        ({"a": [1, None]}, InputMissing, "row 1.*'a'"),
        ({"a": np.array([1, np.nan])}, InputMissing, "row 1.*'a'"),
        ({"b (kg)": np.array([1, np.inf])}, InputValue, "row 1.*inf"),
        ({"a": [1, 1e300]}, InputValue, "what float32 can hold"),
        ({"a": np.array([1, -1e300])}, InputValue, "what float32 can hold"),
        ({"visits": [1, None]}, InputMissing, "row 1.*'visits'"),
    ],
)
def test_what_does_not_fit_is_refused(changes, error, words):
    with pytest.raises(error, match=words):
        assemble(COLUMNS, INPUTS, raw(**changes))


def test_an_integer_must_fit_its_tensor():
    column = Column("n", "integer", "n", None, "refuse")
    spec = TensorSpec("n", "int8", (None, 1))
    assert assemble([column], [spec], {"n": [127]})["n"].tolist() == [[127]]
    with pytest.raises(InputValue, match=r"row 1.*what int8 can hold, found 128"):
        assemble([column], [spec], {"n": [1, 128]})


@given(st.lists(st.floats(width=32, allow_infinity=False), min_size=1))
def test_float32_numbers_go_through_unchanged(numbers):
    column = Column("x", "float", "x", None, "allow")
    spec = TensorSpec("x", "float32", (None, 1))
    for values in (numbers, np.array(numbers), np.array(numbers, dtype=np.float32)):
        tensor = assemble([column], [spec], {"x": values})["x"]
        np.testing.assert_array_equal(tensor[:, 0], np.array(numbers, dtype=np.float32))


def test_exactly_the_graphs_names_are_no_columns():
    assert not accepts(COLUMNS, ["features", "my_plan", "visits"])
    assert accepts(COLUMNS, ["a", "b (kg)", "my plan", "visits"])
    assert accepts(COLUMNS, ["a", "my_plan"])
    assert not accepts((), ["image"])


def test_where_both_have_the_same_names_they_are_columns():
    assert accepts([Column("a", "float", "a", None, "allow")], ["a"])


def test_a_feed_by_the_graphs_names_is_checked_for_what_its_columns_refuse():
    feed = assemble(COLUMNS, INPUTS, raw())
    check_missing(COLUMNS, feed)
    feed["features"][1, 0] = np.nan
    with pytest.raises(InputMissing, match=r"row 1.*'a'"):
        check_missing(COLUMNS, feed)
    feed["features"][1, 0] = np.inf
    with pytest.raises(InputValue, match=r"row 1.*'a'"):
        check_missing(COLUMNS, feed)


def test_records_may_hold_more_than_the_columns():
    records = [
        {"a": 1, "b (kg)": 2, "my plan": "x", "visits": 3, "id": 9},
        {"a": 2, "b (kg)": None, "my plan": None, "visits": 4},
    ]
    feed = assemble(COLUMNS, INPUTS, records_to_raw(COLUMNS, records))
    np.testing.assert_array_equal(feed["features"], [[1, 2], [2, np.nan]])


def test_a_record_without_a_column_is_refused():
    with pytest.raises(InputName, match=r"row 1 .*lacks 'a'"):
        records_to_raw(COLUMNS[1:2], [{"a": 1}, {"A": 1}])
