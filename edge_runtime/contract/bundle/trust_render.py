"""``trust.json`` as bytes: the document, a change of root, and the outer form around both."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from edge_runtime.contract import strictjson
from edge_runtime.contract.bundle.trust_file import (
    DOCUMENT_TYPE,
    MEDIA_TYPE,
    ROOT_SCHEMA,
    ROTATION_TYPE,
    SCHEMA,
    Envelope,
    TrustDocument,
)


def render_document(document: TrustDocument) -> bytes:
    """Return a document as the bytes that the root signs."""
    revoked = document.revocations
    return strictjson.dumps(
        {
            "schema": SCHEMA,
            "serial": document.serial,
            "keys": [{"pem": one.pem, "for": list(one.patterns)} for one in document.grants],
            "revoked_keys": sorted(revoked.keys),
            "revoked_releases": [
                {"name": name, "release": release} for name, release in sorted(revoked.releases)
            ],
            "revoked_digests": sorted(revoked.digests),
        }
    )


def render_rotation(root: str) -> bytes:
    """Return a change of root as the bytes that the root before it signs."""
    return strictjson.dumps({"schema": ROOT_SCHEMA, "root": root})


def render_trust_file(rotations: Sequence[Envelope], envelope: Envelope) -> bytes:
    """Return the bytes of ``trust.json``."""
    return strictjson.dumps(
        {
            "mediaType": MEDIA_TYPE,
            "rotations": [_written(item, ROTATION_TYPE) for item in rotations],
            "dsseEnvelope": _written(envelope, DOCUMENT_TYPE),
        }
    )


def _written(envelope: Envelope, payload_type: str) -> dict[str, Any]:
    return {
        "payload": base64.b64encode(envelope.payload).decode(),
        "payloadType": payload_type,
        "signatures": [
            {"keyid": envelope.signer, "sig": base64.b64encode(envelope.signature).decode()}
        ],
    }
