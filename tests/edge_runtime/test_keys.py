"""Key files and lists that arrive: read or a typed error, and newer ones come into force."""

from __future__ import annotations

import os
from pathlib import Path

import bundles
import pytest
import trusts
from certificates import certified, leaf, middle, root

from edge_runtime.contract.bundle.certificate_names import certificate_names
from edge_runtime.contract.bundle.keyring import Keyring, Revocations, claimed_signers
from edge_runtime.contract.bundle.trust_file import MAX_TRUST_BYTES, TRUST_NAME
from edge_runtime.contract.bundle.verify import verify_bundle
from edge_runtime.contract.errors import (
    KeyInvalid,
    ReleaseRevoked,
    SignatureInvalid,
    SignerRevoked,
    SignerUntrusted,
    StoreBusy,
    TrustInvalid,
)
from edge_runtime.keys import (
    MAX_KEY_BYTES,
    check_signature,
    newer_trust,
    read_key,
    read_keys,
    read_trust,
)
from edge_runtime.state.store import Store


def test_one_key_or_several_are_read(tmp_path: Path) -> None:
    paths = []
    for number, signer in enumerate((bundles.SIGNER, bundles.STRANGER)):
        paths.append(tmp_path / f"{number}.pub")
        paths[-1].write_bytes(signer.public_key.pem)
    expected = [bundles.SIGNER.public_key.fingerprint, bundles.STRANGER.public_key.fingerprint]
    assert [key.fingerprint for key in read_keys(paths)] == expected
    assert [key.fingerprint for key in read_keys(str(paths[1]))] == expected[1:]
    assert read_keys([]) == []


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("absent", "No such file"),
        ("directory", "it is no regular file"),
        ("pipe", "it is no regular file"),
        ("large", f"more than {MAX_KEY_BYTES} bytes"),
    ],
)
def test_a_file_that_cannot_be_a_key_says_why(tmp_path: Path, kind: str, reason: str) -> None:
    path = tmp_path / "release.pub"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "large":
        path.write_bytes(b"\n" * (MAX_KEY_BYTES + 1))
    with pytest.raises(KeyInvalid, match=reason) as caught:
        read_key(path)
    assert caught.value.values["path"] == str(path)


@pytest.mark.parametrize("data", [b"", b"text", b"-----BEGIN PUBLIC KEY-----\nx\n"])
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "release.pub"
    path.write_bytes(data)
    with pytest.raises(KeyInvalid):
        read_keys(path)


def test_a_certificate_is_read_as_the_authority_that_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(root().pem)
    (found,) = read_keys(path)
    assert found.pem == path.read_bytes()


# --- lists that arrive ---------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a pinned root and list 5 in force."""
    found = Store(tmp_path / "store", "of this test")
    with found.writing() as writer:
        writer.pin_root(trusts.ROOT.public_key.pem)
        writer.update_trust(trusts.sound(5))
    return found


def arrived(directory: Path, data: bytes) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / TRUST_NAME).write_bytes(data)
    return directory


@pytest.mark.parametrize("form", ["file", "directory", "bundle", "bundle as a directory"])
def test_a_newer_list_comes_into_force_in_whatever_form_it_came(
    store: Store, tmp_path: Path, form: str
) -> None:
    place = arrived(tmp_path / "stick", trusts.sound(6))
    if form == "file":
        place /= TRUST_NAME
    elif form != "directory":
        plain = bundles.bundle(tmp_path / "b.oci.tar")
        place = trusts.carrying(tmp_path / "with.oci.tar", trusts.sound(6), plain)
    if form == "bundle as a directory":
        place = bundles.unpack(place, tmp_path / "layout")
    assert newer_trust(store, place) == ("trust.json serial 6 is in force from now on",)
    assert newer_trust(store, place) == ()
    assert store.trust.revocations().serial == 6


def test_of_several_lists_the_newest_is_in_force_in_the_end(
    store: Store, tmp_path: Path
) -> None:
    places = [arrived(tmp_path / str(n), trusts.sound(n)) for n in (9, 4, 7)]
    said = newer_trust(store, *places)
    assert len(said) == 3
    assert sum("left aside" in sentence for sentence in said) == 2
    assert store.trust.revocations().serial == 9


def test_nothing_that_came_along_changes_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.oci.tar").write_text("hello")
    plain = bundles.bundle(tmp_path / "b.oci.tar")
    places = [tmp_path / name for name in ("empty", "text.oci.tar", "none", TRUST_NAME)]
    assert newer_trust(store, *places, plain) == ()


def test_a_list_already_in_force_waits_for_no_lock(store: Store, tmp_path: Path) -> None:
    same, newer = (arrived(tmp_path / str(n), trusts.sound(n)) for n in (5, 6))
    with store.writing():
        assert newer_trust(store, same) == ()
        with pytest.raises(StoreBusy):
            newer_trust(store, newer)


@pytest.mark.parametrize(
    "data", [b"", b"{]", trusts.sound(6)[:-2], b"0" * (MAX_TRUST_BYTES + 1)]
)
def test_a_list_that_does_not_read_is_refused(
    store: Store, tmp_path: Path, data: bytes
) -> None:
    with pytest.raises(TrustInvalid):
        newer_trust(store, arrived(tmp_path / "stick", data))
    assert store.trust.revocations().serial == 5


def test_a_list_that_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / TRUST_NAME).mkdir()
    with pytest.raises(TrustInvalid, match="it is no regular file"):
        read_trust(tmp_path / TRUST_NAME)


# --- what is installed ---------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path) -> tuple[Path, str]:
    """An unpacked package and its digest."""
    with bundles.opened(bundles.bundle(tmp_path / "b.oci.tar", ["x86-64-cpu"])) as verified:
        verified.packages[0].extract(tmp_path / "package")
        return tmp_path / "package", verified.packages[0].digest


def test_an_installed_package_is_held_against_names_and_withdrawals(
    package: tuple[Path, str],
) -> None:
    directory, digest = package
    check_signature(directory, digest, bundles.KEYS)
    narrowed = trusts.grant(trusts.SIGNER, "vision-*").load()
    with pytest.raises(SignerUntrusted, match="tiny is signed by"):
        check_signature(directory, digest, [narrowed])
    for revoked, error in (
        (Revocations(1, keys=frozenset({trusts.SIGNER.fingerprint})), SignerRevoked),
        (Revocations(1, releases=frozenset({("tiny", 1_004_000)})), ReleaseRevoked),
        (Revocations(1, digests=frozenset({digest})), ReleaseRevoked),
    ):
        with pytest.raises(error):
            check_signature(directory, digest, Keyring(bundles.KEYS, revoked))


@pytest.mark.parametrize("name", ["manifest.json", "model.sig"])
def test_an_installed_package_without_one_of_its_two_files_is_refused(
    package: tuple[Path, str], name: str
) -> None:
    directory, digest = package
    (directory / name).unlink()
    with pytest.raises(SignatureInvalid, match=f"no {name}"):
        check_signature(directory, digest, bundles.KEYS)


def test_an_installed_manifest_that_was_changed_is_refused(package: tuple[Path, str]) -> None:
    directory, digest = package
    path = directory / "manifest.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(SignatureInvalid, match=r"manifest\.json changed"):
        check_signature(directory, digest, bundles.KEYS)


def test_who_signed_is_told_without_cryptography_by_key_or_by_chain(tmp_path: Path) -> None:
    authority = root()
    below = middle(authority)
    signer = leaf(below)
    parts = certified(signer, below)
    named = (*certificate_names(signer.der), *certificate_names(below.der))
    assert claimed_signers(parts[1].data) == named
    assert {signer.fingerprint, below.fingerprint} < set(named)
    with verify_bundle(bundles.bundle(tmp_path / "b.oci.tar"), bundles.KEYS) as verified:
        (tmp_path / "p").mkdir()
        verified.packages[0].extract(tmp_path / "p")
    signature = (tmp_path / "p" / "model.sig").read_bytes()
    assert claimed_signers(signature) == (trusts.SIGNER.fingerprint,)
    for data in (b"", b"[]", b"{}", b'{"verificationMaterial":{"publicKey":3}}'):
        assert claimed_signers(data) == ()
