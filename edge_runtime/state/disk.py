"""Writing so that a power cut at any instant leaves the old or the new, and nothing between.

Everything is written under a temporary name, synced, renamed, and then the directory is
synced: without any one of these steps a journaling file system was seen to lose or tear data.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_runtime.contract.errors import NoSpace, StoreCorrupt, StoreUnreadable, StoreUnwritable

FILE_MODE = 0o444
DIRECTORY_MODE = 0o755

_TEMPORARY = ".tmp"
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the operating system's errors while writing below ``path`` into typed ones.

    Raises:
        NoSpace: when the disk or the quota is full.
        StoreUnwritable: for anything else that keeps the bytes from the disk.
    """
    try:
        yield
    except OSError as error:
        place = error.filename or str(path)
        if error.errno in _FULL:
            raise NoSpace(
                f"{place} cannot be written: {error.strerror}",
                hint="Free space on the store's disk and run the same command again.",
                path=str(place),
                reason=error.strerror,
            ) from None
        raise StoreUnwritable(
            f"{place} cannot be written by user {os.geteuid()}: {error.strerror}",
            hint="Run it as the store's owner (often root), or name a store of yours: --store.",
            path=str(place),
            user=os.geteuid(),
            reason=error.strerror,
        ) from None


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the operating system's errors while reading below ``path`` into typed ones.

    Raises:
        StoreUnreadable: for whatever keeps the bytes from the reader.
    """
    try:
        yield
    except OSError as error:
        place = error.filename or str(path)
        raise StoreUnreadable(
            f"{place} cannot be read by user {os.geteuid()}: {error.strerror}",
            hint="Check the permissions and the disk, or name another store: --store.",
            path=str(place),
            user=os.geteuid(),
            reason=error.strerror,
        ) from None


def write_file(path: Path, data: bytes) -> None:
    """Put a file in place, read-only, whole or not at all.

    The temporary name is always the same, so that what a power cut leaves is overwritten later.
    """
    temporary = path.with_name(f".{path.name}{_TEMPORARY}")
    temporary.unlink(missing_ok=True)
    with temporary.open("xb") as stream:
        os.fchmod(stream.fileno(), FILE_MODE)
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def is_temporary(path: Path) -> bool:
    """Tell whether an interrupted ``write_file`` left this."""
    return path.name.startswith(".") and path.name.endswith(_TEMPORARY)


def entries(directory: Path) -> list[Path]:
    """Return what stands in a directory, sorted; nothing when it does not exist."""
    try:
        return sorted(directory.iterdir())
    except FileNotFoundError:
        return []


def make_directory(path: Path, mode: int = DIRECTORY_MODE, group: int | None = None) -> None:
    """Make a directory and what is missing above it, with exactly this mode whatever the umask.

    Args:
        path: an existing directory keeps its entries, but gets the mode and the group.
        mode: the permission bits, setgid included.
        group: the group to own it; None leaves it as it is.
    """
    if not path.parent.is_dir():
        make_directory(path.parent)
    made = not path.is_dir()
    if made:
        path.mkdir()
    found = path.stat()
    if group is not None and found.st_gid != group:
        # Before the mode, because changing the owner clears setgid.
        os.chown(path, -1, group)
    if stat.S_IMODE(found.st_mode) != mode:
        path.chmod(mode)
    if made:
        sync_directory(path)
        sync_directory(path.parent)


def seal(directory: Path) -> None:
    """Make a tree read-only and sync it from the leaves up, before it is renamed into place.

    Raises:
        StoreCorrupt: when it holds a link or anything but plain files and directories.
    """
    for parent, names, files in os.walk(directory, topdown=False):
        for name in files:
            _seal_file(Path(parent, name))
        for name in names:
            if Path(parent, name).is_symlink():
                raise _not_plain(Path(parent, name))
        Path(parent).chmod(DIRECTORY_MODE)
        sync_directory(Path(parent))


def _seal_file(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        raise _not_plain(path)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fchmod(descriptor, FILE_MODE)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _not_plain(path: Path) -> StoreCorrupt:
    return StoreCorrupt(
        f"only plain files with one name may be installed, {path.name} is something else",
        hint="Fetch the bundle again; this one was never written by the packager.",
        expected="a plain file",
        found=str(path),
    )


def move(source: Path, target: Path) -> None:
    """Rename within the store and sync both directories."""
    source.rename(target)
    sync_directory(target.parent)
    sync_directory(source.parent)


def remove_tree(directory: Path) -> None:
    """Remove a tree, read-only files included; one that is not there is no error."""
    if directory.is_dir():
        shutil.rmtree(directory)
        sync_directory(directory.parent)


def sync_directory(directory: Path) -> None:
    """Make the entries of a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
