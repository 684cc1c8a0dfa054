"""Models of bare tensors in the child: their description, batches, and rows that stay rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from edge_runtime.contract.tensors import Array, Arrays, TensorSpec
from packager.errors import ConversionFailed, SourceUnsupported
from packager.sources.opened import Converted
from packager.sources.tensors.model import (
    BATCH,
    TensorFacts,
    TensorModel,
    agree,
    check_dtype,
    check_inputs,
    output_names,
    prove_rows,
    told,
)


class Doubling(TensorModel):
    """Answers twice what it gets, and notes how many rows came at once."""

    def __init__(self, rows: int | None, *, width: int = 1, refused: bool = False) -> None:
        given = TensorSpec("x", "float32", (rows, width))
        answered = TensorSpec("y", "float32", (rows, width))
        parts = {"0": "Double"}
        super().__init__(TensorFacts("pytorch", "Net", (given,), (answered,), {}, parts))
        self.batches: list[int] = []
        self.refused = refused

    def run(self, feed: Arrays) -> Arrays:
        self.batches.append(len(feed["x"]))
        return {"y": feed["x"] * np.float32(2)}

    def graph(self, _opset: Mapping[str, int]) -> Converted:
        if self.refused:
            raise ConversionFailed("no form", hint="Replace it.", expected="a form", found="no")
        return Converted(b"", ("told something",))


ROWS = {"x": np.arange(70, dtype=np.float32).reshape(-1, 1)}


def test_rows_are_answered_in_batches_as_float64() -> None:
    model = Doubling(None)
    answers = model.answers(ROWS)

    assert model.batches == [BATCH, BATCH, 70 - 2 * BATCH]
    assert answers["y"].dtype == np.float64
    np.testing.assert_array_equal(answers["y"], ROWS["x"] * 2)


def test_a_fixed_batch_is_filled_up() -> None:
    model = Doubling(16)
    answers = model.answers(ROWS)

    assert set(model.batches) == {16}
    np.testing.assert_array_equal(answers["y"], ROWS["x"] * 2)


def test_one_float_a_row_is_a_regression_and_more_are_tensors() -> None:
    one, more = Doubling(None).describe(), Doubling(None, width=3).describe()

    assert (one["task"], one["roles"]) == ("regression", {"value": "y"})
    assert (more["task"], more["roles"]) == ("tensors", {})
    assert more["inputs"] == [{"name": "x", "dtype": "float32", "shape": [None, 3]}]
    assert more["steps"] == ["0: Double"]


def test_it_plans_and_probes_nothing() -> None:
    assert Doubling(None).probe(ROWS) == ([], {})
    with pytest.raises(SourceUnsupported, match="no columns of its own"):
        Doubling(None).plan({"x": "float"})


def test_the_diagnosis_is_what_converting_says() -> None:
    whole, part = Doubling(None).diagnose()
    assert (whole["verdict"], whole["why"]) == ("converts", "told something")
    assert (part["path"], part["class"]) == ("0", "Double")

    (refusal,) = Doubling(None, refused=True).diagnose()
    assert (refusal["verdict"], refusal["why"]) == ("refused", "no form")


def growing() -> Callable[[Array], Array]:
    calls: list[int] = []

    def grow(x: Array) -> Array:
        calls.append(1)
        return x + len(calls)

    return grow


def failing_alone(x: Array) -> Array:
    if len(x) == 1:
        message = "one is too few"
        raise ValueError(message)
    return x


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (lambda x: x - x.mean(0), ConversionFailed, "among 3 rows and among 1"),
        (lambda x: x * 2 if len(x) == 2 else x, ConversionFailed, "among 3 rows and among 2"),
        (growing(), ConversionFailed, "when it is asked again"),
        (failing_alone, SourceUnsupported, "must answer 1 rows, it raised ValueError: one is"),
        (lambda x: x.T, SourceUnsupported, r"a row for each of 3 rows, its shape is \[2, 3\]"),
        (lambda x: x.sum(), SourceUnsupported, r"its shape is \[\]"),
    ],
    ids=["mixes rows", "counts rows", "remembers", "fails alone", "turns", "sums"],
)
def test_answers_that_depend_on_more_than_their_row_are_refused(
    answer: Callable[[Array], Any], error: type[Exception], message: str
) -> None:
    feed = {"x": np.array([[1, 2], [3, 5], [4, 9]], dtype=np.float32)}
    with pytest.raises(error, match=message):
        prove_rows(lambda feed: {"y": np.asarray(answer(feed["x"]))}, feed, fixed=False)


def test_a_fixed_batch_is_only_asked_for_itself() -> None:
    asked = []

    def run(feed: Arrays) -> Arrays:
        asked.append(len(feed["x"]))
        return feed

    prove_rows(run, {"x": np.zeros((4, 2), np.float32)}, fixed=True)
    assert asked == [4, 4]


def test_answers_agree_up_to_the_order_of_sums() -> None:
    values = np.array([[1000.0, np.nan], [0.001, np.inf]], dtype=np.float32)

    assert agree(values, values + np.float32(0.01))
    assert not agree(values, values * np.float32(1.01))
    assert not agree(values, values.astype(np.float64))
    assert not agree(np.array([1, 2]), np.array([1, 3]))


def test_names_of_outputs_are_distinct() -> None:
    assert output_names(["x", "mean", "mean", "value"], ["x"]) == [
        "x_2",
        "mean",
        "mean_2",
        "value_2",
    ]


def test_other_element_types_are_refused() -> None:
    assert check_dtype("x", "int64") == "int64"
    with pytest.raises(ConversionFailed, match=r"'x' must be of .*; it is bfloat16"):
        check_dtype("x", "bfloat16")


@pytest.mark.parametrize("shapes", [[], [()], [(None, 2), (3, 2)], [(2,), (3,)]])
def test_inputs_without_common_rows_are_refused(shapes: list[tuple[int | None, ...]]) -> None:
    specs = [TensorSpec(f"x{i}", "float32", shape) for i, shape in enumerate(shapes)]
    with pytest.raises(SourceUnsupported, match="first axis of every input must be its rows"):
        check_inputs(specs)


def test_the_common_rows_of_inputs_are_told() -> None:
    free, fixed = TensorSpec("a", "float32", (None, 2)), TensorSpec("b", "float32", (8,))

    assert check_inputs([free]) is None
    assert check_inputs([fixed, fixed]) == 8


def test_what_a_library_raised_is_told_without_its_advice() -> None:
    error = ValueError('bad size.\n  For more information, run with TORCH_LOGS="+dynamic"\nfix')

    assert told(error) == "ValueError: bad size. fix"
    assert told(KeyError()) == "KeyError"
