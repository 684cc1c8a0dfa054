"""What leads a row to a split, and the values on either side of it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_runtime.contract.table import Column
from packager.graphs.split_rows import CLEAR, Ways, around, beside, between
from packager.graphs.tree_splits import Bounds, Split

NUMBER = Column("n", "float", "x", 0, "refuse")
WHOLE = Column("i", "integer", "i", None, "refuse")
WORD = Column("w", "text", "w", None, "refuse")
BASE = {"n": np.array([0.5, 9.0]), "i": np.array([1, 2]), "w": np.array(["a", "b"], object)}


@pytest.mark.parametrize("value", [0.0, 0.5, -3.0, 1e6])
def test_values_beside_a_split_are_clear_of_it(value: float) -> None:
    low, high = beside(Split(NUMBER, value))
    clear = CLEAR * max(abs(value), 1) / 2
    assert low < value - clear
    assert high > value + clear


@pytest.mark.parametrize(("value", "sides"), [(1.5, [1, 2]), (2.0, [1, 3])])
def test_whole_numbers_beside_a_split_are_neighbours(value: float, sides: list[int]) -> None:
    assert beside(Split(WHOLE, value)) == sides
    assert around(Split(WHOLE, value), np.dtype(np.int64)) == [int(value), int(value) + 1]


def test_values_around_a_split_are_as_near_as_the_input_can_tell() -> None:
    low, at, high = around(Split(NUMBER, 0.5), np.dtype(np.float32))
    assert (low, at, high) == (
        np.nextafter(np.float32(0.5), np.float32(0)),
        0.5,
        np.nextafter(np.float32(0.5), np.float32(1)),
    )


def test_a_value_that_fits_stays_and_another_moves_between_the_bounds() -> None:
    assert between(Bounds(0, 1), 0.25, whole=False) == 0.25
    assert between(Bounds(0, 1), 7.0, whole=False) == 0.5
    assert between(Bounds(low=3), -math.inf, whole=False) > 3
    assert between(Bounds(2, 9), 4.7, whole=True) == 4


def test_a_way_changes_just_what_stands_in_its_way() -> None:
    way = {"n": Bounds(high=0.75), "w": Bounds(unequal=("a",))}
    ways = Ways([NUMBER, WHOLE, WORD], BASE, BASE)
    split = Split(WHOLE, 1.5, way)
    assert ways.to(split, 0) == {"n": 0.5, "w": "b"}
    changed = ways.to(split, 3)
    assert changed["n"] < 0.75
    assert changed["w"] == "b"
    assert ways.to(Split(WHOLE, 1.5, {"w": Bounds(equal="z")}), 0) == {"w": "z"}
