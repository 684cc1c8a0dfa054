"""sha256 over bytes and over streams that must have a known size and digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from edge_runtime.contract.bundle.manifest import FileEntry
from edge_runtime.contract.errors import DigestMismatch


def sha256_hex(data: bytes) -> str:
    """Return the sha256 of bytes in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the sha256 of a whole file in lower-case hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
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


def _mismatch(entry: FileEntry, found: str) -> DigestMismatch:
    return DigestMismatch(
        f"{entry.path} must have {entry.size} bytes with sha256 {entry.sha256[:16]}…, "
        f"found {found}",
        hint="Fetch the bundle again; for an installed model, install its bundle again.",
        path=entry.path,
        expected={"size": entry.size, "sha256": entry.sha256},
        found=found,
    )
