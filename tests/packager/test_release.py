"""Signing and verifying bundles as files, by keys and by outside programs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import bundles
import devices
import pytest
import shrunk
from certificates import leaf, middle, root
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from host import BUILD, packager, tree

from edge_runtime.contract.bundle.archive import open_layout
from edge_runtime.contract.bundle.oci import TargetImage
from edge_runtime.contract.bundle.verify import verify_bundle
from edge_runtime.contract.bundle.x509 import Authority
from edge_runtime.contract.errors import (
    BundleUnreadable,
    FilesMismatch,
    KeyInvalid,
    SignatureMissing,
    SignerUntrusted,
    UsageError,
)
from packager.errors import KeyUnreadable, PassphraseWrong, SignerFailed
from packager.release import (
    choose_signer,
    command_signer,
    load_public_key,
    sign_bundle,
    verify_release,
    write_release,
)
from packager.stages.sign import CommandSigner, generate_key


def unsigned_images() -> list[TargetImage]:
    return [
        bundles.image(name, bundles.parts(bundles.manifest(name))) for name in bundles.TARGETS
    ]


@pytest.fixture
def unsigned(tmp_path: Path) -> Path:
    path = tmp_path / "tiny-1.4.0.oci.tar"
    write_release(path, unsigned_images(), None)
    return path


@pytest.fixture
def public_key(tmp_path: Path) -> Path:
    path = tmp_path / "release.pub"
    path.write_bytes(bundles.SIGNER.public_key.pem)
    return path


# --- by a key ------------------------------------------------------------------------------


def test_every_target_is_signed_and_verifies(unsigned, public_key):
    assert sign_bundle(unsigned, bundles.SIGNER) == list(bundles.TARGETS)
    fingerprint = bundles.SIGNER.public_key.fingerprint
    assert verify_release(unsigned, [public_key]) == dict.fromkeys(bundles.TARGETS, fingerprint)


def test_signed_later_is_the_same_file_as_signed_at_once(unsigned, tmp_path):
    write_release(tmp_path / "at-once", unsigned_images(), bundles.SIGNER)
    sign_bundle(unsigned, bundles.SIGNER)
    assert unsigned.read_bytes() == (tmp_path / "at-once").read_bytes()


def test_a_bundle_with_a_packed_file_is_signed_later_to_the_same_bytes(public_key, tmp_path):
    target = (devices.TARGET, "linux", devices.ARCHITECTURE)
    images = [TargetImage(*target, "tiny", "1.4.0", shrunk.parts())]
    write_release(tmp_path / "at-once", images, bundles.SIGNER)
    write_release(tmp_path / "later", images, None)
    sign_bundle(tmp_path / "later", bundles.SIGNER)
    verify_release(tmp_path / "later", [public_key])
    assert (tmp_path / "later").read_bytes() == (tmp_path / "at-once").read_bytes()


def test_signing_again_replaces_the_signature(unsigned, public_key):
    sign_bundle(unsigned, bundles.STRANGER)
    with pytest.raises(SignerUntrusted):
        verify_release(unsigned, [public_key])
    sign_bundle(unsigned, bundles.SIGNER)
    verify_release(unsigned, [public_key])


def test_an_unsigned_bundle_is_refused(unsigned, public_key):
    with pytest.raises(SignatureMissing):
        verify_release(unsigned, [public_key])


def test_a_bundle_with_another_file_than_its_table_is_not_signed(tmp_path):
    document, *files = bundles.parts(bundles.manifest())
    path = tmp_path / "b.oci.tar"
    bundles.write_bundle(path, [bundles.image("x86-64-cpu", [document, *files[1:]])])
    before = path.read_bytes()
    with pytest.raises(FilesMismatch, match=r"found others: README\.md"):
        sign_bundle(path, bundles.SIGNER)
    assert path.read_bytes() == before


def test_a_bundle_as_a_directory_is_not_signed(unsigned, tmp_path):
    directory = bundles.unpack(unsigned, tmp_path / "layout")
    with pytest.raises(BundleUnreadable, match="signed as one file"):
        sign_bundle(directory, bundles.SIGNER)


# --- by a program --------------------------------------------------------------------------


def test_openssl_signs_for_a_key_that_we_never_see(unsigned, tmp_path):
    generate_key(tmp_path / "hsm", None)
    key, public = tmp_path / "hsm" / "release.key", tmp_path / "hsm" / "release.pub"
    told = packager(
        *("sign", unsigned, "--sign-with", f"openssl dgst -sha256 -sign '{key}'"),
        *("--public-key", public, "--json"),
        cwd=tmp_path,
    ).json
    fingerprint = load_public_key(public).fingerprint
    assert told == {
        "schema": "edgepack.sign/1",
        "bundle": str(unsigned),
        "signer": fingerprint,
        "targets": list(bundles.TARGETS),
    }
    verified = packager("verify", unsigned, "--trust", public, cwd=tmp_path)
    assert verified.out.count(fingerprint) == len(bundles.TARGETS)


@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("import sys; sys.exit(3)", "exit status 3"),
        ("pass", "0 bytes that the public key does not verify"),
        ("print('no signature')", "13 bytes that the public key does not verify"),
    ],
)
def test_a_program_that_does_not_sign_leaves_the_bundle_alone(
    unsigned, public_key, tmp_path, program, found
):
    before = tree(tmp_path)
    signer = CommandSigner((sys.executable, "-c", program), load_public_key(public_key))
    with pytest.raises(SignerFailed, match=found):
        sign_bundle(unsigned, signer)
    assert tree(tmp_path) == before


def test_a_program_that_is_not_there_is_named(unsigned, public_key):
    signer = command_signer("/no/such/program --slot 1", public_key)
    with pytest.raises(SignerFailed, match="/no/such/program"):
        sign_bundle(unsigned, signer)


@pytest.mark.parametrize("command", ["", "  ", "sign 'unclosed"])
def test_a_command_is_a_program_and_its_arguments(public_key, command):
    with pytest.raises(UsageError, match="--sign-with must be a program"):
        command_signer(command, public_key)


# --- the flags of sign ---------------------------------------------------------------------

NONE = dict.fromkeys(("key", "passphrase_file", "sign_with", "public_key"))


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"key": Path("k"), "sign_with": "c", "public_key": Path("p")},
        {"sign_with": "c"},
        {"public_key": Path("p")},
        {"key": Path("k"), "public_key": Path("p")},
        {"passphrase_file": Path("f")},
        {"passphrase_file": Path("f"), "sign_with": "c", "public_key": Path("p")},
    ],
)
def test_one_signer_is_named_or_none_is_chosen(flags):
    with pytest.raises(UsageError, match="needs either --key, or --sign-with and --public-key"):
        choose_signer(**{**NONE, **flags}, ask=lambda _: b"")


def test_an_encrypted_key_asks_for_its_passphrase(tmp_path):
    public = generate_key(tmp_path, b"secret")
    key = tmp_path / "release.key"
    asked = []
    signer = choose_signer(
        **{**NONE, "key": key}, ask=lambda path: asked.append(path) or b"secret"
    )
    assert asked == [key]
    assert signer.public_key.fingerprint == public.fingerprint
    with pytest.raises(PassphraseWrong):
        choose_signer(**{**NONE, "key": key}, ask=lambda _: b"wrong")


def test_a_passphrase_file_asks_nobody(tmp_path):
    generate_key(tmp_path, b"secret")
    (tmp_path / "pass").write_text("secret\n")
    flags = {"key": tmp_path / "release.key", "passphrase_file": tmp_path / "pass"}
    choose_signer(**{**NONE, **flags}, ask=lambda _: pytest.fail("asked"))


def test_a_key_that_is_not_encrypted_asks_nobody(tmp_path):
    generate_key(tmp_path, None)
    flags = {"key": tmp_path / "release.key"}
    choose_signer(**{**NONE, **flags}, ask=lambda _: pytest.fail("asked"))


@pytest.mark.parametrize("data", [b"", b"no key", bundles.SIGNER.public_key.pem])
def test_a_file_that_is_no_private_key_is_named(tmp_path, data):
    (tmp_path / "k").write_bytes(data)
    with pytest.raises(KeyUnreadable, match="/k must be an EC P-256 private key"):
        choose_signer(**{**NONE, "key": tmp_path / "k"}, ask=lambda _: b"")


def test_a_public_key_that_is_not_there_is_named(tmp_path):
    with pytest.raises(KeyInvalid, match=r"no\.pub, which cannot be read: No such file"):
        load_public_key(tmp_path / "no.pub")


# --- a whole build -------------------------------------------------------------------------


def test_an_unsigned_build_signed_later_is_the_signed_build(build, workshop, tmp_path):
    replay = ("--replay", build.report, "--out", tmp_path)
    said = packager(*BUILD, *replay, "--unsigned", "--json", cwd=workshop)
    assert said.json["signer"] is None
    assert "unsigned: devices refuse it" in said.err
    path = tmp_path / build.bundle.name
    layout = open_layout(path)
    layout.close()
    with pytest.raises(SignatureMissing):
        verify_bundle(path, [load_public_key(workshop / "keys" / "release.pub")])
    packager("sign", path, "--key", workshop / "keys" / "release.key", cwd=tmp_path)
    assert path.read_bytes() == build.bundle.read_bytes()


def test_a_build_needs_no_key_to_be_unsigned(workshop, tmp_path):
    shutil.copy(workshop / "line.skops", tmp_path)
    packager("build", "line.skops", "--unsigned", "--target", "x86-64-cpu", cwd=tmp_path)
    assert (tmp_path / "dist" / "line-1.0.0.oci.tar").is_file()


# --- by a certificate ----------------------------------------------------------------------


@pytest.fixture
def office(tmp_path: Path) -> Path:
    """A directory with an authority, one below it, a signer's key and its certificate."""
    authority = root()
    below = middle(authority)
    for name, issued in (("ca", authority), ("below", below), ("signer", leaf(below))):
        issued.files(tmp_path, name)
    return tmp_path


CHAIN = ("--certificate", "signer.pem", "--certificate", "below.pem", "--authority", "ca.pem")


def test_a_certificate_stands_in_the_signature_in_place_of_the_key(unsigned, office):
    packager("sign", unsigned.name, "--key", "signer.key", *CHAIN, cwd=office)
    authority = Authority.load((office / "ca.pem").read_bytes())
    with verify_bundle(unsigned, [authority]) as verified:
        verified.check()
        signers = {package.signer for package in verified.packages}
    printed = x509.load_pem_x509_certificate((office / "signer.pem").read_bytes())
    assert signers == {printed.fingerprint(hashes.SHA256()).hex()}
    done = packager("verify", unsigned.name, "--trust", "ca.pem", "--json", cwd=office)
    assert set(done.json["targets"].values()) == signers


@pytest.mark.parametrize(
    ("flags", "code", "error"),
    [
        (("--certificate", "signer.pem"), 2, "usage"),
        (("--authority", "ca.pem"), 2, "usage"),
        (("--certificate", "signer.pem", "--authority", "ca.pem"), 4, "signer-untrusted"),
        (("--certificate", "below.pem", "--authority", "ca.pem"), 4, "signature-invalid"),
        ((*CHAIN[:4], "--authority", "signer.pem"), 4, "key-invalid"),
        (("--certificate", "none.pem", *CHAIN[4:]), 4, "key-invalid"),
        (("--certificate", "signer.key", *CHAIN[4:]), 4, "key-invalid"),
    ],
)
def test_certificates_that_do_not_lead_to_the_authority_sign_nothing(
    unsigned, office, flags, code, error
):
    before = tree(office)
    done = packager(
        "sign", unsigned.name, "--key", "signer.key", *flags, cwd=office, expect=code
    )
    assert f"error[{error}]" in done.err
    assert tree(office) == before


def test_a_certificate_of_another_key_signs_nothing(unsigned, office):
    generate_key(office / "keys", None)
    key = ("--key", "keys/release.key")
    done = packager("sign", unsigned.name, *key, *CHAIN, cwd=office, expect=4)
    assert "error[key-invalid]: --certificate names the certificate of the key" in done.err
