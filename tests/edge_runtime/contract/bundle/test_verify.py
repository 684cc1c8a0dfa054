"""Trust: the one way to a verified bundle, and what may be done with one."""

from __future__ import annotations

import hashlib
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import bent
import bundles
import pytest

from edge_runtime.contract.bundle.archive import write_layout
from edge_runtime.contract.bundle.digests import sha256_hex
from edge_runtime.contract.bundle.installed import open_installed
from edge_runtime.contract.bundle.manifest import MANIFEST_NAME, SIGNATURE_NAME
from edge_runtime.contract.bundle.oci import layout_entries
from edge_runtime.contract.bundle.verify import (
    BundledPackage,
    VerifiedBundle,
    VerifiedPackage,
    verify_bundle,
)
from edge_runtime.contract.errors import (
    BlobMissing,
    DigestMismatch,
    FilesMismatch,
    MustUnderstand,
    NoTrustedKey,
    RuntimeTooOld,
    SignerUntrusted,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "b.oci.tar"


def extracted(path: Path, directory: Path, index: int = 0) -> str:
    """Extract a target and return its digest."""
    with bundles.opened(path) as verified:
        verified.packages[index].extract(directory)
        return verified.packages[index].digest


# --- a sound bundle -----------------------------------------------------------------------


def test_a_sound_bundle_gives_its_targets_in_the_order_of_their_names(path: Path) -> None:
    bundles.bundle(path, ["x86-64-cpu", "arm64-cpu"])
    with bundles.opened(path) as verified:
        assert [item.manifest.target.name for item in verified.packages] == [
            "arm64-cpu",
            "x86-64-cpu",
        ]
        for package in verified.packages:
            assert package.signer == bundles.SIGNER.public_key.fingerprint
            assert package.read("README.md") == b"# tiny\n"


def test_the_digest_of_a_package_is_that_of_its_manifest(path: Path, tmp_path: Path) -> None:
    digest = extracted(bundles.bundle(path), tmp_path / "p")
    assert digest == sha256_hex((tmp_path / "p" / MANIFEST_NAME).read_bytes())


def test_an_extracted_package_holds_exactly_the_signed_files_read_only(
    path: Path, tmp_path: Path
) -> None:
    extracted(bundles.bundle(path, ["x86-64-cpu"]), tmp_path / "p")
    found = bundles.tree(tmp_path / "p")
    assert found.keys() == {*bundles.payload(), MANIFEST_NAME, SIGNATURE_NAME}
    for name, data in bundles.payload().items():
        assert found[name] == hashlib.sha256(data).hexdigest()
        assert (tmp_path / "p" / name).stat().st_mode & 0o777 == 0o444


def test_a_directory_verifies_as_the_tar_does(path: Path, tmp_path: Path) -> None:
    bundles.unpack(bundles.bundle(path), tmp_path / "d")
    assert extracted(tmp_path / "d", tmp_path / "one") == extracted(path, tmp_path / "two")
    assert bundles.tree(tmp_path / "one") == bundles.tree(tmp_path / "two")


def test_the_untrusted_platform_of_a_target_decides_nothing(path: Path) -> None:
    images = bundles.images()
    bent.write(path, [replace(image, os="windows", architecture="arm64") for image in images])
    with bundles.opened(path) as verified:
        assert [item.manifest.target.architecture for item in verified.packages] == [
            "arm64",
            "x86-64",
        ]


def test_one_target_alone_is_a_bundle_too(path: Path) -> None:
    image = bundles.images()[0]
    entries = dict(layout_entries([image]))
    document = next(data for data in entries.values() if b'"layers":[' in data)
    write_layout(path, bent.assemble([document], entries.values()))
    with bundles.opened(path) as verified:
        assert len(verified.packages) == 1


# --- trusted types ------------------------------------------------------------------------


def test_nothing_but_verification_makes_a_verified_bundle(path: Path) -> None:
    seal = object()
    with pytest.raises(TypeError, match="made by verify_bundle only"):
        VerifiedBundle(seal, None, ())  # type: ignore[arg-type]
    manifest = bundles.manifest()
    with pytest.raises(TypeError, match="made by verify_bundle or open_installed only"):
        VerifiedPackage(seal, manifest, "0" * 64, "", lambda _: iter([]))
    bundles.bundle(path)
    with bundles.opened(path) as verified:
        signed = verified.packages[0]._signed
        with pytest.raises(TypeError, match="made by verify_bundle or open_installed only"):
            BundledPackage(None, signed, lambda _: iter([]))
        with pytest.raises(FrozenInstanceError):
            verified.packages[0].manifest.name = "other"  # type: ignore[misc]


def test_no_trusted_key_means_refusal(path: Path) -> None:
    with pytest.raises(NoTrustedKey):
        verify_bundle(bundles.bundle(path), [])


def test_a_key_of_another_hand_means_refusal(path: Path) -> None:
    with pytest.raises(SignerUntrusted):
        verify_bundle(bundles.bundle(path), [bundles.STRANGER.public_key])


def test_an_unsigned_path_cannot_be_read(path: Path) -> None:
    with bundles.opened(bundles.bundle(path)) as verified:
        for name in ("other", MANIFEST_NAME, SIGNATURE_NAME, "../x"):
            with pytest.raises(FilesMismatch):
                verified.packages[0].read(name)


# --- compatibility ------------------------------------------------------------------------


def test_what_this_runtime_cannot_read_is_refused_by_name(path: Path) -> None:
    bundles.bundle(path, ["x86-64-cpu"], min_runtime="999.0")
    bent.refused(path, RuntimeTooOld, "needs edge-runtime 999.0")
    bundles.bundle(path, ["x86-64-cpu"], must_understand=("packed-weights",))
    bent.refused(path, MustUnderstand, "packed-weights")


def test_one_target_for_a_newer_runtime_refuses_the_whole(path: Path) -> None:
    old, new = bundles.images(["arm64-cpu"]), bundles.images(["x86-64-cpu"], min_runtime="999")
    bent.refused(bent.write(path, [*old, *new]), RuntimeTooOld)


# --- payloads -----------------------------------------------------------------------------


def corrupt(path: Path, data: bytes) -> None:
    """Change the last byte of a blob where it stands."""
    whole = path.read_bytes()
    offset = whole.index(data) + len(data) - 1
    path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])


def test_a_changed_payload_is_refused_when_read_extracted_or_checked(
    path: Path, tmp_path: Path
) -> None:
    corrupt(bundles.bundle(path), bundles.graph())
    with verify_bundle(path, bundles.KEYS) as verified:
        package = verified.packages[0]
        assert package.read("README.md") == b"# tiny\n"
        for use in (
            lambda: package.read(bundles.MODEL),
            lambda: package.extract(tmp_path / "p"),
            package.check,
            verified.check,
        ):
            with pytest.raises(DigestMismatch, match=r"float32\.onnx must have 2\d\d bytes"):
                use()


def test_a_bundle_swapped_between_verification_and_use_is_refused(
    path: Path, tmp_path: Path
) -> None:
    bundles.bundle(path)
    with verify_bundle(path, bundles.KEYS) as verified:
        corrupt(path, bundles.graph())
        with pytest.raises(DigestMismatch):
            verified.packages[0].extract(tmp_path / "p")


def test_a_bundle_renamed_over_between_verification_and_use_changes_nothing(
    path: Path, tmp_path: Path
) -> None:
    bundles.bundle(path)
    other = bundles.bundle(tmp_path / "other", version="1.5.0")
    with verify_bundle(path, bundles.KEYS) as verified:
        other.replace(path)
        verified.packages[0].extract(tmp_path / "p")
        assert open_installed(tmp_path / "p", verified.packages[0].digest).manifest.version == (
            "1.4.0"
        )


def test_extraction_never_overwrites(path: Path, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "README.md").write_text("mine")
    with bundles.opened(bundles.bundle(path)) as verified, pytest.raises(FileExistsError):
        verified.packages[0].extract(tmp_path / "p")
    assert (tmp_path / "p" / "README.md").read_text() == "mine"


def test_a_bundle_whose_payload_is_elsewhere_verifies_but_does_not_install(
    path: Path, tmp_path: Path
) -> None:
    entries = dict(layout_entries(bundles.images()))
    del entries[f"blobs/sha256/{sha256_hex(bundles.graph())}"]
    write_layout(path, entries.items())
    with verify_bundle(path, bundles.KEYS) as verified:
        with pytest.raises(BlobMissing):
            verified.check()
        with pytest.raises(BlobMissing):
            verified.packages[0].extract(tmp_path / "p")
