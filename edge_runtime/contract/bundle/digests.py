"""sha256 over bytes and over streams that must have a known size and digest."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from edge_runtime.contract.bundle.manifest import FileEntry
from edge_runtime.contract.errors import DigestMismatch


def sha256_hex(data: bytes) -> str:
    """Return the sha256 of bytes in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the sha256 of a whole file in lower-case hex."""
    with path.open("rb") as stream:
        return sha256_chunks(iter(lambda: stream.read(1 << 20), b""))


def sha256_chunks(chunks: Iterable[bytes]) -> str:
    """Return the sha256 of bytes that come in pieces in lower-case hex."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def checked(chunks: Iterable[bytes], entry: FileEntry) -> Iterator[bytes]:
    """Yield the chunks of a file and raise at its end, or earlier, unless it is the signed one.

    Whoever consumes the chunks must not use them before the iterator has ended.

    Raises:
        DigestMismatch: when size or sha256 are not the signed ones.
    """
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        size += len(chunk)
        if size > entry.size:
            raise _mismatch(entry, f"more than {entry.size} bytes")
        digest.update(chunk)
        yield chunk
    if size != entry.size:
        raise _mismatch(entry, f"{size} bytes")
    if digest.hexdigest() != entry.sha256:
        raise _mismatch(entry, f"sha256 {digest.hexdigest()[:16]}…")


def checked_before(read: Callable[[], Iterator[bytes]], entry: FileEntry) -> Iterator[bytes]:
    """Yield the chunks of a file, none of them before all together were the signed ones.

    It is read twice. Digests of the chunks are kept from the first time, 32 bytes for each, so
    that whatever is yielded has been checked, even where the medium changes in between.

    Args:
        read: reads the file from its beginning.
        entry: what it must be.

    Raises:
        DigestMismatch: when size or sha256 are not the signed ones.
    """
    marks = deque(hashlib.sha256(chunk).digest() for chunk in checked(read(), entry))
    for chunk in read():
        if not marks or hashlib.sha256(chunk).digest() != marks.popleft():
            raise _mismatch(entry, "other bytes when it was read again")
        yield chunk
    if marks:
        raise _mismatch(entry, "fewer bytes when it was read again")


def _mismatch(entry: FileEntry, found: str) -> DigestMismatch:
    return DigestMismatch(
        f"{entry.path} must have {entry.size} bytes with sha256 {entry.sha256[:16]}…, "
        f"found {found}",
        hint="Fetch the bundle again; for an installed model, install its bundle again.",
        path=entry.path,
        expected={"size": entry.size, "sha256": entry.sha256},
        found=found,
    )
