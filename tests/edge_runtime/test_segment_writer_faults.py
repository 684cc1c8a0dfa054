"""Tests of the log's writer at every step: killed there, or refused by the disk."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from metric_logs import PADDED_PER_SEGMENT, names_in, sums_of, window, writer

from edge_runtime.segment_writer import MIN_CAP_BYTES

STEPS = ("fdatasync", "fsync", "ftruncate", "pwrite", "replace", "unlink")


@contextmanager
def fault_at(step: int, fault: Callable[[str, tuple[Any, ...]], None]) -> Iterator[list[str]]:
    """Call ``fault`` instead of the step-th call that changes the disk; give all the calls."""
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
    while sums_of(directory).dropped.segments < 2:
        log.append(window(sequence, padding=3000))
        sequence += 1
    log.close()
    return directory


def total(directory: Path) -> int:
    sums = sums_of(directory)
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
        sums = sums_of(directory)
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
    sums = sums_of(tmp_path)
    assert (sums.windows, sums.predictions) == (2, 6)
    # A file whose sync failed once is not trusted again: the rest goes to a new segment.
    assert names_in(tmp_path) == ["00000001.jsonl.z", "00000002.jsonl"]
    log.close()
