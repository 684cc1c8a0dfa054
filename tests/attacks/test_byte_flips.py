"""Every byte of a small bundle is changed, one at a time: refused, or without any effect."""

from __future__ import annotations

import os
import random
import shutil
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bundles
import pytest

from edge_runtime.contract.bundle.manifest import Manifest
from edge_runtime.contract.bundle.verify import verify_bundle
from edge_runtime.contract.errors import EdgepackError

BLOCK = 512
# Where a change may have no effect: documents that no decision reads, and the spare characters
# of a header's checksum.
HINTS = {"index.json", "oci-layout", "config", "tar header"}


@dataclass(frozen=True)
class Outcome:
    """All that a device takes from a bundle: what it decides by and the bytes it installs."""

    decision: list[tuple[Manifest, str, str]]
    files: list[dict[str, str]]


def take(path: Path, directory: Path) -> Outcome:
    """Do with a bundle what a device does with it, for every target."""
    with verify_bundle(path, bundles.KEYS) as verified:
        decision = [(item.manifest, item.digest, item.signer) for item in verified.packages]
        files = []
        for package in verified.packages:
            package.extract(directory)
            files.append(bundles.tree(directory))
            shutil.rmtree(directory)
    return Outcome(decision, files)


def kind_of(name: str, data: bytes) -> str:
    if not name.startswith("blobs/"):
        return name
    for mark, kind in (
        (b'"modelfs":', "config"),
        (b'"layers":[', "target manifest"),
        (b'"manifests":[', "bundle index"),
        (b'"additional_metadata":', "manifest.json"),
        (b'"dsseEnvelope":', "model.sig"),
    ):
        if mark in data:
            return kind
    return "payload"


def regions(path: Path) -> list[str]:
    """Return, for every byte of a tar, the part of the bundle that it belongs to."""
    found = ["end mark"] * path.stat().st_size
    for name, data in bundles.entries(path).items():
        with tarfile.open(path) as archive:
            begin = archive.getmember(name).offset_data
        end = begin + len(data)
        padded = end + -len(data) % BLOCK
        found[begin - BLOCK : begin] = ["tar header"] * BLOCK
        found[begin:end] = [kind_of(name, data)] * len(data)
        found[end:padded] = ["padding"] * (padded - end)
    return found


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is one: thousands of packages are extracted into it."""
    memory = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as directory:
        yield Path(directory)


def flips(byte: int, masks: random.Random) -> set[int]:
    """Return what a byte becomes: 0x20 swaps letter case, and blanks with zeros."""
    return {byte ^ 0x20, byte ^ masks.randrange(1, 256)}


def test_every_changed_byte_is_refused_or_changes_nothing(room: Path) -> None:
    path = bundles.bundle(room / "flipped.oci.tar")
    where, data, masks = regions(path), path.read_bytes(), random.Random(1)  # noqa: S311
    sound = take(path, room / "package")
    counts: dict[str, Counter[str]] = {region: Counter() for region in where}
    with path.open("r+b", buffering=0) as stream:
        for offset, byte in enumerate(data):
            for flipped in flips(byte, masks):
                os.pwrite(stream.fileno(), bytes([flipped]), offset)
                try:
                    outcome = take(path, room / "package")
                except EdgepackError:
                    counts[where[offset]]["refused"] += 1
                    shutil.rmtree(room / "package", ignore_errors=True)
                else:
                    counts[where[offset]]["without effect"] += 1
                    assert outcome == sound, f"{byte:#x} → {flipped:#x} at {offset} got through"
            os.pwrite(stream.fileno(), bytes([byte]), offset)
    for region, count in counts.items():
        print(f"{region:16}", dict(count))  # noqa: T201 - the list that the design asks for
    assert path.read_bytes() == data
    assert {region for region, count in counts.items() if count["without effect"]} == HINTS
