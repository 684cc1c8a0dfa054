"""One writer at a time, and a lock that ends with whoever held it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from edge_runtime.contract.errors import StoreBusy
from edge_runtime.state.lock import exclusive


def test_a_second_writer_is_told_who_holds_the_store(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    ready, tell = os.pipe()
    child = os.fork()
    if not child:
        with exclusive(path):
            os.write(tell, b"x")
            signal.pause()
        os._exit(0)
    try:
        os.read(ready, 1)
        with pytest.raises(StoreBusy, match=f"process {child} is writing") as caught:
            exclusive(path).__enter__()
        assert caught.value.values["holder"] == child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(tell)
    # The kernel let go of it, although nobody cleaned up.
    with exclusive(path):
        pass


def test_the_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), exclusive(tmp_path / "lock"):
        raise ZeroDivisionError
    with exclusive(tmp_path / "lock"):
        pass


def test_nobody_else_can_open_the_lock_and_so_block_the_owner(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with exclusive(tmp_path / "lock"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def test_holding_the_lock_writes_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        with exclusive(tmp_path / "lock"):
            pass
        assert (tmp_path / "lock").read_bytes() == b""
