"""What stands where a bundle should be: links, pipes, failing media, loose files."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import bundles
import pytest

from edge_runtime.contract.bundle import archive
from edge_runtime.contract.bundle.archive import (
    open_layout,
)
from edge_runtime.contract.errors import (
    ArchiveCorrupt,
    BlobMissing,
    BundleUnreadable,
)

# --- files that are not there or not files -------------------------------------------------


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(BundleUnreadable, match=r"none\.oci\.tar is not: No such file"):
        open_layout(tmp_path / "none.oci.tar")
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleUnreadable, match="Not a directory"):
        open_layout(tmp_path / "file" / "b.oci.tar")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BundleUnreadable, match="no regular file"):
        open_layout(tmp_path / "pipe")
    with pytest.raises(BundleUnreadable, match="no regular file"):
        open_layout(Path("/dev/zero"))
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(BundleUnreadable):
        open_layout(tmp_path / "loop")


def test_a_medium_that_fails_says_so() -> None:
    with pytest.raises(BundleUnreadable, match=r"error|Invalid"):
        open_layout(Path("/proc/self/mem"))


def test_a_stick_pulled_out_while_reading_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pulled(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= 512:
                raise OSError(5, "Input/output error")
            return super().read(size)

    made = bundles.bundle(tmp_path / "b.oci.tar")
    directory = bundles.unpack(made, tmp_path / "d")
    layout = open_layout(directory)
    monkeypatch.setattr(archive, "open_plain", lambda path, **_: Pulled(path.read_bytes()))
    with pytest.raises(BundleUnreadable, match="Input/output error"):
        open_layout(made)
    monkeypatch.setattr(archive, "CHUNK", 512)
    with pytest.raises(BundleUnreadable, match="Input/output error"):
        list(layout.chunks("index.json"))


def test_a_link_to_a_bundle_is_followed(tmp_path: Path) -> None:
    made = bundles.bundle(tmp_path / "b.oci.tar")
    (tmp_path / "link.oci.tar").symlink_to(made)
    bundles.unpack(made, tmp_path / "d")
    (tmp_path / "link").symlink_to(tmp_path / "d")
    for name in ("link.oci.tar", "link"):
        with bundles.opened(tmp_path / name) as verified:
            assert len(verified.packages) == 2


# --- directories ---------------------------------------------------------------------------


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return bundles.unpack(bundles.bundle(tmp_path / "b.oci.tar"), tmp_path / "layout")


def a_blob(directory: Path) -> Path:
    return max((directory / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)


def test_other_names_in_a_directory_are_never_looked_at(directory: Path) -> None:
    (directory / "._index.json").write_bytes(b"\0\5\26\7")
    (directory / "blobs" / ".DS_Store").write_bytes(b"Bud1")
    os.mkfifo(directory / "pipe")
    with bundles.opened(directory) as verified:
        assert len(verified.packages) == 2


@pytest.mark.parametrize("name", ["index.json", "oci-layout"])
def test_a_directory_without_its_documents_is_no_bundle(directory: Path, name: str) -> None:
    (directory / name).unlink()
    with pytest.raises(BundleUnreadable, match=f"is not: it holds no {name}"):
        open_layout(directory)


def test_a_missing_blob_is_named(directory: Path) -> None:
    a_blob(directory).unlink()
    with pytest.raises(BlobMissing, match="refers to blobs/sha256/"):
        bundles.opened(directory)


def make_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("make", [make_link, make_pipe, make_directory])
def test_what_stands_in_place_of_a_file_is_refused(
    directory: Path, make: Callable[[Path], None]
) -> None:
    for path in (a_blob(directory), directory / "index.json"):
        make(path)
        with pytest.raises(ArchiveCorrupt, match=r"a regular file at .*, found something else"):
            bundles.opened(directory)


@pytest.mark.parametrize("name", ["blobs", "blobs/sha256"])
def test_a_linked_directory_of_blobs_is_refused(directory: Path, name: str) -> None:
    make_link(directory / name)
    with pytest.raises(ArchiveCorrupt, match=f"a directory at {name}, found a link"):
        open_layout(directory)


def test_an_unreadable_blob_says_why(directory: Path) -> None:
    blobs = directory / "blobs"
    blobs.rename(directory / "gone")
    blobs.write_text("a file")
    with pytest.raises(BundleUnreadable, match="Not a directory"):
        bundles.opened(directory)
