"""Answers for people: the model's own classes, short numbers, one dictionary a row."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from edge_runtime.contract.answers import answer_rows, check_rows, flat_rows
from edge_runtime.contract.bundle.manifest import Interface
from edge_runtime.contract.errors import PredictionFailed
from edge_runtime.contract.table import TableFormat
from edge_runtime.contract.tensors import TensorSpec


def interface(roles: dict[str, str], labels: tuple[Any, ...] = ()) -> Interface:
    outputs = tuple(TensorSpec(name, "float32", (None,)) for name in roles.values())
    return Interface((), outputs, (), TableFormat(), "classification", roles, labels)


CLASSIFIER = {"label": "output_label", "probability": "probabilities"}


@pytest.mark.parametrize(
    ("labels", "given"),
    [
        (("fine", "fraud"), np.array(["fraud", "fine"], object)),
        ((0, 1), np.array([1, 0])),
        ((3, 7), np.array([7, 3])),
        ((-1, 1), np.array([1, -1])),
        ((False, True), np.array([1, 0])),
        ((0.0, 2.0), np.array([2, 0])),
    ],
)
def test_classes_come_back_as_the_model_learned_them(
    labels: tuple[Any, ...], given: np.ndarray
) -> None:
    answers = {
        "output_label": given,
        "probabilities": np.array([[0.1, 0.9], [0.75, 0.25]], np.float32),
    }
    rows = answer_rows(interface(CLASSIFIER, labels), answers, 2)
    first, second = labels
    assert rows == [
        {"label": second, "probability": {first: 0.1, second: 0.9}},
        {"label": first, "probability": {first: 0.75, second: 0.25}},
    ]
    assert [type(row["label"]) for row in rows] == [type(second), type(first)]
    assert all(type(key) is type(first) for row in rows for key in row["probability"])
    json.dumps(rows)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numbers_are_the_shortest_that_mean_them(dtype: type) -> None:
    rows = answer_rows(interface({"value": "y"}), {"y": np.array([0.1, 1e-7], dtype)}, 2)
    assert [str(row["value"]) for row in rows] == [str(dtype(0.1)), str(dtype(1e-7))]


def test_a_single_value_a_row_is_no_list() -> None:
    answers = {"y": np.array([[1.5], [2.5]], np.float32)}
    assert answer_rows(interface({"value": "y"}), answers, 2) == [
        {"value": 1.5},
        {"value": 2.5},
    ]


def test_several_values_a_row_are_a_list() -> None:
    answers = {"y": np.array([[1, 2], [3, 4]])}
    assert answer_rows(interface({"value": "y"}), answers, 2)[1] == {"value": [3, 4]}


def test_an_output_without_a_role_keeps_its_name() -> None:
    answers = {"logits": np.zeros((1, 2, 2), np.float32)}
    assert answer_rows(interface({}), answers, 1) == [{"logits": [[0.0, 0.0], [0.0, 0.0]]}]


def test_labels_in_a_column_are_labels() -> None:
    answers = {"label": np.array([[-1], [1]]), "scores": np.array([[0.5], [-0.5]])}
    rows = answer_rows(interface({"label": "label", "score": "scores"}), answers, 2)
    assert rows == [{"label": -1, "score": 0.5}, {"label": 1, "score": -0.5}]


def test_a_label_that_the_manifest_does_not_know_stays_what_it_is() -> None:
    rows = answer_rows(interface({"label": "label"}, (0, 1)), {"label": np.array([7])}, 1)
    assert rows == [{"label": 7}]


def test_no_rows_give_no_answers() -> None:
    answers = {"output_label": np.empty(0, object), "probabilities": np.empty((0, 2))}
    assert answer_rows(interface(CLASSIFIER, ("a", "b")), answers, 0) == []


def test_flat_rows_name_their_classes_and_positions() -> None:
    answers = {
        "output_label": np.array(["b"], object),
        "probabilities": np.array([[0.25, 0.75]]),
        "extra": np.array([[[1, 2], [3, 4]]]),
    }
    (row,) = flat_rows(interface(CLASSIFIER, ("a", "b")), answers, 1)
    assert row == {
        "label": "b",
        "probability_a": 0.25,
        "probability_b": 0.75,
        "extra_0_0": 1,
        "extra_0_1": 2,
        "extra_1_0": 3,
        "extra_1_1": 4,
    }


@pytest.mark.parametrize("shape", [(), (1,), (3,), (3, 2)])
def test_an_output_that_is_not_one_answer_a_row_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(PredictionFailed, match="'y' must hold 2 answers") as caught:
        check_rows({"x": np.zeros(2), "y": np.zeros(shape)}, 2)
    assert caught.value.values["found"] == list(shape)


@pytest.mark.parametrize("shape", [(1,), (1, 1), (1, 3)])
def test_probabilities_that_are_not_one_a_class_are_refused(shape: tuple[int, ...]) -> None:
    answers = {"output_label": np.array(["a"], object), "probabilities": np.zeros(shape)}
    with pytest.raises(PredictionFailed, match="one for each of 2 classes"):
        answer_rows(interface(CLASSIFIER, ("a", "b")), answers, 1)
