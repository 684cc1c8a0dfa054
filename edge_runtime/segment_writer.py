"""Writes the metrics log: one synced line a window, segments compressed, the oldest dropped.

Two kernel locks (flock) keep processes apart, and a dead process holds none. The directory's is
held while segments are made, compressed or dropped; each segment's own is held by its writer
for as long as it writes, so that nobody touches a segment that is still growing.
"""

from __future__ import annotations

import fcntl
import io
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from edge_runtime import __version__
from edge_runtime.contract.logs import Listing, Segment
from edge_runtime.contract.segments import (
    MAX_NUMBER,
    MAX_REPLACED,
    MAX_SEGMENT_BYTES,
    PACKED,
    PLAIN,
    Content,
    Dropped,
    Header,
    Subject,
    decode,
    frame,
    open_plain,
    read_bytes,
)

CAP_BYTES: Final = 16 << 20  # of one directory, all processes together
SEGMENT_BYTES: Final = 64 << 10  # of lines; then the segment is closed
MIN_CAP_BYTES: Final = 128 << 10
_BLOCK: Final = 4096
_LOCK_WAIT_S: Final = 2.0
_LOCK_STEP_S: Final = 0.01
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class SegmentWriter:
    """One recorder's stream of segments in a log directory.

    Args:
        directory: must exist; other processes may write to it as well.
        subject: what the log speaks of.
        cap_bytes: what all segments in the directory may take up, counted in blocks of 4 KiB.
    """

    def __init__(self, directory: Path, subject: Subject, *, cap_bytes: int) -> None:
        self._directory = directory
        self._subject = subject
        self._cap = max(cap_bytes, MIN_CAP_BYTES)
        self._segment_bytes = min(SEGMENT_BYTES, self._cap // 16)
        self._stream = os.urandom(8).hex()
        self._file: io.FileIO | None = None
        self._size = 0

    def append(self, value: dict[str, Any]) -> None:
        """Write one line and sync it to the disk.

        Raises:
            OSError: when that failed; the same line, or one that holds more, may then be
                appended again under the same sequence.
        """
        line = frame(value)
        if self._file is not None and os.fstat(self._file.fileno()).st_nlink:
            self._extend(self._file, line)
        else:
            self.close()
            self._begin(line)
        if self._size >= self._segment_bytes:
            self.close()

    def close(self) -> None:
        """Let go of the current segment; whoever begins the next one compresses it."""
        if self._file is not None:
            # Closing is not enough: a forked child may still hold the same open file.
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self.abandon()

    def abandon(self) -> None:
        """Let go of it in a forked child, where the lock stays the parent's."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def _extend(self, file: io.FileIO, line: bytes) -> None:
        try:
            _write(file, line, self._size)
        except OSError:
            # After a failed sync nobody knows what is on the disk: cut it off, go elsewhere.
            with suppress(OSError):
                os.ftruncate(file.fileno(), self._size)
            self.close()
            raise
        self._size += len(line)

    def _begin(self, line: bytes) -> None:
        """Begin a segment with its header and first window, making room for it before."""
        with _locked(self._directory) as directory:
            tidy = _Tidy(self._directory, directory)
            with ExitStack() as undo:
                victims = tidy.victims(self._cap, self._segment_bytes)
                header = self._header(tidy.listing, victims)
                path = self._directory / f"{header.stem}{PLAIN}"
                self._file = io.FileIO(path, "x")
                undo.callback(self._take_back, path)
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                begun = frame(header.to_json()) + line
                _write(self._file, begun, 0)
                os.fsync(directory)
                undo.pop_all()
            self._size = len(begun)
            for victim, _ in victims:
                tidy.remove(victim.stem)

    def _take_back(self, path: Path) -> None:
        self.close()
        with suppress(OSError):
            path.unlink()

    def _header(self, listing: Listing, victims: list[tuple[Segment, Dropped]]) -> Header:
        newest = max((segment.number for segment in listing.segments.values()), default=0)
        dropped = Dropped()
        for _, cost in victims:
            dropped = dropped.plus(cost)
        return Header(
            stream=self._stream,
            number=min(newest + 1, MAX_NUMBER),
            boot=_boot_id(),
            pid=os.getpid(),
            runtime=__version__,
            subject=self._subject,
            dropped=dropped,
            replaced=tuple(victim.stem for victim, _ in victims),
        )


class _Tidy:
    """Sets a log directory in order, under its lock: what crashes left, what fills it up."""

    def __init__(self, directory: Path, descriptor: int) -> None:
        self._directory = directory
        self.listing = Listing()
        self.listing.add(directory)
        for path in self.listing.temporary:
            with suppress(OSError):
                path.unlink()
        stems = [segment.stem for segment in self.listing.oldest_first()]
        plain = [stem for stem in stems if self._path(stem, PLAIN).exists()]
        self._growing = {stem for stem in plain if self._is_growing(stem)}
        packed = [stem for stem in plain if stem not in self._growing and self._pack(stem)]
        if packed:
            os.fsync(descriptor)
        for stem in packed:
            with suppress(OSError):
                self._path(stem, PLAIN).unlink()

    def _path(self, stem: str, ending: str) -> Path:
        return self._directory / f"{stem}{ending}"

    def _is_growing(self, stem: str) -> bool:
        try:
            with open_plain(self._path(stem, PLAIN)) as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True  # somebody writes to it, or it is not ours to read: let it be
        return False

    def _pack(self, stem: str) -> bool:
        """Compress a closed segment, and finish what its writer may have left half done."""
        temporary = self._path(stem, ".tmp")
        # What cannot be compressed stays as it is: it is read and counted all the same.
        try:
            data = read_bytes(self._path(stem, PLAIN))
            if len(data) > MAX_SEGMENT_BYTES:
                return False
            header = decode(data, packed=False).header
            for replaced in header.replaced if header else ():
                self.remove(replaced)
            with temporary.open("xb", buffering=0) as file:
                _write(file, zlib.compress(data), 0)
            temporary.replace(self._path(stem, PACKED))
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            return False
        return True

    def remove(self, stem: str) -> None:
        """Remove a segment of this directory that a synced header names as replaced."""
        if self.listing.segments.pop(stem, None) is None:
            return
        for ending in (PLAIN, PACKED):
            # If it cannot be, readers pass over it, and the next one to pack that header tries.
            with suppress(OSError):
                self._path(stem, ending).unlink()

    def victims(self, cap: int, segment_bytes: int) -> list[tuple[Segment, Dropped]]:
        """Choose the oldest closed segments whose end makes room for one more."""
        room = 2 * _blocks(segment_bytes)  # a segment, and beside it the compressed one
        segments = self.listing.oldest_first()
        used = {segment.stem: self._charge(segment.stem, room) for segment in segments}
        excess = sum(used.values()) + room - cap
        victims: list[tuple[Segment, Dropped]] = []
        for segment in segments:
            if excess <= 0 or len(victims) == MAX_REPLACED:
                break
            if segment.stem not in self._growing:
                victims.append((segment, self._cost(segment.stem)))
                excess -= used[segment.stem]
        return victims

    def _charge(self, stem: str, growing: int) -> int:
        if stem in self._growing:
            return growing
        sizes = 0
        for ending in (PLAIN, PACKED):
            with suppress(OSError):
                sizes += _blocks(self._path(stem, ending).lstat().st_size)
        return sizes

    def _cost(self, stem: str) -> Dropped:
        whole = Content()
        for ending in (PLAIN, PACKED):
            with suppress(OSError):
                data = read_bytes(self._path(stem, ending))
                content = decode(data, packed=ending == PACKED)
                whole.windows.update(content.windows)
                whole.header = whole.header or content.header
        return whole.dropping()


@contextmanager
def _locked(directory: Path) -> Iterator[int]:
    """Hold the directory's lock, and give its descriptor."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _wait_for(descriptor)
        try:
            yield descriptor
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int) -> None:
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                reason = "another process holds the log's lock"
                raise BlockingIOError(error.errno, reason) from None
            time.sleep(_LOCK_STEP_S)
        else:
            return


def _write(file: io.FileIO, data: bytes, offset: int) -> None:
    """Write all of it at an offset and sync it."""
    left = memoryview(data)
    while left:
        written = os.pwrite(file.fileno(), left, offset)
        left, offset = left[written:], offset + written
    os.fdatasync(file.fileno())


def _blocks(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_bytes().decode("ascii").strip()
    except OSError:
        return "unknown"
