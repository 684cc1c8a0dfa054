"""Who may write where in a store: its owner alone, and to what is installed nobody."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from edge_runtime.contract.errors import StoreCorrupt

_SHARED = ("metrics", "loads")
_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_BY_ANYBODY = stat.S_IWUSR | _BY_OTHERS


def writable_places(root: Path) -> Iterator[tuple[str, StoreCorrupt]]:
    """Yield what others than the owner may write, or what is a link, where neither may be.

    Versions are left out, because those are checked one by one, and so are metrics and loads,
    where others are to write.

    Args:
        root: the store's directory.
    """
    for place, names, files in os.walk(root):
        directory = Path(place)
        if directory.parent.parent == root / "models":
            if directory.name in ("versions", *_SHARED):
                names.clear()
            if directory.name in _SHARED:
                continue
        linked = [name for name in names if (directory / name).is_symlink()]
        for path in (directory, *(directory / name for name in (*files, *linked))):
            error = writable(path)
            if error:
                yield str(path.relative_to(root)), error


def writable(path: Path, *, by_owner: bool = False) -> StoreCorrupt | None:
    """Return what is wrong with a path that must be no link, and not for others to write.

    Args:
        path: a file or directory.
        by_owner: a file must not be for its owner to write either.
    """
    try:
        facts = path.lstat()
    except OSError:
        return None  # it was removed meanwhile
    mode, is_file = stat.S_IMODE(facts.st_mode), stat.S_ISREG(facts.st_mode)
    extra = mode & (_BY_ANYBODY if by_owner and is_file else _BY_OTHERS)
    if not is_file and not stat.S_ISDIR(facts.st_mode):
        return _wrong(path, "a plain file or directory", "a link or something else")
    if is_file and facts.st_nlink != 1:
        return _wrong(path, "a file with one name", f"one with {facts.st_nlink}")
    if extra:
        return _wrong(path, f"of mode {mode & ~extra:04o}", f"of mode {mode:04o}")
    return None


def _wrong(path: Path, expected: str, found: str) -> StoreCorrupt:
    return StoreCorrupt(
        f"{path} must be {expected}, it is {found}",
        hint=f"See who made it so, then set it right: {path}",
        path=str(path),
        expected=expected,
        found=found,
    )
