"""Sticks for tests: directories with bundles of every kind, and real file systems to mount."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bundles
import devices
import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
LOAN = devices.loan()
_MAKE = {"vfat": ("mkfs.vfat",), "ext4": ("mkfs.ext4", "-q", "-F")}


def release(path: Path, version: str, **changes: Any) -> Path:
    """Write a bundle of the loan for this machine under a version such as 1.5.0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    major, minor, patch = (int(part) for part in version.split("."))
    number = major * 1_000_000 + minor * 1000 + patch
    fields: dict[str, Any] = {"name": "loan", "version": version, "release": number}
    return devices.packed(path, LOAN, **{**fields, **changes})


def payload_damaged(path: Path) -> Path:
    """Change one byte of a bundle's largest payload, which only reading all of it finds."""
    payloads = [data for data in bundles.entries(path).values() if not data.startswith(b"{")]
    blob = max(payloads, key=len)
    data = bytearray(path.read_bytes())
    data[data.index(blob) + len(blob) // 2] ^= 1
    path.write_bytes(data)
    return path


@contextmanager
def mounted(directory: Path, kind: str, mebibytes: int = 8) -> Iterator[Path]:
    """Mount a new file system in a file, where this machine can.

    Many kernels of servers have no FAT; there a program of its own, ``fusefat``, stands in.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    image, point = directory / f"{kind}.img", directory / kind
    with image.open("wb") as stream:
        stream.truncate(mebibytes << 20)
    _run(*_MAKE[kind], image)
    point.mkdir()
    done = subprocess.run(
        ["mount", "-o", "loop", "-t", kind, str(image), str(point)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and kind != "vfat":
        pytest.skip(f"this machine mounts no {kind}: {done.stderr.strip()}")
    if done.returncode:
        _run("fusefat", "-o", "rw+", image, point)
    try:
        yield point
    finally:
        _run("umount", point)


def forgotten(point: Path, image: Path) -> None:
    """Mount an ext4 image anew, so that what it holds is read from it again."""
    _run("umount", point)
    _run("mount", "-o", "loop,ro", "-t", "ext4", image, point)


def _run(program: str, *arguments: str | Path) -> None:
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"this machine has no {program}")
    words = [found, *map(str, arguments)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def traced(
    injections: Sequence[str], path: Path, *arguments: Path | str
) -> subprocess.CompletedProcess[str]:
    """Run the device's program while the kernel fails its calls on one path.

    Args:
        injections: as strace takes them: ``read:error=EIO:when=3+``.
        path: the file whose calls fail.
        arguments: of the program.
    """
    if shutil.which("strace") is None:
        pytest.skip("this machine has no strace")
    words = ["strace", "-f", "-qq", "-o", os.devnull, "-P", str(path)]
    for injection in injections:
        words += ["-e", f"inject={injection}"]
    words += [sys.executable, "-m", "edge_runtime", *map(str, arguments)]
    return subprocess.run(
        words,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
