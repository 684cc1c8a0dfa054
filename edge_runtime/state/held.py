"""Small files in a directory that several users write: held by a process, or left behind.

The kernel lets go of a lock when its process ends, however it ends. Nothing here follows a link
or waits on a pipe, because whoever writes beside may have put one there.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from contextlib import suppress
from pathlib import Path

from edge_runtime.contract.bundle.files import open_plain

MAX_BYTES = 1 << 16
NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
PLAIN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NUMBER = re.compile(r"[0-9]{1,15}")


def create(path: Path) -> int | None:
    """Make a file and hold it before anybody without this user's rights may open it.

    Returns:
        Its descriptor; None where there is such a file, or it was taken for one left behind.

    Raises:
        OSError: when it cannot be made.
    """
    try:
        descriptor = os.open(path, NEW, 0o600)
    except FileExistsError:
        return None
    # It waits only for root or this user, who look whether the file is held.
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        if os.path.samestat(path.lstat(), os.fstat(descriptor)):
            return descriptor
    except FileNotFoundError:
        pass
    os.close(descriptor)
    return None


def is_held(path: Path) -> bool:
    """Tell whether a process holds a file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | PLAIN)
    except OSError:
        return False
    try:
        # A shared lock is had by readers at once, so that they do not see each other.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a plain file that no process holds; whoever is about to hold it sees that it went.

    Raises:
        OSError: when it cannot be removed.
    """
    if not is_plain(path):
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | PLAIN)
    except FileNotFoundError:
        return
    try:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def is_plain(path: Path) -> bool:
    """Tell whether a regular file stands at a path."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def words(path: Path) -> list[str]:
    """Return the words of a small file that others may have written; none where it is none."""
    try:
        with open_plain(path) as stream:
            return stream.read(MAX_BYTES).decode("utf-8", "replace").split()
    except OSError:
        return []


def numbers(words: list[str]) -> list[int]:
    """Return those of the words that are numbers."""
    return [int(word) for word in words if _NUMBER.fullmatch(word)]
