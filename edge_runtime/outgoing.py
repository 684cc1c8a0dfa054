"""A file that goes onto a stick: it appears whole and was read back, or not at all.

Sticks have no journal, are pulled too early, and are prepared by others: it is written under a
new name, synced, renamed, synced again and read back from the medium, and no link that lies
there is followed.
"""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress
from pathlib import Path

from edge_runtime.contract.bundle.content import file_chunks
from edge_runtime.contract.bundle.digests import sha256_chunks, sha256_hex
from edge_runtime.contract.errors import OutputUnwritable
from edge_runtime.contract.terminal import unwritable
from edge_runtime.contract.units import size
from edge_runtime.state.disk import entries, sync_directory

PART = ".part"
_MODE = 0o644
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Some file systems cannot sync a directory, and say so.
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


def write_out(directory: Path, stem: str, ending: str, data: bytes) -> Path:
    """Write a file beside those of the same kind, under the next number.

    Args:
        directory: where, often a mounted stick.
        stem: the name before the number.
        ending: the name behind it.
        data: the whole content.

    Returns:
        The file's path.

    Raises:
        OutputUnwritable: when it cannot be written, or does not read back as it was written.
    """
    try:
        path = directory / f"{stem}-{_next_number(directory, stem, ending):03d}{ending}"
        _require_room(directory, len(data))
        part = path.with_name(path.name + PART)
        try:
            _write(part, data)
            part.rename(path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        _sync(directory)
        if _read_back(path) != sha256_hex(data):
            raise _changed(path)
    except OSError as error:
        raise unwritable(str(directory), error) from None
    return path


def _next_number(directory: Path, stem: str, ending: str) -> int:
    # Without regard to case, because a stick has none.
    named = re.compile(rf"{re.escape(stem)}-(\d+){re.escape(ending)}", re.IGNORECASE)
    if not directory.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "it is no directory")
    found = (named.fullmatch(path.name) for path in entries(directory))
    return max((int(match[1]) for match in found if match), default=0) + 1


def _require_room(directory: Path, count: int) -> None:
    facts = os.statvfs(directory)
    free = facts.f_bavail * facts.f_frsize
    # Beside its own blocks the directory may need one.
    needed = (-(-count // facts.f_frsize) + 1) * facts.f_frsize
    if needed > free:
        raise OutputUnwritable(
            f"{size(needed)} are to be written to {directory}, it has {size(free)} free",
            hint="Free space there, or choose another place.",
            path=str(directory),
            expected=needed,
            found=free,
        )


def _write(part: Path, data: bytes) -> None:
    part.unlink(missing_ok=True)  # what an interrupted run left
    with os.fdopen(os.open(part, _CREATE, _MODE), "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _sync(directory: Path) -> None:
    try:
        sync_directory(directory)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def _read_back(path: Path) -> str:
    """Return the digest of what the medium gives, and not of what the kernel remembers."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
    return sha256_chunks(file_chunks(path))


def _changed(path: Path) -> OutputUnwritable:
    with suppress(OSError):
        path.unlink()
    return OutputUnwritable(
        f"{path} must read back as it was written, it does not",
        hint="Take another stick; this one loses what is written to it.",
        path=str(path),
        expected="what was written",
        found="other bytes",
    )
