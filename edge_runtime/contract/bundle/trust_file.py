"""``trust.json``: whose signatures count and what was withdrawn, signed by an offline root key.

Its outer form holds the signed document and the changes of root, each signed by the root before
it, so that a device that missed some finds its way from the root that it knows to the present
one. Signatures are DSSE envelopes, as those of bundles, but of other payload types: nothing
that was signed as one thing is ever read as another. ``docs/trust.md`` describes every field.

Reading the form needs no cryptography; believing it does, in ``verify_trust`` alone.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edge_runtime.contract import strictjson
from edge_runtime.contract.bundle.keyring import (
    Revocations,
    check_patterns,
    pem_fingerprint,
)
from edge_runtime.contract.bundle.manifest import is_digest, is_name
from edge_runtime.contract.errors import JsonMalformed, KeyInvalid, TrustInvalid
from edge_runtime.contract.strictjson import Fields

if TYPE_CHECKING:
    from edge_runtime.contract.bundle.signature import PublicKey, Trusted

TRUST_NAME = "trust.json"
SCHEMA = "edgepack.trust/1"
ROOT_SCHEMA = "edgepack.trust-root/1"
MEDIA_TYPE = "application/vnd.edgepack.trust.v1+json"
DOCUMENT_TYPE = "application/vnd.edgepack.trust.document.v1+json"
ROTATION_TYPE = "application/vnd.edgepack.trust.root.v1+json"
MAX_TRUST_BYTES = 256 << 10
MAX_SERIAL = (1 << 63) - 1
MAX_KEYS = 64
MAX_REVOKED = 1000
MAX_ROTATIONS = 16
_MAX_PEM = 32 << 10


@dataclass(frozen=True)
class Grant:
    """One key or certificate, and the model names that it may sign for.

    Attributes:
        pem: its PEM text, to the letter as our libraries write it.
        fingerprint: what that text is named by.
        patterns: of model names.
    """

    pem: str
    fingerprint: str
    patterns: tuple[str, ...]

    def load(self) -> Trusted:
        """Return what verifies signatures.

        Raises:
            KeyInvalid: when the text is no key or certificate that bundles are signed with.
        """
        from edge_runtime.contract.bundle.signature import load_trusted

        found = load_trusted(self.pem.encode(), self.patterns)
        if (found.pem.decode(), found.fingerprint) != (self.pem, self.fingerprint):
            raise KeyInvalid(
                f"a key's text is as our libraries write it, that of {self.fingerprint[:16]}… "
                "is another form of it",
                hint="Take the file that packager keygen wrote, or openssl.",
                expected=found.fingerprint,
                found=self.fingerprint,
            )
        return found


@dataclass(frozen=True)
class TrustDocument:
    """What a ``trust.json`` says.

    Attributes:
        serial: rises with each change; under one root the higher counts.
        grants: whose signatures count, for which models.
        revocations: what is not believed whoever signed it.
    """

    serial: int
    grants: tuple[Grant, ...] = ()
    revocations: Revocations = field(default_factory=Revocations)


@dataclass(frozen=True)
class Envelope:
    """Signed bytes, and who claims to have signed them."""

    payload: bytes
    signer: str
    signature: bytes


@dataclass(frozen=True)
class TrustFile:
    """The outer form, nothing of which is believed yet.

    Attributes:
        rotations: changes of root, the oldest first.
        envelope: around the document, by the last root.
    """

    rotations: tuple[Envelope, ...]
    envelope: Envelope


@dataclass(frozen=True)
class VerifiedTrust:
    """A document whose signatures lead back to a root that is believed.

    Attributes:
        document: what it says.
        root: the root key that signed it.
        steps: how many changes of root lie between.
    """

    document: TrustDocument
    root: PublicKey
    steps: int


# --- believing -----------------------------------------------------------------------------


def verify_trust(data: bytes, root: PublicKey) -> VerifiedTrust:
    """Verify a ``trust.json`` from a root that is believed to the one that signed it.

    Nothing is parsed before its signature holds.

    Raises:
        TrustInvalid: when it is malformed, or the way from the root does not lead to it.
    """
    from edge_runtime.contract.bundle.signature import PublicKey

    file = read_trust_file(data)
    steps = 0
    for rotation in file.rotations:
        if rotation.signer != root.fingerprint:
            continue  # what the device has left behind already, or never knew
        _require_signature(rotation, root, ROTATION_TYPE)
        pem = _rotation(rotation.payload)
        try:
            root = PublicKey.load(pem.encode())
        except KeyInvalid as error:
            raise _invalid("an EC P-256 key as new root", error.values["found"]) from None
        steps += 1
    _require_signature(file.envelope, root, DOCUMENT_TYPE)
    document = parse_document(file.envelope.payload)
    try:
        for grant in document.grants:
            grant.load()
    except KeyInvalid as error:
        raise TrustInvalid(error.message, hint=error.hint, **error.values) from None
    return VerifiedTrust(document, root, steps)


def _require_signature(envelope: Envelope, root: PublicKey, payload_type: str) -> None:
    from edge_runtime.contract.bundle.signature import pre_authentication

    if envelope.signer != root.fingerprint:
        raise TrustInvalid(
            f"{TRUST_NAME} must be signed by the root key {root.fingerprint[:16]}…, "
            f"it names {envelope.signer[:16]}…",
            hint="Carry the file of your own fleet, whose root key this device has pinned.",
            expected=root.fingerprint,
            found=envelope.signer,
        )
    if not root.verifies(
        envelope.signature, pre_authentication(envelope.payload, payload_type)
    ):
        raise _invalid(
            f"a signature by root key {root.fingerprint[:16]}… over these bytes",
            "one that fails",
        )


# --- reading the form ----------------------------------------------------------------------


def read_trust_file(data: bytes) -> TrustFile:
    """Read the outer form; nothing of it is believed.

    Raises:
        TrustInvalid: when it is of another form.
    """
    outer = Fields(_json(data, TRUST_NAME), TRUST_NAME, TrustInvalid)
    _require(outer.text("mediaType"), MEDIA_TYPE)
    listed = outer.list("rotations", limit=MAX_ROTATIONS)
    rotations = tuple(
        _envelope(Fields(item, f"{TRUST_NAME}.rotations", TrustInvalid), ROTATION_TYPE)
        for item in listed
    )
    envelope = _envelope(outer.fields("dsseEnvelope"), DOCUMENT_TYPE)
    outer.done()
    return TrustFile(rotations, envelope)


def _envelope(read: Fields, payload_type: str) -> Envelope:
    _require(read.text("payloadType"), payload_type)
    payload = _unbase64(read.text("payload", limit=MAX_TRUST_BYTES))
    signatures = read.list("signatures")
    if len(signatures) != 1:
        raise _invalid("exactly one signature", str(len(signatures)))
    entry = Fields(signatures[0], f"{TRUST_NAME}.signatures", TrustInvalid)
    signer = entry.text("keyid", limit=64)
    if not is_digest(signer):
        raise _invalid("a key's fingerprint as keyid", repr(signer))
    signature = _unbase64(entry.text("sig", limit=1024))
    entry.done()
    read.done()
    return Envelope(payload, signer, signature)


def parse_document(payload: bytes) -> TrustDocument:
    """Read the document itself, whose signature the caller has verified.

    Raises:
        TrustInvalid: when it is of another form.
    """
    read = Fields(_json(payload, "the trust document"), TRUST_NAME, TrustInvalid)
    _require(read.text("schema"), SCHEMA)
    serial = read.integer("serial", low=1, high=MAX_SERIAL)
    grants = tuple(_grant(item) for item in read.list("keys", limit=MAX_KEYS))
    revocations = Revocations(
        serial,
        frozenset(_digests(read, "revoked_keys")),
        frozenset(_release(item) for item in read.list("revoked_releases", limit=MAX_REVOKED)),
        frozenset(_digests(read, "revoked_digests")),
    )
    read.done()
    names = [grant.fingerprint for grant in grants]
    if len(set(names)) != len(names):
        raise _invalid("each key once", "one twice")
    return TrustDocument(serial, grants, revocations)


def _rotation(payload: bytes) -> str:
    read = Fields(_json(payload, "a change of root"), f"{TRUST_NAME}.rotation", TrustInvalid)
    _require(read.text("schema"), ROOT_SCHEMA)
    pem = read.text("root", limit=_MAX_PEM)
    read.done()
    return pem


def _grant(item: Any) -> Grant:
    read = Fields(item, f"{TRUST_NAME}.keys", TrustInvalid)
    pem, patterns = read.text("pem", limit=_MAX_PEM), read.texts("for")
    read.done()
    fingerprint = pem_fingerprint(pem)
    if fingerprint is None:
        raise _invalid("a public key or certificate in PEM", repr(pem[:40]))
    try:
        return Grant(pem, fingerprint, check_patterns(patterns))
    except KeyInvalid as error:
        raise TrustInvalid(error.message, hint=error.hint, **error.values) from None


def _release(item: Any) -> tuple[str, int]:
    read = Fields(item, f"{TRUST_NAME}.revoked_releases", TrustInvalid)
    name, release = read.text("name", limit=64), read.integer("release")
    read.done()
    if not is_name(name):
        raise _invalid("a model's name", repr(name))
    return name, release


def _digests(read: Fields, key: str) -> tuple[str, ...]:
    found = read.texts(key)
    if len(found) > MAX_REVOKED or not all(is_digest(item) for item in found):
        raise _invalid(f"at most {MAX_REVOKED} sha256 in hex in {key}", "others")
    return found


def _json(data: bytes, what: str) -> Any:
    try:
        return strictjson.loads(data, what=what, limit=MAX_TRUST_BYTES)
    except JsonMalformed as error:
        raise TrustInvalid(
            error.message,
            hint="Copy trust.json again; packager trust writes it.",
            **error.values,
        ) from None


def _require(found: str, wanted: str) -> None:
    if found != wanted:
        raise _invalid(repr(wanted), repr(found[:80]))


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise _invalid("base64", repr(text[:40])) from None


def _invalid(wanted: str, found: str) -> TrustInvalid:
    return TrustInvalid(
        f"{TRUST_NAME} must have {wanted}, found {found}",
        hint="Copy trust.json again; if it stays so, write it again: packager trust",
        expected=wanted,
        found=found,
    )
