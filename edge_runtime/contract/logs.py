"""Metrics logs: whole directories of segments, read as windows that each count exactly once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edge_runtime.contract.segments import (
    PACKED,
    PLAIN,
    UNKNOWN,
    Content,
    Dropped,
    Header,
    Subject,
    decode,
    read_bytes,
)
from edge_runtime.contract.windows import Window

MAX_UNREADABLE: Final = 20  # reasons that are kept; all are counted

_NAME = re.compile(r"(?P<stem>(?P<number>[0-9]{8,12})-(?P<stream>[0-9a-f]{16}))\.jsonl(?:\.z)?")
_TEMPORARY = re.compile(r"[0-9]{8,12}-[0-9a-f]{16}\.tmp")


@dataclass
class Segment:
    """One segment as the names in its directories tell of it.

    Attributes:
        stream: 16 hex digits, the recorder that wrote it.
        number: its place among all in its directory.
        stem: its file name without the ending.
        directories: where it stands; several where copies of one log are read together.
    """

    stream: str
    number: int
    stem: str
    directories: set[Path] = field(default_factory=set)


@dataclass
class Listing:
    """The entries of log directories.

    Attributes:
        segments: by stem.
        temporary: leftovers of an interrupted compression.
        foreign: how many entries are none of ours.
    """

    segments: dict[str, Segment] = field(default_factory=dict)
    temporary: list[Path] = field(default_factory=list)
    foreign: int = 0

    def add(self, directory: Path) -> None:
        """List one directory.

        Raises:
            OSError: when it cannot be listed.
        """
        with os.scandir(directory) as entries:
            for entry in entries:
                self._take(Path(directory, entry.name), entry.is_file(follow_symlinks=False))

    def _take(self, path: Path, is_file: bool) -> None:
        match = _NAME.fullmatch(path.name) if is_file else None
        if match:
            new = Segment(match["stream"], int(match["number"]), match["stem"])
            self.segments.setdefault(new.stem, new).directories.add(path.parent)
        elif is_file and _TEMPORARY.fullmatch(path.name):
            self.temporary.append(path)
        else:
            self.foreign += 1

    def oldest_first(self) -> list[Segment]:
        """Return the segments in the order in which they were begun."""
        return sorted(self.segments.values(), key=lambda found: (found.number, found.stem))


@dataclass
class LogHealth:
    """What stands in the way of a complete log.

    Attributes:
        segments: segments read.
        damaged_lines: torn, flipped or foreign lines, each skipped.
        newer_lines: sound lines that only a newer runtime understands.
        missing_windows: gaps in the sequences of windows.
        foreign_files: entries in the directories that are no segments.
        unreadable_files: files and directories that could not be opened.
        reasons: why, for the first of them.
        dropped: what the byte cap has cost.
    """

    segments: int = 0
    damaged_lines: int = 0
    newer_lines: int = 0
    missing_windows: int = 0
    foreign_files: int = 0
    unreadable_files: int = 0
    reasons: list[str] = field(default_factory=list)
    dropped: Dropped = field(default_factory=Dropped)

    def unreadable(self, path: Path, error: OSError) -> None:
        """Count what could not be opened."""
        self.unreadable_files += 1
        if len(self.reasons) < MAX_UNREADABLE:
            self.reasons.append(f"{path}: {error.strerror or error}")

    def text(self) -> str:
        """Return one line for a person."""
        lost = {
            "damaged lines": self.damaged_lines,
            "lines of a newer runtime": self.newer_lines,
            "missing windows": self.missing_windows,
            "unreadable files": self.unreadable_files,
            "windows dropped by the byte cap": self.dropped.windows,
        }
        counts = {"segments": self.segments, **lost, "foreign files": self.foreign_files}
        told = [f"{what} {count}" for what, count in counts.items() if count]
        state = "incomplete" if any(lost.values()) else "complete"
        return "; ".join([state, ", ".join(told) or "no segments", *self.reasons])


class LogReader:
    """Iterates once over the windows of any number of log directories, newest first.

    Directories may hold copies of the same log; processes may be writing meanwhile. Memory is
    bounded by one segment. ``health`` is complete once the iteration has ended.

    Args:
        directories: of one model or of several.
    """

    def __init__(self, directories: Iterable[Path]) -> None:
        self.health = LogHealth()
        self.vanished = 0  # segments that were dropped between listing and reading
        self._directories = tuple(directories)
        self._subjects: dict[str, Subject] = {}
        self._replaced: set[str] = set()
        self._lowest: dict[str, int] = {}

    def __iter__(self) -> Iterator[tuple[str, Subject, Window]]:
        """Yield each window with its stream and with what it speaks of."""
        # Newest first: a header names older segments that no longer count, and a line that
        # was written again after a failure is met before the one that it replaces.
        for segment in reversed(self._list().oldest_first()):
            if segment.stem not in self._replaced:
                yield from self._windows(segment)

    def _list(self) -> Listing:
        listing = Listing()
        for directory in self._directories:
            try:
                listing.add(directory)
            except OSError as error:
                self.health.unreadable(directory, error)
        self.health.foreign_files = listing.foreign
        return listing

    def _windows(self, segment: Segment) -> Iterator[tuple[str, Subject, Window]]:
        contents = [
            content
            for directory in sorted(segment.directories)
            for content in self._contents(directory, segment.stem)
        ]
        self.health.segments += bool(contents)
        for content in contents:
            self.health.damaged_lines += content.damaged_lines
            self.health.newer_lines += content.newer_lines
        header = next((content.header for content in contents if content.header), None)
        if header:
            self._learn(header)
        stream = header.stream if header else segment.stream
        subject = self._subjects.get(stream, UNKNOWN)
        windows = {
            number: window for content in contents for number, window in content.windows.items()
        }
        for number in sorted(windows, reverse=True):
            if self._is_new(stream, number):
                yield stream, subject, windows[number]

    def _contents(self, directory: Path, stem: str) -> list[Content]:
        """Read a segment's file, or both where it is being compressed.

        The plain file is tried first and the other then in any case: whoever compresses in
        between makes the second before he removes the first.
        """
        contents, failed = [], False
        for ending in (PLAIN, PACKED):
            path = directory / f"{stem}{ending}"
            try:
                contents.append(decode(read_bytes(path), packed=ending == PACKED))
            except FileNotFoundError:
                continue
            except OSError as error:
                failed = True
                self.health.unreadable(path, error)
        self.vanished += not contents and not failed
        return contents

    def _learn(self, header: Header) -> None:
        self._subjects.setdefault(header.stream, header.subject)
        self._replaced.update(header.replaced)
        self.health.dropped = self.health.dropped.plus(header.dropped)

    def _is_new(self, stream: str, number: int) -> bool:
        """Tell a window from the copy of one seen, and count the gap before it."""
        lowest = self._lowest.get(stream)
        if lowest is not None and number >= lowest:
            return False
        if lowest is not None:
            self.health.missing_windows += lowest - number - 1
        self._lowest[stream] = number
        return True
