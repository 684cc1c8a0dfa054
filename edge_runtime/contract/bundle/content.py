"""Bytes of a package's files: held, or, where they are too many, read piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from edge_runtime.contract.bundle.digests import checked, sha256_hex
from edge_runtime.contract.bundle.files import open_plain
from edge_runtime.contract.bundle.manifest import FileEntry

CHUNK = 1 << 20


@dataclass(frozen=True)
class Stored:
    """Bytes that lie somewhere and are read whenever they are asked for.

    Attributes:
        size: how many they must be.
        sha256: what they must hash to, in hex.
        chunks: reads them, a piece at a time; what it yields is not believed.
    """

    size: int
    sha256: str
    chunks: Callable[[], Iterator[bytes]] = field(repr=False, compare=False)


Content: TypeAlias = bytes | Stored


def file_chunks(path: Path) -> Iterator[bytes]:
    """Yield a regular file's bytes, at most ``CHUNK`` at a time.

    Raises:
        OSError: when it cannot be read, or is no regular file.
    """
    with open_plain(path, follow=True) as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def size_of(content: Content) -> int:
    """Return how many bytes there are."""
    return content.size if isinstance(content, Stored) else len(content)


def digest_of(content: Content) -> str:
    """Return the sha256 of the bytes in lower-case hex."""
    return content.sha256 if isinstance(content, Stored) else sha256_hex(content)


def chunks_of(content: Content, what: str) -> Iterator[bytes]:
    """Yield the bytes; at their end, or earlier, raise unless they are the known ones.

    Args:
        content: the bytes.
        what: what errors call them.

    Raises:
        DigestMismatch: when stored bytes have changed since their digest was taken.
    """
    if isinstance(content, Stored):
        yield from checked(content.chunks(), FileEntry(what, content.size, content.sha256))
    else:
        yield content
