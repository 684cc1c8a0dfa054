"""The bundle as a file: an OCI image layout, read strictly out of a tar or a directory.

Only what the packager or ``skopeo`` writes is accepted: regular ustar entries of the three
kinds of names that a layout has. The format is the OCI image layout 1.0 inside POSIX.1-1988
``ustar``; extensions (pax, GNU long names, sparse, links, devices) are refused unseen.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from edge_runtime.contract.bundle.content import CHUNK, Content, chunks_of, size_of
from edge_runtime.contract.bundle.files import NotPlainError, open_plain
from edge_runtime.contract.errors import (
    ArchiveCorrupt,
    BlobMissing,
    BundleUnreadable,
    DigestMismatch,
)

LAYOUT_NAME = "oci-layout"
INDEX_NAME = "index.json"
BLOCK = 512
LAYOUT_BYTES = b'{"imageLayoutVersion":"1.0.0"}'
# The size of an entry has eleven octal digits.
MAX_ENTRY_BYTES = 8**11 - 1

_MAX_ENTRIES = 10_000
_MAX_TRAILER = 1 << 20
_ENTRY = re.compile(r"oci-layout|index\.json|blobs/sha256/[0-9a-f]{64}")
_DIRECTORIES = frozenset({"blobs/", "blobs/sha256/", "blobs", "blobs/sha256", "./"})
_NUMBER = re.compile(rb" *[0-7]+[ \0]*")


def blob_name(digest: str) -> str:
    """Return the layout's name of the blob with this sha256 in hex."""
    return f"blobs/sha256/{digest}"


class Layout(Protocol):
    """An open image layout; nothing that it says or holds is trusted."""

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield an entry's bytes, at most ``CHUNK`` at a time."""

    def close(self) -> None:
        """Close the file."""


def begins_layout(block: bytes) -> bool:
    """Tell whether a file's first block begins the tar of a layout, be it a refused one."""
    first, _, _ = block[:100].rstrip(b"\0").removeprefix(b"./").partition(b"/")
    return block[257:262] == b"ustar" and first in (b"", b"oci-layout", b"index.json", b"blobs")


def open_layout(path: Path) -> Layout:
    """Open a bundle file or directory.

    Raises:
        BundleUnreadable: when the path is neither, or cannot be read.
        ArchiveCorrupt: when the file is no tar of the strict form.
    """
    try:
        if path.is_dir():
            return _DirectoryLayout(path)
        return _TarLayout(path)
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> BundleUnreadable:
    """Return the error for a bundle that the system does not let us read."""
    reason = error.strerror or str(error)
    return BundleUnreadable(
        f"a bundle is a readable .oci.tar file or directory, {path} is not: {reason}",
        hint="Check the path and the medium, then try again.",
        path=str(path),
        reason=reason,
    )


def read_entry(layout: Layout, name: str, limit: int) -> bytes:
    """Return a small entry whole.

    Raises:
        ArchiveCorrupt: when it is larger than ``limit`` bytes.
        BlobMissing: when it is not there.
    """
    data = bytearray()
    for chunk in layout.chunks(name):
        data += chunk
        if len(data) > limit:
            raise corrupt(f"at most {limit} bytes in {name}", "more", name=name)
    return bytes(data)


class _DirectoryLayout:
    """A layout as loose files; other names in the directory are never looked at."""

    def __init__(self, path: Path) -> None:
        self._path = path
        for name in ("blobs", "blobs/sha256"):
            if (path / name).is_symlink():
                raise corrupt(f"a directory at {name}", "a link", name=name)
        for name in (LAYOUT_NAME, INDEX_NAME):
            if not os.path.lexists(path / name):
                raise FileNotFoundError(errno.ENOENT, f"it holds no {name}")

    def chunks(self, name: str) -> Iterator[bytes]:
        try:
            with open_plain(self._path / name) as stream:
                while chunk := stream.read(CHUNK):
                    yield chunk
        except FileNotFoundError:
            raise missing(name) from None
        except NotPlainError:
            raise corrupt(f"a regular file at {name}", "something else", name=name) from None
        except OSError as error:
            raise unreadable(self._path, error) from None

    def close(self) -> None:
        """Nothing stays open."""


class _TarLayout:
    """A layout inside one tar, read through one descriptor that stays open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream = open_plain(path, follow=True)
        try:
            self._entries = _scan(self._stream, path)
        except BaseException:
            self._stream.close()
            raise

    def _find(self, name: str) -> tuple[int, int]:
        found = self._entries.get(name)
        if found is None:
            raise missing(name)
        return found

    def chunks(self, name: str) -> Iterator[bytes]:
        offset, left = self._find(name)
        try:
            while left:
                self._stream.seek(offset)
                chunk = self._stream.read(min(CHUNK, left))
                if not chunk:
                    raise corrupt(
                        f"{left} more bytes in {name}", "the end of the file", name=name
                    )
                offset, left = offset + len(chunk), left - len(chunk)
                yield chunk
        except OSError as error:
            raise unreadable(self._path, error) from None

    def close(self) -> None:
        self._stream.close()


def missing(name: str) -> BlobMissing:
    """Return the error for an entry that is referred to and not there."""
    return BlobMissing(
        f"the bundle refers to {name}, and it is not in the bundle",
        hint="Fetch the whole bundle again; a partial copy cannot be installed.",
        expected=name,
        found=None,
    )


def _scan(stream: BinaryIO, path: Path) -> dict[str, tuple[int, int]]:
    """Return offset and size of every file entry, having read every header and all padding."""
    end = stream.seek(0, os.SEEK_END)
    entries: dict[str, tuple[int, int]] = {}
    offset = 0
    for _ in range(_MAX_ENTRIES):
        header = _read_at(stream, offset, BLOCK)
        if len(header) < BLOCK:
            raise corrupt("a tar that ends with its end mark", f"{end} bytes without one")
        if not any(header):
            _check_trailer(stream, offset, end)
            _require_layout(entries, path)
            return entries
        name, size, is_file = _header(header)
        data = offset + BLOCK
        offset = data + -(-size // BLOCK) * BLOCK
        if offset > end:
            raise corrupt(f"{size} bytes in {name}", "the end of the file", name=name)
        if any(_read_at(stream, data + size, offset - data - size)):
            raise corrupt(f"zeros after {name}", "other bytes", name=name)
        if is_file and name in entries:
            raise corrupt(f"{name} once", "twice", name=name)
        if is_file:
            entries[name] = (data, size)
    raise corrupt(f"at most {_MAX_ENTRIES} entries", "more")


def _header(block: bytes) -> tuple[str, int, bool]:
    """Return name, size and whether it is a file, of one header block that is all in order."""
    checksum = _octal(block[148:156], "a header checksum")
    if checksum != sum(block) - sum(block[148:156]) + 8 * ord(" "):
        raise corrupt("a header whose checksum holds", "one that fails")
    if block[257:263] not in (b"ustar\0", b"ustar ") or any(block[345:500]):
        raise corrupt("plain ustar headers", "another kind")
    name = block[:100].rstrip(b"\0").decode("ascii", "replace")
    size = _octal(block[124:136], f"the size of {name!r}")
    kind = block[156:157]
    if any(block[157:257]):
        raise corrupt("regular files only", f"a link at {name!r}", name=name)
    if kind == b"5" and name in _DIRECTORIES and size == 0:
        return name, 0, False
    if kind not in (b"0", b"\0") or not _ENTRY.fullmatch(name):
        shown = f"{name[:100]!r} of type {kind.decode('ascii', 'replace')!r}"
        raise corrupt("regular files with the names of an image layout", shown, name=name[:100])
    return name, size, True


def _octal(field: bytes, what: str) -> int:
    if not _NUMBER.fullmatch(field):
        raise corrupt(f"{what} in octal digits", repr(field))
    return int(field.strip(b" \0"), 8)


def _read_at(stream: BinaryIO, offset: int, size: int) -> bytes:
    stream.seek(offset)
    return stream.read(size)


def _check_trailer(stream: BinaryIO, offset: int, end: int) -> None:
    size = end - offset
    if not 2 * BLOCK <= size <= _MAX_TRAILER or any(_read_at(stream, offset, size)):
        raise corrupt("only zeros from the end mark on", f"{size} bytes that are not")


def _require_layout(entries: dict[str, tuple[int, int]], path: Path) -> None:
    for name in (LAYOUT_NAME, INDEX_NAME):
        if name not in entries:
            raise corrupt(f"{name} in {path.name}", "none", name=name)


def corrupt(wanted: str, found: str, *, name: str | None = None) -> ArchiveCorrupt:
    """Return the error for an archive, or a packed file, that is not of the strict form."""
    return ArchiveCorrupt(
        f"a bundle's archive has {wanted}, found {found}",
        hint="Fetch the bundle again; if it stays so, build it again.",
        expected=wanted,
        found=found,
        entry=name,
    )


def write_layout(path: Path, entries: Iterable[tuple[str, Content]]) -> None:
    """Write a tar with these entries in this order: the same entries give the same bytes.

    The caller names a temporary path and renames it once the bundle is verified.

    Raises:
        DigestMismatch: when stored bytes are no longer those whose digest was taken.
        OSError: when the file cannot be written.
    """
    with path.open("wb") as stream:
        for name, content in entries:
            size = size_of(content)
            stream.write(render_header(name, size))
            for chunk in chunks_of(content, name):
                stream.write(chunk)
            stream.write(bytes(-size % BLOCK))
        stream.write(bytes(2 * BLOCK))
        stream.flush()
        os.fsync(stream.fileno())


def render_header(name: str, size: int) -> bytes:
    """Return a ustar header of a plain file with mode 0644 and every variable field at zero."""
    if size > MAX_ENTRY_BYTES:
        raise DigestMismatch(
            f"an archive entry holds at most {MAX_ENTRY_BYTES} bytes, {name} has {size}",
            hint="Build a smaller model, or one of lower precision.",
            expected=MAX_ENTRY_BYTES,
            found=size,
        )
    fields = (
        name.encode("ascii").ljust(100, b"\0"),
        b"0000644\0",
        b"0000000\0",
        b"0000000\0",
        b"%011o\0" % size,
        b"%011o\0" % 0,
        b" " * 8,
        b"0",
        bytes(100),
        b"ustar\x0000",
        bytes(64),
        b"0000000\0",
        b"0000000\0",
        bytes(167),
    )
    block = b"".join(fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
