"""Feeds are checked, NPZ is read without trust, answers are compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_runtime.contract.errors import InputDtype, InputName, InputShape
from edge_runtime.contract.tensors import (
    TensorSpec,
    Tolerance,
    check_feed,
    compare,
)

WIDE = TensorSpec("features", "float32", (None, 3))
NARROW = TensorSpec("age", "float32", (None, 1))
TEXT = TensorSpec("plan", "string", (None, 1))
COUNT = TensorSpec("count", "int64", (None, 1))
SMALL = TensorSpec("small", "uint8", (None,))
EXACT = Tolerance(0.0, 0.0)


def feed(spec: TensorSpec, value: Any) -> Any:
    return check_feed([spec], {spec.name: value})[spec.name]


# --- feeds ---------------------------------------------------------------------------------


def test_an_array_of_the_declared_type_and_shape_passes_untouched() -> None:
    array = np.ones((2, 3), np.float32)
    assert feed(WIDE, array) is array


def test_a_one_dimensional_array_feeds_a_column() -> None:
    assert feed(NARROW, np.ones(4, np.float32)).shape == (4, 1)
    assert feed(TEXT, ["a", "b"]).shape == (2, 1)


def test_a_one_dimensional_array_does_not_feed_a_matrix() -> None:
    with pytest.raises(
        InputShape, match=r"'features' takes float32\[\?, 3\], found shape \[3\]"
    ):
        feed(WIDE, np.ones(3, np.float32))


def test_lists_are_converted_to_the_declared_type() -> None:
    found = feed(WIDE, [[1, 2.5, 3], [4, 5, 6]])
    assert found.dtype == np.float32
    assert feed(COUNT, [7]).dtype == np.int64
    assert feed(SMALL, []).dtype == np.uint8


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        (COUNT, [1.5]),  # numpy alone would make it 1
        (NARROW, ["1.5"]),
        (NARROW, [None]),
        (NARROW, [True]),
        (NARROW, [[1.0], [1.0, 2.0]]),
        (NARROW, [1e300]),
        (NARROW, [2**70]),
        (NARROW, {"a": 1}),
        (SMALL, [256]),
        (SMALL, [-1]),
        (TensorSpec("flag", "bool", (None,)), [1]),
        (TEXT, ["a", None]),
        (TEXT, ["a", 1.5]),
        (TEXT, [b"a"]),
        (TEXT, np.array(["a", float("nan")], object)),
    ],
)
def test_a_list_that_would_lose_its_meaning_is_refused(spec: TensorSpec, value: Any) -> None:
    with pytest.raises(InputDtype) as caught:
        feed(spec, value)
    assert spec.name in caught.value.message
    assert {"expected", "found"} <= caught.value.values.keys()


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.float16, object, "U1", "S1"])
def test_an_array_of_another_type_is_refused_naming_both(dtype: Any) -> None:
    with pytest.raises(InputDtype, match=r"takes float32\[\?, 3\], found dtype"):
        feed(WIDE, np.ones((1, 3)).astype(dtype))


def test_the_other_byte_order_means_the_same_numbers() -> None:
    found = feed(WIDE, np.array([[1, 2, 3]], ">f4"))
    assert found.dtype.isnative
    assert found.tolist() == [[1, 2, 3]]


def test_text_of_any_width_reaches_the_engine_as_objects() -> None:
    found = feed(TEXT, np.array(["a", "längst"]))
    assert found.dtype == object
    assert found.tolist() == [["a"], ["längst"]]


def test_missing_and_unknown_names_are_both_named() -> None:
    with pytest.raises(InputName, match="missing features and unknown feature"):
        check_feed([WIDE], {"feature": []})


def test_inputs_of_different_length_are_refused() -> None:
    with pytest.raises(
        InputShape, match=r"differ in their number of rows: .*'age': 2.*'plan': 3"
    ):
        check_feed([NARROW, TEXT], {"age": [1, 2], "plan": ["a", "b", "c"]})


# --- comparison ----------------------------------------------------------------------------


def test_equal_answers_have_no_difference() -> None:
    array = np.array([1.0, np.nan, np.inf])
    assert compare("p", array, array.copy(), EXACT) is None
    assert compare("l", np.array(["a"], object), np.array(["a"], object), EXACT) is None
    assert compare("p", np.zeros((0, 2)), np.zeros((0, 2)), EXACT) is None


def test_floats_are_compared_within_absolute_plus_relative_tolerance() -> None:
    expected, actual = np.array([100.0, 0.0]), np.array([101.0, 0.01])
    assert compare("p", expected, actual, Tolerance(rtol=0.01, atol=0.01)) is None
    found = compare("p", expected, actual, Tolerance(rtol=0.01, atol=0.001))
    assert found is not None
    assert (found.row, found.expected, found.actual) == (1, "0.0", "0.01")
    assert (found.disagreeing, found.total) == (1, 2)


def test_the_worst_value_is_named_and_the_bad_ones_are_counted() -> None:
    found = compare("p", np.zeros((3, 2)), np.array([[0, 1.0], [0, -5], [2, 0]]), EXACT)
    assert found is not None
    assert (found.row, found.actual, found.disagreeing, found.total) == (1, "-5.0", 3, 6)


def test_a_missing_number_is_the_worst_of_all() -> None:
    found = compare("p", np.zeros(3), np.array([9.0, np.nan, 0.0]), EXACT)
    assert found is not None
    assert (found.row, found.actual) == (1, "nan")


@pytest.mark.parametrize("tolerance", [EXACT, Tolerance(1.0, 1e9)])
def test_text_and_integers_must_be_equal_whatever_the_tolerance(tolerance: Tolerance) -> None:
    assert compare("l", np.array([1, 2]), np.array([1, 3]), tolerance) is not None
    texts = compare("l", np.array(["a"], object), np.array(["b"], object), tolerance)
    assert texts is not None
    assert (texts.expected, texts.actual) == ("a", "b")


def test_another_shape_or_type_is_a_difference_of_everything() -> None:
    found = compare("p", np.zeros((2, 1)), np.zeros((1, 2)), Tolerance(1, 1))
    assert found is not None
    assert (found.row, found.expected, found.actual) == (None, "float64[2, 1]", "float64[1, 2]")
    assert compare("p", np.zeros(2), np.zeros(2, np.float32), Tolerance(1, 1)) is not None


@pytest.mark.filterwarnings("error")
def test_infinities_are_compared_without_a_warning() -> None:
    found = compare("p", np.array([np.inf, 1]), np.array([np.inf, np.inf]), EXACT)
    assert found is not None
    assert found.row == 1
