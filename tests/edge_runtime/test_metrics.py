"""Tests of the recorder: cheap, bounded, exact under threads, one line a window."""

from __future__ import annotations

import gc
import sys
import threading
import time
import timeit
from collections.abc import Iterator
from pathlib import Path

import pytest
from metric_logs import SUBJECT

from edge_runtime.contract.histogram import Histogram
from edge_runtime.contract.logs import LogReader
from edge_runtime.contract.windows import MAX_EVENTS, Window
from edge_runtime.metrics import MAX_CODES, Recorder, summarize


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path, SUBJECT)
    yield recorder
    recorder.close()


def windows_of(directory: Path) -> list[Window]:
    return [window for _, _, window in LogReader([directory])]


# --- counting ------------------------------------------------------------------------------


def test_predictions_errors_and_events_are_summed_up(
    tmp_path: Path, recorder: Recorder
) -> None:
    recorder.event("load", milliseconds=12.5)
    for elapsed in (4_000, 5_000, 6_000):
        recorder.record(10, elapsed)
    recorder.error("input-shape")
    recorder.flush()
    recorder.record(1, 7_000)
    recorder.error("input-shape")
    recorder.error("input-name")
    recorder.close()
    summary = summarize([tmp_path])
    assert summary.tally.predictions == 4
    assert summary.tally.rows == 31
    assert summary.tally.errors == {"input-shape": 2, "input-name": 1}
    assert summary.tally.latency.sum_ns == 22_000
    assert (summary.windows, summary.events) == (2, {"load": 1})
    assert list(summary.by_subject) == [SUBJECT]
    assert summary.rss_kib is not None
    assert summary.rss_kib > 1000


def test_nothing_is_written_for_an_empty_window(tmp_path: Path, recorder: Recorder) -> None:
    recorder.flush()
    assert list(tmp_path.iterdir()) == []
    recorder.record(1, 1)
    for _ in range(3):
        recorder.flush()
    assert summarize([tmp_path]).windows == 1


def test_a_window_tells_when_it_was_since_boot(tmp_path: Path, recorder: Recorder) -> None:
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    recorder.record(1, 1)
    recorder.flush()
    recorder.record(1, 1)
    recorder.flush()
    later, earlier = windows_of(tmp_path)
    assert earlier.from_ms <= before <= earlier.to_ms == later.from_ms <= later.to_ms


def test_the_thread_writes_each_window(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, SUBJECT, window_s=0.02)
    for number in range(3):
        recorder.record(1, 1)
        deadline = time.monotonic() + 10
        while summarize([tmp_path]).tally.predictions <= number:
            assert time.monotonic() < deadline
            time.sleep(0.005)
    recorder.close()


def test_without_a_directory_counting_goes_on_and_nothing_is_wrong() -> None:
    before = threading.active_count()
    recorder = Recorder(None, SUBJECT)
    recorder.record(1, 1)
    recorder.error("input-shape")
    recorder.event("load")
    recorder.flush()
    assert threading.active_count() == before
    recorder.close()
    assert recorder.problem is None


@pytest.mark.parametrize("seconds", [0.0, -5.0, 4102444800.0])
def test_an_unset_or_wrong_clock_is_only_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr(time, "time", lambda: seconds)
    recorder = Recorder(tmp_path, SUBJECT)
    recorder.record(1, 1)
    recorder.close()
    assert [window.clock_s for window in windows_of(tmp_path)] == [max(0, int(seconds))]


def test_odd_facts_and_codes_never_harm_the_log(tmp_path: Path, recorder: Recorder) -> None:
    recorder.event("load", path="caf\udce9", ratio=float("nan"), long="x" * 5000, none=None)
    recorder.error("\udce9" + "x" * 5000)
    recorder.record(1, 1)
    recorder.flush()
    [window] = windows_of(tmp_path)
    facts = window.events[0].facts
    assert facts == {"path": "caf?", "ratio": "nan", "long": "x" * 200, "none": None}
    assert list(window.tally.errors) == ["?" + "x" * 199]


def test_error_codes_and_events_are_bounded(tmp_path: Path, recorder: Recorder) -> None:
    for number in range(MAX_CODES + 100):
        recorder.error(f"code-{number}")
    for number in range(MAX_EVENTS + 10):
        recorder.event("swap", number=number)
    recorder.flush()
    recorder.event("swap", number=-1)
    recorder.flush()
    later, earlier = windows_of(tmp_path)
    assert sum(earlier.tally.errors.values()) == MAX_CODES + 100
    assert earlier.tally.errors["other"] == 100
    assert earlier.events_dropped == 10
    assert [event.facts["number"] for event in earlier.events] == list(range(10, 74))
    assert [event.facts["number"] for event in later.events] == [-1]
    assert later.events_dropped == 0


def test_recording_is_cheap(recorder: Recorder) -> None:
    runs = timeit.repeat(lambda: recorder.record(1, 4_321), number=20_000, repeat=7)
    nothing = timeit.repeat(lambda: None, number=20_000, repeat=7)
    # Measured 220 ns; the bound is for slow and busy machines.
    assert (min(runs) - min(nothing)) / 20_000 < 2e-6


# --- threads -------------------------------------------------------------------------------


def test_sums_are_exact_under_many_threads_while_windows_are_written(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, SUBJECT, window_s=0.001)
    each, threads = 40_000, 8
    one, expected = Histogram(), Histogram()
    for number in range(each):
        one.record(1_000 + number)
    for _ in range(threads):
        expected.add(one)

    def work() -> None:
        for number in range(each):
            recorder.record(3, 1_000 + number)
            if number % 100 == 0:
                recorder.error("input-shape")

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    recorder.close()
    summary = summarize([tmp_path])
    assert summary.windows > 1
    assert summary.tally.latency == expected
    assert summary.tally.rows == 3 * each * threads
    assert summary.tally.errors == {"input-shape": threads * each // 100}


def test_threads_that_come_and_go_cost_no_memory_and_no_count(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, SUBJECT)
    for _ in range(300):
        workers = [threading.Thread(target=recorder.record, args=(1, 1)) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    gc.collect()
    assert len([found for found in gc.get_objects() if type(found) is Histogram]) < 20
    recorder.close()
    assert summarize([tmp_path]).tally.predictions == 600


def test_a_machine_that_starts_no_thread_writes_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    recorder = Recorder(tmp_path, SUBJECT)
    recorder.record(1, 1)
    recorder.record(1, 1)
    assert recorder.problem is not None
    assert "can't start new thread" in recorder.problem
    recorder.close()
    assert summarize([tmp_path]).tally.predictions == 2
