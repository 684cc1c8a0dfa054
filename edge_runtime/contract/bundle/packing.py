"""Packed files: in the archive a file may stand as a gzipped tar of its own, to be smaller.

It is ModelPack's form ``….v1.tar+gzip``, and stock tar opens it: one gzip stream (RFC 1952) of
a ustar archive with one entry, the file under its path. What it unpacks to is signed, and so is
the blob itself, by size and digest: a decompressor must see no byte that nobody signed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath

from edge_runtime.contract.bundle.archive import BLOCK, corrupt, render_header
from edge_runtime.contract.bundle.content import CHUNK, Content, chunks_of, size_of
from edge_runtime.contract.bundle.digests import checked_before
from edge_runtime.contract.bundle.manifest import MAX_PACKED_PATH, FileEntry
from edge_runtime.contract.errors import ArchiveCorrupt

# Level 9 was measured to take ten times as long on a forest and to gain 2 % more.
_LEVEL = 6
_GZIP = 16 + zlib.MAX_WBITS

# Weights beside a graph are floats, which do not shrink, and documents are for tools to show.
_SUFFIXES = (".onnx", ".npz")
_SHARE = 0.9
# A few bytes less are not worth a bundle that older runtimes refuse.
_LEAST_GAIN = 4096


def packed(path: str, content: Content) -> bytes | None:
    """Return a file as the archive holds it packed; None where that does not pay.

    It pays where a graph or golden vectors lose a tenth and 4096 bytes at least. The same bytes
    under the same path and the same zlib are packed into the same bytes: the header names no
    file and no time.
    """
    size = size_of(content)
    limit = min(int(_SHARE * size), size - _LEAST_GAIN)
    if not _may_be_packed(path) or limit <= 0:
        return None
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    found = bytearray()
    for chunk in framed(path, size, chunks_of(content, path)):
        found += deflate.compress(chunk)
        if len(found) > limit:
            return None
    found += deflate.flush()
    return bytes(found) if len(found) <= limit else None


def packed_size(path: str, content: Content) -> int:
    """Return how many bytes a file takes in the archive."""
    found = packed(path, content)
    return size_of(content) if found is None else len(found)


def _may_be_packed(path: str) -> bool:
    return PurePosixPath(path).suffix in _SUFFIXES and len(path) <= MAX_PACKED_PATH


def framed(path: str, size: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the tar with one file in it, at most ``CHUNK`` bytes at a time."""
    yield render_header(path, size)
    for chunk in chunks:
        for start in range(0, len(chunk), CHUNK):
            yield chunk[start : start + CHUNK]
    yield _end(size)


def _end(size: int) -> bytes:
    """Return what follows the file: zeros up to the next block, and the end mark."""
    return bytes(-size % BLOCK + 2 * BLOCK)


def unpacked(entry: FileEntry, read: Callable[[], Iterator[bytes]]) -> Iterator[bytes]:
    """Yield the bytes of a packed file, which the caller has still to compare with its entry.

    Memory is bounded whatever the blob holds, and inflating stops at the signed plain size.

    Args:
        entry: the signed entry of a packed file.
        read: reads its blob from the beginning; it is called twice.

    Raises:
        DigestMismatch: when the blob is not the signed one, before any of it is inflated.
        ArchiveCorrupt: when it is no gzipped tar of that one file.
    """
    return _unframed(entry, _inflated(entry, checked_before(read, entry.blob)))


def _inflated(entry: FileEntry, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what one gzip stream holds, at most ``CHUNK`` bytes at a time."""
    inflate = zlib.decompressobj(_GZIP)
    for chunk in chunks:
        left = chunk
        while left and not inflate.eof:
            yield _step(entry, inflate, left)
            left = inflate.unconsumed_tail
        if inflate.unused_data or left:
            raise _wrong(entry, "bytes after its gzip stream")
    while not inflate.eof and (held := _step(entry, inflate, b"")):
        yield held
    if not inflate.eof:
        raise _wrong(entry, "a gzip stream that ends early")


def _step(entry: FileEntry, inflate: zlib._Decompress, data: bytes) -> bytes:
    try:
        return inflate.decompress(data, CHUNK)
    except zlib.error as error:
        raise _wrong(entry, f"no gzip stream: {error}") from None


def _unframed(entry: FileEntry, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the one file of a tar whose every other byte must be as we write it."""
    begin, end = render_header(entry.path, entry.size), _end(entry.size)
    start, stop = len(begin), len(begin) + entry.size
    at = 0
    for chunk in chunks:
        first, last, past = max(start - at, 0), max(stop - at, 0), max(at - stop, 0)
        head, body, tail = chunk[:first], chunk[first:last], chunk[last:]
        if head != begin[at : at + len(head)] or tail != end[past : past + len(tail)]:
            raise _wrong(entry, "another tar")
        at += len(chunk)
        yield body
    if at != stop + len(end):
        raise _wrong(entry, "a tar that ends early")


def _wrong(entry: FileEntry, found: str) -> ArchiveCorrupt:
    wanted = f"a gzipped tar of {entry.path} alone, with {entry.size} bytes"
    return corrupt(wanted, found, name=entry.path)
