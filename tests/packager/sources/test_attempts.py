"""Rows that a model may refuse: which it answered, found by blocks and then by rows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from edge_runtime.contract.tensors import Arrays
from packager.sources.attempts import attempt

CALLS: list[int] = []


def picky(rows: Arrays) -> Arrays:
    CALLS.append(len(rows["x"]))
    if (rows["x"] < 0).any():
        raise LookupError("below zero")
    return {"y": rows["x"] * 2}


def asked(values: list[float], blocks: list[int]) -> tuple[list[int], Arrays]:
    CALLS.clear()
    return attempt(picky, {"x": np.array(values)}, blocks)


def test_rows_that_nobody_refuses_are_asked_at_once():
    refused, answers = asked([1, 2, 3], [1, 2])
    assert (refused, answers["y"].tolist(), CALLS) == ([], [2, 4, 6], [3])


def test_a_refused_row_is_found_and_the_others_are_answered_in_order():
    refused, answers = asked([1, 2, -3, 4, 5], [2, 2, 1])
    assert (refused, answers["y"].tolist()) == ([2], [2, 4, 8, 10])
    assert CALLS == [5, 2, 2, 1, 1, 1]


def test_where_all_are_refused_there_are_no_answers():
    assert asked([-1, -2], [1, 1]) == ([0, 1], {})


def test_what_memory_cannot_hold_is_no_refusal():
    def full(_: Arrays) -> Arrays:
        raise MemoryError

    with pytest.raises(MemoryError):
        attempt(full, {"x": np.zeros(2)}, [2])


def test_a_child_tells_the_parent_which_rows_its_model_refused(opened):
    source = opened(LinearRegression().fit(np.eye(2), [1.0, 2.0]))
    source.describe({"a": "float", "b": "float"})
    rows = {"a": np.array([0.0, np.nan, 1.0]), "b": np.array([0.0, 0.0, 1.0])}
    answered, answers = source.attempt(rows, [2, 1])
    assert answered.tolist() == [True, False, True]
    assert answers["value"].shape == (2, 1)
    answered, answers = source.attempt(
        {name: values[1:2] for name, values in rows.items()}, [1]
    )
    assert (answered.tolist(), answers) == ([False], {})
