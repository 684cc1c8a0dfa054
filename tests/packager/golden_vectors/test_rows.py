"""Which rows of a pool prove most: every class, ends, both sides of a split, near ties."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from packager.golden_vectors.rows import BESIDE_CLASSES, classes_of, in_order, shares_of_margins

PLAIN = {"x": np.random.default_rng(0).random((100, 3)).astype(np.float32)}


def test_every_class_is_there_the_rarest_first() -> None:
    labels = np.array(["often"] * 60 + ["rare"] + ["some"] * 39)
    rows = in_order(PLAIN, range(100), labels, None, 32)
    assert labels[rows[:3]].tolist() == ["rare", "some", "often"]


def test_more_classes_than_rows_leave_room_for_what_is_no_class() -> None:
    labels = np.arange(100)
    pool = {"x": np.zeros((100, 1), np.float32)}
    pool["x"][[90, 95], 0] = -1, 1
    rows = in_order(pool, range(100), labels, None, 32)
    assert rows[: 32 - BESIDE_CLASSES] == list(range(32 - BESIDE_CLASSES))
    assert {90, 95} <= set(rows[:32])


def test_rows_at_the_ends_of_columns_come_before_the_others() -> None:
    x = np.full((50, 4), 0.5, np.float32)
    x[40], x[45, 2], x[47, 3] = 0, 9, np.nan
    rows = in_order({"x": x}, range(50), None, None, 8)
    assert set(rows[:3]) == {40, 45, 47}


def test_a_category_that_is_rare_is_there() -> None:
    words = np.array(["a"] * 30 + ["b"] + ["c"] * 9, dtype=object).reshape(-1, 1)
    assert in_order({"w": words}, range(40), None, None, 8)[0] == 30


def test_neighbours_that_differ_in_one_number_come_together() -> None:
    x = np.random.default_rng(1).random((60, 3)).astype(np.float32)
    x[51] = x[50]
    x[51, 1] += 1e-3
    rows = in_order({"x": x}, range(60), None, None, 32)
    place = rows.index(50)
    assert rows[place + 1] == 51
    assert place < 16


def test_rows_near_another_label_come_before_the_rest_but_no_tie() -> None:
    margins = np.full(100, 0.9)
    margins[[70, 80]] = 0.001, 0.1
    rows = in_order(PLAIN, range(100), None, margins, 32)
    assert rows.index(80) < 12
    assert rows.index(70) > 32


@given(
    arrays(np.float32, st.tuples(st.integers(1, 30), st.integers(1, 4))),
    st.data(),
)
def test_every_allowed_row_stands_in_the_order_once(values: np.ndarray, data: st.DataObject):
    allowed = sorted(data.draw(st.sets(st.integers(0, len(values) - 1))))
    labels = data.draw(arrays(np.int64, len(values), elements=st.integers(0, 3)))
    rows = in_order({"x": values}, allowed, labels, labels / 3, 8)
    assert sorted(rows) == allowed


def test_bare_scores_have_a_class_and_anything_else_has_none() -> None:
    scores = np.array([[0.1, 0.9], [0.8, 0.2]], np.float32)
    found = classes_of({}, {"scores": scores})
    assert found is not None
    assert found.tolist() == [1, 0]
    assert classes_of({}, {"one": scores, "two": scores}) is None
    assert classes_of({"value": "y"}, {"y": scores}) is None
    labels = classes_of({"label": "l"}, {"l": np.array([["b"], ["a"]], dtype=object)})
    assert labels is not None
    assert labels.tolist() == ["b", "a"]


def test_margins_are_shares_of_the_largest_score() -> None:
    roles = {"label": "l", "score": "s"}
    answers = {"s": np.array([[8.0, 2.0], [3.0, 4.0]], np.float32)}
    found = shares_of_margins("classification", roles, answers, None)
    assert found is not None
    assert found.tolist() == [0.75, 0.125]
    assert shares_of_margins("regression", {"value": "y"}, answers, None) is None
