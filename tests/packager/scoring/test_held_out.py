"""Reading answers: classes of any type, scores of any form, an even choice of rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judged_rows import classified, measured

from packager.budgets import Drop
from packager.errors import ConfigInvalid
from packager.scoring import Judge, choose_metric, classes

SCORES = {"label": "label", "score": "scores"}
PROBABILITY = {"probability": "probabilities"}


@pytest.mark.parametrize("form", [int, float, bool])
def test_classes_are_the_same_in_whatever_type_they_are_told(form):
    truth = np.array([form(label) for label in (0, 1, 1)], dtype=object)
    rows = classified(truth, [form(0), form(1)])
    for answered in (
        np.array([0, 1, 1]),
        np.array([0.0, 1.0, 1.0]),
        np.array([False, True, True]),
    ):
        assert (rows.predicted({"label": answered}) == rows.truth_codes).all()
    assert classes(truth).tolist() == classes(np.array([0, 1, 1])).tolist()


def test_text_and_number_are_different_classes():
    rows = classified([1, 0, 1], ["0", "1"])
    assert (rows.predicted({"label": np.array(["1", "0", "1"])}) != rows.truth_codes).all()
    assert choose_metric(None, rows).name == "balanced_accuracy"


def test_labels_in_a_column_of_their_own_are_read():
    rows = classified([0, 1])
    assert rows.predicted({"label": np.array([[0], [1]])}).tolist() == [0, 1]


def test_several_labels_a_row_are_refused():
    rows = classified([0, 1])
    with pytest.raises(ConfigInvalid, match="2 answers a row"):
        rows.predicted({"label": np.array([[0, 1], [1, 0]])})
    with pytest.raises(ConfigInvalid, match="3 answers a row"):
        measured([0.0, 1.0]).values({"value": np.zeros((2, 3))})


def test_without_a_label_the_best_score_answers():
    rows = classified([0, 1], roles=PROBABILITY)
    assert rows.predicted({"probabilities": np.array([[0.9, 0.1], [0.2, 0.8]])}).tolist() == [
        0,
        1,
    ]


@pytest.mark.parametrize(
    ("roles", "column", "expected"),
    [
        (PROBABILITY, [[0.2], [0.7]], [[0.8, 0.2], [0.3, 0.7]]),
        (SCORES, [[-2.0], [1.5]], [[2.0, -2.0], [-1.5, 1.5]]),
    ],
)
def test_a_lone_column_is_the_second_class_s(roles, column, expected):
    rows = classified([0, 1], roles=roles)
    name = roles.get("probability", "scores")
    assert rows.scores({name: np.array(column)}).tolist() == pytest.approx(np.array(expected))


def test_columns_that_are_not_one_a_class_are_refused():
    rows = classified([0, 1])
    base = {"label": np.array([0, 1]), "probabilities": np.full((2, 3), 0.3)}
    with pytest.raises(ConfigInvalid, match="3 scores a row for 2 classes"):
        Judge(choose_metric("log_loss", rows), Drop(0.01), rows, base)


def test_a_true_class_that_the_model_has_not_is_always_missed():
    rows = classified(["a", "b", "c"], ["a", "b"])
    base = {
        "label": np.array(["a", "b", "b"]),
        "probabilities": np.array([[0.9, 0.1], [0.1, 0.9], [0.4, 0.6]]),
    }
    score = Judge(choose_metric("accuracy", rows), Drop(0.01), rows, base).score(base)
    assert score.quality == pytest.approx(2 / 3)
    assert rows.scores(base).shape == (3, 3)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 80))
def test_an_even_choice_keeps_every_class_in_proportion(truth, count):
    rows = classified(truth, range(4))
    chosen = rows.evenly(count)
    assert len(chosen) == min(count, len(truth))
    assert (np.diff(chosen) > 0).all()
    whole, part = (
        np.bincount(codes, minlength=4) for codes in (truth, np.array(truth)[chosen])
    )
    assert (np.abs(part - whole * len(chosen) / len(truth)) <= 1 + 1e-9).all()


def test_rows_that_are_taken_keep_their_truth():
    rows = measured([1.0, 2.0, 3.0]).take(np.array([0, 2]))
    assert rows.count == 2
    assert rows.numbers.tolist() == [1.0, 3.0]
