"""A file's bytes a piece at a time, unpacked on the way, in bounded memory."""

from __future__ import annotations

import bz2
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Protocol

MAX_BYTES = 2 << 30  # a few bytes may unpack to anything
_PIECE = 1 << 20
_LZMA_MEMORY = 256 << 20
_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS

# What the readers raise on bytes that are not of their form.
DAMAGED = (
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    zipfile.BadZipFile,
    zlib.error,
)


class _Unpacker(Protocol):
    """What the decompressors of bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Zlib:
    """The same for zlib, which hands back what it has not used."""

    def __init__(self) -> None:
        self._unpacker = zlib.decompressobj(_ZLIB_OR_GZIP)

    @property
    def eof(self) -> bool:
        return self._unpacker.eof

    @property
    def needs_input(self) -> bool:
        return not self._unpacker.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._unpacker.decompress(self._unpacker.unconsumed_tail + data, max_length)


def _lzma() -> _Unpacker:
    return lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)


# How a compressed file begins, as joblib tells them apart.
_UNPACKERS: dict[bytes, Callable[[], _Unpacker]] = {
    b"x": _Zlib,
    b"\x1f\x8b": _Zlib,
    b"BZ": bz2.BZ2Decompressor,
    b"\xfd7zXZ": _lzma,
    b"\x5d\x00": _lzma,
}


def pieces(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes, unpacked where it is compressed as a whole, up to ``MAX_BYTES``.

    Raises:
        DAMAGED: one of these, when it cannot be read or unpacked.
    """
    with path.open("rb") as file:
        head = file.read(max(map(len, _UNPACKERS)))
        file.seek(0)
        known = [make for magic, make in _UNPACKERS.items() if head.startswith(magic)]
        yield from _bounded(_unpacked(file, known[0]()) if known else _plain(file))


def member_pieces(path: Path, wanted: Callable[[str], bool]) -> Iterator[bytes]:
    """Yield the bytes of the first member of a zip archive whose name is wanted.

    Raises:
        DAMAGED: one of these, when it is no such archive or lacks the member.
    """
    with zipfile.ZipFile(path) as archive:
        name = next((name for name in archive.namelist() if wanted(name)), "")
        with archive.open(name) as member:
            yield from _bounded(_plain(member))


def _bounded(parts: Iterator[bytes]) -> Iterator[bytes]:
    left = MAX_BYTES
    for part in parts:
        yield part
        left -= len(part)
        if left <= 0:
            return


def _plain(file: IO[bytes]) -> Iterator[bytes]:
    while part := file.read(_PIECE):
        yield part


def _unpacked(file: IO[bytes], unpacker: _Unpacker) -> Iterator[bytes]:
    while not unpacker.eof:
        data = file.read(_PIECE) if unpacker.needs_input else b""
        if unpacker.needs_input and not data:
            return  # it is cut short; what came so far still counts
        yield unpacker.decompress(data, _PIECE)
