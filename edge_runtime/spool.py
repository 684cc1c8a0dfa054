"""A bundle that comes through the standard input: kept where nobody else reaches it.

The file has no name from the beginning on, so that nothing of it is left, however the command
ends. What came is hashed on the way, to be compared with the file where it came from.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edge_runtime.contract.bundle.content import CHUNK
from edge_runtime.contract.errors import BundleUnreadable, NoSpace
from edge_runtime.contract.units import size
from edge_runtime.state import disk
from edge_runtime.state.store import Store

# Whatever comes, other programs of the device can go on writing.
KEPT_FREE = 16 << 20
_KEPT_SHARE = 16


@dataclass(frozen=True)
class Spooled:
    """What came through a stream.

    Attributes:
        path: where it can be read meanwhile.
        size: how many bytes came.
        sha256: their digest in hex.
    """

    path: Path
    size: int
    sha256: str


@contextmanager
def spooled(stream: BinaryIO, store: Store) -> Iterator[Spooled]:
    """Keep all that comes through a stream on the store's disk, as long as the context lasts.

    Raises:
        BundleUnreadable: when nothing comes, or it cannot be read.
        NoTrustedKey: when there is no store yet.
        NoSpace: when it does not fit beside what has to stay free.
        StoreBusy: when another process is writing to the store.
        StoreUnwritable: when this user may not write there.
    """
    with _nameless(store) as kept:
        digest, count = hashlib.sha256(), 0
        while chunk := _read(stream):
            count += len(chunk)
            digest.update(chunk)
            _require_room(store.root, count, len(chunk))
            with disk.writing(store.root):
                kept.write(chunk)
        with disk.writing(store.root):
            kept.flush()
        if not count:
            raise _unreadable("nothing came")
        yield Spooled(Path(f"/proc/self/fd/{kept.fileno()}"), count, digest.hexdigest())


def _nameless(store: Store) -> BinaryIO:
    if not store.root.is_dir():
        store.trust.keys()  # there are none, and no store is made to say so
    with store.writing(), disk.writing(store.root):
        disk.make_directory(store.incoming)
        path = store.incoming / "stdin"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        disk.remove_tree(store.incoming)
    return os.fdopen(descriptor, "w+b")


def _read(stream: BinaryIO) -> bytes:
    try:
        return stream.read(CHUNK)
    except OSError as error:
        raise _unreadable(error.strerror or str(error)) from None


def _unreadable(reason: str) -> BundleUnreadable:
    return BundleUnreadable(
        f"a bundle was to come through the standard input: {reason}",
        hint="Send a bundle: cat fraud-1.4.0.oci.tar | edge-runtime install -",
        path="the standard input",
        reason=reason,
    )


def _require_room(root: Path, count: int, more: int) -> None:
    facts = os.statvfs(root)
    free = facts.f_bavail * facts.f_frsize
    kept = min(KEPT_FREE, facts.f_blocks * facts.f_frsize // _KEPT_SHARE)
    if free - more < kept:
        raise NoSpace(
            f"at least {size(count)} come through the standard input, {root} has {size(free)} "
            f"free, and {size(kept)} stay free for others",
            hint="Free space on the store's disk, or install from a file: that needs it once.",
            path=str(root),
            expected=count,
            found=free,
        )
