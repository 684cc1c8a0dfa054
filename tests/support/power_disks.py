"""Small ext4 disks in files: mounted without the kernel's own commits, copied while in use."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

NEEDED = ("strace", "mkfs.ext4", "mount", "umount")
SIZE = 8 << 20
_BLOCK = 4096

# The kernel commits nothing by itself for ten minutes, and reading changes no access time.
# Copies are taken of the file below, so nothing has to reach a real disk.
OPTIONS = "loop,commit=600,noatime,barrier=0"


class DiskUnavailable(Exception):
    """This machine lets nobody make and mount such disks; the text says why."""


def command(*words: str | Path) -> None:
    """Run a program that must succeed."""
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


def require_tools() -> None:
    """Find out whether disks can be made here at all.

    Raises:
        DiskUnavailable: when not, with the reason.
    """
    absent = [tool for tool in NEEDED if shutil.which(tool) is None]
    if os.geteuid() != 0 or absent:
        need = ", ".join(NEEDED)
        raise DiskUnavailable(f"cutting the power takes root and {need}; absent: {absent}")


@dataclass(frozen=True)
class Snapshot:
    """What a disk held at one moment, as its difference from another.

    Attributes:
        blocks: what differs, by the block's number.
    """

    blocks: dict[int, bytes]

    @cached_property
    def digest(self) -> str:
        """Tell equal disks."""
        total = hashlib.sha256()
        for number, data in sorted(self.blocks.items()):
            total.update(number.to_bytes(8, "big") + data)
        return total.hexdigest()


class Disk:
    """A disk in a file, and the one place where it is mounted.

    Args:
        image: its file.
        point: where it is mounted.
        options: mount options beside ``OPTIONS``.
    """

    def __init__(self, image: Path, point: Path, options: str = "") -> None:
        self.image = image
        self.point = point
        self._options = ",".join(filter(None, [OPTIONS, options]))

    @classmethod
    def made(cls, image: Path, point: Path) -> Disk:
        """Make an empty disk.

        Raises:
            DiskUnavailable: when this machine cannot mount it.
        """
        require_tools()
        point.mkdir(exist_ok=True)
        image.touch()
        os.truncate(image, SIZE)
        command("mkfs.ext4", "-q", "-F", "-b", "1024", "-m", "0", image)
        disk = cls(image, point)
        try:
            with disk.mounted():
                pass
        except subprocess.CalledProcessError as error:
            problem = error.stderr.decode().strip()
            raise DiskUnavailable(f"cutting the power takes loop mounts: {problem}") from None
        return disk

    def copied(self, image: Path, options: str = "") -> Disk:
        """Return a copy, to be mounted at the same place."""
        _copy(self.image, image)
        return Disk(image, self.point, options)

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        """Mount it."""
        command("mount", "-o", self._options, self.image, self.point)
        try:
            yield self.point
        finally:
            command("umount", self.point)

    def commit(self) -> None:
        """Sync an unrelated file: the journal is committed then, delayed data is not."""
        path = self.point / "unrelated"
        path.write_bytes(b"x")
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)

    def snapshot(self, base: bytes) -> Snapshot:
        """Return what it holds, mounted as it is, as the difference from ``base``."""
        data = self.image.read_bytes()
        while data != (again := self.image.read_bytes()):
            data = again  # the kernel was writing something out
        blocks = np.frombuffer(data, np.uint8).reshape(-1, _BLOCK)
        others = np.frombuffer(base, np.uint8).reshape(-1, _BLOCK)
        changed = np.flatnonzero((blocks != others).any(axis=1))
        return Snapshot({int(number): blocks[number].tobytes() for number in changed})

    def restore(self, base: Path, snapshot: Snapshot) -> None:
        """Make it what it was at that moment."""
        _copy(base, self.image)
        with self.image.open("r+b") as stream:
            for number, data in snapshot.blocks.items():
                stream.seek(number * _BLOCK)
                stream.write(data)


def _copy(source: Path, target: Path) -> None:
    """Copy a disk into a new file: a loop device may still hold the old one for a moment."""
    target.unlink(missing_ok=True)
    shutil.copyfile(source, target)
