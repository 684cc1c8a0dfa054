"""Tests of the log's writer: segments, the cap, other writers, what it finds and leaves."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from metric_logs import PADDED_PER_SEGMENT, SUBJECT, names_in, sums_of, window, writer

from edge_runtime import segment_writer
from edge_runtime.contract.segments import decode, frame
from edge_runtime.segment_writer import MIN_CAP_BYTES


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
    assert names_in(tmp_path) == ["00000001.jsonl.z", "00000002.jsonl.z", "00000003.jsonl"]
    assert sums_of(tmp_path).text == "complete; segments 3"
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
    sums = sums_of(tmp_path)
    assert sums.dropped.segments > 20
    assert sums.windows + sums.dropped.windows == 150
    assert sums.predictions + sums.dropped.predictions == 300
    assert f"windows dropped by the byte cap {sums.dropped.windows}" in sums.text
    log.close()


def test_many_short_processes_are_bounded_by_the_cap_too(tmp_path: Path) -> None:
    for _ in range(60):
        log = writer(tmp_path, MIN_CAP_BYTES)
        log.append(window(0))
        log.close()
    assert disk_use(tmp_path) <= MIN_CAP_BYTES
    sums = sums_of(tmp_path)
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
    assert names_in(tmp_path)[0] == "00000001.jsonl"
    sums = sums_of(tmp_path)
    assert sums.predictions + sums.dropped.predictions == 114
    quiet.close()
    busy.close()


def test_the_segment_of_a_dead_writer_is_compressed_by_the_next(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        writer(tmp_path).append(window(0))
        os._exit(9)
    os.waitpid(child, 0)
    assert names_in(tmp_path) == ["00000001.jsonl"]
    log = writer(tmp_path)
    log.append(window(0))
    assert names_in(tmp_path) == ["00000001.jsonl.z", "00000002.jsonl"]
    assert sums_of(tmp_path).windows == 2
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
    assert names_in(tmp_path) == ["00000001.jsonl.z", "00000002.jsonl"]
    assert sums_of(tmp_path).text == "incomplete; segments 2, damaged lines 1"
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
    assert sums_of(tmp_path).windows == 1
    log.close()


def test_the_highest_number_does_not_stop_the_log(tmp_path: Path) -> None:
    (tmp_path / "999999999999-0011223344556677.jsonl").write_bytes(b"")
    for sequence in range(3):
        log = writer(tmp_path)
        log.append(window(sequence))
        log.close()
    assert sums_of(tmp_path).windows == 3


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
    assert sums_of(tmp_path).windows == 1
    log.close()
