"""A bundle read without trust: whole, whoever signed it."""

from __future__ import annotations

import bundles
import pytest

from edge_runtime.contract.bundle.digests import sha256_hex
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
