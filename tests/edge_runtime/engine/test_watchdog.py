"""Deadlines in this process: what is late is stopped, and nothing else ever is."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import devices
import endless
import numpy as np
import pytest

from edge_runtime.contract.errors import DeadlineExceeded, PredictionFailed, UsageError
from edge_runtime.engine.session import Session, SessionPlan, open_session
from edge_runtime.engine.watchdog import Deadline, Watchdog, checked_timeout

LONG_MS = 60_000.0


@pytest.fixture(scope="module")
def loop() -> Session:
    return open_session(endless.loop().model, SessionPlan())


@pytest.fixture(scope="module")
def long_node() -> Session:
    return open_session(endless.long_node().model, SessionPlan())


# --- what is late --------------------------------------------------------------------------


def test_a_graph_that_never_ends_is_stopped_between_two_nodes(loop: Session) -> None:
    with pytest.raises(DeadlineExceeded, match="within 50 ms; it was stopped") as caught:
        loop.run({"count": endless.FOR_EVER}, timeout_ms=50)
    assert caught.value.values["timeout_ms"] == 50
    assert caught.value.values["elapsed_ms"] >= 50


def test_the_call_after_a_stop_is_answered(loop: Session) -> None:
    with pytest.raises(DeadlineExceeded):
        loop.run({"count": endless.FOR_EVER}, timeout_ms=20)
    for timeout_ms in (None, LONG_MS):
        assert loop.run(endless.asked(3), timeout_ms=timeout_ms)["value"].shape == (1,)


def test_a_single_long_node_ends_later_and_its_answer_is_thrown_away(
    long_node: Session,
) -> None:
    with pytest.raises(DeadlineExceeded, match=r"ended later|was stopped") as caught:
        long_node.run(endless.asked(20_000), timeout_ms=1)
    assert "isolate=True" in caught.value.hint
    assert long_node.run(endless.asked(7), timeout_ms=LONG_MS)["kept"].tolist() == [7]


def test_a_failing_engine_is_not_said_to_be_late() -> None:
    lookup = open_session(devices.lookup().model, SessionPlan())
    with pytest.raises(PredictionFailed, match="the engine failed on this input"):
        lookup.run({"index": np.array([99])}, timeout_ms=LONG_MS)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e10, "5", None])
def test_what_is_no_time_is_refused(timeout: Any) -> None:
    with pytest.raises(UsageError, match="timeout_ms must be above 0"):
        checked_timeout(timeout)


@pytest.mark.parametrize("timeout", [0.001, 1, True, 1e9, np.float32(2.5), np.int64(7)])
def test_any_number_of_milliseconds_is_a_time(timeout: Any) -> None:
    assert checked_timeout(timeout) == pytest.approx(float(timeout))


# --- what is innocent ----------------------------------------------------------------------


def in_threads(count: int, work: Callable[[int], None]) -> list[BaseException]:
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def test_calls_that_race_their_deadlines_fail_only_when_they_were_late() -> None:
    """Deadlines lie around what a call takes, and every other call has all the time."""
    lookup = open_session(devices.lookup().model, SessionPlan())
    late, in_time = [0] * 3, [0] * 3

    def race(number: int) -> None:
        draw = np.random.default_rng(number)
        for _ in range(1000):
            index = draw.integers(3, size=5)
            timeout_ms = draw.uniform(0.001, 0.08)
            began = time.monotonic_ns()
            try:
                answers = lookup.run({"index": index}, timeout_ms=timeout_ms)
            except DeadlineExceeded:
                assert time.monotonic_ns() - began >= int(timeout_ms * 1e6)
                late[number] += 1
            else:
                assert answers["value"].tolist() == (index + 1).tolist()
                in_time[number] += 1
            generous = LONG_MS if draw.random() > 0.5 else None
            answers = lookup.run({"index": index}, timeout_ms=generous)
            assert answers["value"].tolist() == (index + 1).tolist()

    assert in_threads(3, race) == []
    assert sum(late) + sum(in_time) == 3000
    assert sum(late) > 0


@dataclass
class Call:
    """Something that can be stopped."""

    terminate: bool = False


def test_a_late_shot_hits_only_the_call_that_it_was_meant_for() -> None:
    watchdog = Watchdog()
    first, second = Call(), Call()
    deadline = Deadline(5, first)
    watchdog.begin(deadline)
    watchdog.end(deadline)
    following = Deadline(LONG_MS, second)
    watchdog.begin(following)
    sentinel = Call()
    watchdog.begin(Deadline(20, sentinel))  # falls after the first would have
    while not sentinel.terminate:
        time.sleep(0.001)
    assert (first.terminate, second.terminate) == (False, False)


def test_the_earliest_deadline_falls_first_whatever_was_begun_before() -> None:
    watchdog = Watchdog()
    far, near = Call(), Call()
    watchdog.begin(Deadline(LONG_MS, far))
    watchdog.begin(Deadline(5, near))
    while not near.terminate:
        time.sleep(0.001)
    assert not far.terminate


def test_calls_of_one_timeout_wake_the_thread_once_a_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watchdog = Watchdog()
    woken = 0
    watchdog.start()
    notify = watchdog._changed.notify

    def counted(n: int = 1) -> None:
        nonlocal woken
        woken += 1
        notify(n)

    monkeypatch.setattr(watchdog._changed, "notify", counted)
    for _ in range(1000):
        deadline = Deadline(LONG_MS, Call())
        watchdog.begin(deadline)
        watchdog.end(deadline)
    assert woken == 1


def test_one_thread_watches_all_calls(loop: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(number: int) -> None:
        with pytest.raises(DeadlineExceeded):
            loop.run({"count": endless.FOR_EVER}, timeout_ms=20 + number)

    before = threading.enumerate()
    monkeypatch.setattr("edge_runtime.engine.session.WATCHDOG", Watchdog())
    assert in_threads(4, run) == []
    more = [thread.name for thread in threading.enumerate() if thread not in before]
    assert more == ["edgepack-watchdog"]


def test_without_a_thread_to_watch_it_a_timed_call_is_a_typed_error(
    loop: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    monkeypatch.setattr("edge_runtime.engine.session.WATCHDOG", Watchdog())
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(PredictionFailed, match="can't start new thread"):
            loop.run(endless.asked(1), timeout_ms=LONG_MS)
    assert loop.run(endless.asked(1), timeout_ms=LONG_MS)["value"].shape == (1,)


def test_a_forked_child_has_a_watchdog_of_its_own(loop: Session) -> None:
    assert loop.run(endless.asked(1), timeout_ms=LONG_MS)
    child = os.fork()
    if not child:
        code = 1
        try:
            loop.run({"count": endless.FOR_EVER}, timeout_ms=20)
        except DeadlineExceeded:
            code = 42
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
