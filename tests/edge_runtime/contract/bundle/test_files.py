"""Plain files: what else may stand at a path is refused, and never waited for."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from edge_runtime.contract.bundle.files import NotPlainError, open_plain, write_plain


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"text")
    with open_plain(tmp_path / "a") as stream:
        assert stream.read() == b"text"


@pytest.mark.parametrize("kind", ["pipe", "directory", "socket", "link", "device"])
def test_whatever_else_stands_there_is_refused_at_once(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    path = Path("x")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind == "link":
        path.symlink_to(__file__)
    else:
        path = Path("/dev/zero")
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(NotPlainError, match="no regular file"):
        open_plain(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_link_is_followed_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(__file__)
    with open_plain(tmp_path / "link", follow=True) as stream:
        assert stream.read(3) == b'"""'


def test_a_written_file_is_new_read_only_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_plain(path, iter([b"one", b"two"]))
    assert path.read_bytes() == b"onetwo"
    assert path.stat().st_mode & 0o777 == 0o444
    with pytest.raises(FileExistsError):
        write_plain(path, [b"three"])


def test_a_written_file_never_goes_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(FileExistsError):
        write_plain(tmp_path / "link", [b"x"])
    assert not (tmp_path / "target").exists()
