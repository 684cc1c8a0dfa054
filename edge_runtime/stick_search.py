"""What lies on a stick: which files begin as bundles do, before anything of them is believed.

Names say nothing there: a bundle is found by its first block. The search is bounded, follows no
links, and looks into no bin.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from edge_runtime.contract.bundle.archive import BLOCK, begins_layout, unreadable
from edge_runtime.contract.bundle.files import is_directory, open_plain
from edge_runtime.contract.errors import EdgepackError

MAX_DEPTH = 4
MAX_ENTRIES = 20_000
MAX_TRUST_FILES = 16
TRUST_NAME = "trust.json"
# The words for what may be any release.
UNREAD = frozenset({"damaged", "forged", "half-copied", "unreadable"})

# What systems keep on sticks for themselves; what lies in a bin is not meant to be installed.
_SYSTEM = frozenset(
    {"$recycle.bin", "found.000", "lost+found", "lost.dir", "system volume information"}
)


@dataclass(frozen=True)
class Skipped:
    """What looks like a bundle and is not installed.

    Attributes:
        path: where it lies on the stick.
        word: why, in a word; ``docs/sticks.md`` lists them.
        reason: the same in a sentence; empty where the word says all.
        error: the error that installing it alone would be; None where it is no bundle at all.
    """

    path: str
    word: str
    reason: str = ""
    error: EdgepackError | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the form that ``--json`` prints."""
        code = self.error.code if self.error else None
        return {"path": self.path, "word": self.word, "reason": self.reason, "code": code}


@dataclass
class Search:
    """What lies on a stick.

    Attributes:
        directory: where it is mounted.
        paths: what begins as a bundle does, in the order of the paths.
        trust_files: what is called ``trust.json``, in the order of the paths.
        skipped: what looks like a bundle, and is not installed.
        others: how many other files were seen.
        partial: why not all of the stick was looked at; empty when it was.
    """

    directory: Path
    paths: list[Path] = field(default_factory=list)
    trust_files: list[Path] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    others: int = 0
    partial: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the form that ``--json`` prints."""
        skipped = [item.to_json() for item in self.skipped]
        return {"skipped": skipped, "others": self.others, "partial": self.partial}

    def skip(self, path: Path, word: str, reason: str | EdgepackError = "") -> None:
        """Say of a path in a word why it is not installed."""
        shown = str(path.relative_to(self.directory))
        if isinstance(reason, EdgepackError):
            self.skipped.append(Skipped(shown, word, reason.message, reason))
        else:
            self.skipped.append(Skipped(shown, word, reason))


def is_layout(directory: Path) -> bool:
    """Tell whether a directory is itself a bundle, be it a half-copied one."""
    marked = os.path.lexists(directory / "oci-layout")
    return marked or is_directory(directory / "blobs" / "sha256")


def search_stick(directory: Path) -> Search:
    """Find what begins as bundles do, a few levels deep.

    Raises:
        BundleUnreadable: when the directory itself cannot be read.
    """
    search, left = Search(directory), MAX_ENTRIES
    levels = [(directory, 1)]
    while levels and not search.partial:
        place, depth = levels.pop(0)
        try:
            with os.scandir(place) as entries:
                found = list(islice(entries, left + 1))
        except OSError as error:
            if place == directory:
                raise unreadable(directory, error) from None
            search.skip(place, "unreadable", unreadable(place, error))
            continue
        if len(found) > left:
            found.pop()
            search.partial = f"only the first {MAX_ENTRIES} files were looked at"
        left -= len(found)
        for entry in sorted(found, key=lambda entry: entry.name):
            try:
                inside = _is_directory(search, entry)
            except OSError as error:
                search.skip(Path(entry.path), "unreadable", unreadable(place, error))
                continue
            if inside and depth < MAX_DEPTH:
                levels.append((Path(entry.path), depth + 1))
    search.paths.sort()
    return search


def _is_directory(search: Search, entry: os.DirEntry[str]) -> bool:
    """Take what this is into the search; tell whether it is a directory to be looked into."""
    path = Path(entry.path)
    if not entry.is_dir(follow_symlinks=False):
        _take_file(search, entry)
        return False
    if _is_hidden(entry.name):
        return False
    if is_layout(path):
        search.paths.append(path)
        return False
    return True


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _SYSTEM


def _take_file(search: Search, entry: os.DirEntry[str]) -> None:
    path, named = Path(entry.path), entry.name.casefold().endswith(".tar")
    if named and entry.name.startswith("._"):
        search.skip(path, "appledouble")
    elif named and entry.is_symlink():
        search.skip(path, "link")
    elif _is_hidden(entry.name) or not entry.is_file(follow_symlinks=False):
        search.others += 1
    elif entry.name == TRUST_NAME and len(search.trust_files) < MAX_TRUST_FILES:
        search.trust_files.append(path)
    else:
        _look_inside(search, path, named=named)


def _look_inside(search: Search, path: Path, *, named: bool) -> None:
    """Tell a bundle by its first block. A tar is whole blocks: that spares opening the rest."""
    try:
        if not named and path.stat().st_size % BLOCK:
            search.others += 1
            return
        with open_plain(path) as stream:
            head = stream.read(BLOCK)
    except OSError as error:
        search.skip(path, "unreadable", unreadable(path, error))
        return
    if begins_layout(head):
        search.paths.append(path)
    elif named:
        search.skip(path, "foreign" if any(head) else "half-copied")
    else:
        search.others += 1
