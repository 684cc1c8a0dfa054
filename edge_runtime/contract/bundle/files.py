"""Plain files only: read without following links or waiting on pipes, written durably."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

# Neither flag exists on every system; where one is absent, so is what it guards against.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


class NotPlainError(OSError):
    """What stands at a path is a link, a pipe, a directory or a device."""


def open_plain(path: Path, *, follow: bool = False) -> BinaryIO:
    """Open a regular file for reading.

    Args:
        path: the file.
        follow: accept a symbolic link as the last part of the path.

    Raises:
        NotPlainError: when something else than a regular file stands there.
        OSError: when it cannot be opened.
    """
    try:
        descriptor = os.open(path, _READ | (0 if follow else _NO_FOLLOW))
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, a socket
            raise NotPlainError(errno.EINVAL, "it is no regular file", str(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotPlainError(errno.EINVAL, "it is no regular file", str(path))
    return os.fdopen(descriptor, "rb")


def is_directory(path: Path) -> bool:
    """Tell whether a directory stands at a path; what cannot be looked at is none."""
    try:
        return path.is_dir()
    except OSError:  # a stick that was pulled, a directory that may not be entered
        return False


def write_plain(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a new read-only file and make its bytes durable.

    Raises:
        OSError: when it exists or cannot be written; a part of it may be left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, _CREATE, 0o444), "wb") as stream:
        for chunk in chunks:
            stream.write(chunk)
        stream.flush()
        path.chmod(0o444)
        os.fsync(stream.fileno())
