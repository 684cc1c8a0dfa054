"""Files that appear whole, all of them, or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from edge_runtime.contract.errors import OutputUnwritable

_HINT = "Free space there, or choose another directory: --out DIR"


@contextmanager
def appearing(*paths: Path) -> Iterator[list[Path]]:
    """Hand out a temporary path for each file; at the end they take their names, in this order.

    After any error what stood under the names before still does.

    Args:
        paths: the final paths, all in one directory, which is made if it is not there.

    Raises:
        OutputUnwritable: when the directory cannot be written.
    """
    with complaining(paths[-1]), temporary_room(paths[0].parent) as room:
        temporaries = [room / path.name for path in paths]
        yield temporaries
        for path in paths:
            if path.is_dir():  # nothing else keeps a file from replacing its neighbour
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        for temporary, path in zip(temporaries, paths, strict=True):
            temporary.replace(path)


@contextmanager
def temporary_room(directory: Path) -> Iterator[Path]:
    """Hand out a directory inside another, which is made if need be; it goes at the end.

    Raises:
        OSError: when it cannot be made.
    """
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with TemporaryDirectory(prefix=".packager-", dir=directory) as room:
            yield Path(room)
    finally:
        with suppress(OSError):  # what was made and got no file goes as well
            for path in missing:
                path.rmdir()


@contextmanager
def complaining(path: Path) -> Iterator[None]:
    """Turn the operating system's errors while writing a path into typed ones.

    Raises:
        OutputUnwritable: for whatever keeps the bytes from the disk.
    """
    try:
        yield
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from None


def require_writable(directory: Path) -> None:
    """Refuse before a long build what could not be written after it.

    Raises:
        OutputUnwritable: when the directory, or the one to make it in, cannot be written.
    """
    absolute = directory.absolute()
    existing = next(path for path in (absolute, *absolute.parents) if os.path.lexists(path))
    if not existing.is_dir():
        raise _unwritable(directory, f"{existing} is no directory")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise _unwritable(directory, f"{existing} may not be written")


def write_new(path: Path, text: str) -> None:
    """Write a text file that must not be there yet.

    Raises:
        OutputUnwritable: when it is there, or cannot be written.
    """
    if os.path.lexists(path):
        raise OutputUnwritable(
            f"{path} must not be there yet, found one",
            hint="Edit it, or move it away.",
            path=str(path),
            reason=os.strerror(errno.EEXIST),
        )
    with appearing(path) as (temporary,):
        temporary.write_text(text, encoding="utf-8")


def _unwritable(path: Path, reason: str) -> OutputUnwritable:
    return OutputUnwritable(
        f"{path} is to be written, and it cannot be: {reason}",
        hint=_HINT,
        path=str(path),
        reason=reason,
    )
