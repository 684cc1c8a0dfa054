"""Lists of trust for tests: fixed root keys, and every step of signing open to be bent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import bundles
from cryptography.hazmat.primitives.asymmetric import ec

from edge_runtime.contract.bundle.archive import write_layout
from edge_runtime.contract.bundle.keyring import EVERY_NAME, Revocations
from edge_runtime.contract.bundle.oci import layout_entries
from edge_runtime.contract.bundle.signature import Trusted, pre_authentication
from edge_runtime.contract.bundle.trust_file import (
    DOCUMENT_TYPE,
    ROTATION_TYPE,
    Envelope,
    Grant,
    TrustDocument,
)
from edge_runtime.contract.bundle.trust_render import (
    render_document,
    render_rotation,
    render_trust_file,
)
from packager.stages.sign import KeySigner

ROOT = KeySigner(ec.derive_private_key(2_718_281_828, ec.SECP256R1()))
NEXT = KeySigner(ec.derive_private_key(1_618_033_988, ec.SECP256R1()))
THIRD = KeySigner(ec.derive_private_key(1_414_213_562, ec.SECP256R1()))
SIGNER = bundles.SIGNER.public_key
STRANGER = bundles.STRANGER.public_key


def grant(key: Trusted = SIGNER, *patterns: str) -> Grant:
    """Return a key that counts for these names, or for all."""
    return Grant(key.pem.decode(), key.fingerprint, patterns or EVERY_NAME)


def document(serial: int = 1, *grants: Grant, **revoked: object) -> TrustDocument:
    """Return a list; what is withdrawn is given by name."""
    withdrawn = {name: frozenset(items) for name, items in revoked.items()}  # type: ignore[call-overload]
    return TrustDocument(serial, grants, Revocations(serial, **withdrawn))


def enveloped(payload: bytes, signer: KeySigner, payload_type: str = DOCUMENT_TYPE) -> Envelope:
    """Return bytes signed as something of this type."""
    signature = signer.sign(pre_authentication(payload, payload_type))
    return Envelope(payload, signer.public_key.fingerprint, signature)


def handover(old: KeySigner, new: KeySigner) -> Envelope:
    """Return a change of root, signed by the old one."""
    return enveloped(render_rotation(new.public_key.pem.decode()), old, ROTATION_TYPE)


def signed(
    listed: TrustDocument, signer: KeySigner = ROOT, rotations: Sequence[Envelope] = ()
) -> bytes:
    """Return a list as the bytes of ``trust.json``."""
    return render_trust_file(rotations, enveloped(render_document(listed), signer))


def sound(serial: int = 1, *grants: Grant, **revoked: object) -> bytes:
    """Return a list by the root that the test key, or these, count on."""
    return signed(document(serial, *(grants or (grant(),)), **revoked))


def carrying(path: Path, trust: bytes, source: Path) -> Path:
    """Write a bundle's copy that carries a list."""
    from packager.bundle_file import read_bundle
    from packager.release import image_of

    images = [image_of(target, target.signature) for target in read_bundle(source)]
    write_layout(path, layout_entries(images, trust))
    return path
