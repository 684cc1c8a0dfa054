"""How values of options are read, from the command line and from the file alike."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packager.budgets import Drop
from packager.option_kinds import (
    CLASSES,
    COUNT,
    DROP,
    IMAGE,
    LAYOUT,
    METRIC,
    NUMBER,
    NUMBERS,
    PATHS,
    POSITIVE,
    SIZE,
    TENSORS,
)

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
        (DROP, "0.02", Drop(0.02)),
        (DROP, 0, Drop(0.0)),
        (DROP, 0.1, Drop(0.1)),
        (DROP, "2 %", Drop(0.02, True)),
        (SIZE, "5000000", 5_000_000),
        (SIZE, 5_000_000, 5_000_000),
        (SIZE, 5e6, 5_000_000),
        (SIZE, "1.1 kB", 1_100),
        (SIZE, "800KB", 800_000),
        (SIZE, "1.5GB", 1_500_000_000),
        (SIZE, "12B", 12),
        (POSITIVE, "2.5", 2.5),
        (POSITIVE, 1, 1.0),
        (METRIC, "f1_macro", "f1_macro"),
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
        (DROP, True),
        (DROP, -0.0001),
        (DROP, float("nan")),
        (DROP, ["1%"]),
        (SIZE, True),
        (SIZE, "5mb"),
        (SIZE, "5 MiB"),
        (SIZE, "1.5"),
        (SIZE, "0"),
        (SIZE, "-5MB"),
        (SIZE, "1e6"),
        (POSITIVE, 0),
        (POSITIVE, "-1"),
        (METRIC, "F1"),
        (METRIC, ""),
        (METRIC, 2),
        (METRIC, "a" * 65),
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
