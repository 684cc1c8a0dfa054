"""A file for a stick appears whole and is read back, or nothing of it stays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import sticks

from edge_runtime import outgoing
from edge_runtime.contract.errors import OutputUnwritable
from edge_runtime.outgoing import write_out

DATA = b"what there is to say\n" * 500


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("kind", ["vfat", "ext4", "directory"])
def test_files_are_numbered_and_none_is_written_over(tmp_path: Path, kind: str) -> None:
    if kind == "directory":
        check_numbers(tmp_path)
        return
    with sticks.mounted(tmp_path, kind) as stick:
        check_numbers(stick)


def check_numbers(stick: Path) -> None:
    assert write_out(stick, "support", ".gz", DATA) == stick / "support-001.gz"
    assert write_out(stick, "support", ".gz", b"more") == stick / "support-002.gz"
    (stick / "SUPPORT-041.GZ").write_bytes(b"by hand")
    assert write_out(stick, "support", ".gz", b"last") == stick / "support-042.gz"
    assert (stick / "support-001.gz").read_bytes() == DATA
    assert [name for name in names(stick) if name.endswith(".part")] == []


def test_the_same_stick_gets_the_same_names(tmp_path: Path) -> None:
    found = []
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        write_out(tmp_path / place, "support", ".gz", DATA)
        found.append(names(tmp_path / place))
    assert found[0] == found[1] == ["support-001.gz"]


def test_a_link_that_lies_on_the_stick_is_not_followed(tmp_path: Path) -> None:
    victim, stick = tmp_path / "passwd", tmp_path / "usb"
    victim.write_bytes(b"root:x:0:0\n")
    stick.mkdir()
    (stick / "support-001.gz.part").symlink_to(victim)
    assert write_out(stick, "support", ".gz", DATA).read_bytes() == DATA
    assert victim.read_bytes() == b"root:x:0:0\n"
    assert names(stick) == ["support-001.gz"]


def test_what_an_interrupted_run_left_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "support-001.gz.part").write_bytes(b"half")
    write_out(tmp_path, "support", ".gz", DATA)
    assert names(tmp_path) == ["support-001.gz"]


@pytest.mark.parametrize("kind", ["vfat", "ext4"])
def test_a_full_stick_is_said_with_numbers_before_anything_is_written(
    tmp_path: Path, kind: str
) -> None:
    with sticks.mounted(tmp_path, kind) as stick:
        fill(stick / "films", leave=4096)
        before = names(stick)
        with pytest.raises(
            OutputUnwritable, match=r"KiB are to be written .* KiB free$|B free$"
        ):
            write_out(stick, "support", ".gz", DATA * 20)
        assert names(stick) == before


def fill(path: Path, leave: int) -> None:
    """Fill a file system but for some bytes."""
    with path.open("wb") as stream:
        while True:
            facts = os.statvfs(path.parent)
            more = facts.f_bavail * facts.f_frsize - leave
            if more <= 0:
                return
            stream.write(bytes(min(more, 64 << 10)))
            stream.flush()
            os.fsync(stream.fileno())


def test_a_place_that_is_none_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(OutputUnwritable, match="no directory"):
        write_out(tmp_path / "usb", "support", ".gz", DATA)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputUnwritable, match="no directory"):
        write_out(tmp_path / "file", "support", ".gz", DATA)


def test_a_stick_that_gives_other_bytes_back_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lossy(part: Path, data: bytes) -> None:
        part.write_bytes(data[:-1] + b"?")

    monkeypatch.setattr(outgoing, "_write", lossy)
    with pytest.raises(OutputUnwritable, match="must read back as it was written"):
        write_out(tmp_path, "support", ".gz", DATA)
    assert names(tmp_path) == []


def test_it_is_synced_before_and_after_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def watched(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: Any, **more: Any) -> Any:
            done.append(name)
            return real(*arguments, **more)

        monkeypatch.setattr(os, name, call)

    for name in ("fsync", "rename", "posix_fadvise"):
        watched(name)
    write_out(tmp_path, "support", ".gz", DATA)
    assert done == ["fsync", "rename", "fsync", "posix_fadvise"]
