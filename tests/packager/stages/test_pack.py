"""Packing: files become the parts of an image, and images one reproducible archive."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import bundles
import pytest
import shrunk

from edge_runtime.contract.bundle.content import digest_of, size_of
from edge_runtime.contract.bundle.digests import sha256_hex
from edge_runtime.contract.bundle.manifest import EXTERNAL_WEIGHTS, PACKED_FILES, Packed
from edge_runtime.contract.bundle.manifest_json import parse_manifest
from packager.stages.pack import target_parts, write_bundle

MODEL_PACK = "application/vnd.cncf.model"


def test_the_table_is_that_of_the_files_in_the_order_of_their_names() -> None:
    files = {"b": b"2", "a/x": b"1", **bundles.payload()}
    parts = target_parts(bundles.manifest(), files)
    assert [part.path for part in parts] == ["manifest.json", *sorted(files)]
    table = parse_manifest(parts[0].data).files
    assert [(entry.path, entry.size, entry.sha256) for entry in table] == [
        (path, len(files[path]), sha256_hex(files[path])) for path in sorted(files)
    ]


def test_the_order_in_which_files_come_decides_nothing() -> None:
    files = bundles.payload()
    forwards, backwards = (
        target_parts(bundles.manifest(), dict(items))
        for items in (files.items(), reversed(files.items()))
    )
    assert forwards == backwards


def test_a_file_that_shrinks_is_packed_and_the_manifest_says_so() -> None:
    document, *payload = shrunk.parts()
    manifest = parse_manifest(document.data)
    assert manifest.must_understand == (PACKED_FILES,)
    for part, entry in zip(payload, manifest.files, strict=True):
        assert (part.path, part.size, part.sha256) == (entry.path, entry.size, entry.sha256)
        if part.path == bundles.MODEL:
            assert entry.packed == Packed(size_of(part.blob), digest_of(part.blob))
            assert part.sha256 == sha256_hex(shrunk.graph())
        else:
            assert entry.packed is part.packed is None


def test_what_a_bundle_must_understand_already_is_kept() -> None:
    named = bundles.manifest(must_understand=(EXTERNAL_WEIGHTS,))
    document, *_ = target_parts(named, bundles.payload(shrunk.graph()))
    assert parse_manifest(document.data).must_understand == (EXTERNAL_WEIGHTS, PACKED_FILES)


def test_a_bundle_without_packed_files_demands_nothing_new() -> None:
    document, *_ = bundles.parts(bundles.manifest())
    assert parse_manifest(document.data).must_understand == ()


def test_a_packed_layer_is_a_gzipped_tar_and_its_diff_id_that_of_the_tar(
    tmp_path: Path,
) -> None:
    entries = bundles.entries(shrunk.write(tmp_path / "b.oci.tar", shrunk.parts()))
    listed = json.loads(entries["index.json"])["manifests"]
    document = json.loads(blob(entries, listed[1]["digest"]))
    config = json.loads(blob(entries, document["config"]["digest"]))
    for layer, diff_id in zip(document["layers"], config["modelfs"]["diffIds"], strict=True):
        data = blob(entries, layer["digest"])
        assert len(data) == layer["size"]
        if layer["annotations"]["org.cncf.model.filepath"] == bundles.MODEL:
            assert layer["mediaType"] == f"{MODEL_PACK}.weight.v1.tar+gzip"
            assert diff_id == f"sha256:{sha256_hex(gzip.decompress(data))}"
        else:
            assert layer["mediaType"].endswith(".raw")
            assert diff_id == layer["digest"]
    assert not any(sha256_hex(shrunk.graph()) in name for name in entries)


def test_packing_again_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = (bundles.bundle(tmp_path / name) for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


@pytest.fixture
def entries(tmp_path: Path) -> dict[str, bytes]:
    return bundles.entries(bundles.bundle(tmp_path / "b.oci.tar"))


def blob(entries: dict[str, bytes], digest: str) -> bytes:
    return entries[f"blobs/{digest.replace(':', '/')}"]


def test_the_archive_begins_with_its_documents(entries: dict[str, bytes]) -> None:
    names = list(entries)
    assert names[:2] == ["oci-layout", "index.json"]
    assert [json.loads(entries[name])["mediaType"] for name in names[2:5]] == [
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
    ]
    assert all(name == f"blobs/sha256/{sha256_hex(entries[name])}" for name in names[2:])


def test_the_bundle_is_tagged_whole_and_target_by_target(entries: dict[str, bytes]) -> None:
    listed = json.loads(entries["index.json"])["manifests"]
    assert [item["annotations"]["org.opencontainers.image.ref.name"] for item in listed] == [
        "1.4.0",
        "1.4.0-arm64-cpu",
        "1.4.0-x86-64-cpu",
    ]
    index = json.loads(blob(entries, listed[0]["digest"]))
    assert list(index) == ["schemaVersion", "mediaType", "manifests"]
    assert [list(item) for item in index["manifests"]] == [
        ["mediaType", "digest", "size", "annotations", "platform"]
    ] * 2
    assert [item["platform"] for item in index["manifests"]] == [
        {"architecture": "arm64", "os": "linux"},
        {"architecture": "amd64", "os": "linux"},
    ]
    assert [item["digest"] for item in index["manifests"]] == [
        item["digest"] for item in listed[1:]
    ]


def test_a_target_is_a_model_pack_artifact(entries: dict[str, bytes]) -> None:
    listed = json.loads(entries["index.json"])["manifests"]
    document = json.loads(blob(entries, listed[1]["digest"]))
    assert document["artifactType"] == f"{MODEL_PACK}.manifest.v1+json"
    assert {
        item["annotations"]["org.cncf.model.filepath"]: item["mediaType"]
        for item in document["layers"]
    } == {
        "manifest.json": f"{MODEL_PACK}.weight.config.v1.raw",
        "model.sig": f"{MODEL_PACK}.doc.v1.raw",
        "README.md": f"{MODEL_PACK}.doc.v1.raw",
        "golden.npz": f"{MODEL_PACK}.dataset.v1.raw",
        "variants/float32.onnx": f"{MODEL_PACK}.weight.v1.raw",
    }
    config = json.loads(blob(entries, document["config"]["digest"]))
    assert config["modelfs"]["diffIds"] == [item["digest"] for item in document["layers"]]
    for item in document["layers"]:
        assert len(blob(entries, item["digest"])) == item["size"]


def test_files_that_targets_share_are_stored_once(entries: dict[str, bytes]) -> None:
    graph = sha256_hex(bundles.graph())
    assert sum(name.endswith(graph) for name in entries) == 1
    assert sum(b'"layers":[' in data for data in entries.values()) == 2


def test_an_architecture_that_registries_name_alike_is_passed_on(tmp_path: Path) -> None:
    (image,) = bundles.images(["x86-64-cpu"])
    write_bundle(tmp_path / "b.oci.tar", [replace(image, architecture="riscv64")])
    assert any(
        b'"platform":{"architecture":"riscv64"' in data
        for data in bundles.entries(tmp_path / "b.oci.tar").values()
    )


def test_what_cannot_be_written_is_the_callers_to_handle(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_bundle(tmp_path / "none" / "b.oci.tar", bundles.images())
