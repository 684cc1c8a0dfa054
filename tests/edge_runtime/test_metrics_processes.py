"""Tests of the recorder in several processes and on disks that do not take what it writes."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from metric_logs import CHECKOUT, START, SUBJECT, finish, run_program

from edge_runtime.metrics import Recorder, summarize

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
    assert summary.log.text() == "complete; segments 2"


def test_a_child_that_only_exits_writes_nothing(tmp_path: Path) -> None:
    script = """
recorder = Recorder(directory, subject)
recorder.record(1, 1)
if os.fork():
    os.wait()
    recorder.record(1, 1)
"""
    finish(run_program(script, tmp_path))
    summary = summarize([tmp_path])
    assert (summary.tally.predictions, len(summary.streams)) == (2, 1)


def test_forks_while_threads_record_lose_and_double_nothing(tmp_path: Path) -> None:
    script = """
import threading
recorder = Recorder(directory, subject, window_s=0.001)
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
    told = int(finish(run_program(script, tmp_path)))
    summary = summarize([tmp_path])
    assert summary.tally.predictions + summary.log.dropped.predictions == told
    assert summary.log.damaged_lines == summary.log.missing_windows == 0


def test_what_was_counted_is_written_when_the_interpreter_exits(tmp_path: Path) -> None:
    script = """
recorder = Recorder(directory, subject)
for _ in range(1000):
    recorder.record(1, 1)
if sys.argv[2] == "raise":
    sys.exit(0)
"""
    finish(run_program(script, tmp_path, "return"))
    finish(run_program(script, tmp_path, "raise"))
    assert summarize([tmp_path]).tally.predictions == 2000


def test_a_kill_costs_one_window_at_most(tmp_path: Path) -> None:
    window_s = 0.25
    script = """
recorder = Recorder(directory, subject, window_s=float(sys.argv[2]))
for number in range(1, 1_000_000):
    recorder.record(1, 1)
    print(number, time.monotonic(), flush=True)
    time.sleep(0.001)
"""
    process = run_program(script, tmp_path, window_s)
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
recorder = Recorder(directory, subject, cap_bytes=128 << 10)
for number in range(30_000):
    recorder.record(2, 1_000 + number)
    if number % 100 == 0:
        recorder.flush()
recorder.close()
"""
    processes = [run_program(script, tmp_path) for _ in range(4)]
    while any(process.poll() is None for process in processes):
        during = summarize([tmp_path])  # reading meanwhile finds no damage and no gap
        assert during.log.damaged_lines == during.log.missing_windows == 0
    for process in processes:
        finish(process)
    summary = summarize([tmp_path])
    dropped = summary.log.dropped
    assert dropped.windows > 0
    assert summary.windows + dropped.windows == 4 * 301
    assert summary.tally.predictions + dropped.predictions == 4 * 30_000
    assert summary.tally.rows == 2 * summary.tally.predictions
    assert len(summary.streams) == 4


# --- disks that do not take it -------------------------------------------------------------


def test_a_full_disk_stops_neither_counting_nor_later_writing(tmp_path: Path) -> None:
    """A limit on the size of files fills the disk up in the middle of a line."""
    recorder = Recorder(tmp_path, SUBJECT)
    recorder.record(1, 1)
    recorder.flush()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    try:
        for room in (size + 100, 100, 300, 0, 400):
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
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
    assert summary.log.text() == "complete; segments 2"
    recorder.close()


def test_a_disk_that_is_really_full_is_told_and_survived(tmp_path: Path) -> None:
    mount = ("unshare", "--user", "--map-root-user", "--mount")
    if subprocess.run([*mount, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine allows no user namespaces")
    script = """
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
    shell = (
        'mount -t tmpfs -o size=64k none "$1" && mkdir "$1/log" && exec "$2" -c "$3" "$1/log"'
    )
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
    assert "complete; segments" in sums
    assert "No space left on device" in done.stderr  # also said without being asked


def test_a_process_that_may_not_write_keeps_serving_and_says_why() -> None:
    receiving, sending = os.pipe()
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o555)
        child = os.fork()
        if child == 0:
            if os.geteuid() == 0:
                os.setuid(65534)
            recorder = Recorder(Path(directory), SUBJECT)
            os.write(sending, f"{recorder.problem}\n".encode())
            recorder.record(1, 1)
            recorder.flush()
            os.write(sending, f"{recorder.problem}\n".encode())
            os._exit(0)
        os.close(sending)
        with os.fdopen(receiving) as pipe:
            first, second = pipe.read().splitlines()
        assert os.waitpid(child, 0)[1] == 0
        assert list(Path(directory).iterdir()) == []
    assert f"metrics are not written to {directory}: it may not be written (user " in first
    assert f"metrics are not written to {directory}: Permission denied (user " in second


def test_a_process_without_a_free_descriptor_keeps_its_counts(tmp_path: Path) -> None:
    script = """
import resource
recorder = Recorder(directory, subject, window_s=0.01)
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
taken = []
try:
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
for _ in range(20):
    recorder.record(1, 1)
    time.sleep(0.005)
print(recorder.problem)
for descriptor in taken:
    os.close(descriptor)
"""
    told = finish(run_program(script, tmp_path))
    assert "Too many open files" in told
    assert summarize([tmp_path]).tally.predictions == 20


def test_a_missing_directory_is_told_at_once_and_used_when_it_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "metrics"
    recorder = Recorder(directory, SUBJECT)
    assert recorder.problem is not None
    assert f"{directory}: No such file or directory" in recorder.problem
    for _ in range(3):
        recorder.record(1, 1)
        recorder.flush()
    assert len(caplog.messages) == 1  # a line a reason, not a line a window
    directory.mkdir()
    recorder.flush()
    assert recorder.problem is None
    recorder.close()
    assert summarize([directory]).tally.predictions == 3
