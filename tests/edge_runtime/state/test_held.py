"""Files that a process holds: seen by others, and never mistaken for ones left behind."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from pathlib import Path

import pytest

from edge_runtime.state import held


def test_a_file_is_held_until_its_descriptor_is_closed(tmp_path: Path) -> None:
    descriptor = held.create(tmp_path / "load")
    assert descriptor is not None
    assert held.is_held(tmp_path / "load")
    held.remove(tmp_path / "load")
    assert (tmp_path / "load").exists()
    os.close(descriptor)
    assert not held.is_held(tmp_path / "load")
    held.remove(tmp_path / "load")
    assert not (tmp_path / "load").exists()


def test_nobody_else_may_open_it_before_it_is_held(tmp_path: Path) -> None:
    before = os.umask(0)
    descriptor = held.create(tmp_path / "load")
    os.umask(before)
    assert descriptor is not None
    assert stat.S_IMODE(os.fstat(descriptor).st_mode) == 0o600
    os.close(descriptor)


def test_a_name_is_given_once(tmp_path: Path) -> None:
    (tmp_path / "load").write_bytes(b"")
    assert held.create(tmp_path / "load") is None


def test_one_that_was_removed_before_it_was_held_is_not_called_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, lock = tmp_path / "load", fcntl.flock

    def late(descriptor: int, how: int) -> None:
        held_before = path.exists()
        if how == fcntl.LOCK_EX and held_before:
            path.unlink()  # as a collector does that finds it free
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    assert held.create(path) is None


def test_two_collectors_and_a_holder_never_lose_a_held_file(tmp_path: Path) -> None:
    stop, lost = threading.Event(), []

    def collect() -> None:
        while not stop.is_set():
            for path in tmp_path.iterdir():
                held.remove(path)

    threads = [threading.Thread(target=collect) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(300):
        path = tmp_path / str(number)
        descriptor = held.create(path)
        if descriptor is not None:
            lost += [] if path.exists() else [number]
            os.close(descriptor)
    stop.set()
    for thread in threads:
        thread.join()
    assert lost == []


@pytest.mark.parametrize("kind", ["link", "pipe", "directory", "nothing"])
def test_only_plain_files_are_read_held_or_removed(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "load", tmp_path / "other"
    other.write_text("1 2 3")
    {
        "link": lambda: path.symlink_to(other),
        "pipe": lambda: os.mkfifo(path),
        "directory": path.mkdir,
        "nothing": lambda: None,
    }[kind]()
    assert not held.is_plain(path)
    assert held.words(path) == []
    assert not held.is_held(path)
    held.remove(path)
    assert other.read_text() == "1 2 3"
    assert os.path.lexists(path) == (kind != "nothing")


def test_words_are_bounded_and_numbers_cannot_be_too_long_to_read(tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(b"12 -3 x \xff \xd9\xa3 " + b"9" * 100_000)
    words = held.words(tmp_path / "rows")
    assert sum(map(len, words)) < held.MAX_BYTES
    assert held.numbers(words) == [12]
