"""Tests of the recorder: exact under threads, forks and kills; and it never stops the serving."""

from __future__ import annotations

import gc
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import timeit
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_runtime.contract.histogram import Histogram
from edge_runtime.contract.logs import LogReader
from edge_runtime.contract.windows import MAX_EVENTS, Window
from edge_runtime.metrics import MAX_CODES, Recorder, Subject, Summary, summarize

CHECKOUT = Path(__file__).resolve().parents[2]
SUBJECT = Subject("fraud", "1.4.0", "ab" * 32, "int8-dynamic", "CPUExecutionProvider")
START = f"""
import os, sys, time
from pathlib import Path
from edge_runtime.metrics import Recorder, Subject, summarize
subject = Subject{(SUBJECT.model, SUBJECT.version, SUBJECT.digest, SUBJECT.variant, SUBJECT.provider)}
"""


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path, SUBJECT)
    yield recorder
    recorder.close()


def program(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", START + script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


def windows_of(directory: Path) -> list[Window]:
    return [window for _, _, window in LogReader([directory])]


# --- counting ------------------------------------------------------------------------------


def test_predictions_errors_and_events_are_summed_up(tmp_path: Path, recorder: Recorder) -> None:
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
    before = time.clock_gettime(time.CLOCK_BOOTTIME) * 1000
    recorder.record(1, 1)
    recorder.flush()
    recorder.record(1, 1)
    recorder.flush()
    later, earlier = windows_of(tmp_path)
    assert 0 <= earlier.from_ms <= before <= earlier.to_ms == later.from_ms <= later.to_ms


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
    each, threads = 20_000, 8
    expected = Histogram()
    for _ in range(threads):
        for number in range(each):
            expected.record(1_000 + number)

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
    assert summary.windows > 10
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


# --- processes -----------------------------------------------------------------------------


def test_a_forked_child_counts_anew_into_its_own_segments(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, SUBJECT)
    for _ in range(5):
        recorder.record(1, 1)
    recorder.flush()
    for _ in range(7):
        recorder.record(1, 1)
    child = os.fork()
    if child == 0:
        for _ in range(100):
            recorder.record(1, 1)
        recorder.close()
        os._exit(0)
    os.waitpid(child, 0)
    for _ in range(11):
        recorder.record(1, 1)
    recorder.close()
    summary = summarize([tmp_path])
    assert summary.tally.predictions == 5 + 7 + 11 + 100
    assert len(summary.streams) == 2
    assert summary.log.text() == "2 segments, complete"


def test_a_child_that_only_exits_writes_nothing(tmp_path: Path) -> None:
    script = """
recorder = Recorder(Path(sys.argv[1]), subject)
recorder.record(1, 1)
if os.fork():
    os.wait()
    recorder.record(1, 1)
"""
    finished(program(script, tmp_path))
    summary = summarize([tmp_path])
    assert (summary.tally.predictions, len(summary.streams)) == (2, 1)


def test_forks_while_threads_record_lose_and_double_nothing(tmp_path: Path) -> None:
    script = """
import threading
recorder = Recorder(Path(sys.argv[1]), subject, window_s=0.001)
stop, counts = threading.Event(), []

def work():
    count = 0
    while not stop.is_set():
        recorder.record(1, 1)
        count += 1
    counts.append(count)

threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
for _ in range(20):
    child = os.fork()
    if not child:
        for _ in range(50):
            recorder.record(1, 1)
        recorder.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in threads:
    thread.join()
print(sum(counts) + 20 * 50)
"""
    told = int(finished(program(script, tmp_path)))
    summary = summarize([tmp_path])
    assert summary.tally.predictions + summary.log.dropped.predictions == told
    assert summary.log.damaged_lines == summary.log.missing_windows == 0


def test_what_was_counted_is_written_when_the_interpreter_exits(tmp_path: Path) -> None:
    script = """
recorder = Recorder(Path(sys.argv[1]), subject)
for _ in range(1000):
    recorder.record(1, 1)
if sys.argv[2] == "raise":
    sys.exit(0)
"""
    finished(program(script, tmp_path, "return"))
    finished(program(script, tmp_path, "raise"))
    assert summarize([tmp_path]).tally.predictions == 2000


def test_a_kill_costs_one_window_at_most(tmp_path: Path) -> None:
    window_s = 0.25
    script = """
recorder = Recorder(Path(sys.argv[1]), subject, window_s=float(sys.argv[2]))
for number in range(1, 1_000_000):
    recorder.record(1, 1)
    print(number, time.monotonic(), flush=True)
    time.sleep(0.001)
"""
    process = program(script, tmp_path, window_s)
    assert process.stdout is not None
    told: list[tuple[int, float]] = []
    while not told or told[-1][1] < told[0][1] + 4.5 * window_s:
        number, at = process.stdout.readline().split()
        told.append((int(number), float(at)))
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    told += [(int(number), float(at)) for number, at in map(str.split, rest.splitlines())]
    summary = summarize([tmp_path])
    slack = 0.25  # for the write itself, on a busy machine
    safe = max(number for number, at in told if at < told[-1][1] - window_s - slack)
    assert safe <= summary.tally.predictions <= told[-1][0] + 1
    assert summary.tally.predictions > 100


def test_several_processes_write_one_log_and_the_sums_are_exact(tmp_path: Path) -> None:
    script = """
recorder = Recorder(Path(sys.argv[1]), subject, window_s=0.002, cap_bytes=128 << 10)
for number in range(30_000):
    recorder.record(2, 1_000 + number)
recorder.close()
"""
    processes = [program(script, tmp_path) for _ in range(4)]
    while any(process.poll() is None for process in processes):
        during = summarize([tmp_path])  # reading meanwhile finds no damage and no gap
        assert during.log.damaged_lines == during.log.missing_windows == 0
    for process in processes:
        finished(process)
    summary = summarize([tmp_path])
    dropped = summary.log.dropped
    assert summary.tally.predictions + dropped.predictions == 4 * 30_000
    assert summary.tally.rows == 2 * summary.tally.predictions
    assert len(summary.streams) == 4


def test_versions_and_variants_are_told_apart(tmp_path: Path) -> None:
    for version, times in (("1.4.0", 3), ("1.5.0", 4)):
        subject = Subject("fraud", version, "cd" * 32, "float32", "CPUExecutionProvider")
        recorder = Recorder(tmp_path, subject)
        for _ in range(times):
            recorder.record(1, 1)
        recorder.close()
    models = summarize([tmp_path]).to_json()["models"]
    assert [(found["version"], found["predictions"]) for found in models] == [
        ("1.4.0", 3),
        ("1.5.0", 4),
    ]


# --- disks that do not take it -------------------------------------------------------------


def test_a_full_disk_stops_neither_counting_nor_later_writing(tmp_path: Path) -> None:
    """The limit on a file's size is a disk that fills up in the middle of a line."""
    recorder = Recorder(tmp_path, SUBJECT)
    recorder.record(1, 1)
    recorder.flush()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, limits[1]))
    try:
        for _ in range(5):
            recorder.record(1, 1)
            recorder.flush()
        assert recorder.problem is not None
        assert "File too large" in recorder.problem
        assert str(tmp_path) in recorder.problem
        assert summarize([tmp_path]).tally.predictions == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    recorder.record(1, 1)
    recorder.flush()
    assert recorder.problem is None
    summary = summarize([tmp_path])
    assert (summary.tally.predictions, summary.windows) == (7, 2)
    assert summary.log.text() == "2 segments, complete"
    recorder.close()


def test_a_disk_that_is_really_full_is_told_and_survived(tmp_path: Path) -> None:
    mount = ("unshare", "--user", "--map-root-user", "--mount")
    if subprocess.run([*mount, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine allows no user namespaces")
    script = """
directory = Path(sys.argv[1])
recorder = Recorder(directory, subject, window_s=1000)
recorder.record(1, 1)
recorder.flush()
filler = directory.parent / "filler"
try:
    with filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(512))
except OSError:
    pass
for _ in range(100):
    for _ in range(10):
        recorder.record(1, 1)
    recorder.error("input-shape")
    recorder.flush()
print(recorder.problem)
filler.unlink()
recorder.close()
summary = summarize([directory])
print(summary.tally.predictions, summary.tally.errors, summary.log.text())
"""
    shell = 'mount -t tmpfs -o size=64k none "$1" && mkdir "$1/log" && exec "$2" -c "$3" "$1/log"'
    done = subprocess.run(
        [*mount, "sh", "-c", shell, "sh", tmp_path, sys.executable, START + script],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    problem, sums = done.stdout.splitlines()
    assert "No space left on device" in problem
    assert sums.startswith("1001 {'input-shape': 100}")
    assert sums.endswith("complete")
    assert "No space left on device" in done.stderr  # also said without being asked


def test_a_process_that_may_not_write_keeps_serving_and_says_why() -> None:
    script = """
recorder = Recorder(Path(sys.argv[1]), subject)
print(recorder.problem)
recorder.record(1, 1)
recorder.flush()
print(recorder.problem)
"""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", START + script, directory],
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            user=65534 if os.geteuid() == 0 else None,
            capture_output=True,
            text=True,
            check=True,
        )
        assert list(Path(directory).iterdir()) == []
    first, second = done.stdout.splitlines()
    assert f"metrics are not written to {directory}: it may not be written (user " in first
    assert f"metrics are not written to {directory}: Permission denied (user " in second
    assert first in done.stderr


def test_a_missing_directory_is_told_at_once_and_used_when_it_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "metrics"
    recorder = Recorder(directory, SUBJECT)
    assert recorder.problem is not None
    assert f"{directory}: it does not exist" in recorder.problem
    for _ in range(3):
        recorder.record(1, 1)
        recorder.flush()
    assert len(caplog.messages) == 2  # one line a reason, not one a window
    directory.mkdir()
    recorder.flush()
    assert recorder.problem is None
    recorder.close()
    assert summarize([directory]).tally.predictions == 3


# --- reading -------------------------------------------------------------------------------


def test_the_summary_names_its_units(tmp_path: Path, recorder: Recorder) -> None:
    for elapsed in range(1_000, 101_000, 1_000):
        recorder.record(2, elapsed)
    recorder.flush()
    told = summarize([tmp_path]).to_json()
    assert told["schema"] == "edgepack.metrics/1"
    assert (told["predictions"], told["rows"], told["windows"], told["streams"]) == (100, 200, 1, 1)
    latency = told["latency"]
    assert latency["mean_us"] == 50.5
    for name, true in (("p50_us", 50), ("p90_us", 90), ("p99_us", 99), ("max_us", 100)):
        assert latency[name] == pytest.approx(true, rel=0.045)
    assert told["process"].keys() == {"rss_max_kib", "cpu_ms"}
    assert told["log"]["dropped"] == {"segments": 0, "windows": 0, "predictions": 0}
    [model] = told["models"]
    assert (model["model"], model["variant"]) == ("fraud", "int8-dynamic")


def test_a_log_without_predictions_has_no_latency(tmp_path: Path) -> None:
    told = summarize([tmp_path])
    assert told.to_json()["latency"] == dict.fromkeys(
        ("p50_us", "p90_us", "p99_us", "max_us", "mean_us")
    )
    assert "latency      unknown" in told.text()
    assert Summary().to_json()["process"]["rss_max_kib"] is None


def test_a_person_reads_the_summary(tmp_path: Path, recorder: Recorder) -> None:
    for elapsed in (900, 2_100_000, 3_000_000_000):
        recorder.record(1, elapsed)
    recorder.error("input-shape")
    recorder.event("load")
    recorder.flush()
    lines = summarize([tmp_path]).text().splitlines()
    assert lines[0] == "predictions  3 (3 rows) in 1 windows written by 1 recorders"
    assert lines[1] == "errors       input-shape 1"
    assert lines[2].startswith("latency      p50 2.1")
    assert lines[2].endswith(" s")
    assert lines[4] == "events       load 1"
    assert lines[5].startswith("  fraud 1.4.0 (int8-dynamic on CPUExecutionProvider): 3 pred")
    assert lines[6] == "log          1 segments, complete"
    assert all(line.isascii() for line in lines)
