"""Sound pieces in the wrong places: whatever was not signed together is refused together."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import bent
import bundles
import pytest

from edge_runtime.contract.bundle import archive
from edge_runtime.contract.bundle.archive import blob_name
from edge_runtime.contract.bundle.content import CHUNK
from edge_runtime.contract.bundle.digests import sha256_hex
from edge_runtime.contract.bundle.manifest import MANIFEST_NAME, SIGNATURE_NAME, FileEntry
from edge_runtime.contract.bundle.manifest_json import parse_manifest
from edge_runtime.contract.bundle.manifest_render import render_manifest
from edge_runtime.contract.bundle.oci import FILE_PATH, Part, TargetImage
from edge_runtime.contract.bundle.signature import statement
from edge_runtime.contract.bundle.verify import verify_bundle
from edge_runtime.contract.errors import (
    ArchiveCorrupt,
    DigestMismatch,
    FilesMismatch,
    ManifestInvalid,
    MixedBundle,
    SignatureMissing,
    SignerUntrusted,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "b.oci.tar"


# --- layers, signature and table must be one set of files ---------------------------------


def test_an_extra_layer_is_refused(path: Path) -> None:
    bent.one(path, [*bent.honest(), Part("extra.bin", b"x")])
    error = bent.refused(path, FilesMismatch, "extra.bin present but not signed so")
    assert error.values["found"] == ["extra.bin"]


def test_an_extra_file_that_is_signed_but_in_no_table_is_refused(path: Path) -> None:
    bent.one(path, bent.resigned([*bent.honest(), Part("extra.bin", b"x")]))
    bent.refused(path, FilesMismatch, "extra.bin present but not signed so")


def test_a_missing_layer_is_refused(path: Path) -> None:
    bent.one(path, bent.without(bent.honest(), "README.md"))
    bent.refused(path, FilesMismatch, "README.md absent or different")


def test_a_missing_file_that_no_signature_covers_is_refused(path: Path) -> None:
    bent.one(path, bent.resigned(bent.without(bent.honest(), "README.md")))
    bent.refused(path, FilesMismatch, "README.md absent or different")


def test_a_file_in_the_table_that_no_signature_covers_is_refused(path: Path) -> None:
    parts = bent.honest()
    claims = bent.claims(bent.without(bent.without(parts, SIGNATURE_NAME), "README.md"))
    signature = Part(SIGNATURE_NAME, bent.sign_claims(claims))
    bent.one(path, [*bent.without(parts, SIGNATURE_NAME), signature])
    bent.refused(path, FilesMismatch, "README.md present but not signed so")


def test_a_renamed_layer_is_refused(path: Path) -> None:
    parts = bent.honest()
    renamed = Part("READ.me", bent.named(parts, "README.md").data)
    bent.one(path, [*bent.without(parts, "README.md"), renamed])
    bent.refused(path, FilesMismatch, "README.md absent or different and READ.me present")


def test_two_layers_that_changed_names_are_refused(path: Path) -> None:
    parts = bent.honest()
    a, b = bent.named(parts, "README.md"), bent.named(parts, "golden.npz")
    rest = bent.without(bent.without(parts, a.path), b.path)
    bent.one(path, [*rest, Part(a.path, b.data), Part(b.path, a.data)])
    bent.refused(path, FilesMismatch, "README.md, golden.npz absent or different")


def test_the_same_path_twice_is_refused(path: Path) -> None:
    for extra in (Part("README.md", b"other"), Part(MANIFEST_NAME, b"{}"), bent.honest()[0]):
        bent.one(path, [*bent.honest(), extra])
        bent.refused(path, ArchiveCorrupt, "one layer for each path")


def test_weights_of_the_release_before_under_this_manifest_are_refused(path: Path) -> None:
    parts = bent.honest()
    old = bundles.graph(scale=9.0)
    bent.one(path, [*bent.without(parts, bundles.MODEL), Part(bundles.MODEL, old)])
    bent.refused(path, FilesMismatch, "float32.onnx absent or different")


def test_the_manifest_of_the_release_before_over_these_weights_is_refused(path: Path) -> None:
    old = bundles.parts(bundles.manifest(version="1.3.0"), bundles.payload(bundles.graph(9.0)))
    parts = bent.honest()
    bent.one(path, [old[0], *bent.without(parts, MANIFEST_NAME)])
    bent.refused(path, DigestMismatch, "manifest.json must have")


def test_a_signature_of_another_release_is_refused(path: Path) -> None:
    old = bent.named(bent.honest(version="1.3.0"), SIGNATURE_NAME)
    bent.one(path, [*bent.without(bent.honest(), SIGNATURE_NAME), old])
    bent.refused(path, DigestMismatch, "manifest.json must have")


@pytest.mark.parametrize("name", [MANIFEST_NAME, SIGNATURE_NAME])
def test_a_target_without_its_manifest_or_signature_is_refused(path: Path, name: str) -> None:
    bent.one(path, bent.without(bent.honest(), name))
    bent.refused(path, SignatureMissing if name == SIGNATURE_NAME else FilesMismatch, name)


def test_a_manifest_that_no_signature_covers_is_refused(path: Path) -> None:
    parts = bent.honest()
    claims = bent.claims(parts[2:])
    bent.one(path, [parts[0], Part(SIGNATURE_NAME, bent.sign_claims(claims)), *parts[2:]])
    bent.refused(path, FilesMismatch, "manifest.json absent")


def test_a_signature_that_signs_itself_is_refused(path: Path) -> None:
    parts = bent.honest()
    claims = bent.claims(parts)
    signature = Part(SIGNATURE_NAME, bent.sign_claims(claims))
    bent.one(path, [*bent.without(parts, SIGNATURE_NAME), signature])
    bent.refused(path, FilesMismatch, "model.sig absent or different")


def test_a_manifest_inside_its_own_table_is_refused(path: Path) -> None:
    parts = bundles.parts(bundles.manifest(), {**bundles.payload(), MANIFEST_NAME: b"{}"})
    bent.one(path, bundles.signed(parts[:1] + bent.without(parts, MANIFEST_NAME)))
    bent.refused(path, ManifestInvalid, "different names of files")


@pytest.mark.parametrize("name", ["../x", "/abs", ".hidden", "a/../../x", "a\nb", "C:\\x"])
def test_a_path_that_leaves_the_package_is_refused_signed_or_not(path: Path, name: str) -> None:
    bent.one(
        path,
        bundles.signed(bundles.parts(bundles.manifest(), {**bundles.payload(), name: b"x"})),
    )
    bent.refused(path, ArchiveCorrupt, "a plain path")
    document = json.loads(bent.honest()[0].data)
    document["additional_metadata"]["edgepack"]["files"][0]["path"] = name
    with pytest.raises(ManifestInvalid, match="a plain relative path"):
        parse_manifest(json.dumps(document).encode())


def test_paths_that_differ_only_in_case_are_refused(path: Path) -> None:
    files = {**bundles.payload(), "readme.md": b"x"}
    bent.one(path, bundles.signed(bundles.parts(bundles.manifest(), files)))
    bent.refused(path, ManifestInvalid, "readme.md")


def test_a_file_that_would_be_a_directory_too_is_refused(path: Path) -> None:
    files = {**bundles.payload(), "a": b"x", "a/b": b"y"}
    bent.one(path, bundles.signed(bundles.parts(bundles.manifest(), files)))
    bent.refused(path, ManifestInvalid, "no file that is a directory too")


# --- several targets ----------------------------------------------------------------------


def test_an_unsigned_target_beside_a_signed_one_is_refused(path: Path) -> None:
    first, second = bundles.images()
    unsigned = replace(second, parts=bent.without(second.parts, SIGNATURE_NAME))
    bent.refused(bent.write(path, [first, unsigned]), SignatureMissing)


def test_a_target_of_another_signer_beside_a_trusted_one_is_refused(path: Path) -> None:
    first, second = bundles.images()
    parts = bundles.signed(bent.without(second.parts, SIGNATURE_NAME), bundles.STRANGER)
    bent.refused(bent.write(path, [first, replace(second, parts=parts)]), SignerUntrusted)


def test_two_signers_that_are_both_trusted_are_accepted(path: Path) -> None:
    first, second = bundles.images()
    parts = bundles.signed(bent.without(second.parts, SIGNATURE_NAME), bundles.STRANGER)
    bent.write(path, [first, replace(second, parts=parts)])
    keys = [*bundles.KEYS, bundles.STRANGER.public_key]
    with verify_bundle(path, keys) as verified:
        assert [package.signer for package in verified.packages] == [
            key.fingerprint for key in keys
        ]


@pytest.mark.parametrize(
    "change", [{"version": "1.5.0"}, {"release": 1_005_000}, {"name": "other"}]
)
def test_targets_of_two_releases_are_refused(path: Path, change: dict[str, Any]) -> None:
    first = bundles.images(["arm64-cpu"])
    second = bundles.images(["x86-64-cpu"], **change)
    error = bent.refused(bent.write(path, [*first, *second]), MixedBundle, "share one name")
    assert len(error.values["found"]) == 2


def test_the_same_target_twice_is_refused(path: Path) -> None:
    first = bundles.images(["x86-64-cpu"])
    second = bundles.images(["x86-64-cpu"], description="another")
    bent.refused(bent.write(path, [*first, *second]), MixedBundle, "differ in target")


def test_files_swapped_between_two_targets_are_refused(path: Path) -> None:
    first, _ = bundles.images()
    other = bundles.payload(bundles.graph(9.0))
    second = bundles.image(
        "x86-64-cpu", bundles.signed(bundles.parts(bundles.manifest(), other))
    )
    foreign = Part(bundles.MODEL, other[bundles.MODEL])
    swapped = [*bent.without(first.parts, bundles.MODEL), foreign]
    bent.refused(bent.write(path, [replace(first, parts=swapped), second]), FilesMismatch)


def test_manifests_swapped_between_two_targets_are_refused(path: Path) -> None:
    first, second = bundles.images()
    a = [second.parts[0], *bent.without(first.parts, MANIFEST_NAME)]
    bent.refused(bent.write(path, [replace(first, parts=a), second]), DigestMismatch)


# --- size ----------------------------------------------------------------------------------


def large(path: Path, size: int) -> Path:
    """Write a sound bundle with a payload of so many bytes: a hole in the file, then "!"."""
    digest = hashlib.sha256()
    for _ in range(size // CHUNK):
        digest.update(bytes(CHUNK))
    digest.update(b"!")
    entry = FileEntry("variants/weights.bin", size, digest.hexdigest())
    bent.write_layout(path, bent.rewrite_manifests([_signed_with(entry)], _listing(entry)))
    with path.open("r+b") as stream:
        stream.seek(-1024, os.SEEK_END)
        stream.write(archive.render_header(blob_name(entry.sha256), size))
        stream.seek(size - 1, os.SEEK_CUR)
        stream.write(b"!")
        stream.truncate(stream.tell() + 511 + 1024)
    return path


def _signed_with(entry: FileEntry) -> TargetImage:
    """Return a target whose manifest and signature list one more file than it holds."""
    small = bent.honest()
    plain = parse_manifest(small[0].data)
    manifest = Part(MANIFEST_NAME, render_manifest(replace(plain, files=(*plain.files, entry))))
    parts = [manifest, *bent.without(small, MANIFEST_NAME, SIGNATURE_NAME)]
    digests = {part.path: sha256_hex(part.data) for part in parts} | {entry.path: entry.sha256}
    signature = Part(SIGNATURE_NAME, bent.sign_claims(statement("tiny", digests)))
    return bundles.image(bent.TARGET, [*parts, signature])


def _listing(entry: FileEntry) -> Callable[[dict[str, Any]], None]:
    layer = {
        "mediaType": "application/octet-stream",
        "digest": f"sha256:{entry.sha256}",
        "size": entry.size,
        "annotations": {FILE_PATH: entry.path},
    }
    return lambda document: document["layers"].append(layer)


@pytest.mark.parametrize("size", [(1 << 31) + 1, (1 << 32) + 1], ids=["2 GiB", "4 GiB"])
def test_a_payload_over_two_and_four_gibibytes_is_covered_to_its_last_byte(
    path: Path, size: int
) -> None:
    large(path, size)
    with bundles.opened(path) as verified:
        assert sum(entry.size for entry in verified.packages[0].manifest.files) > size
    with path.open("r+b") as stream:
        stream.seek(-512 - 1024, os.SEEK_END)
        assert stream.read(1) == b"!"
        stream.seek(-1, os.SEEK_CUR)
        stream.write(b"?")
    bent.refused(path, DigestMismatch, f"{size} bytes")
