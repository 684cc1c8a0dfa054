"""A control group for a child, where this process may make one: the kernel counts it whole.

Version 2 only, and only below a group that the service manager handed over to this program
(``Delegate=yes``): any other belongs to somebody else, even where root could write. Everywhere
else there is none, and the other limits stand alone.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from edge_runtime.engine.limits import Bounds

_OURS: Final = "edge-runtime-trial"
# How systemd marks what it has handed over.
_MARK: Final = "user.delegate"
# Page tables and stacks in the kernel count too, and so do the pages of the engine's code.
_KERNEL_BYTES: Final = 64 << 20


class ControlGroup:
    """One child's control group, or none: then nothing happens.

    Args:
        directory: the group.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    @classmethod
    @contextmanager
    def made(cls, root: Path = Path("/")) -> Iterator[ControlGroup]:
        """Make a group for one child, and remove it once the child has ended.

        Args:
            root: where ``proc`` and ``sys`` stand.
        """
        group = cls(_make(root))
        try:
            yield group
        finally:
            group.remove()

    def enter(self, pid: int) -> None:
        """Move a process into the group."""
        self._write("cgroup.procs", str(pid))

    def limit(self, bounds: Bounds) -> None:
        """Bound the group by what a process may have, and the files that it maps."""
        most = bounds.engine + bounds.working_set + bounds.mapped + _KERNEL_BYTES
        self._write("memory.swap.max", "0")
        self._write("memory.max", str(most))

    def reason(self) -> str:
        """Return why the kernel ended a process of the group; empty where it did not."""
        if self._directory is None:
            return ""
        words = _words(self._directory / "memory.events")
        killed = dict(zip(words[::2], words[1::2], strict=False)).get("oom_kill", "0")
        return "" if killed == "0" else "it took more memory than its control group may have"

    def remove(self) -> None:
        """Remove the group, which is empty by now."""
        if self._directory is not None:
            with suppress(OSError):
                self._directory.rmdir()

    def _write(self, name: str, text: str) -> None:
        if self._directory is not None:
            with suppress(OSError):
                (self._directory / name).write_text(text, "ascii")


def _make(root: Path) -> Path | None:
    """Make a group with a memory limit where that is allowed; None where it is not."""
    for parent in _handed_over(root):
        directory = parent / f"{_OURS}-{os.getpid()}-{threading.get_native_id()}"
        with suppress(OSError):
            _sweep(parent)
            if "memory" not in _words(parent / "cgroup.subtree_control"):
                # Refused where processes stand in that group itself.
                (parent / "cgroup.subtree_control").write_text("+memory", "ascii")
            directory.mkdir()
            return directory
    return None


def _handed_over(root: Path) -> Iterator[Path]:
    """Yield this process's group and the one above it, where they are ours to divide."""
    own = _own_group(root)
    for directory in (own, own.parent) if own else ():
        with suppress(OSError):
            if os.getxattr(directory, _MARK) == b"1":
                yield directory


def _own_group(root: Path) -> Path | None:
    """Return the directory of this process's group of version 2; None without one in sight."""
    lines = _text(root / "proc/self/cgroup").splitlines()
    path = next((line[3:] for line in lines if line.startswith("0::")), None)
    for line in _text(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        mount = before.split()
        if path and after.split()[:1] == ["cgroup2"] and Path(path).is_relative_to(mount[3]):
            return root / mount[4].lstrip("/") / Path(path).relative_to(mount[3])
    return None


def _sweep(parent: Path) -> None:
    """Remove what programs left that were killed; a group with a process in it stays."""
    for directory in parent.glob(f"{_OURS}-*"):
        with suppress(OSError):
            directory.rmdir()


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    """Return a kernel file's text; empty where this kernel does not have it."""
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""
