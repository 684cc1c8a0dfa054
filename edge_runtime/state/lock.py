"""One writer at a time. Readers never take the lock, so nothing ever waits for a writer."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_runtime.contract.errors import StoreBusy

# Nobody but the owner may open it: whoever can open a file can lock it, and so block the owner.
_MODE = 0o600


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file; the kernel lets go of it when the process ends, however it ends.

    Raises:
        StoreBusy: when another process holds it.
        OSError: when the file cannot be opened for writing.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(path, descriptor) from None
        yield
    finally:
        os.close(descriptor)


def _busy(path: Path, descriptor: int) -> StoreBusy:
    holder = _holder(os.fstat(descriptor))
    who = f"process {holder}" if holder else "another process"
    return StoreBusy(
        f"{who} is writing to the store {path.parent}",
        hint="Wait until it is done and run the same command again.",
        store=str(path.parent),
        holder=holder,
    )


def _holder(lock: os.stat_result) -> int | None:
    """Return the process that holds the lock, where the kernel's list of locks tells."""
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    inode = f":{lock.st_ino}"
    for line in lines:
        fields = line.split()
        if fields[1:2] == ["FLOCK"] and fields[5].endswith(inode) and fields[4].isdigit():
            return int(fields[4])
    return None
