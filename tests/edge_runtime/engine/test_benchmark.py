"""The micro-benchmark: which calls are made and what of them counts, by a clock of the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import devices
import numpy as np
import pytest

from edge_runtime.contract.errors import PredictionFailed
from edge_runtime.contract.tensors import Arrays, TensorSpec
from edge_runtime.engine import benchmark as module
from edge_runtime.engine.benchmark import STRETCHES, Timing, benchmark
from edge_runtime.engine.session import SessionPlan, open_session

BATCH = {"x": np.ones((32, 2), np.float32), "text": np.array([["a"]] * 32, object)}
INPUTS = (TensorSpec("x", "float32", (None, 2)), TensorSpec("text", "string", (None, 1)))


class Clock:
    """The time, which only passes while a session runs."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def perf_counter(self) -> float:
        return self.seconds

    def perf_counter_ns(self) -> int:
        return round(self.seconds * 1e9)


class Timed:
    """A session whose calls take as long as told, by rows and the number of the call."""

    def __init__(self, clock: Clock, takes_us: Callable[[int, int], float]) -> None:
        self.inputs = INPUTS
        self.rows: list[int] = []
        self._clock = clock
        self._takes_us = takes_us

    def run(self, feed: Arrays) -> Arrays:
        rows = {len(array) for array in feed.values()}
        assert len(rows) == 1
        self.rows += rows
        self._clock.seconds += self._takes_us(self.rows[-1], len(self.rows)) / 1e6
        return {}


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Make a session of the test's own time."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return lambda takes_us: Timed(clock, takes_us)


def test_one_row_and_all_rows_are_timed_in_turns(timed: Callable[..., Any]) -> None:
    session = timed(lambda rows, _: 100 + 10 * rows)
    assert benchmark(session, BATCH, 32) == (Timing(1, 110.0), Timing(32, 420.0))
    turns = [
        rows
        for rows, before in zip(session.rows, [0, *session.rows], strict=False)
        if rows != before
    ]
    assert turns == [32, 1] * STRETCHES


def test_what_is_slow_for_a_while_does_not_count(timed: Callable[..., Any]) -> None:
    """The first calls warm the session up, and later ones meet a busy machine."""
    session = timed(lambda _, call: 100 if 100 < call < 400 else 900)
    assert benchmark(session, BATCH, 32) == (Timing(1, 100.0), Timing(32, 100.0))


def test_within_a_stretch_the_median_counts(timed: Callable[..., Any]) -> None:
    session = timed(lambda _, call: 1 if call % 10 == 0 else 5000 if call % 10 == 1 else 100)
    assert {item.microseconds for item in benchmark(session, BATCH, 32)} == {100.0}


def test_all_of_it_takes_about_a_quarter_of_a_second(timed: Callable[..., Any]) -> None:
    session = timed(lambda *_: 50)
    before = module.time.perf_counter()
    benchmark(session, BATCH, 32)
    assert module.time.perf_counter() - before < 0.3


@pytest.mark.parametrize(("seconds", "calls"), [(0.5, 4), (3, 1), (60, 1)])
def test_a_model_whose_calls_take_long_gets_few_of_them(
    timed: Callable[..., Any], seconds: float, calls: int
) -> None:
    session = timed(lambda *_: seconds * 1e6)
    (*_, whole) = benchmark(session, BATCH, 32)
    assert whole == Timing(32, seconds * 1e6)
    assert session.rows.count(32) <= calls


def test_a_graph_that_fixes_its_rows_is_timed_with_all_of_them(
    timed: Callable[..., Any],
) -> None:
    session = timed(lambda *_: 100)
    session.inputs = (TensorSpec("x", "float32", (32, 2)), INPUTS[1])
    assert benchmark(session, BATCH, 32) == (Timing(32, 100.0),)


def test_a_single_golden_row_is_timed_as_it_is(timed: Callable[..., Any]) -> None:
    one = {name: array[:1] for name, array in BATCH.items()}
    assert benchmark(timed(lambda *_: 100), one, 1) == (Timing(1, 100.0),)


def test_a_graph_that_takes_no_row_alone_is_timed_with_all(timed: Callable[..., Any]) -> None:
    session = timed(lambda *_: 100)
    answers = session.run

    def refusing(feed: Arrays) -> Arrays:
        if len(feed["x"]) == 1:
            raise PredictionFailed("no", hint="")
        return dict(answers(feed))

    session.run = refusing
    assert benchmark(session, BATCH, 32) == (Timing(32, 100.0),)


def test_a_real_session_is_timed() -> None:
    subject = devices.loan()
    session = open_session(subject.model, SessionPlan())
    found = benchmark(session, subject.feed, 3)
    assert [timing.rows for timing in found] == [1, 3]
    assert all(timing.microseconds > 0 for timing in found)
