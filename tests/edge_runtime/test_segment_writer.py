"""Tests of the log's writer: bounded, exact, and whole after a fault at any of its steps."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge_runtime import segment_writer
from edge_runtime.contract.logs import LogReader
from edge_runtime.contract.segments import Dropped, Subject, decode, frame
from edge_runtime.contract.windows import Event, Tally, Window
from edge_runtime.segment_writer import CAP_BYTES, MIN_CAP_BYTES, SegmentWriter

SUBJECT = Subject("fraud", "1.4.0", "ab" * 32, "int8-dynamic", "CPUExecutionProvider")
PADDED_PER_SEGMENT = 3
STEPS = ("fdatasync", "fsync", "ftruncate", "pwrite", "replace", "unlink")


def window(sequence: int, predictions: int = 1, *, padding: int = 0) -> dict[str, Any]:
    """Return a line; padding is text that hardly compresses."""
    tally = Tally(rows=predictions)
    for _ in range(predictions):
        tally.latency.record(5_000)
    events = (Event("pad", 0, {"text": os.urandom(padding // 2).hex()}),) if padding else ()
    return Window(sequence, 0, 60_000, 0, tally, events, 0, 9_000, 12).to_json()


def writer(directory: Path, cap_bytes: int = CAP_BYTES) -> SegmentWriter:
    return SegmentWriter(directory, SUBJECT, cap_bytes=cap_bytes)


@dataclass
class Sums:
    predictions: int
    windows: int
    dropped: Dropped
    text: str


def read(directory: Path) -> Sums:
    reader = LogReader([directory])
    windows = [found for _, _, found in reader]
    predictions = sum(found.tally.predictions for found in windows)
    return Sums(predictions, len(windows), reader.health.dropped, reader.health.text())


def names(directory: Path) -> list[str]:
    return sorted(path.name.replace(path.name[8:25], "") for path in directory.iterdir())


def disk_use(directory: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in directory.iterdir())


def test_a_segment_holds_its_header_and_a_line_a_window(tmp_path: Path) -> None:
    log = writer(tmp_path)
    for sequence in range(3):
        log.append(window(sequence))
    [path] = tmp_path.iterdir()
    content = decode(path.read_bytes(), packed=False)
    assert content.header is not None
    assert content.header.stem + ".jsonl" == path.name
    assert (content.header.subject, content.header.pid) == (SUBJECT, os.getpid())
    assert sorted(content.windows) == [0, 1, 2]
    log.close()


def test_full_segments_are_compressed_and_numbered_on(tmp_path: Path) -> None:
    log = writer(tmp_path, MIN_CAP_BYTES)
    for sequence in range(2 * PADDED_PER_SEGMENT + 1):
        log.append(window(sequence, padding=3000))
    assert names(tmp_path) == ["00000001.jsonl.z", "00000002.jsonl.z", "00000003.jsonl"]
    assert read(tmp_path).text == "3 segments, complete"
    log.close()


def test_each_window_is_synced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = writer(tmp_path)
    log.append(window(0))
    calls = []
    for name in ("fdatasync", "fsync"):
        monkeypatch.setattr(os, name, lambda _, name=name: calls.append(name))
    for sequence in range(1, 11):
        log.append(window(sequence))
    assert calls == ["fdatasync"] * 10
    log.close()


def test_the_cap_bounds_the_disk_and_what_it_costs_is_counted(tmp_path: Path) -> None:
    log = writer(tmp_path, MIN_CAP_BYTES)
    for sequence in range(150):
        log.append(window(sequence, 2, padding=3000))
        assert disk_use(tmp_path) <= MIN_CAP_BYTES
    sums = read(tmp_path)
    assert sums.dropped.segments > 20
    assert sums.windows + sums.dropped.windows == 150
    assert sums.predictions + sums.dropped.predictions == 300
    assert f"{sums.dropped.windows} windows dropped by the byte cap" in sums.text
    log.close()


def test_many_short_processes_are_bounded_by_the_cap_too(tmp_path: Path) -> None:
    for _ in range(60):
        log = writer(tmp_path, MIN_CAP_BYTES)
        log.append(window(0))
        log.close()
    assert disk_use(tmp_path) <= MIN_CAP_BYTES
    sums = read(tmp_path)
    assert sums.windows + sums.dropped.windows == 60


def test_the_segment_of_a_living_writer_is_neither_compressed_nor_dropped(
    tmp_path: Path,
) -> None:
    quiet = writer(tmp_path, MIN_CAP_BYTES)
    quiet.append(window(0, 7))
    busy = writer(tmp_path, MIN_CAP_BYTES)
    for sequence in range(100):
        busy.append(window(sequence, padding=3000))
    quiet.append(window(1, 7))
    assert names(tmp_path)[0] == "00000001.jsonl"
    sums = read(tmp_path)
    assert sums.predictions + sums.dropped.predictions == 114
    quiet.close()
    busy.close()


def test_the_segment_of_a_dead_writer_is_compressed_by_the_next(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        writer(tmp_path).append(window(0))
        os._exit(9)
    os.waitpid(child, 0)
    assert names(tmp_path) == ["00000001.jsonl"]
    log = writer(tmp_path)
    log.append(window(0))
    assert names(tmp_path) == ["00000001.jsonl.z", "00000002.jsonl"]
    assert read(tmp_path).windows == 2
    log.close()


def test_leftovers_of_a_crash_are_removed_and_damage_stays_counted(tmp_path: Path) -> None:
    log = writer(tmp_path)
    log.append(window(0))
    log.close()
    [path] = tmp_path.iterdir()
    path.write_bytes(path.read_bytes() + bytes(100))
    path.with_name(path.name.replace(".jsonl", ".tmp")).write_bytes(b"half")
    (tmp_path / "00000009-0011223344556677.tmp").write_bytes(b"half")
    log.append(window(1))
    assert names(tmp_path) == ["00000001.jsonl.z", "00000002.jsonl"]
    assert read(tmp_path).text == "2 segments, 1 damaged lines skipped"
    log.close()


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x" * MIN_CAP_BYTES)
    os.mkfifo(tmp_path / "00000001-0011223344556677.jsonl")
    log = writer(tmp_path, MIN_CAP_BYTES)
    for sequence in range(60):
        log.append(window(sequence, padding=3000))
    log.close()
    assert (tmp_path / "notes.txt").stat().st_size == MIN_CAP_BYTES
    assert (tmp_path / "00000001-0011223344556677.jsonl").is_fifo()


def test_a_header_cannot_have_files_elsewhere_removed(tmp_path: Path) -> None:
    victim = tmp_path / "precious.jsonl"
    victim.write_text("precious")
    directory = tmp_path / "metrics"
    directory.mkdir()
    log = writer(directory)
    log.append(window(0))
    log.close()
    [path] = directory.iterdir()
    first, rest = path.read_bytes().split(b"\n", 1)
    header = decode(first, packed=False).header
    assert header is not None
    hostile = {**header.to_json(), "replaced": ["../precious", str(tmp_path / "precious")]}
    path.write_bytes(frame(hostile) + rest)
    log.append(window(1))
    log.close()
    assert victim.read_text() == "precious"


def test_a_segment_that_was_deleted_is_followed_by_a_new_one(tmp_path: Path) -> None:
    log = writer(tmp_path)
    log.append(window(0))
    next(tmp_path.iterdir()).unlink()
    log.append(window(1))
    assert read(tmp_path).windows == 1
    log.close()


def test_the_highest_number_does_not_stop_the_log(tmp_path: Path) -> None:
    (tmp_path / "999999999999-0011223344556677.jsonl").write_bytes(b"")
    for sequence in range(3):
        log = writer(tmp_path)
        log.append(window(sequence))
        log.close()
    assert read(tmp_path).windows == 3


def test_a_log_locked_by_another_process_is_an_error_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_writer, "_LOCK_WAIT_S", 0.05)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    log = writer(tmp_path)
    with pytest.raises(OSError, match="another process holds the log's lock"):
        log.append(window(0))
    os.close(descriptor)
    log.append(window(0))
    assert read(tmp_path).windows == 1
    log.close()


# --- faults --------------------------------------------------------------------------------


@contextmanager
def fault_at(step: int, fault: Callable[[str, tuple[Any, ...]], None]) -> Iterator[list[str]]:
    """Call ``fault`` instead of the step-th call that changes the disk; give the calls' names."""
    calls: list[str] = []
    real = {name: getattr(os, name) for name in STEPS}

    def wrap(name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            calls.append(name)
            if len(calls) == step:
                fault(name, arguments)
            return real[name](*arguments)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in STEPS:
            patch.setattr(os, name, wrap(name))
        yield calls


def half_written(name: str, arguments: tuple[Any, ...]) -> None:
    """Do what a write does that is stopped on its way."""
    if name == "pwrite":
        file, data, offset = arguments
        os.lseek(file, offset, os.SEEK_SET)
        os.write(file, data[: len(data) // 2])


@pytest.fixture(scope="module")
def full_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log just below its cap, so that the next segments drop the oldest ones."""
    directory = tmp_path_factory.mktemp("full")
    log = writer(directory, MIN_CAP_BYTES)
    sequence = 0
    while read(directory).dropped.segments < 2:
        log.append(window(sequence, padding=3000))
        sequence += 1
    log.close()
    return directory


def total(directory: Path) -> int:
    sums = read(directory)
    assert sums.dropped.windows + sums.windows == sums.dropped.predictions + sums.predictions
    return sums.predictions + sums.dropped.predictions


def killed_at(step: int, directory: Path) -> tuple[bool, int]:
    """Write in a child that dies at a step; return whether it did, and what it was told."""

    def die(name: str, arguments: tuple[Any, ...]) -> None:
        half_written(name, arguments)
        os._exit(9)

    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        with fault_at(step, die):
            log = writer(directory, MIN_CAP_BYTES)
            for sequence in range(2 * PADDED_PER_SEGMENT + 1):
                log.append(window(sequence, padding=3000))
                os.write(sending, b".")
        os._exit(0)
    os.close(sending)
    with os.fdopen(receiving, "rb") as pipe:
        acknowledged = len(pipe.read())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9, acknowledged


def test_a_kill_at_any_step_loses_no_window_that_was_acknowledged(
    full_log: Path, tmp_path: Path
) -> None:
    before = total(full_log)
    step, died = 0, True
    while died:
        step += 1
        directory = tmp_path / str(step)
        shutil.copytree(full_log, directory)
        died, acknowledged = killed_at(step, directory)
        found = total(directory)
        assert found - before - acknowledged in {0, 1}, f"killed at step {step}"
        log = writer(directory, MIN_CAP_BYTES)
        log.append(window(0, padding=3000))
        log.close()
        assert total(directory) == found + 1, f"went on after step {step}"
        shutil.rmtree(directory)
    assert step > 30


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_an_error_at_any_step_loses_and_doubles_nothing(
    full_log: Path, tmp_path: Path, number: int
) -> None:
    before = total(full_log)

    def fail(name: str, arguments: tuple[Any, ...]) -> None:
        half_written(name, arguments)
        raise OSError(number, os.strerror(number))

    step, calls = 0, ["a first run"]
    while step < len(calls):
        step += 1
        directory = tmp_path / str(step)
        shutil.copytree(full_log, directory)
        log = writer(directory, MIN_CAP_BYTES)
        counted, sequence = 0, 0
        with fault_at(step, fail) as calls:
            for _ in range(2 * PADDED_PER_SEGMENT + 1):
                counted += 1  # what the recorder does: the counts of a failed window stay
                try:
                    log.append(window(sequence, counted, padding=3000))
                except OSError:
                    continue
                counted, sequence = 0, sequence + 1
        log.append(window(sequence, counted + 1, padding=3000))
        log.close()
        sums = read(directory)
        expected = before + 2 * PADDED_PER_SEGMENT + 2
        assert sums.predictions + sums.dropped.predictions == expected, f"failed at {step}"
        assert "damaged" not in sums.text, f"failed at {step}"
        shutil.rmtree(directory)
    assert step > 30


def test_a_line_that_could_not_be_cut_off_is_replaced_by_its_repetition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = writer(tmp_path)
    log.append(window(0))
    with monkeypatch.context() as broken:

        def fail(*_: Any) -> None:
            raise OSError(errno.EIO, "no")

        broken.setattr(os, "fdatasync", fail)
        broken.setattr(os, "ftruncate", fail)
        with pytest.raises(OSError, match="no"):
            log.append(window(1, 2))
    log.append(window(1, 5))
    sums = read(tmp_path)
    assert (sums.windows, sums.predictions) == (2, 6)
    # A file whose sync failed once is not trusted again: the rest goes to a new segment.
    assert names(tmp_path) == ["00000001.jsonl.z", "00000002.jsonl"]
    log.close()
