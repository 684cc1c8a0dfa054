"""Four stores that were written with one mistake each, for the harness to catch.

    python -m power_broken STYLE --store DIR install BUNDLE

Each is this very runtime, its way to the disk replaced by one that is seen in the field.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from edge_runtime import __main__ as command_line
from edge_runtime.state import disk, record

_sync = os.fsync
_write = disk.write_file


def in_place() -> None:
    """Write files where they belong, and sync nothing."""

    def write_file(path: Path, data: bytes) -> None:
        path.write_bytes(data)
        path.chmod(disk.FILE_MODE)

    _write_by(write_file)
    _sync_only(lambda _: False)


def renamed_unsynced() -> None:
    """Write a temporary file and rename it, as everywhere, and sync nothing."""
    _sync_only(lambda _: False)


def pointer_synced() -> None:
    """Sync the record and its directory, and nothing of what it points to."""
    _sync_only(lambda path: path.name.startswith(".state-") or path.parent.name == "models")


def backup_then_move() -> None:
    """Move the file aside before the new one takes its place; sync everything."""

    def write_file(path: Path, data: bytes) -> None:
        if path.exists():
            path.rename(path.with_name(f"{path.name}.bak"))
        _write(path, data)

    _write_by(write_file)


STYLES: dict[str, Callable[[], None]] = {
    "in place": in_place,
    "temporary file and rename, no sync": renamed_unsynced,
    "only the pointer is synced": pointer_synced,
    "backup, then move": backup_then_move,
}
# A kill shows only the first and the last: whoever tests by kills alone finds the others sound.
SHOWN_BY_KILLS = ("in place", "backup, then move")


def _write_by(write_file: Callable[[Path, bytes], None]) -> None:
    for module in (disk, record):
        vars(module)["write_file"] = write_file


def _sync_only(wanted: Callable[[Path], bool]) -> None:
    def fsync(descriptor: int) -> None:
        if wanted(Path(f"/proc/self/fd/{descriptor}").readlink()):
            _sync(descriptor)

    vars(os)["fsync"] = fsync


def main(arguments: list[str]) -> int:
    """Run a command with one style's mistake."""
    STYLES[arguments[0]]()
    return command_line.main(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
