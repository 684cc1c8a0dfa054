"""Tests of the latency histogram: exact slots, exact merging, honest quantiles."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract import strictjson
from edge_runtime.contract.errors import JsonMalformed
from edge_runtime.contract.histogram import BOUNDS, SCALE, SLOTS, Histogram
from edge_runtime.contract.strictjson import Fields

durations = st.integers(min_value=1, max_value=BOUNDS[-1])
many_durations = st.lists(st.one_of(durations, st.integers(0, 1 << 60)), max_size=60)


def histogram_of(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


def through_json(histogram: Histogram) -> Histogram:
    text = strictjson.dumps(histogram.to_json())
    return Histogram.from_json(Fields(strictjson.loads(text, what="it"), "it", JsonMalformed))


@given(durations)
def test_a_value_stands_in_the_bucket_that_opentelemetry_defines(value: int) -> None:
    index = histogram_of([value]).counts.index(1) - 1
    # lower bound < value <= upper bound, compared exactly: both sides to the power of 8
    raised = Fraction(value) ** (1 << SCALE)
    assert Fraction(2) ** index < raised <= Fraction(2) ** (index + 1)


def test_powers_of_two_end_a_bucket() -> None:
    for power in range(44):
        slot = histogram_of([2**power]).counts.index(1)
        assert slot == 8 * power


def test_what_is_slower_than_the_last_bound_is_counted_in_the_last_slot() -> None:
    histogram = histogram_of([BOUNDS[-1] + 1, 1 << 62])
    assert histogram.counts[SLOTS - 1] == 2
    assert histogram.quantile(0.5) == BOUNDS[-1]


@given(st.lists(many_durations, max_size=5))
def test_merging_gives_exactly_the_histogram_of_all_values(parts: list[list[int]]) -> None:
    merged = Histogram()
    for part in parts:
        merged.add(through_json(histogram_of(part)))
    assert merged == histogram_of([value for part in parts for value in part])


@given(many_durations, many_durations)
def test_what_came_later_is_the_difference(earlier: list[int], later: list[int]) -> None:
    before, after = histogram_of(earlier), histogram_of(earlier + later)
    assert after.minus(before) == histogram_of(later)


@given(st.lists(durations, min_size=1, max_size=60), st.floats(0.001, 1.0))
def test_a_quantile_stands_within_4_5_percent_of_the_value_of_its_rank(
    values: list[int], share: float
) -> None:
    true = sorted(values)[max(1, math.ceil(share * len(values))) - 1]
    found = histogram_of(values).quantile(share)
    assert found is not None
    assert abs(found / true - 1) <= 0.045


def test_an_empty_histogram_has_no_quantile_and_no_mean() -> None:
    assert Histogram().quantile(0.5) is None
    assert Histogram().mean() is None
    assert through_json(Histogram()) == Histogram()


def test_the_mean_is_exact() -> None:
    assert histogram_of([1_000, 2_001]).mean() == 1_500.5


def test_the_json_form_is_opentelemetrys() -> None:
    assert histogram_of([1024, 1024, 1400]).to_json() == {
        "scale": 3,
        "offset": 79,  # 2 ** (79 / 8) < 1024 <= 2 ** (80 / 8)
        "counts": [2, 0, 0, 0, 1],
        "sum_ns": 3448,
    }


SOUND = {"scale": 3, "offset": 79, "counts": [1], "sum_ns": 5}


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 4},
        {"offset": -2},
        {"offset": SLOTS},
        {"offset": SLOTS - 2, "counts": [1, 1]},
        {"counts": [-1]},
        {"counts": [True]},
        {"counts": [1.0]},
        {"counts": "1"},
        {"counts": [0] * (SLOTS + 1)},
        {"sum_ns": -1},
        {"sum_ns": None},
    ],
)
def test_another_form_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(JsonMalformed):
        Histogram.from_json(Fields({**SOUND, **change}, "it", JsonMalformed))
