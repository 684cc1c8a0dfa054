"""Which files of a stick are bundles: told by how they begin, within bounds, without links."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bundles
import pytest
import sticks

from edge_runtime import stick_search
from edge_runtime.contract.errors import BundleUnreadable
from edge_runtime.stick_search import MAX_DEPTH, is_layout, search_stick


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a whole bundle."""
    return sticks.release(tmp_path_factory.mktemp("b") / "b.tar", "1.4.0").read_bytes()


def paths(directory: Path) -> list[str]:
    return [path.relative_to(directory).as_posix() for path in search_stick(directory).paths]


def skipped(directory: Path) -> dict[str, str]:
    return {item.path: item.word for item in search_stick(directory).skipped}


def test_bundles_are_found_whatever_they_are_called(tmp_path: Path, sound: bytes) -> None:
    names = ("loan-1.4.0.oci.tar", "LOAN-1~1.TAR", "model", "größe (1).bin", "a b.tar.part")
    for name in names:
        (tmp_path / name).write_bytes(sound)
    assert paths(tmp_path) == sorted(names)


def test_other_files_are_counted_and_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("notes.txt", "photo.jpg"):
        (tmp_path / name).write_bytes(b"x" * 1000)
    monkeypatch.setattr(stick_search, "open_plain", lambda *_: pytest.fail("it was opened"))
    found = search_stick(tmp_path)
    assert (found.paths, found.skipped, found.others) == ([], [], 2)


@pytest.mark.parametrize(
    ("name", "data", "word"),
    [
        ("._loan-1.4.0.oci.tar", b"\0\5\x16\7" + bytes(4092), "appledouble"),
        ("loan-1.4.0.oci.tar", b"", "half-copied"),
        ("loan-1.4.0.oci.tar", bytes(100_000), "half-copied"),
        ("holiday.tar", b"MZ" * 4000, "foreign"),
        ("HOLIDAY.TAR", b"MZ" * 4000, "foreign"),
    ],
)
def test_what_only_looks_like_a_bundle_is_skipped_with_a_word(
    tmp_path: Path, name: str, data: bytes, word: str
) -> None:
    (tmp_path / name).write_bytes(data)
    assert paths(tmp_path) == []
    assert skipped(tmp_path) == {name: word}


def test_a_tar_of_something_else_is_foreign(tmp_path: Path, sound: bytes) -> None:
    header = bytearray(sound[:512])
    header[:100] = b"holiday/beach.jpg".ljust(100, b"\0")
    (tmp_path / "holiday.tar").write_bytes(bytes(header) + bytes(4096))
    assert skipped(tmp_path) == {"holiday.tar": "foreign"}


def test_a_half_copied_bundle_is_still_found_as_one(tmp_path: Path, sound: bytes) -> None:
    (tmp_path / "loan-1.4.0.oci.tar").write_bytes(sound[:700])
    assert paths(tmp_path) == ["loan-1.4.0.oci.tar"]


def test_layout_directories_are_bundles_and_not_looked_into(
    tmp_path: Path, sound: bytes
) -> None:
    (tmp_path / "b.tar").write_bytes(sound)
    bundles.unpack(tmp_path / "b.tar", tmp_path / "models/loan")
    assert paths(tmp_path) == ["b.tar", "models/loan"]
    assert is_layout(tmp_path / "models/loan")
    (tmp_path / "models/loan/oci-layout").unlink()
    assert paths(tmp_path) == ["b.tar", "models/loan"]


def test_it_looks_a_few_levels_deep_and_no_deeper(tmp_path: Path, sound: bytes) -> None:
    inside = tmp_path
    for level in range(MAX_DEPTH + 1):
        (inside / f"{level}.tar").write_bytes(sound)
        inside /= "d"
        inside.mkdir()
    assert paths(tmp_path) == sorted("d/" * n + f"{n}.tar" for n in range(MAX_DEPTH))


@pytest.mark.parametrize(
    "name", [".Trashes", "$RECYCLE.BIN", "System Volume Information", "lost+found", "LOST.DIR"]
)
def test_a_bin_is_not_looked_into(tmp_path: Path, sound: bytes, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "b.tar").write_bytes(sound)
    found = search_stick(tmp_path)
    assert (found.paths, found.skipped, found.others) == ([], [], 0)


def test_links_pipes_and_sockets_are_not_followed(tmp_path: Path, sound: bytes) -> None:
    stick, outside = tmp_path / "stick", tmp_path / "outside"
    stick.mkdir()
    outside.mkdir()
    (outside / "b.tar").write_bytes(sound)
    (stick / "file.tar").symlink_to(outside / "b.tar")
    (stick / "directory").symlink_to(outside)
    os.mkfifo(stick / "pipe.tar")
    found = search_stick(stick)
    assert found.paths == []
    assert [(item.path, item.word) for item in found.skipped] == [("file.tar", "link")]


def test_a_stick_with_too_many_files_is_searched_in_part_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stick_search, "MAX_ENTRIES", 10)
    for number in range(12):
        (tmp_path / f"{number}.txt").write_bytes(b"x")
    found = search_stick(tmp_path)
    assert found.others == 10
    assert found.partial == "only the first 10 files were looked at"


def test_trust_lists_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for path in (tmp_path / "trust.json", tmp_path / "sub/trust.json"):
        path.write_bytes(b"{}")
    assert search_stick(tmp_path).trust_files == [
        tmp_path / "trust.json",
        tmp_path / "sub/trust.json",
    ]


def test_a_directory_that_is_not_there_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(BundleUnreadable, match="No such file or directory"):
        search_stick(tmp_path / "usb")


def test_what_may_not_be_read_is_skipped_with_a_word(
    public_directory: Path, as_nobody: Callable[..., Any]
) -> None:
    (public_directory / "secret").mkdir(mode=0o700)
    (public_directory / "b.tar").write_bytes(b"x" * 512)
    (public_directory / "b.tar").chmod(0o600)
    assert as_nobody(lambda: skipped(public_directory)) == {
        "b.tar": "unreadable",
        "secret": "unreadable",
    }
