"""Rows between two labels stand close on both sides, and the closest scores are found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from edge_runtime.contract.table import Column
from edge_runtime.contract.tensors import Arrays
from packager.answers import row_count
from packager.sources.attempts import attempt
from packager.stages.ties import CLOSEST, PAIRS, tied_rows

ROLES = {"label": "label", "probability": "p"}
COLUMNS = tuple(Column(name, "float", name, None, "refuse") for name in "ab")


def asks(model: Any, columns: tuple[Column, ...] = COLUMNS):
    """Ask a model as a child does; it refuses what it raises on."""

    def answers(rows: Arrays) -> Arrays:
        matrix = np.column_stack([rows[column.name] for column in columns])
        if matrix.dtype == object:
            matrix = matrix[:, :1].astype(float)
        return {"label": model.predict(matrix), "p": model.predict_proba(matrix)}

    def ask(rows: Arrays) -> tuple[Any, Arrays]:
        refused, found = attempt(answers, rows, [row_count(rows)])
        answered = np.ones(row_count(rows), dtype=bool)
        answered[refused] = False
        return answered, found

    return ask


def rows_of(count: int = 100) -> Arrays:
    drawn = np.random.default_rng(0).normal(size=(count, 2))
    return {"a": drawn[:, 0], "b": drawn[:, 1]}


def stacked(rows: Arrays) -> Any:
    return np.column_stack([rows["a"], rows["b"]])


def test_pairs_stand_close_on_both_sides_of_the_border():
    rows = rows_of()
    model = LogisticRegression().fit(stacked(rows), rows["a"] > 0)
    found = stacked(tied_rows(rows, COLUMNS, "classification", ROLES, asks(model)))
    one, other = found[:PAIRS], found[PAIRS : 2 * PAIRS]
    assert (model.predict(one) != model.predict(other)).all()
    assert np.abs(one - other).max() < 0.02
    assert (found == found.astype(np.float32)).all()


def test_rows_with_equal_scores_are_found():
    rows = rows_of()
    labels = np.random.default_rng(1).random(100) > 0.5
    model = KNeighborsClassifier(4).fit(stacked(rows), labels)
    found = stacked(tied_rows(rows, COLUMNS, "classification", ROLES, asks(model)))
    scores = model.predict_proba(found[-CLOSEST:])
    assert (scores[:, 0] == scores[:, 1]).all()


def test_where_only_one_label_is_answered_there_is_no_border():
    rows = rows_of()
    model = LogisticRegression().fit(stacked(rows), rows["a"] > 0)
    distant = {"a": rows["a"] + 100, "b": rows["b"]}
    found = tied_rows(distant, COLUMNS, "classification", ROLES, asks(model))
    assert row_count(found) == CLOSEST


def test_a_regression_has_no_ties():
    found = tied_rows(rows_of(), COLUMNS, "regression", {"value": "value"}, asks(None))
    assert row_count(found) == 0


def test_a_source_that_refuses_every_row_has_no_ties():
    found = tied_rows(rows_of(), COLUMNS, "classification", ROLES, asks(None))
    assert row_count(found) == 0


@pytest.mark.parametrize("values", [(0, 9), (-(1 << 62), 1 << 62)])
def test_whole_numbers_and_text_meet_too(values):
    columns = (
        Column("n", "integer", "n", None, "refuse"),
        Column("t", "text", "t", None, "refuse"),
    )
    numbers = np.random.default_rng(0).integers(*values, 200)
    rows = {"n": numbers, "t": np.array(["x", "y"] * 100, dtype=object)}
    model = LogisticRegression().fit(numbers[:, None] / values[1], numbers > 0)
    model.coef_ /= values[1]
    found = tied_rows(rows, columns, "classification", ROLES, asks(model, columns))
    assert found["n"].dtype == np.int64
    assert set(found["t"]) <= {"x", "y"}
