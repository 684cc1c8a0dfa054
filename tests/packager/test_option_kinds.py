"""How values of options are read, from the command line and from the file alike."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packager.option_kinds import CLASSES, COUNT, IMAGE, LAYOUT, NUMBER, NUMBERS, PATHS, TENSORS

HERE = Path("base")


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        (PATHS, ["src", "/abs"], (HERE / "src", Path("/abs"))),
        (COUNT, 2, 2),
        (NUMBER, "-1.5", -1.5),
        (NUMBER, 3, 3.0),
        (NUMBERS, "0.485, 0.456,0.406", (0.485, 0.456, 0.406)),
        (NUMBERS, [1, 2.5], (1.0, 2.5)),
        (CLASSES, "cat,dog", ("cat", "dog")),
        (CLASSES, ["a, b", "c"], ("a, b", "c")),
        (TENSORS, ["x:float32[N,3]"], ("x:float32[N,3]",)),
        (IMAGE, "224x112x3", (224, 112, 3)),
        (IMAGE, [1, 2, 3], (1, 2, 3)),
        (LAYOUT, "nhwc", "nhwc"),
    ],
)
def test_a_value_is_read(kind, raw, value):
    assert kind.read(raw, HERE) == value


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (PATHS, []),
        (PATHS, ["src", ""]),
        (PATHS, "src"),
        (COUNT, 0),
        (COUNT, True),
        (COUNT, "1"),
        (NUMBER, "nan"),
        (NUMBER, float("inf")),
        (NUMBER, True),
        (NUMBERS, "1,,2"),
        (NUMBERS, ""),
        (CLASSES, "cat"),
        (CLASSES, "cat,cat"),
        (CLASSES, "cat,"),
        (IMAGE, "224x224"),
        (IMAGE, "224x224x-3"),
        (IMAGE, "0x224x3"),
        (IMAGE, "224 x 224 x 3"),
        (IMAGE, [224, 224, 3.0]),
        (LAYOUT, "chw"),
    ],
)
def test_a_value_that_cannot_be_is_none(kind, raw):
    assert kind.read(raw, HERE) is None


@given(st.tuples(*[st.integers(1, 99_999)] * 3))
def test_every_size_of_an_image_reads_back(axes):
    assert IMAGE.read("x".join(map(str, axes)), HERE) == axes


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_every_list_of_numbers_reads_back(numbers):
    assert NUMBERS.read(",".join(map(repr, numbers)), HERE) == tuple(numbers)
