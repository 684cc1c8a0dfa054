"""Which variant serves: the ladder's order, unless a variant is slow each time it was timed."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.errors import GoldenMismatch, JsonMalformed, TrialFailed
from edge_runtime.engine.benchmark import Timing
from edge_runtime.engine.verdict import (
    SLOWER,
    Choice,
    Verdict,
    choose,
    require_choice,
    slowness,
    verdict_from_json,
)

HELD = "golden vectors hold"


def passed(name: str, *rounds: dict[int, float], memory: int | None = None) -> Verdict:
    """Return a verdict with microseconds by rows, a mapping a round."""
    timed = tuple(tuple(Timing(*item) for item in one.items()) for one in rounds)
    return Verdict(name, "", HELD, timed, memory)


def failed(name: str, code: str = "trial-failed") -> Verdict:
    return Verdict(name, code, "it was ended")


timings = st.builds(Timing, st.integers(1, 1 << 20), st.floats(1e-3, 1e12))
verdicts = st.builds(
    Verdict,
    variant=st.text(max_size=20),
    code=st.sampled_from(["", "", "golden-mismatch", "trial-failed"]),
    reason=st.text(max_size=20),
    rounds=st.lists(st.lists(timings, max_size=3).map(tuple), max_size=3).map(tuple),
    memory_bytes=st.none() | st.integers(0, 1 << 50),
)
ladders = st.lists(verdicts, max_size=3, unique_by=lambda verdict: verdict.variant)


# --- the rule ------------------------------------------------------------------------------


@given(ladders)
def test_the_first_that_passed_and_is_not_slow_serves(ladder: list[Verdict]) -> None:
    choice = choose(ladder)
    sound = [verdict for verdict in ladder if verdict.passed]
    if choice is None:
        assert sound == []
        return
    names = [verdict.variant for verdict in sound]
    at = names.index(choice.variant)
    for number, verdict in enumerate(sound[: at + 1]):
        slow = any(slowness(verdict, other) >= SLOWER for other in sound[number + 1 :])
        assert slow == (number < at)
    assert len(choice.slow) == at
    assert set(choice.slow) <= set(choice.aside)


@pytest.mark.parametrize(
    ("better", "lower", "serves"),
    [
        ({1: 11.9}, {1: 10.0}, "int8"),
        ({1: 12.0}, {1: 10.0}, "float32"),
        ({1: 5.0, 32: 100.0}, {1: 10.0, 32: 51.0}, "int8"),  # half, and twice as long
        ({1: 24.0, 32: 100.0}, {1: 10.0, 32: 100.0}, "float32"),  # 1.55 in the mean
        ({32: 100.0}, {1: 1.0}, "int8"),  # no size that both have
        ({}, {1: 1.0}, "int8"),
        ({1: 1.0}, {}, "int8"),
    ],
)
def test_a_better_variant_may_take_less_than_1_2_times_as_long(
    better: dict[int, float], lower: dict[int, float], serves: str
) -> None:
    choice = choose([passed("int8", better), passed("float32", lower)])
    assert choice is not None
    assert choice.variant == serves
    assert bool(choice.reason) == (serves != "int8")


def test_what_was_slow_in_one_round_only_is_not_slow() -> None:
    busy = passed("int8", {1: 30.0}, {1: 10.0}, {1: 30.0})
    assert slowness(busy, passed("float32", *[{1: 10.0}] * 3)) == pytest.approx(1.0)


def test_rounds_that_only_one_has_are_no_comparison() -> None:
    often = passed("int8", {1: 30.0}, {1: 10.0})
    assert slowness(often, passed("float32", {1: 10.0})) == pytest.approx(3.0)
    assert slowness(often, passed("float32")) == 0.0


def test_each_that_is_left_aside_says_why() -> None:
    ladder = [failed("int8"), passed("float16", {1: 30.0}), passed("float32", {1: 10.0})]
    choice = choose(ladder)
    slow = "float16 left aside: it takes 3.00 times as long as float32"
    assert choice == Choice("float32", ("int8 left aside: it was ended", slow), (slow,))
    assert choice.reason == f"int8 left aside: it was ended; {slow}"


def test_a_variant_that_failed_makes_none_slow() -> None:
    wrong_and_fast = Verdict("float32", "golden-mismatch", "no", ((Timing(1, 1.0),),))
    assert choose([passed("int8", {1: 90.0}), wrong_and_fast]) == Choice("int8")


def test_the_middle_serves_where_only_the_first_is_slow() -> None:
    ladder = [passed(name, {1: time}) for name, time in (("a", 13.0), ("b", 11.5), ("c", 10.0))]
    choice = choose(ladder)
    assert choice is not None
    assert choice.variant == "b"


@pytest.mark.parametrize(
    ("ladder", "error"),
    [
        ([failed("int8", "golden-mismatch"), failed("float32")], GoldenMismatch),
        ([failed("int8"), failed("float32", "golden-mismatch")], TrialFailed),
    ],
)
def test_none_that_passed_is_an_error_with_every_reason(
    ladder: Sequence[Verdict], error: type[Exception]
) -> None:
    with pytest.raises(error, match="of 2 none did: int8: it was ended; float32: it was ended"):
        require_choice(ladder)


# --- for people ----------------------------------------------------------------------------


def test_the_text_has_the_median_of_all_rounds_and_the_memory() -> None:
    found = passed("int8", {1: 12.0, 32: 11e4}, {1: 14.0, 32: 9e4}, {1: 99.0}, memory=3 << 20)
    assert found.text == (
        "golden vectors hold, 0.014 ms for 1 row, 100 ms for 32 rows, 3.0 MiB of memory"
    )
    assert failed("int8").text == "it was ended"


# --- kept ----------------------------------------------------------------------------------


@given(verdicts)
def test_a_verdict_comes_back_as_it_was_kept(verdict: Verdict) -> None:
    assert verdict_from_json(json.loads(json.dumps(verdict.to_json()))) == verdict


SOUND = passed("a", {1: 2.0}).to_json()


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"variant": "a", "code": "", "reason": ""},
        {**SOUND, "variant": 1},
        {**SOUND, "more": 1},
        {**SOUND, "rounds": [{}]},
        {**SOUND, "rounds": [[1]]},
        {**SOUND, "rounds": [[{"rows": 0, "microseconds": 1.0}]]},
        {**SOUND, "rounds": [[{"rows": 1, "microseconds": 0.0}]]},
        {**SOUND, "rounds": [[{"rows": 1, "microseconds": "1"}]]},
        {**SOUND, "rounds": [[{"rows": 1, "microseconds": 1.0, "more": 1}]]},
        {**SOUND, "memory_bytes": -1},
        {**SOUND, "memory_bytes": 1.5},
        {**SOUND, "memory_bytes": True},
    ],
)
def test_what_is_no_verdict_is_refused(value: object) -> None:
    with pytest.raises(JsonMalformed):
        verdict_from_json(value)
