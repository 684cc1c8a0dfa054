"""A bundle through the standard input: bounded, hashed on the way, and nothing of it left."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import devices
import pytest
import sticks

from edge_runtime.contract.errors import BundleUnreadable, NoSpace, StoreBusy
from edge_runtime.spool import spooled
from edge_runtime.state.store import Store


def piped(store: Store, data: bytes, *more: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "edge_runtime", "--store", store.root, "install", "-", *more],
        input=data,
        env={**os.environ, "PYTHONPATH": str(sticks.CHECKOUT)},
        capture_output=True,
        check=False,
    )


def test_a_bundle_comes_through_a_pipe_and_is_installed(bundle: Path, empty: Store) -> None:
    data = bundle.read_bytes()
    done = piped(empty, data, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["version"], said["changed"]) == ("1.4.0", True)
    assert (said["bytes"], said["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert not empty.incoming.exists()
    plain = piped(empty, data)
    assert f"sha256 {hashlib.sha256(data).hexdigest()}" in plain.stdout.decode()


@pytest.mark.parametrize(
    ("before", "share", "after", "code"),
    [
        (b"", 0, b"", "bundle-unreadable"),
        (b"", 0.5, b"", "archive-corrupt"),
        (b"<html>", 1, b"", "archive-corrupt"),
        (b"", 1, b"x", "archive-corrupt"),
    ],
    ids=["nothing", "half", "something else", "more"],
)
def test_what_is_no_bundle_leaves_nothing(
    bundle: Path, empty: Store, before: bytes, share: float, after: bytes, code: str
) -> None:
    data, store = bundle.read_bytes(), devices.snapshot(empty.root)
    done = piped(empty, before + data[: int(len(data) * share)] + after)
    assert done.returncode == 4
    assert done.stderr.decode().startswith(f"error[{code}]: ")
    assert devices.snapshot(empty.root) == store


def test_no_store_is_made_for_a_bundle_that_nobody_here_trusts(
    bundle: Path, tmp_path: Path
) -> None:
    done = piped(Store(tmp_path / "none", "named by the test"), bundle.read_bytes())
    assert done.returncode == 4
    assert done.stderr.decode().startswith("error[no-trusted-key]: ")
    assert not (tmp_path / "none").exists()


def test_it_is_hashed_on_the_way_and_has_no_name(empty: Store) -> None:
    data = os.urandom((3 << 20) + 17)
    before = devices.snapshot(empty.root)
    with spooled(io.BytesIO(data), empty) as came:
        assert (came.size, came.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert came.path.read_bytes() == data
        assert devices.snapshot(empty.root) == before


def test_other_commands_can_write_while_it_comes(empty: Store) -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            with empty.writing():
                return super().read(size)

    with spooled(Slow(b"x" * 1000), empty) as came:
        assert came.path.read_bytes() == b"x" * 1000


def test_a_busy_store_is_said_before_anything_is_read(empty: Store) -> None:
    stream = io.BytesIO(b"x")
    with empty.writing(), pytest.raises(StoreBusy), spooled(stream, empty):
        pytest.fail("it was spooled")
    assert stream.tell() == 0


def test_an_endless_stream_ends_where_the_disk_would_be_full(
    empty: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream is endless, the room of the disk is told as it would be on a small one."""

    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return bytes(size)

    whole, left = os.statvfs(empty.root), 40 << 20

    def small(root: Path) -> os.statvfs_result:
        nonlocal left
        assert root == empty.root
        left -= 1 << 20
        values = list(whole)
        values[1], values[2], values[4] = 1 << 20, 256, left >> 20
        return os.statvfs_result(values)

    monkeypatch.setattr(os, "statvfs", small)
    with (
        pytest.raises(NoSpace, match=r"at least 24\.0 MiB come .* 16\.0 MiB free") as caught,
        spooled(Endless(), empty),  # type: ignore[arg-type]
    ):
        pytest.fail("it ended")
    assert caught.value.values["found"] == 16 << 20
    assert not empty.incoming.exists()


def test_a_stream_that_fails_is_a_typed_error(empty: Store) -> None:
    class Broken(io.RawIOBase):
        def read(self, _: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with (
        pytest.raises(BundleUnreadable, match="standard input: Input/output error"),
        spooled(Broken(), empty),  # type: ignore[arg-type]
    ):
        pytest.fail("it was read")


def test_a_terminal_is_no_bundle(empty: Store) -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "edge_runtime", "--store", empty.root, "install", "-"],
        stdin=theirs,
        env={**os.environ, "PYTHONPATH": str(sticks.CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 2
    assert "it is a terminal" in done.stderr


def test_a_command_killed_while_the_bundle_comes_leaves_nothing(empty: Store) -> None:
    before = devices.snapshot(empty.root)
    with subprocess.Popen(
        [sys.executable, "-m", "edge_runtime", "--store", empty.root, "install", "-"],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(sticks.CHECKOUT)},
    ) as child:
        assert child.stdin is not None
        # More than a pipe holds: once it is written, the child has begun to keep it.
        child.stdin.write(bytes(2 << 20))
        child.stdin.flush()
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert devices.snapshot(empty.root) == before
