"""Packed files that are validly signed and lie: refused, and the store stays as it was."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import bent
import bundles
import devices
import pytest
import shrunk

from edge_runtime.contract.bundle.archive import blob_name, write_layout
from edge_runtime.contract.bundle.digests import sha256_hex
from edge_runtime.contract.bundle.oci import Part, layout_entries
from edge_runtime.contract.bundle.verify import verify_bundle
from edge_runtime.contract.errors import (
    ArchiveCorrupt,
    BlobMissing,
    BundleError,
    DigestMismatch,
    FilesMismatch,
)
from edge_runtime.runtime import install
from edge_runtime.state.store import Store
from packager.bundle_file import read_bundle

LONGER = shrunk.graph() + b"\x92\x03\x00"


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    """A store that trusts the test key and holds nothing."""
    return Store(Path(devices.trusting(tmp_path)[1]), "named by the test")


def refused(path: Path, store: Store, error: type[BundleError], words: str) -> None:
    """Require that device and workstation refuse a bundle, and that the store is as it was."""
    before = devices.snapshot(store.root)
    with pytest.raises(error, match=words) as caught:
        install(path, store)
    assert caught.value.message.isprintable()
    assert devices.snapshot(store.root) == before
    with verify_bundle(path, bundles.KEYS) as verified, pytest.raises(error):
        verified.check()
    with pytest.raises(error):
        read_bundle(path)


def test_a_sound_one_installs_as_plain_files(empty: Store, tmp_path: Path) -> None:
    path = shrunk.write(tmp_path / "b.oci.tar", shrunk.parts())
    assert path.stat().st_size < len(shrunk.graph()) / 2
    done = install(path, empty)
    directory = empty.model("tiny").version(done.digest)
    assert (directory / bundles.MODEL).read_bytes() == shrunk.graph()
    assert bundles.tree(directory).keys() == {
        *bundles.payload(),
        "manifest.json",
        "model.sig",
    }


SIGNED_LIES = {
    "trailing bytes": (lambda blob: blob + b"\0", "bytes after its gzip stream"),
    "a second member": (lambda blob: blob + gzip.compress(b"x"), "bytes after its gzip stream"),
    "half of it": (lambda blob: blob[: len(blob) // 2], "ends early"),
    "nothing": (lambda _: b"", "ends early"),
    "no gzip": (lambda blob: b"x" + blob, "no gzip stream"),
    "a longer file": (lambda _: shrunk.gzipped(bundles.MODEL, LONGER), "another tar"),
    "another name": (lambda _: shrunk.gzipped("golden.npz", shrunk.graph()), "another tar"),
    "no tar": (lambda _: gzip.compress(shrunk.graph()), "another tar"),
}


@pytest.mark.parametrize(("bend", "words"), SIGNED_LIES.values(), ids=SIGNED_LIES)
def test_a_signed_blob_of_another_form_is_refused(
    empty: Store, tmp_path: Path, bend: shrunk.Bend, words: str
) -> None:
    path = shrunk.write(tmp_path / "b.oci.tar", shrunk.parts(bend))
    refused(path, empty, ArchiveCorrupt, words)


def test_a_signed_blob_that_holds_another_file_is_refused(empty: Store, tmp_path: Path) -> None:
    other = shrunk.graph()[:-1] + b"!"
    made = shrunk.parts(lambda _: shrunk.gzipped(bundles.MODEL, other))
    path = shrunk.write(tmp_path / "b.oci.tar", made)
    refused(path, empty, DigestMismatch, r"float32\.onnx must have")


@pytest.mark.parametrize("size", [0, 7, len(shrunk.graph()) - 1, len(shrunk.graph()) + 1])
def test_a_signed_lie_about_the_plain_size_is_refused(
    empty: Store, tmp_path: Path, size: int
) -> None:
    path = shrunk.write(tmp_path / "b.oci.tar", shrunk.parts(size=size))
    refused(path, empty, ArchiveCorrupt, f"{size} bytes, found another tar")


def packed_part(parts: list[Part]) -> Part:
    return next(part for part in parts if part.packed is not None)


def test_a_blob_that_is_not_the_signed_one_is_refused(empty: Store, tmp_path: Path) -> None:
    """It is a sound one of the same length: only its digest tells."""
    made = shrunk.parts()
    blob = packed_part(made).packed
    assert isinstance(blob, bytes)
    path = shrunk.write(tmp_path / "b.oci.tar", made)
    # The sixth byte is of the time, which nothing but the digest covers.
    path.write_bytes(path.read_bytes().replace(blob, blob[:5] + b"\1" + blob[6:]))
    refused(path, empty, DigestMismatch, f"must have {len(blob)} bytes")


def test_every_changed_byte_of_a_packed_blob_is_refused(tmp_path: Path) -> None:
    made = shrunk.parts()
    blob = packed_part(made).packed
    assert isinstance(blob, bytes)
    path = shrunk.write(tmp_path / "b.oci.tar", made)
    whole = path.read_bytes()
    start = whole.index(blob)
    with path.open("r+b", buffering=0) as stream:
        for offset in range(start, start + len(blob)):
            byte = whole[offset]
            for mask in (0x01, 0x20, 0x80):
                os.pwrite(stream.fileno(), bytes([byte ^ mask]), offset)
                with verify_bundle(path, bundles.KEYS) as verified:
                    (package,) = verified.packages
                    with pytest.raises(DigestMismatch):
                        package.read(bundles.MODEL)
            os.pwrite(stream.fileno(), bytes([byte]), offset)
    assert path.read_bytes() == whole


def test_a_blob_that_is_not_there_is_refused(empty: Store, tmp_path: Path) -> None:
    made = shrunk.parts()
    blob = packed_part(made).packed
    assert isinstance(blob, bytes)
    target = bundles.image(devices.TARGET, bundles.signed(made))
    entries = dict(layout_entries([target]))
    del entries[blob_name(sha256_hex(blob))]
    write_layout(tmp_path / "b.oci.tar", entries.items())
    refused(tmp_path / "b.oci.tar", empty, BlobMissing, "is not in the bundle")


def layer_of(document: dict[str, Any], digest: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        item for item in document["layers"] if item["digest"] == f"sha256:{digest}"
    )
    return found


@pytest.mark.parametrize("what", ["the plain file", "another size"])
def test_a_layer_that_is_not_the_signed_blob_is_refused(tmp_path: Path, what: str) -> None:
    """A manifest that nobody signed points to the plain bytes, which are there, and true."""
    made = shrunk.parts()
    part = packed_part(made)
    assert isinstance(part.packed, bytes)
    digest, plain = sha256_hex(part.packed), Part("more", part.content)
    change: dict[str, Any] = {"size": part.size}
    if what == "the plain file":
        change["digest"] = f"sha256:{plain.sha256}"
    target = bundles.image(devices.TARGET, bundles.signed(made))
    entries = bent.rewrite_manifests(
        [target], lambda document: layer_of(document, digest).update(change)
    )
    entries.append((blob_name(plain.sha256), shrunk.graph()))
    write_layout(tmp_path / "b.oci.tar", entries)
    bent.refused(tmp_path / "b.oci.tar", FilesMismatch, "float32.onnx")


def test_media_types_decide_nothing(tmp_path: Path) -> None:
    target = bundles.image(devices.TARGET, bundles.signed(shrunk.parts()))

    def edit(document: dict[str, Any]) -> None:
        for layer in document["layers"]:
            layer["mediaType"] = "application/vnd.cncf.model.weight.v1.raw"

    write_layout(tmp_path / "b.oci.tar", bent.rewrite_manifests([target], edit))
    with bundles.opened(tmp_path / "b.oci.tar") as verified:
        assert verified.packages[0].read(bundles.MODEL) == shrunk.graph()
