"""The archive: what a layout may look like, and every trick of the tar format refused."""

from __future__ import annotations

import os
import signal
import subprocess
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bundles
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.bundle import archive
from edge_runtime.contract.bundle.archive import (
    blob_name,
    open_layout,
    read_entry,
    write_layout,
)
from edge_runtime.contract.bundle.content import CHUNK
from edge_runtime.contract.errors import (
    ArchiveCorrupt,
    DigestMismatch,
    EdgepackError,
)

END = bytes(1024)
BLOB = blob_name("ab" * 32)
FIELDS = {
    "name": (0, 100),
    "size": (124, 136),
    "checksum": (148, 156),
    "kind": (156, 157),
    "link": (157, 257),
    "magic": (257, 265),
    "prefix": (345, 500),
    "rest": (500, 512),
}


@pytest.fixture(autouse=True)
def _no_hanging() -> Iterator[None]:
    """Turn waiting for a pipe into a failure."""

    def give_up(*_: Any) -> None:
        pytest.fail("it waited instead of answering")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def header(name: str = BLOB, size: int | bytes = 0, **fields: bytes) -> bytes:
    """Return a header block with a checksum that holds, unless one is given."""
    block = bytearray(512)
    octal = size if isinstance(size, bytes) else b"%011o\0" % size
    values = {"name": name.encode(), "size": octal, "kind": b"0", "magic": b"ustar\x0000"}
    for field, value in (values | fields).items():
        begin, end = FIELDS[field]
        block[begin:end] = value.ljust(end - begin, b"\0")[: end - begin]
    if "checksum" not in fields:
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def entry(name: str, data: bytes, **fields: bytes) -> bytes:
    return header(name, len(data), **fields) + data + bytes(-len(data) % 512)


HEAD = entry("oci-layout", b"{}") + entry("index.json", b"{}")


def read(path: Path, data: bytes) -> archive.Layout:
    path.write_bytes(data)
    return open_layout(path)


@pytest.fixture
def tar(tmp_path: Path) -> Callable[[bytes], archive.Layout]:
    return lambda data: read(tmp_path / "b.oci.tar", data)


# --- what is read --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        HEAD + entry(BLOB, b"x" * 700) + END,
        entry(BLOB, b"x" * 700) + HEAD + END,  # any order
        HEAD + entry(BLOB, b"x" * 700) + bytes(10240),  # blocking factor 20
        header("blobs/", kind=b"5")
        + header("blobs/sha256/", kind=b"5")
        + HEAD
        + entry(BLOB, b"x" * 700)
        + END,
        header("./", kind=b"5")
        + header("blobs", kind=b"5") * 2
        + HEAD
        + entry(BLOB, b"x" * 700)
        + END,
        HEAD + entry(BLOB, b"x" * 700, magic=b"ustar  \0") + END,  # as GNU tar writes it
        HEAD + entry(BLOB, b"x" * 700, kind=b"\0") + END,  # as the seventh Unix wrote it
        HEAD + header(BLOB, b"      1274 \0") + b"x" * 700 + bytes(324) + END,
    ],
)
def test_every_plain_form_of_a_layout_is_read(
    data: bytes, tar: Callable[[bytes], archive.Layout]
) -> None:
    layout = tar(data)
    assert read_entry(layout, BLOB, 1000) == b"x" * 700
    assert read_entry(layout, "index.json", 2) == b"{}"
    layout.close()


def test_what_pythons_and_gnus_tar_write_is_read(tmp_path: Path) -> None:
    made = bundles.bundle(tmp_path / "b.oci.tar")
    directory = bundles.unpack(made, tmp_path / "d")
    names = ["oci-layout", "blobs", "index.json"]
    packed = tmp_path / "gnu.tar"
    subprocess.run(
        ["tar", "--format=gnu", "-C", directory, "-cf", packed, *names], check=True, timeout=60
    )
    with tarfile.open(tmp_path / "python.tar", "w", format=tarfile.USTAR_FORMAT) as stream:
        for name in names:
            stream.add(directory / name, name)
    digests = set()
    for path in (made, directory, packed, tmp_path / "python.tar"):
        with bundles.opened(path) as verified:
            digests.add(tuple(package.digest for package in verified.packages))
    assert len(digests) == 1


def test_other_tools_read_what_is_written(tmp_path: Path) -> None:
    made = bundles.bundle(tmp_path / "b.oci.tar")
    listed = subprocess.run(
        ["tar", "-tvf", made], check=True, capture_output=True, text=True, timeout=60
    ).stdout.splitlines()
    assert len(listed) == len(bundles.entries(made))
    assert all(line.startswith("-rw-r--r-- 0/0 ") for line in listed)
    assert made.read_bytes() == bundles.bundle(tmp_path / "again.oci.tar").read_bytes()


def test_an_entry_too_large_for_the_header_is_refused() -> None:
    with pytest.raises(DigestMismatch, match="holds at most 8589934591 bytes"):
        archive.render_header(BLOB, 8**11)
    assert archive.render_header(BLOB, 8**11 - 1)


def test_writing_again_gives_the_same_bytes(tmp_path: Path) -> None:
    entries = [("oci-layout", b"{}"), ("index.json", b"x" * 512), (BLOB, b"")]
    write_layout(tmp_path / "a", entries)
    write_layout(tmp_path / "b", entries)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").stat().st_size == 512 * 4 + 512 + 1024


# --- tricks --------------------------------------------------------------------------------

PAX = b"30 path=blobs/sha256/elsewhere\n"


@pytest.mark.parametrize(
    ("trick", "data"),
    [
        ("nothing", b""),
        ("zeros alone", bytes(10240)),
        ("no index", entry("oci-layout", b"{}") + END),
        ("no layout", entry("index.json", b"{}") + END),
        ("hard link", HEAD + header(kind=b"1", link=b"index.json") + END),
        ("symbolic link", HEAD + header(kind=b"2", link=b"/etc/passwd") + END),
        ("file with a link name", HEAD + header(link=b"index.json") + END),
        ("character device", HEAD + header(kind=b"3") + END),
        ("block device", HEAD + header(kind=b"4") + END),
        ("pipe", HEAD + header(kind=b"6") + END),
        ("contiguous file", HEAD + header(kind=b"7") + END),
        ("sparse file", HEAD + header(kind=b"S") + END),
        ("pax", HEAD + entry("pax", PAX, kind=b"x") + entry(BLOB, b"") + END),
        ("pax under a good name", HEAD + entry(BLOB, PAX, kind=b"x") + END),
        ("global pax", entry("pax", PAX, kind=b"g") + HEAD + END),
        ("GNU long name", HEAD + entry("././@LongLink", BLOB.encode(), kind=b"L") + END),
        ("GNU long link", HEAD + entry("././@LongLink", b"x", kind=b"K") + END),
        ("GNU volume", HEAD + header("volume", kind=b"V") + END),
        ("GNU multi-volume", HEAD + header(kind=b"M") + END),
        ("vendor kind", HEAD + header(kind=b"Z") + END),
        ("twice", HEAD + entry(BLOB, b"a") + entry(BLOB, b"b") + END),
        ("index twice", HEAD + entry("index.json", b"[]") + END),
        ("base-256 size", HEAD + header(size=b"\x80" + bytes(10) + b"\x01") + bytes(512) + END),
        ("negative base-256 size", HEAD + header(size=b"\xff" * 12) + END),
        ("negative size", HEAD + header(size=b"-0000000001\0") + END),
        ("blank size", HEAD + header(size=b" " * 12) + END),
        ("decimal size", HEAD + header(size=b"00000000009\0") + END),
        ("size with something behind", HEAD + header(size=b"0000\x000000000") + END),
        ("8 GiB that are not there", HEAD + header(size=8**11 - 1) + END),
        ("one byte more than there is", HEAD + header(size=1025) + END),
        ("other name", HEAD + entry("README", b"") + END),
        ("upper-case digest", HEAD + entry(blob_name("AB" * 32), b"") + END),
        ("short digest", HEAD + entry(blob_name("ab" * 31), b"") + END),
        ("other algorithm", HEAD + entry("blobs/sha512/" + "ab" * 43, b"") + END),
        ("absolute", HEAD + entry("/index.json", b"") + END),
        ("upwards", HEAD + entry("blobs/sha256/../../x", b"") + END),
        ("dotted", HEAD + entry("./index.json", b"") + END),
        ("AppleDouble", HEAD + entry("._index.json", b"") + END),
        ("name behind a zero", HEAD + entry(BLOB[:80] + "\0" + BLOB, b"") + END),
        ("not ASCII", HEAD + entry("index.jso\N{LATIN SMALL LETTER N WITH TILDE}", b"") + END),
        ("prefix", HEAD + header("index.json", prefix=b"blobs") + END),
        ("other directory", HEAD + header("etc/", kind=b"5") + END),
        ("directory with a size", HEAD + header("blobs/", 1, kind=b"5") + bytes(512) + END),
        ("directory that is a blob", HEAD + header(BLOB, kind=b"5") + END),
        ("wrong checksum", HEAD + header(checksum=b"000000\0 ") + END),
        ("signed checksum", HEAD + header(checksum=b"-00001\0 ") + END),
        ("no magic", HEAD + header(magic=b"") + END),
        ("padding", HEAD + header(size=1) + b"x" + bytes(510) + b"!" + END),
        ("no end mark", HEAD),
        ("half an end mark", HEAD + bytes(512)),
        ("data after the end mark", HEAD + END + entry(BLOB, b"")),
        ("a byte after the end mark", HEAD + END + bytes(511) + b"!"),
        ("a second archive", (HEAD + END) * 2),
        ("endless zeros", HEAD + bytes((1 << 20) + 512)),
        ("cut in a header", HEAD + header()[:300]),
        ("zip", b"PK\x03\x04" + bytes(2000)),
        ("gzip", b"\x1f\x8b" + bytes(2000)),
    ],
)
def test_a_trick_is_refused(
    trick: str, data: bytes, tar: Callable[[bytes], archive.Layout]
) -> None:
    with pytest.raises(ArchiveCorrupt, match=r"a bundle's archive has .*, found ") as caught:
        tar(data)
    assert {"expected", "found"} <= caught.value.values.keys(), trick


def test_ten_thousand_entries_are_too_many(tar: Callable[[bytes], archive.Layout]) -> None:
    with pytest.raises(ArchiveCorrupt, match="at most 10000 entries, found more"):
        tar(header("blobs/", kind=b"5") * 10_000 + HEAD + END)


def test_every_shortened_bundle_is_refused(tmp_path: Path) -> None:
    data = bundles.bundle(tmp_path / "b.oci.tar").read_bytes()
    for size in [*range(0, len(data), 61), len(data) - 1]:
        with pytest.raises(EdgepackError):
            read(tmp_path / "short.oci.tar", data[:size])


def test_a_claimed_size_costs_no_memory(tar: Callable[[bytes], archive.Layout]) -> None:
    tracemalloc.start()
    try:
        for size in (1 << 20, 1 << 30, 8**11 - 1):
            with pytest.raises(ArchiveCorrupt):
                tar(HEAD + header(size=size) + END)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_large_entry_is_read_in_pieces_and_never_whole(tmp_path: Path) -> None:
    size, path = 64 << 20, tmp_path / "b.oci.tar"
    with path.open("wb") as stream:
        stream.write(HEAD + header(BLOB, size))
        stream.truncate(len(HEAD) + 512 + size + len(END))
    layout = open_layout(path)
    tracemalloc.start()
    try:
        assert sum(map(len, layout.chunks(BLOB))) == size
        with pytest.raises(
            ArchiveCorrupt, match=r"at most 1048576 bytes in blobs.*, found more"
        ):
            read_entry(layout, BLOB, 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 8 * CHUNK
    finally:
        tracemalloc.stop()
        layout.close()


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path: Path) -> None:
    layout = read(tmp_path / "b.oci.tar", HEAD + entry(BLOB, b"x" * 5000) + END)
    os.truncate(tmp_path / "b.oci.tar", len(HEAD) + 1000)
    with pytest.raises(ArchiveCorrupt, match="found the end of the file"):
        read_entry(layout, BLOB, 5000)
    layout.close()


@given(st.binary(max_size=2048))
def test_no_bytes_raise_anything_but_a_typed_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    with pytest.raises(ArchiveCorrupt):
        read(tmp_path_factory.getbasetemp() / "random.oci.tar", data)


@given(st.sampled_from(sorted(set(FIELDS) - {"checksum"})), st.binary(min_size=1, max_size=155))
def test_no_header_field_raises_anything_but_a_typed_error(
    tmp_path_factory: pytest.TempPathFactory, field: str, value: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "field.oci.tar"
    fields: dict[str, Any] = {field: value}
    if field == "name":
        fields = {"name": value.decode("latin1")}
    try:
        read(path, HEAD + header(**fields) + END).close()
    except EdgepackError:
        return
