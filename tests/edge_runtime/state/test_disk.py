"""Files come whole, read-only and durable, whatever the umask and whoever asks."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_runtime.contract.errors import NoSpace, StoreCorrupt, StoreUnreadable, StoreUnwritable
from edge_runtime.state import disk


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return path.lstat().st_mode & 0o7777


@pytest.mark.usefixtures("umask")
def test_files_and_directories_have_their_modes_under_any_umask(tmp_path: Path) -> None:
    disk.make_directory(tmp_path / "a" / "b")
    disk.make_directory(tmp_path / "a" / "shared", 0o2775, os.getegid())
    disk.write_file(tmp_path / "a" / "b" / "file", b"x")
    assert mode(tmp_path / "a") == mode(tmp_path / "a" / "b") == 0o755
    assert mode(tmp_path / "a" / "shared") == 0o2775
    assert mode(tmp_path / "a" / "b" / "file") == 0o444


def test_an_existing_parent_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    disk.make_directory(tmp_path / "a")
    assert mode(tmp_path) == 0o770


def test_a_file_is_replaced_and_never_written_into(tmp_path: Path) -> None:
    path = tmp_path / "file"
    disk.write_file(path, b"old")
    with path.open("rb") as opened:
        disk.write_file(path, b"new")
        assert opened.read() == b"old"
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_what_a_broken_write_left_does_not_hinder_the_next(tmp_path: Path) -> None:
    (tmp_path / ".file.tmp").write_bytes(b"torn")
    assert disk.is_temporary(tmp_path / ".file.tmp")
    disk.write_file(tmp_path / "file", b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_sealed_tree_is_read_only_from_the_leaves_up(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "file").write_bytes(b"x")
    disk.seal(tree)
    assert mode(tree) == mode(tree / "deep") == 0o755
    assert mode(tree / "deep" / "file") == 0o444


def test_links_of_any_kind_are_never_sealed(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"x")
    makers = {
        "symbolic": lambda path: path.symlink_to(tmp_path / "outside"),
        "directory": lambda path: path.symlink_to(tmp_path),
        "hard": lambda path: path.hardlink_to(tmp_path / "outside"),
        "pipe": os.mkfifo,
    }
    for name, make in makers.items():
        tree = tmp_path / name
        tree.mkdir()
        make(tree / "entry")
        with pytest.raises(StoreCorrupt, match="entry"):
            disk.seal(tree)
    assert mode(tmp_path / "outside") != 0o444


def test_a_tree_is_removed_with_its_read_only_files_and_twice_is_fine(tmp_path: Path) -> None:
    disk.make_directory(tmp_path / "tree")
    disk.write_file(tmp_path / "tree" / "file", b"x")
    disk.remove_tree(tmp_path / "tree")
    disk.remove_tree(tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, NoSpace),
        (errno.EDQUOT, NoSpace),
        (errno.EACCES, StoreUnwritable),
        (errno.EROFS, StoreUnwritable),
        (errno.EIO, StoreUnwritable),
    ],
)
def test_every_fault_while_writing_is_typed_and_names_the_place(
    number: int, expected: type[Exception], tmp_path: Path
) -> None:
    with pytest.raises(expected, match=str(tmp_path)), disk.writing(tmp_path):
        raise OSError(number, os.strerror(number))


def test_a_fault_while_reading_is_typed_and_names_the_place(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreadable, match="absent"), disk.reading(tmp_path):
        (tmp_path / "absent").read_bytes()
