"""Signatures in the form of OpenSSF Model Signing v1.0, by EC P-256 keys or certificates.

The form is what the reference tool writes and verifies: a Sigstore bundle v0.3 whose DSSE
payload is an in-toto statement of predicate type ``https://model_signing/signature/v1.0``.
Specifications: DSSE v1 protocol (pre-authentication encoding), in-toto Statement v1, OpenSSF
Model Signing v1.0.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge_runtime.contract import strictjson
from edge_runtime.contract.bundle.keyring import (
    EVERY_NAME,
    PEM_CERTIFICATE,
    Keyring,
    Signer,
)
from edge_runtime.contract.bundle.manifest import (
    MAX_FILES,
    MAX_SIGNATURE_BYTES,
    SIGNATURE_NAME,
    is_digest,
)
from edge_runtime.contract.bundle.x509 import MAX_CHAIN, Authority, follow_chain
from edge_runtime.contract.errors import (
    KeyInvalid,
    NoTrustedKey,
    SignatureInvalid,
    SignerUntrusted,
)
from edge_runtime.contract.strictjson import Fields

_BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_SERIALIZATION = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}

# What the reference tool writes down as ignored; no file of a package can have these names.
_IGNORABLE = (SIGNATURE_NAME, ".git", ".github", ".gitattributes", ".gitignore")


class PublicKey:
    """An EC P-256 public key that may sign bundles.

    Attributes:
        pem: the key as PEM text (SubjectPublicKeyInfo).
        fingerprint: sha256 of that text in hex, the hint that the signing standard puts into
            a signature.
        patterns: the model names that it may sign for.
    """

    def __init__(
        self, key: ec.EllipticCurvePublicKey, patterns: tuple[str, ...] = EVERY_NAME
    ) -> None:
        self._key = key
        self.patterns = patterns
        self.pem = key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.fingerprint = hashlib.sha256(self.pem).hexdigest()

    @classmethod
    def load(cls, data: bytes, patterns: tuple[str, ...] = EVERY_NAME) -> PublicKey:
        """Read a public key in PEM.

        Raises:
            KeyInvalid: when it is something else, a private key included.
        """
        if b"PRIVATE KEY" in data:
            raise _invalid_key("a private key")
        try:
            key = serialization.load_pem_public_key(data)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise _invalid_key(f"no key: {str(error)[:80]}") from None
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise _invalid_key(type(key).__name__)
        if not isinstance(key.curve, ec.SECP256R1):
            raise _invalid_key(f"an EC key on {key.curve.name}")
        return cls(key, patterns)

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Tell whether a DER ECDSA signature over sha256 of the message is by this key."""
        try:
            self._key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


def _invalid_key(found: str) -> KeyInvalid:
    return KeyInvalid(
        f"a trusted key is an EC P-256 public key in PEM, found {found}",
        hint="Hand over the release.pub that packager keygen wrote.",
        expected="EC P-256 public key in PEM",
        found=found,
    )


# Who may be believed: a key, or an authority whose certificates sign.
Trusted: TypeAlias = PublicKey | Authority


def load_trusted(data: bytes, patterns: tuple[str, ...] = EVERY_NAME) -> Trusted:
    """Read a public key or an authority's certificate in PEM.

    Raises:
        KeyInvalid: when it is neither.
    """
    if f"-----BEGIN {PEM_CERTIFICATE}-----".encode() in data:
        return Authority.load(data, patterns)
    return PublicKey.load(data, patterns)


def pre_authentication(payload: bytes, payload_type: str = _PAYLOAD_TYPE) -> bytes:
    """Return the DSSE pre-authentication encoding of a payload: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def statement(name: str, digests: Mapping[str, str]) -> bytes:
    """Return the in-toto statement over a set of files, ready to be signed.

    Args:
        name: the subject: for people, no decision depends on it.
        digests: sha256 in hex by path.
    """
    ordered = sorted(digests, key=PurePosixPath)
    resources = [
        {"algorithm": "sha256", "digest": digests[path], "name": path} for path in ordered
    ]
    return strictjson.dumps(
        {
            "_type": _STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": _root(resources)}}],
            "predicateType": _PREDICATE_TYPE,
            "predicate": {"serialization": _SERIALIZATION, "resources": resources},
        }
    )


def _root(resources: Sequence[Mapping[str, Any]]) -> str:
    joined = b"".join(bytes.fromhex(item["digest"]) for item in resources)
    return hashlib.sha256(joined).hexdigest()


def render_signature(
    payload: bytes, signature: bytes, key: PublicKey, certificates: Sequence[bytes] = ()
) -> bytes:
    """Return the bytes of ``model.sig`` for a payload signed by the key.

    Args:
        payload: the statement.
        signature: DER ECDSA over its pre-authentication encoding.
        key: whose it is.
        certificates: in DER, the key's own first, then those above it but the pinned one; where
            there are any, they stand in place of the key's name.
    """
    material: dict[str, Any] = {"publicKey": {"hint": key.fingerprint}}
    if certificates:
        raw = [{"rawBytes": base64.b64encode(item).decode()} for item in certificates]
        material = {"x509CertificateChain": {"certificates": raw}}
    return strictjson.dumps(
        {
            "mediaType": _BUNDLE_TYPE,
            "verificationMaterial": {**material, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": _PAYLOAD_TYPE,
                "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
            },
        }
    )


def verify_signature(data: bytes, keys: Sequence[Trusted]) -> tuple[dict[str, str], Signer]:
    """Verify a ``model.sig`` and return the signed digests by path, and who signed.

    Nothing of the payload is parsed before its signature holds.

    Raises:
        NoTrustedKey: when there is no key to verify with.
        SignatureInvalid: when it is malformed, covers other bytes, or verifies with no key.
        SignerUntrusted: when it names a key that is not among the trusted ones.
        SignerRevoked: when who signed was withdrawn.
    """
    ring = Keyring.of(keys)
    if not ring and not ring.revocations.keys:
        raise NoTrustedKey(
            "a bundle is believed by its signature, and no key is trusted here",
            hint="Trust the release key first: edge-runtime trust add release.pub",
            expected="at least one trusted key",
            found=0,
        )
    envelope = _envelope(data)
    if envelope.certificates:
        key, signer = _certified(envelope.certificates, ring)
    else:
        key, signer = _named(envelope.hint, ring)
    if not key.verifies(envelope.signature, pre_authentication(envelope.payload)):
        raise _invalid(
            f"a signature by key {signer.fingerprint[:16]}… over these bytes", "one that fails"
        )
    return _resources(envelope.payload), signer


def _named(hint: str, ring: Keyring) -> tuple[PublicKey, Signer]:
    """Return the key that a signature names."""
    ring.revocations.refuse_signer([hint])
    keys = [key for key in ring if isinstance(key, PublicKey)]
    key = next((key for key in keys if key.fingerprint == hint), None)
    if key is None:
        trusted = [key.fingerprint for key in ring]
        raise SignerUntrusted(
            f"the bundle is signed by key {hint[:16]}…, "
            f"trusted here: {', '.join(f'{item[:16]}…' for item in trusted) or 'none'}",
            hint="Compare the fingerprint with its owner's, then: edge-runtime trust add",
            found=hint,
            expected=trusted,
        )
    return key, Signer(hint, key.patterns)


def _certified(certificates: Sequence[bytes], ring: Keyring) -> tuple[PublicKey, Signer]:
    """Return the key of a signer's certificate that a pinned one stands behind."""
    authorities = [item for item in ring if isinstance(item, Authority)]
    chain = follow_chain(certificates, authorities)
    key = PublicKey(chain.key)
    ring.revocations.refuse_signer([*chain.names, key.fingerprint])
    return key, Signer(chain.fingerprints[0], chain.authority.patterns)


@dataclass(frozen=True)
class _Envelope:
    """The outer form of a signature: by whom it claims to be, and over what."""

    hint: str
    certificates: tuple[bytes, ...]
    payload: bytes
    signature: bytes


def _envelope(data: bytes) -> _Envelope:
    """Read the outer form."""
    document = strictjson.loads(data, what=SIGNATURE_NAME, limit=MAX_SIGNATURE_BYTES)
    outer = Fields(document, SIGNATURE_NAME, SignatureInvalid)
    _require(outer.text("mediaType"), _BUNDLE_TYPE)
    hint, certificates = _material(outer.fields("verificationMaterial"))
    envelope = outer.fields("dsseEnvelope")
    _require(envelope.text("payloadType"), _PAYLOAD_TYPE)
    payload = _unbase64(envelope.text("payload", limit=MAX_SIGNATURE_BYTES))
    signatures = envelope.list("signatures")
    if len(signatures) != 1:
        raise _invalid("exactly one signature", str(len(signatures)))
    entry = Fields(signatures[0], f"{SIGNATURE_NAME}.signatures", SignatureInvalid)
    signature = _unbase64(entry.text("sig", limit=1024))
    entry.text("keyid")
    for read in (entry, envelope, outer):
        read.done()
    return _Envelope(hint, certificates, payload, signature)


def _material(material: Fields) -> tuple[str, tuple[bytes, ...]]:
    """Return the key's name, or the certificates that stand in its place."""
    material.list("tlogEntries", limit=0)
    if material.has("x509CertificateChain"):
        chain = material.fields("x509CertificateChain")
        listed = chain.list("certificates", limit=MAX_CHAIN)
        items = [
            Fields(item, f"{SIGNATURE_NAME}.certificates", SignatureInvalid) for item in listed
        ]
        found = tuple(_unbase64(item.text("rawBytes", limit=32 << 10)) for item in items)
        if not found:
            raise _invalid("at least one certificate in its chain", "none")
        for read in (*items, chain, material):
            read.done()
        return "", found
    public_key = material.fields("publicKey")
    hint = public_key.text("hint", limit=64)
    if not is_digest(hint):
        raise _invalid("a key's fingerprint as hint", repr(hint))
    public_key.done()
    material.done()
    return hint, ()


def _resources(payload: bytes) -> dict[str, str]:
    """Return the digests by path out of a payload whose signature held."""
    document = strictjson.loads(payload, what="the signed statement", limit=MAX_SIGNATURE_BYTES)
    outer = Fields(document, "statement", SignatureInvalid)
    _require(outer.text("_type"), _STATEMENT_TYPE)
    _require(outer.text("predicateType"), _PREDICATE_TYPE)
    predicate = outer.fields("predicate")
    _require_serialization(predicate.object("serialization"))
    digests: dict[str, str] = {}
    resources = predicate.list("resources", limit=MAX_FILES + 1)
    for item in resources:
        read = Fields(item, "statement.resources", SignatureInvalid)
        _require(read.text("algorithm"), "sha256")
        path, digest = read.text("name"), read.text("digest")
        read.done()
        if not is_digest(digest) or path in digests:
            raise _invalid("each path once with a sha256 in hex", f"{path!r}: {digest[:80]!r}")
        digests[path] = digest
    subject = outer.list("subject", limit=1)
    root = Fields(subject[0] if subject else None, "statement.subject", SignatureInvalid)
    _require(root.fields("digest").text("sha256"), _root(resources))
    return digests


def _require_serialization(found: Mapping[str, Any]) -> None:
    """Accept the files method over sha256 only: no shards, no symbolic links, none ignored."""
    ignored = found.get("ignore_paths", [])
    if not isinstance(ignored, list) or any(path not in _IGNORABLE for path in ignored):
        raise _invalid(f"ignore_paths out of {list(_IGNORABLE)}", repr(ignored)[:200])
    others = {key: value for key, value in found.items() if key != "ignore_paths"}
    if others != _SERIALIZATION:
        raise _invalid(f"serialization {_SERIALIZATION}", repr(others)[:200])


def _require(found: str, wanted: str) -> None:
    if found != wanted:
        raise _invalid(repr(wanted), repr(found[:80]))


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise _invalid("base64", repr(text[:40])) from None


def _invalid(wanted: str, found: str) -> SignatureInvalid:
    return SignatureInvalid(
        f"{SIGNATURE_NAME} must have {wanted}, found {found}",
        hint="Fetch the bundle again; if it stays so, sign it again with packager sign.",
        expected=wanted,
        found=found,
    )
