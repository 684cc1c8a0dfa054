"""Calls that take turns: their medians, and fewer rounds for slow ones."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from packager.measuring import timing


def recorder(order: list[str], name: str, steps: int) -> Callable[[], None]:
    def run() -> None:
        order.append(name)
        sum(range(steps))

    return run


def test_calls_take_turns_and_their_medians_rank_them() -> None:
    order: list[str] = []
    medians = timing.interleaved_medians(
        {"short": recorder(order, "short", 2_000), "long": recorder(order, "long", 40_000)}
    )
    assert medians["long"] > 4 * medians["short"]
    turns = [name for before, name in pairwise(order) if name != before]
    assert len(turns) >= 2 * timing.ROUNDS - 1


@pytest.mark.parametrize(
    ("cost_ms", "rounds"), [(1, timing.ROUNDS), (2_000, 10), (60_000, timing.FEWEST_ROUNDS)]
)
def test_slow_calls_get_fewer_rounds(monkeypatch, cost_ms, rounds) -> None:
    clock, calls = [0], []

    def call() -> None:
        calls.append(clock[0])
        clock[0] += cost_ms * 1_000_000

    monkeypatch.setattr(timing, "_now", lambda: clock[0])
    assert timing.interleaved_medians({"one": call}) == {"one": cost_ms * 1e6}
    warm = 2 if cost_ms * 1_000_000 > timing.READING_NS else 1 + 3 + 3
    repeats = max(1, round(timing.READING_NS / (cost_ms * 1_000_000)))
    assert len(calls) == warm + repeats * rounds
