"""Certificates that sign bundles: a chain up to a pinned one, and no look at any clock.

Source: RFC 5280 section 6 without its validity periods, and the certificates of OpenSSF Model
Signing v1.0 (the signer's first, then those that issued it, the pinned one left out). A device
may not know the time, so ``notBefore`` and ``notAfter`` decide nothing: what ends a certificate
here is its withdrawal.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID

from edge_runtime.contract.bundle.certificate_names import certificate_names
from edge_runtime.contract.bundle.keyring import EVERY_NAME
from edge_runtime.contract.errors import KeyInvalid, SignatureInvalid, SignerUntrusted

MAX_CHAIN = 8
MAX_CERTIFICATE_BYTES = 16 << 10
_MIN_RSA_BITS = 2048
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_PURPOSES = (ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
# What a certificate may demand and we can judge; another critical extension means refusal.
_JUDGED = (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage)
# What narrows a certificate's use in ways that are not judged here.
_NARROWING = (x509.NameConstraints, x509.PolicyConstraints, x509.InhibitAnyPolicy)
# All that cryptography raises over bytes that are no sound certificate.
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    CryptographyDeprecationWarning,
)

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


class Authority:
    """A certificate that is pinned: it may issue those that sign bundles.

    Attributes:
        pem: the certificate as PEM text.
        fingerprint: sha256 of its DER bytes in hex.
        patterns: the model names that what it issues may sign for.
    """

    def __init__(
        self, certificate: x509.Certificate, patterns: tuple[str, ...] = EVERY_NAME
    ) -> None:
        self.certificate = certificate
        self.pem = certificate.public_bytes(serialization.Encoding.PEM)
        self.fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
        self.patterns = patterns

    @classmethod
    def load(cls, data: bytes, patterns: tuple[str, ...] = EVERY_NAME) -> Authority:
        """Read one certificate in PEM.

        Raises:
            KeyInvalid: when there is none or several, or it may not issue others.
        """
        try:
            found = x509.load_pem_x509_certificates(data)
        except _UNREADABLE as error:
            raise _no_authority(f"none: {str(error)[:80]}") from None
        if len(found) != 1:
            raise _no_authority(f"{len(found)} certificates")
        problem = _issuing_problem(found[0])
        if problem:
            raise _no_authority(f"one with {problem}")
        return cls(found[0], patterns)


@dataclass(frozen=True)
class Chain:
    """A signer's certificate and those above it, up to a pinned one.

    Attributes:
        key: the public key of the signer.
        fingerprints: of every certificate, the signer's first, the pinned one last.
        names: all that any of them may be withdrawn by.
        authority: the pinned one.
    """

    key: ec.EllipticCurvePublicKey
    fingerprints: tuple[str, ...]
    names: tuple[str, ...]
    authority: Authority


def follow_chain(certificates: Sequence[bytes], authorities: Sequence[Authority]) -> Chain:
    """Follow certificates in DER from the signer's to a pinned one.

    Raises:
        SignatureInvalid: when one cannot be read, or is not what its place demands.
        SignerUntrusted: when the way leads to no pinned certificate.
    """
    if not 1 <= len(certificates) <= MAX_CHAIN:
        raise _invalid(f"1 to {MAX_CHAIN} certificates", str(len(certificates)))
    read = [_read(data) for data in certificates]
    key = _signing_key(read[0])
    path = read[:1]
    while (authority := _issuer(path[-1], authorities)) is None:
        if len(path) == len(read):
            raise _untrusted(read[0], authorities)
        above = read[len(path)]
        _require_issuer(above, below=len(path) - 1)
        if not _is_issued(path[-1], above):
            raise _invalid(
                "certificates each of which the next one issued",
                f"{_name(path[-1])} beside {_name(above)}",
            )
        path.append(above)
    _require_issuer(authority.certificate, below=len(path) - 1)
    named = [certificate_names(data) for data in certificates[: len(path)]]
    fingerprints = (*(names[0] for names in named), authority.fingerprint)
    return Chain(key, fingerprints, (*chain(*named), authority.fingerprint), authority)


def _read(data: bytes) -> x509.Certificate:
    if len(data) > MAX_CERTIFICATE_BYTES:
        raise _invalid(f"certificates of at most {MAX_CERTIFICATE_BYTES} bytes", str(len(data)))
    try:
        with warnings.catch_warnings():
            # What cryptography only warns of, such as a serial number below one, is unsound.
            warnings.simplefilter("error", CryptographyDeprecationWarning)
            found = x509.load_der_x509_certificate(data)
        certificate_names(data)
        _ = found.extensions, found.subject, found.issuer, found.signature_hash_algorithm
        found.public_key()
    except _UNREADABLE as error:
        raise _invalid("certificates in DER", str(error)[:80] or "other bytes") from None
    return found


def _signing_key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    """Return the key of a certificate that may sign bundles and nothing above them."""
    problem = _signing_problem(certificate)
    if problem:
        raise _invalid("a signer's certificate that may sign", f"one with {problem}")
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(
        key.curve, ec.SECP256R1
    ):
        raise _invalid("a signer's EC P-256 key", type(key).__name__)
    return key


def _signing_problem(certificate: x509.Certificate) -> str:
    basic = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    purposes = _extension(certificate, x509.ExtendedKeyUsage)
    if basic is not None and basic.ca:
        return "the right to issue others"
    if usage is None and purposes is None:
        return "neither key usage nor purpose"
    if usage is not None and not usage.digital_signature:
        return "a key usage without signatures"
    return _common_problem(certificate)


def _issuing_problem(certificate: x509.Certificate) -> str:
    try:
        basic = _extension(certificate, x509.BasicConstraints)
        usage = _extension(certificate, x509.KeyUsage)
        key = certificate.public_key()
    except _UNREADABLE as error:
        return f"contents that cannot be read: {str(error)[:80]}"
    if basic is None or not basic.ca:
        return "no right to issue others"
    if usage is None or not usage.key_cert_sign:
        return "no key usage for certificates"
    if isinstance(key, rsa.RSAPublicKey):
        sound = key.key_size >= _MIN_RSA_BITS
    else:
        sound = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES)
    return _common_problem(certificate) if sound else "a key of another kind or too short"


def _common_problem(certificate: x509.Certificate) -> str:
    purposes = _extension(certificate, x509.ExtendedKeyUsage)
    if purposes is not None and not any(item in purposes for item in _PURPOSES):
        return "other purposes than the signing of code"
    for extension in certificate.extensions:
        value = extension.value
        if isinstance(value, _NARROWING) or (
            extension.critical and not isinstance(value, _JUDGED)
        ):
            return f"the extension {extension.oid.dotted_string}, which is not judged here"
    return ""


def _require_issuer(certificate: x509.Certificate, *, below: int) -> None:
    """Refuse an issuer without the right to issue, or with more below it than it may have."""
    problem = _issuing_problem(certificate)
    basic = _extension(certificate, x509.BasicConstraints)
    limit = basic.path_length if basic else None
    if not problem and limit is not None and below > limit:
        problem = f"room for {limit} certificates between it and the signer's, not {below}"
    if problem:
        raise _invalid("certificates above the signer's that may issue", f"one with {problem}")


def _issuer(
    certificate: x509.Certificate, authorities: Sequence[Authority]
) -> Authority | None:
    return next((a for a in authorities if _is_issued(certificate, a.certificate)), None)


def _is_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Tell whether the other's name and key stand behind a certificate."""
    if not isinstance(certificate.signature_hash_algorithm, _HASHES):
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *_UNREADABLE):
        return False
    return True


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _name(certificate: x509.Certificate) -> str:
    return ascii(certificate.subject.rfc4514_string()[:80])


def _untrusted(
    certificate: x509.Certificate, authorities: Sequence[Authority]
) -> SignerUntrusted:
    found = certificate.fingerprint(hashes.SHA256()).hex()
    pinned = [authority.fingerprint for authority in authorities]
    shown = ", ".join(f"{item[:16]}…" for item in pinned) or "none"
    return SignerUntrusted(
        f"the bundle is signed by the certificate {found[:16]}… of {_name(certificate)}, "
        f"which none of the certificates trusted here issued: {shown}",
        hint="Compare the fingerprint of who issued it, then: edge-runtime trust add ca.pem",
        found=found,
        expected=pinned,
    )


def _no_authority(found: str) -> KeyInvalid:
    return KeyInvalid(
        f"a trusted certificate is one in PEM that may issue others, found {found}",
        hint="Hand over the certificate of the authority itself, not that of a signer.",
        expected="one certificate with CA:TRUE and keyCertSign",
        found=found,
    )


def _invalid(wanted: str, found: str) -> SignatureInvalid:
    return SignatureInvalid(
        f"a chain of certificates must have {wanted}, found {found}",
        hint="Sign the bundle again with a certificate that was issued for signing.",
        expected=wanted,
        found=found,
    )
