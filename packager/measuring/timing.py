"""Times of calls that take turns, so that whatever disturbs one disturbs all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

ROUNDS, FEWEST_ROUNDS = 21, 5
# One reading lasts about this long, so that the clock's own grain does not count.
READING_NS = 2_000_000
# What all readings together may take; slow calls get fewer rounds.
BUDGET_NS = 20_000_000_000
# A call runs on one thread, so what that thread took of the processor is what the call takes on
# a machine that is not busy with something else; where that clock is coarse, the wall's.
_MICROSECOND = 1e-6
_FINE = time.get_clock_info("thread_time").resolution <= _MICROSECOND
_now = time.thread_time_ns if _FINE else time.perf_counter_ns


def interleaved_medians(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Return each call's median nanoseconds."""
    repeats = {name: _repeats(call) for name, call in calls.items()}
    readings = {name: [_reading(call, repeats[name])] for name, call in calls.items()}
    cost = sum(repeats[name] * found[0] for name, found in readings.items())
    rounds = max(FEWEST_ROUNDS, min(ROUNDS, int(BUDGET_NS // max(1, cost))))
    for _ in range(rounds - 1):
        for name, call in calls.items():
            readings[name].append(_reading(call, repeats[name]))
    return {name: statistics.median(found) for name, found in readings.items()}


def _repeats(call: Callable[[], object]) -> int:
    """Return how many calls make a reading; the first calls of a session are slower."""
    if _reading(call, 1) > READING_NS and _reading(call, 1) > READING_NS:
        return 1
    _reading(call, 3)
    return max(1, round(READING_NS / _reading(call, 3)))


def _reading(call: Callable[[], object], repeats: int) -> float:
    start = _now()
    for _ in range(repeats):
        call()
    return (_now() - start) / repeats
