"""Signing: keys are written once and safely, and whoever signs is checked."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import bundles
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from edge_runtime.contract.bundle.signature import PublicKey, verify_signature
from edge_runtime.contract.errors import OutputUnwritable
from packager.errors import KeyExists, KeyUnreadable, PassphraseWrong, SignerFailed
from packager.stages import sign
from packager.stages.sign import (
    PRIVATE_NAME,
    PUBLIC_NAME,
    CommandSigner,
    generate_key,
    load_signer,
    needs_passphrase,
    signature_part,
)

MESSAGE = b"DSSEv1 1 a 1 b"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- keygen --------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_a_key_pair_is_written_with_the_private_half_for_its_owner_alone(
    tmp_path: Path, mask: int
) -> None:
    before = os.umask(mask)
    try:
        key = generate_key(tmp_path / "deep" / "keys", None)
    finally:
        os.umask(before)
    directory = tmp_path / "deep" / "keys"
    assert {path.name for path in directory.iterdir()} == {
        PRIVATE_NAME,
        PUBLIC_NAME,
        ".gitignore",
    }
    assert mode(directory / PRIVATE_NAME) == 0o600
    assert mode(directory / PUBLIC_NAME) == 0o644 & ~mask
    assert (directory / ".gitignore").read_text() == "*.key\n"
    assert PublicKey.load((directory / PUBLIC_NAME).read_bytes()).fingerprint == key.fingerprint
    signer = load_signer(directory / PRIVATE_NAME, None)
    assert signer.public_key.fingerprint == key.fingerprint
    assert not needs_passphrase(directory / PRIVATE_NAME)


def test_openssl_reads_what_keygen_writes(tmp_path: Path) -> None:
    generate_key(tmp_path, b"open sesame")
    shown = subprocess.run(
        ["openssl", "pkey", "-in", tmp_path / PRIVATE_NAME, "-passin", "pass:open sesame"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert b"BEGIN PRIVATE KEY" in shown.stdout


@pytest.mark.parametrize("present", [PRIVATE_NAME, PUBLIC_NAME])
def test_where_a_key_stands_nothing_is_written(tmp_path: Path, present: str) -> None:
    (tmp_path / present).write_text("mine")
    with pytest.raises(KeyExists, match=f"found .*{present}"):
        generate_key(tmp_path, None)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(present, "mine")]


def test_where_a_key_stands_as_a_broken_link_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / PRIVATE_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyExists):
        generate_key(tmp_path, None)
    assert [path.name for path in tmp_path.iterdir()] == [PRIVATE_NAME]


def test_a_private_key_does_not_stay_without_its_public_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []
    whole = sign._write_new

    def full_disk(path: Path, data: bytes, permissions: int) -> None:
        if written:
            raise OSError(28, "No space left on device")
        written.append(path)
        whole(path, data, permissions)

    monkeypatch.setattr(sign, "_write_new", full_disk)
    with pytest.raises(OutputUnwritable, match="No space left on device"):
        generate_key(tmp_path, None)
    assert [path.name for path in tmp_path.iterdir()] == [".gitignore"]


def test_a_gitignore_of_the_users_own_is_added_to(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("dist/")
    generate_key(tmp_path, None)
    assert (tmp_path / ".gitignore").read_text() == "dist/\n*.key\n"
    for name in (PRIVATE_NAME, PUBLIC_NAME):
        (tmp_path / name).unlink()
    generate_key(tmp_path, None)
    assert (tmp_path / ".gitignore").read_text() == "dist/\n*.key\n"


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "keys", Path("/proc/keys-of-mine")):
        with pytest.raises(OutputUnwritable, match=f"keys are written to {out}"):
            generate_key(out, None)


def test_two_keys_are_never_the_same(tmp_path: Path) -> None:
    one, two = generate_key(tmp_path / "1", None), generate_key(tmp_path / "2", None)
    assert one.fingerprint != two.fingerprint


# --- passphrases and other keys ------------------------------------------------------------


def test_a_passphrase_locks_the_key(tmp_path: Path) -> None:
    key = generate_key(tmp_path, b"open sesame")
    path = tmp_path / PRIVATE_NAME
    assert needs_passphrase(path)
    assert load_signer(path, b"open sesame").public_key.fingerprint == key.fingerprint
    for wrong in (b"open barley", b"", None):
        with pytest.raises(PassphraseWrong):
            load_signer(path, wrong)


@pytest.mark.parametrize("passphrase", [b"", b"x" * 1024])
def test_a_passphrase_that_cannot_lock_is_refused_and_nothing_is_written(
    tmp_path: Path, passphrase: bytes
) -> None:
    with pytest.raises(PassphraseWrong, match="1 to 1023 bytes"):
        generate_key(tmp_path / "keys", passphrase)
    assert not (tmp_path / "keys").exists()


def test_other_keys_do_not_sign(tmp_path: Path) -> None:
    path = tmp_path / "key"
    private = (ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP384R1()))
    for key in private:
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        with pytest.raises(
            KeyUnreadable, match="must be an EC P-256 private key in PEM, found a"
        ):
            load_signer(path, None)
    for data in (b"", b"-----BEGIN PRIVATE KEY-----\n", bundles.SIGNER.public_key.pem):
        path.write_bytes(data)
        with pytest.raises(KeyUnreadable):
            load_signer(path, None)
    with pytest.raises(KeyUnreadable, match="No such file"):
        load_signer(tmp_path / "none", None)
    with pytest.raises(KeyUnreadable, match="directory"):
        needs_passphrase(tmp_path)


# --- signatures ----------------------------------------------------------------------------


def test_signing_again_gives_the_same_bytes() -> None:
    parts = bundles.parts(bundles.manifest())
    first, second = (signature_part("tiny", parts, bundles.SIGNER) for _ in range(2))
    assert first == second
    digests, key = verify_signature(first.data, bundles.KEYS)
    assert digests.keys() == {part.path for part in parts}
    assert key.fingerprint == bundles.SIGNER.public_key.fingerprint


def test_openssl_verifies_what_is_signed(tmp_path: Path) -> None:
    (tmp_path / "message").write_bytes(MESSAGE)
    (tmp_path / "signature").write_bytes(bundles.SIGNER.sign(MESSAGE))
    (tmp_path / "key").write_bytes(bundles.SIGNER.public_key.pem)
    done = subprocess.run(
        ["openssl", "dgst", "-sha256", "-verify", "key", "-signature", "signature", "message"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == "Verified OK\n"


# --- commands ------------------------------------------------------------------------------


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    generate_key(tmp_path / "keys", None)
    return tmp_path / "keys"


def command(keys: Path, script: str) -> CommandSigner:
    """Return a signer that runs a shell script, beside the key."""
    path = keys / "sign.sh"
    path.write_text(f"#!/bin/sh\ncd {keys}\n{script}\n")
    path.chmod(0o755)
    return CommandSigner((str(path),), PublicKey.load((keys / PUBLIC_NAME).read_bytes()))


def test_a_command_signs_a_whole_target(keys: Path) -> None:
    signer = command(keys, "exec openssl dgst -sha256 -sign release.key")
    part = signature_part("tiny", bundles.parts(bundles.manifest()), signer)
    digests, key = verify_signature(part.data, [signer.public_key])
    assert key.fingerprint == signer.public_key.fingerprint
    assert "manifest.json" in digests


def test_a_command_gets_its_arguments_as_they_are(keys: Path) -> None:
    arguments = ("openssl", "dgst", "-sha256", "-sign", str(keys / PRIVATE_NAME))
    signer = CommandSigner(arguments, PublicKey.load((keys / PUBLIC_NAME).read_bytes()))
    assert signer.public_key.verifies(signer.sign(MESSAGE), MESSAGE)


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("echo the token is not there >&2; exit 3", "exit status 3: the token is not there"),
        ("exit 1", "exit status 1: $"),
        ("true", "0 bytes that the public key does not verify"),
        ("echo yes", "4 bytes that the public key does not verify"),
        ("cat", f"{len(MESSAGE)} bytes that the public key does not verify"),
        (
            "printf other | openssl dgst -sha256 -sign release.key",
            r"\d+ bytes that the public key does not verify",
        ),
        (
            "openssl dgst -sha256 -sign release.key | base64",
            r"\d+ bytes that the public key does not verify",
        ),
        ("kill -9 $$", "exit status -9"),
    ],
)
def test_a_command_that_fails_or_lies_is_refused(keys: Path, script: str, found: str) -> None:
    with pytest.raises(SignerFailed, match=f"found {found}") as caught:
        command(keys, script).sign(MESSAGE)
    assert caught.value.values["command"] == [str(keys / "sign.sh")]


def test_a_command_of_another_key_is_refused(keys: Path, tmp_path: Path) -> None:
    generate_key(tmp_path / "other", None)
    script = f"exec openssl dgst -sha256 -sign {tmp_path}/other/release.key"
    with pytest.raises(SignerFailed, match="that the public key does not verify"):
        command(keys, script).sign(MESSAGE)


def test_a_command_that_is_not_there_is_named(keys: Path) -> None:
    public_key = PublicKey.load((keys / PUBLIC_NAME).read_bytes())
    with pytest.raises(SignerFailed, match="no-such-signer"):
        CommandSigner(("no-such-signer",), public_key).sign(MESSAGE)


def test_a_command_that_hangs_is_ended(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign, "_COMMAND_TIMEOUT_S", 0.5)
    with pytest.raises(SignerFailed, match=r"timed out after 0\.5 seconds"):
        command(keys, "exec sleep 60").sign(MESSAGE)


def test_a_command_that_reads_nothing_may_still_sign(keys: Path) -> None:
    large = b"x" * (1 << 20)
    signer = command(keys, "exec 0<&-; exit 1")
    with pytest.raises(SignerFailed, match="exit status 1"):
        signer.sign(large)
