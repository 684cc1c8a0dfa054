"""Certificates for tests: authorities and signers of every temper, long out of date."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bundles
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge_runtime.contract.bundle.oci import Part
from edge_runtime.contract.bundle.signature import (
    PublicKey,
    pre_authentication,
    render_signature,
    statement,
)
from edge_runtime.contract.bundle.x509 import Authority
from packager.stages.sign import KeySigner

# Long over, and never looked at.
BEGIN = datetime.datetime(1999, 1, 1, tzinfo=datetime.UTC)
END = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)

NO_USAGE = dict.fromkeys(
    (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    ),
    False,
)
CODE_SIGNING = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
SERVERS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


def usage(*names: str) -> x509.KeyUsage:
    """Return a key usage with these bits."""
    return x509.KeyUsage(**{**NO_USAGE, **dict.fromkeys(names, True)})


def may_issue(limit: int | None = None) -> list[tuple[x509.ExtensionType, bool]]:
    """Return the extensions of an authority."""
    return [
        (x509.BasicConstraints(ca=True, path_length=limit), True),
        (usage("key_cert_sign"), True),
    ]


def may_sign() -> list[tuple[x509.ExtensionType, bool]]:
    """Return the extensions of a signer."""
    return [(usage("digital_signature"), True), (CODE_SIGNING, False)]


@dataclass(frozen=True)
class Issued:
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: Any

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def fingerprint(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    @property
    def signer(self) -> KeySigner:
        return KeySigner(self.key)

    def authority(self, *patterns: str) -> Authority:
        """Return it pinned."""
        return Authority.load(self.pem, patterns or ("*",))

    def files(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Write key and certificate in PEM and return their paths."""
        key, certificate = directory / f"{name}.key", directory / f"{name}.pem"
        key.write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        certificate.write_bytes(self.pem)
        return key, certificate


def issue(
    name: str,
    by: Issued | None = None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    *,
    key: Any = None,
    algorithm: Any = None,
) -> Issued:
    """Return a certificate, issued by another or by itself."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGIN)
        .not_valid_after(END)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    signed = builder.sign(by.key if by else key, algorithm or hashes.SHA256())
    return Issued(signed, key)


def root(limit: int | None = None, **how: Any) -> Issued:
    """Return an authority that issued itself."""
    return issue("root", None, may_issue(limit), **how)


def middle(by: Issued, limit: int | None = None, **how: Any) -> Issued:
    """Return an authority below another."""
    return issue("middle", by, may_issue(limit), **how)


def leaf(by: Issued, extensions: Any = None, **how: Any) -> Issued:
    """Return a signer's certificate."""
    return issue("signer", by, may_sign() if extensions is None else extensions, **how)


def signature(parts: Sequence[Part], signer: Issued, *above: Issued) -> Part:
    """Return ``model.sig`` over parts by a certificate and those above it."""
    payload = statement("tiny", {part.path: part.sha256 for part in parts})
    made = signer.signer.sign(pre_authentication(payload))
    chain = [signer.der, *(item.der for item in above)]
    key = PublicKey(signer.key.public_key())
    return Part("model.sig", render_signature(payload, made, key, chain))


def certified(signer: Issued, *above: Issued, **changes: Any) -> list[Part]:
    """Return a target's sound parts, signed by a certificate."""
    first, *others = bundles.parts(bundles.manifest("x86-64-cpu", **changes))
    return [first, signature([first, *others], signer, *above), *others]
