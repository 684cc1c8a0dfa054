"""Packed files: what pays is packed, always alike, and unpacked with suspicion."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tracemalloc
import zlib
from collections.abc import Iterator

import pytest
import shrunk
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.bundle.content import CHUNK, Stored
from edge_runtime.contract.bundle.digests import checked, sha256_hex
from edge_runtime.contract.bundle.manifest import FileEntry, Packed
from edge_runtime.contract.bundle.packing import framed, packed, packed_size, unpacked
from edge_runtime.contract.errors import ArchiveCorrupt, DigestMismatch

PATH = "variants/float32.onnx"
STORY = b"a forest repeats itself, " * 4000


def entry(data: bytes, blob: bytes, path: str = PATH) -> FileEntry:
    return FileEntry(path, len(data), sha256_hex(data), Packed(len(blob), sha256_hex(blob)))


def pieces(data: bytes, size: int = 1000) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def unpack(data: bytes, blob: bytes) -> bytes:
    """Return what the device takes out of a blob that is signed as it is, for these bytes."""
    signed = entry(data, blob)
    return b"".join(checked(unpacked(signed, lambda: pieces(blob)), signed))


# --- packing -------------------------------------------------------------------------------


@given(st.binary(max_size=40), st.integers(8, 3000))
def test_what_is_packed_comes_out_as_it_was(seed: bytes, times: int) -> None:
    data = (seed + b"-") * times + os.urandom(200)
    blob = packed(PATH, data)
    assert blob is None or unpack(data, blob) == data
    assert blob is None or len(blob) <= min(len(data) * 0.9, len(data) - 4096)


def test_the_same_file_is_packed_into_the_same_bytes_without_a_name_or_a_time() -> None:
    blob = packed(PATH, STORY)
    assert blob == packed(PATH, STORY)
    assert blob is not None
    flags, time = blob[3], blob[4:8]
    assert (blob[:3], flags, time) == (b"\x1f\x8b\x08", 0, bytes(4))
    stored = Stored(len(STORY), sha256_hex(STORY), lambda: pieces(STORY))
    assert packed(PATH, stored) == blob


def test_stock_tar_opens_it() -> None:
    blob = packed(PATH, STORY)
    assert blob is not None
    with tarfile.open(fileobj=io.BytesIO(blob), mode="r:gz") as archive:
        (member,) = archive
        stream = archive.extractfile(member)
        assert stream is not None
        assert (member.name, stream.read()) == (PATH, STORY)


@pytest.mark.parametrize(
    ("path", "data"),
    [
        (PATH, os.urandom(200_000)),
        (PATH, b"a" * 4096),
        (PATH, b""),
        ("variants/float32.weights", STORY),
        ("README.md", STORY),
        ("bom.cdx.json", STORY),
        (f"variants/{'f' * 90}.onnx", STORY),
    ],
    ids=["no smaller", "small", "empty", "weights", "a document", "a bill", "a long name"],
)
def test_what_does_not_pay_stays_as_it_is(path: str, data: bytes) -> None:
    assert packed(path, data) is None
    assert packed_size(path, data) == len(data)


def test_what_pays_is_counted_as_packed() -> None:
    blob = packed("golden.npz", STORY)
    assert blob is not None
    assert packed_size("golden.npz", STORY) == len(blob) < len(STORY) / 10


def test_bytes_that_end_just_short_of_paying_are_not_packed() -> None:
    """A tenth less is the border: noise and a little story lie on either side of it."""
    noise = os.urandom(400_000)
    assert packed(PATH, noise + bytes(30_000)) is None
    assert packed(PATH, noise + bytes(60_000)) is not None


# --- unpacking -----------------------------------------------------------------------------


def other_tar(path: str = PATH, data: bytes = STORY, tail: bytes = b"") -> bytes:
    return gzip.compress(b"".join(framed(path, len(data), [data])) + tail, mtime=0)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


SOUND = other_tar()
TAR = gzip.decompress(SOUND)

BENT = {
    "nothing": (b"", "ends early"),
    "no gzip": (b"PK" + SOUND[2:], "no gzip stream"),
    "a zlib stream": (zlib.compress(TAR), "no gzip stream"),
    "a stream cut short": (SOUND[:-9], "ends early"),
    "a checksum cut short": (SOUND[:-1], "ends early"),
    "another checksum": (flipped(SOUND, len(SOUND) - 5), "no gzip stream"),
    "a byte after the end": (SOUND + b"\0", "bytes after its gzip stream"),
    "a second member": (SOUND + gzip.compress(b""), "bytes after its gzip stream"),
    "the file without its tar": (gzip.compress(STORY), "another tar"),
    "another path": (other_tar("variants/float64.onnx"), "another tar"),
    "another size": (other_tar(data=STORY[:-1]), "another tar"),
    "another mode": (gzip.compress(TAR.replace(b"0000644", b"0000755", 1)), "another tar"),
    "bytes in the padding": (gzip.compress(flipped(TAR, len(TAR) - 1025)), "another tar"),
    "a second entry": (gzip.compress(TAR[:-1024] + TAR), "another tar"),
    "a longer tail": (other_tar(tail=bytes(512)), "another tar"),
    "a shorter tail": (gzip.compress(TAR[:-1]), "a tar that ends early"),
    "a header alone": (gzip.compress(TAR[:512]), "a tar that ends early"),
}


@pytest.mark.parametrize(("blob", "words"), BENT.values(), ids=BENT)
def test_a_blob_of_another_form_is_refused_though_it_is_signed(blob: bytes, words: str) -> None:
    with pytest.raises(ArchiveCorrupt, match=words) as caught:
        unpack(STORY, blob)
    assert PATH in caught.value.message
    assert f"{len(STORY)} bytes" in caught.value.message


def test_other_bytes_of_the_same_length_are_refused() -> None:
    with pytest.raises(DigestMismatch, match=r"float32\.onnx must have"):
        unpack(STORY, other_tar(data=flipped(STORY, 7)))


def test_a_bomb_goes_off_in_bounded_memory() -> None:
    """A quarter of a gigabyte of zeros in as many kilobytes, said to be a few bytes."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros, chunks = (
        bytes(CHUNK),
        [deflate.compress(b"".join(framed(PATH, 9, [b"12345"]))[:517])],
    )
    chunks += [deflate.compress(zeros) for _ in range(256)]
    blob = b"".join([*chunks, deflate.flush()])
    signed = entry(b"123456789", blob)
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveCorrupt, match="another tar"):
            list(checked(unpacked(signed, lambda: pieces(blob, CHUNK)), signed))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12 * CHUNK


def test_a_large_file_comes_out_in_pieces() -> None:
    data = bytes(40 * CHUNK)
    blob = packed(PATH, data)
    assert blob is not None
    found = list(unpacked(entry(data, blob), lambda: pieces(blob)))
    assert max(map(len, found)) <= CHUNK
    assert sum(map(len, found)) == len(data)


class Medium:
    """A blob on a stick, whose bytes may be others each time that they are read."""

    def __init__(self, *contents: bytes) -> None:
        self.contents = list(contents)

    def read(self) -> Iterator[bytes]:
        yield from pieces(self.contents.pop(0))


def test_a_blob_that_was_not_signed_is_never_inflated() -> None:
    medium = Medium(flipped(SOUND, 20), SOUND)
    with pytest.raises(DigestMismatch, match=f"must have {len(SOUND)} bytes"):
        next(unpacked(entry(STORY, SOUND), medium.read))
    assert medium.contents == [SOUND]  # it was not even read a second time


@pytest.mark.parametrize("later", [flipped(SOUND, 20), SOUND + b"\0", SOUND[:-1], b""], ids=len)
def test_a_blob_that_changes_between_hash_and_use_is_refused(later: bytes) -> None:
    with pytest.raises(DigestMismatch, match="when it was read again"):
        list(unpacked(entry(STORY, SOUND), Medium(SOUND, later).read))


def test_the_test_bundles_hold_one_packed_file() -> None:
    assert [part.path for part in shrunk.parts() if part.packed is not None] == [PATH]
