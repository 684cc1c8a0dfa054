"""Tests of windows and their tallies: exact sums, and a form that is checked on reading."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract import strictjson
from edge_runtime.contract.errors import JsonMalformed
from edge_runtime.contract.histogram import Histogram
from edge_runtime.contract.windows import MAX_EVENTS, Event, Tally, Window

codes = st.sampled_from(["input-shape", "input-name", "prediction-failed"])
tallies = st.builds(
    lambda rows, values, errors: Tally(rows, histogram_of(values), errors),
    st.integers(0, 1000),
    st.lists(st.integers(0, 1 << 45), max_size=20),
    st.dictionaries(codes, st.integers(1, 1000)),
)
facts = st.dictionaries(
    st.text(max_size=8),
    st.one_of(st.text(max_size=20), st.integers(-(2**53), 2**53), st.booleans(), st.none()),
    max_size=3,
)
events = st.builds(Event, st.text(max_size=20), st.integers(0, 1 << 50), facts)
windows = st.builds(
    Window,
    sequence=st.integers(0, 1 << 40),
    from_ms=st.integers(0, 1 << 50),
    to_ms=st.integers(0, 1 << 50),
    clock_s=st.integers(0, 1 << 40),
    tally=tallies,
    events=st.lists(events, max_size=3).map(tuple),
    events_dropped=st.integers(0, 100),
    rss_kib=st.one_of(st.none(), st.integers(0, 1 << 40)),
    cpu_ms=st.integers(0, 1 << 40),
)
WINDOW = Window(3, 60_000, 120_000, 0, Tally(5), (Event("load", 61_000, {}),), 0, 9_000, 12)


def histogram_of(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(windows)
def test_a_window_comes_back_as_it_was_written(window: Window) -> None:
    text = strictjson.dumps(window.to_json())
    assert Window.from_json(strictjson.loads(text, what="it")) == window


@given(tallies, tallies)
def test_a_sum_less_one_part_is_the_other_part(one: Tally, other: Tally) -> None:
    total = Tally()
    total.add(one)
    total.add(other)
    assert total.predictions == one.predictions + other.predictions
    assert total.minus(one) == other


def test_keys_of_a_newer_runtime_are_left_alone() -> None:
    newer = {**WINDOW.to_json(), "drift": {"age": [1, 2, 3]}}
    assert Window.from_json(newer) == WINDOW


def test_unknown_memory_is_unknown_and_not_zero() -> None:
    unknown = replace(WINDOW, rss_kib=None)
    assert "rss_kib" not in unknown.to_json()
    assert Window.from_json(unknown.to_json()).rss_kib is None


@pytest.mark.parametrize("key", sorted(WINDOW.to_json().keys() - {"kind", "rss_kib"}))
def test_a_window_without_one_of_its_keys_is_refused(key: str) -> None:
    incomplete = {name: value for name, value in WINDOW.to_json().items() if name != key}
    with pytest.raises(JsonMalformed):
        Window.from_json(incomplete)


@pytest.mark.parametrize(
    "change",
    [
        {"sequence": -1},
        {"sequence": 1.0},
        {"rows": True},
        {"errors": {"input-shape": "1"}},
        {"errors": ["input-shape"]},
        {"latency": 12},
        {"events": [{}]},
        {"events": [1]},
        {"events": [Event("load", 1, {}).to_json()] * (MAX_EVENTS + 1)},
        {"rss_kib": None},
        {"cpu_ms": 1 << 64},
    ],
)
def test_a_window_of_another_form_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(JsonMalformed):
        Window.from_json({**WINDOW.to_json(), **change})
