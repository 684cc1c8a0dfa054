"""A bundle read without trust: whole, whoever signed it."""

from __future__ import annotations

import gzip

import bundles
import pytest
import shrunk

from edge_runtime.contract.bundle.content import chunks_of, digest_of, size_of
from edge_runtime.contract.bundle.digests import sha256_hex
from edge_runtime.contract.bundle.packing import framed
from edge_runtime.contract.errors import ArchiveCorrupt, DigestMismatch, FilesMismatch
from packager.bundle_file import bundle_json, read_bundle


def test_every_target_is_read_with_its_files(tmp_path):
    targets = read_bundle(bundles.bundle(tmp_path / "b.oci.tar"))
    assert [target.manifest.target.name for target in targets] == list(bundles.TARGETS)
    for target in targets:
        document = target.parts[0]
        assert [part.path for part in target.parts] == [
            "manifest.json",
            *sorted(bundles.payload()),
        ]
        assert target.digest == sha256_hex(document.data)
        assert target.signature is not None


def test_an_unsigned_target_has_no_signature(tmp_path):
    path = tmp_path / "b.oci.tar"
    image = bundles.image("x86-64-cpu", bundles.parts(bundles.manifest()))
    bundles.write_bundle(path, [image])
    (target,) = read_bundle(path)
    assert target.signature is None
    assert bundle_json((target,))["targets"][0]["has_signature"] is False


def test_what_machines_read_names_every_file_and_variant(tmp_path):
    told = bundle_json(read_bundle(bundles.bundle(tmp_path / "b.oci.tar")))
    assert (told["name"], told["version"], told["release"]) == ("tiny", "1.4.0", 1_004_000)
    (first, _) = told["targets"]
    assert {entry["path"] for entry in first["files"]} == set(bundles.payload())
    assert [variant["name"] for variant in first["variants"]] == ["float32"]
    assert first["golden"]["synthetic"] is True
    assert first["has_signature"] is True


def test_a_packed_file_is_read_in_both_its_forms(tmp_path):
    (target,) = read_bundle(shrunk.write(tmp_path / "b.oci.tar", shrunk.parts()))
    (part,) = (part for part in target.parts if part.packed is not None)
    entry = target.manifest.file(part.path)
    assert part.data == shrunk.graph()
    assert (size_of(part.blob), digest_of(part.blob)) == (entry.blob.size, entry.blob.sha256)
    tar = gzip.decompress(b"".join(chunks_of(part.blob, "the blob")))
    assert tar == b"".join(framed(part.path, part.size, [shrunk.graph()]))
    assert part.diff_id == sha256_hex(tar)
    told = bundle_json((target,))["targets"][0]["files"]
    assert [one["path"] for one in told if one["packed"]] == [part.path]


def test_a_changed_file_is_found(tmp_path):
    path = bundles.bundle(tmp_path / "b.oci.tar")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"# tiny\n", b"# tinY\n"))
    with pytest.raises(DigestMismatch):
        read_bundle(path)


@pytest.mark.parametrize("extra", [True, False])
def test_a_file_more_or_less_than_the_table_is_found(tmp_path, extra):
    document, *files = bundles.parts(bundles.manifest())
    found = [*files, bundles.Part("more", b"1")] if extra else files[:-1]
    path = tmp_path / "b.oci.tar"
    bundles.write_bundle(path, [bundles.image("x86-64-cpu", [document, *found])])
    with pytest.raises(FilesMismatch, match="must hold the files of its table"):
        read_bundle(path)


def test_a_file_that_is_no_bundle_is_refused(tmp_path):
    (tmp_path / "b.oci.tar").write_bytes(bytes(2048))
    with pytest.raises(ArchiveCorrupt):
        read_bundle(tmp_path / "b.oci.tar")
