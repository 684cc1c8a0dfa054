"""Contents of files: held or stored, they have the same size, digest and bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_runtime.contract.bundle.archive import open_layout, write_layout
from edge_runtime.contract.bundle.content import (
    CHUNK,
    Stored,
    chunks_of,
    digest_of,
    file_chunks,
    size_of,
)
from edge_runtime.contract.bundle.digests import sha256_file
from edge_runtime.contract.bundle.oci import Part
from edge_runtime.contract.errors import DigestMismatch

DATA = bytes(range(256)) * 5000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    return path


def stored_file(path: Path) -> Stored:
    """Return a file's bytes, hashed now and again whenever they are read."""
    return Stored(path.stat().st_size, sha256_file(path), lambda: file_chunks(path))


def test_a_file_is_what_its_bytes_are(file: Path) -> None:
    stored = stored_file(file)
    assert (size_of(stored), digest_of(stored)) == (size_of(DATA), digest_of(DATA))
    assert b"".join(chunks_of(stored, "f")) == DATA
    assert max(map(len, chunks_of(stored, "f"))) <= CHUNK
    one, other = Part("f", stored), Part("f", DATA)
    assert (one.data, one.size, one.sha256) == (other.data, other.size, other.sha256)
    assert stored == stored_file(file)


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"x", DATA[:-1] + b"x", b""])
def test_a_file_that_has_changed_since_is_noticed(file: Path, data: bytes) -> None:
    stored = stored_file(file)
    file.write_bytes(data)
    with pytest.raises(DigestMismatch, match="weights"):
        list(chunks_of(stored, "weights"))
    with pytest.raises(DigestMismatch):
        write_layout(file.with_name("b.tar"), [("oci-layout", stored)])


def test_an_archive_has_the_same_bytes_whichever_way_they_come(file: Path) -> None:
    names = ("oci-layout", "index.json")
    for path, content in (("held", DATA), ("stored", stored_file(file))):
        write_layout(file.with_name(path), [(name, content) for name in names])
    assert file.with_name("held").read_bytes() == file.with_name("stored").read_bytes()
    layout = open_layout(file.with_name("stored"))
    assert b"".join(layout.chunks("index.json")) == DATA
    layout.close()


def test_stored_bytes_are_read_only_when_they_are_needed() -> None:
    asked = []

    def chunks() -> Iterator[bytes]:
        asked.append(1)
        yield DATA

    stored = Stored(len(DATA), digest_of(DATA), chunks)
    part = Part("f", stored)
    assert (part.size, part.sha256, asked) == (len(DATA), digest_of(DATA), [])
    assert (part.data, asked) == (DATA, [1])
