"""Signing: release keys, signers that hold a key or ask a command, and a target's signature."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge_runtime.contract.bundle.manifest import SIGNATURE_NAME
from edge_runtime.contract.bundle.oci import Part
from edge_runtime.contract.bundle.signature import (
    PublicKey,
    pre_authentication,
    render_signature,
    statement,
)
from edge_runtime.contract.bundle.x509 import Authority, follow_chain
from edge_runtime.contract.errors import KeyInvalid, OutputUnwritable
from packager.errors import KeyExists, KeyUnreadable, PassphraseWrong, SignerFailed

PRIVATE_NAME = "release.key"
PUBLIC_NAME = "release.pub"
_IGNORED = b"*.key"
_COMMAND_TIMEOUT_S = 300
_MAX_PASSPHRASE = 1023  # OpenSSL's own limit


class Signer(Protocol):
    """Whoever can sign: a key in a file, or a command before a key that lives elsewhere."""

    @property
    def public_key(self) -> PublicKey:
        """The key that verifies what ``sign`` returns."""

    def sign(self, message: bytes) -> bytes:
        """Return a DER ECDSA P-256 signature over sha256 of the message."""


@dataclass(frozen=True)
class KeySigner:
    """A private key that was read from a file."""

    private_key: ec.EllipticCurvePrivateKey

    @property
    def public_key(self) -> PublicKey:
        """The key's public half."""
        return PublicKey(self.private_key.public_key())

    def sign(self, message: bytes) -> bytes:
        """Sign deterministically (RFC 6979), so that equal builds are equal bytes."""
        algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        return self.private_key.sign(message, algorithm)


@dataclass(frozen=True)
class CommandSigner:
    """A command that reads the message on stdin and writes a DER signature to stdout.

    Attributes:
        command: program and arguments; no shell stands between.
        public_key: the key that must verify what comes back.
    """

    command: Sequence[str]
    public_key: PublicKey

    def sign(self, message: bytes) -> bytes:
        """Ask the command.

        Raises:
            SignerFailed: when it cannot be run, fails, or answers with another signature.
        """
        try:
            done = subprocess.run(
                self.command,
                input=message,
                capture_output=True,
                timeout=_COMMAND_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise self._failed(str(error)) from None
        if done.returncode != 0:
            tail = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
            raise self._failed(f"exit status {done.returncode}: {' '.join(tail)}")
        if not self.public_key.verifies(done.stdout, message):
            raise self._failed(f"{len(done.stdout)} bytes that the public key does not verify")
        return done.stdout

    def _failed(self, found: str) -> SignerFailed:
        return SignerFailed(
            f"{self.command[0]} must write a DER ECDSA P-256 signature by "
            f"{self.public_key.fingerprint[:16]}… to stdout, found {found}",
            hint="Run the command by hand with any bytes on stdin, and compare --public-key.",
            command=list(self.command),
            found=found,
        )


@dataclass(frozen=True)
class Certification:
    """The certificates that stand in a signature in place of the key's name.

    Attributes:
        certificates: in DER, the signer's own first, then those above it.
        authority: the one that devices pin, which stands in no signature.
    """

    certificates: tuple[bytes, ...]
    authority: Authority


def read_certification(
    files: Sequence[Path], authority: Path, public_key: PublicKey
) -> Certification:
    """Read certificates, each file holding one or several in PEM, and see that they lead up.

    Raises:
        KeyInvalid: when a file holds none, the first is not that of the key, or the authority
            may issue none.
        SignatureInvalid: when one is not what its place demands.
        SignerUntrusted: when the way does not lead to the authority.
    """
    data = b"".join(_read_certificates(path) for path in files)
    try:
        read = x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise _no_certificate(f"none: {str(error)[:80]}") from None
    der = tuple(one.public_bytes(serialization.Encoding.DER) for one in read)
    pinned = Authority.load(_read_certificates(authority))
    chain = follow_chain(der, [pinned])
    found = PublicKey(chain.key).fingerprint
    if found != public_key.fingerprint:
        raise _no_certificate(
            f"that of key {found[:16]}…, {public_key.fingerprint[:16]}… signs"
        )
    return Certification(der, pinned)


def _read_certificates(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _no_certificate(f"{path} cannot be read: {error.strerror}") from None


def _no_certificate(found: str) -> KeyInvalid:
    return KeyInvalid(
        f"--certificate names the certificate of the key that signs, found {found}",
        hint="Give it in PEM, and those above it by further --certificate, lowest first.",
        expected="certificates in PEM",
        found=found,
    )


def signature_part(
    name: str,
    parts: Sequence[Part],
    signer: Signer,
    certification: Certification | None = None,
) -> Part:
    """Return ``model.sig`` over a target's files.

    Args:
        name: the signature's subject, for people.
        parts: every other file of the target.
        signer: who signs.
        certification: the signer's certificates, to stand in place of its key's name.
    """
    payload = statement(name, {part.path: part.sha256 for part in parts})
    signature = signer.sign(pre_authentication(payload))
    certificates = certification.certificates if certification else ()
    rendered = render_signature(payload, signature, signer.public_key, certificates)
    return Part(SIGNATURE_NAME, rendered)


# --- keys ----------------------------------------------------------------------------------


def generate_key(
    directory: Path,
    passphrase: bytes | None,
    names: tuple[str, str] = (PRIVATE_NAME, PUBLIC_NAME),
) -> PublicKey:
    """Write a new key pair, and a ``.gitignore`` against the private half in a repository.

    Args:
        directory: where to.
        passphrase: encrypts the private half.
        names: of the private and the public file.

    Raises:
        KeyExists: when a key is there already; nothing is written then.
        PassphraseWrong: when the passphrase is empty or too long.
        OutputUnwritable: when the directory cannot be written; no key is left there then.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, _encryption(passphrase)
    )
    public_key = PublicKey(key.public_key())
    private_path, public_path = (directory / name for name in names)
    _require_none(private_path, public_path)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _ignore_keys(directory / ".gitignore")
        _write_pair(private_path, private, public_path, public_key.pem)
    except OSError as error:
        raise OutputUnwritable(
            f"keys are written to {directory}, which cannot be written: {error.strerror}",
            hint="Choose a directory that you may write: --out DIR",
            path=str(directory),
            reason=error.strerror,
        ) from None
    return public_key


def _encryption(passphrase: bytes | None) -> serialization.KeySerializationEncryption:
    if passphrase is None:
        return serialization.NoEncryption()
    if not 1 <= len(passphrase) <= _MAX_PASSPHRASE:
        raise PassphraseWrong(
            f"a passphrase has 1 to {_MAX_PASSPHRASE} bytes, found {len(passphrase)}",
            hint="Give another one, or none at all to write the key unencrypted.",
            expected=_MAX_PASSPHRASE,
            found=len(passphrase),
        )
    return serialization.BestAvailableEncryption(passphrase)


def _require_none(*paths: Path) -> None:
    for path in paths:
        if os.path.lexists(path):
            raise KeyExists(
                f"{' and '.join(item.name for item in paths)} are written anew, found {path}",
                hint="Choose another --out; a lost key cannot be made again.",
                path=str(path),
            )


def _ignore_keys(path: Path) -> None:
    """Add the pattern to a ``.gitignore``, which may be the user's own."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    if _IGNORED not in lines:
        path.write_bytes(b"\n".join([*lines, _IGNORED, b""]))


def _write_pair(private_path: Path, private: bytes, public_path: Path, public: bytes) -> None:
    _write_new(private_path, private, 0o600)
    try:
        _write_new(public_path, public, 0o644)
    except OSError:
        private_path.unlink()
        raise


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that must not exist; its mode is right from the first instant."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        path.unlink()
        raise


def needs_passphrase(path: Path) -> bool:
    """Tell whether a private key file is encrypted.

    Raises:
        KeyUnreadable: when the file cannot be read.
    """
    return b"ENCRYPTED" in _read_key(path)


def load_signer(path: Path, passphrase: bytes | None) -> KeySigner:
    """Read a private key.

    Raises:
        KeyUnreadable: when it cannot be read or is no EC P-256 private key.
        PassphraseWrong: when it is encrypted and the passphrase is not its own.
    """
    data = _read_key(path)
    encrypted = b"ENCRYPTED" in data
    try:
        key = serialization.load_pem_private_key(data, passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if encrypted:
            raise PassphraseWrong(
                f"{path} is encrypted, and the passphrase given does not open it",
                hint="Give the right one by --passphrase-file, or at the prompt.",
                path=str(path),
            ) from None
        raise _unreadable(path, str(error)[:120]) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(
        key.curve, ec.SECP256R1
    ):
        raise _unreadable(path, f"a {type(key).__name__}")
    return KeySigner(key)


def _read_key(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from None


def _unreadable(path: Path, found: str) -> KeyUnreadable:
    return KeyUnreadable(
        f"{path} must be an EC P-256 private key in PEM, found {found}",
        hint="Make one with packager keygen, or build with --unsigned and sign elsewhere.",
        path=str(path),
        found=found,
    )
