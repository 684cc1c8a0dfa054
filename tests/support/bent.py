"""Bundles bent on purpose: validly signed nonsense, sound parts in the wrong places, lies."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import bundles
import pytest

from edge_runtime.contract.bundle.archive import (
    INDEX_NAME,
    LAYOUT_BYTES,
    LAYOUT_NAME,
    blob_name,
    write_layout,
)
from edge_runtime.contract.bundle.digests import sha256_hex
from edge_runtime.contract.bundle.manifest import SIGNATURE_NAME
from edge_runtime.contract.bundle.oci import (
    INDEX_TYPE,
    MANIFEST_TYPE,
    Part,
    TargetImage,
    layout_entries,
)
from edge_runtime.contract.bundle.signature import (
    pre_authentication,
    render_signature,
    statement,
)
from edge_runtime.contract.errors import EdgepackError
from packager.stages.sign import KeySigner

TARGET = "x86-64-cpu"


# --- parts ---------------------------------------------------------------------------------


def honest(**changes: Any) -> list[Part]:
    """Return a target's sound, signed parts; fields of its manifest are changed by name."""
    return bundles.signed(bundles.parts(bundles.manifest(TARGET, **changes)))


def named(parts: Sequence[Part], path: str) -> Part:
    """Return the part of that path."""
    return next(part for part in parts if part.path == path)


def without(parts: Sequence[Part], *paths: str) -> list[Part]:
    """Return the parts but those of some paths."""
    return [part for part in parts if part.path not in paths]


def resigned(parts: Sequence[Part], signer: KeySigner = bundles.SIGNER) -> list[Part]:
    """Return the parts under a new, valid signature over whatever they are."""
    return bundles.signed(without(parts, SIGNATURE_NAME), signer)


def write(path: Path, images: Sequence[TargetImage]) -> Path:
    """Write targets as they are."""
    write_layout(path, layout_entries(images))
    return path


def one(path: Path, parts: Sequence[Part]) -> Path:
    """Write a bundle whose only target has these parts."""
    return write(path, [bundles.image(TARGET, parts)])


def refused(path: Path, error: type[EdgepackError], match: str | None = None) -> EdgepackError:
    """Require that a bundle is refused, in words fit for a terminal, and return the error."""
    with pytest.raises(error, match=match) as caught:
        bundles.opened(path)
    assert caught.value.message.isprintable()
    assert caught.value.hint
    json.dumps(caught.value.as_json())
    return caught.value


# --- documents -----------------------------------------------------------------------------


def claims(files: Sequence[Part]) -> dict[str, Any]:
    """Return the statement that a signature over parts makes, to be edited."""
    found: dict[str, Any] = json.loads(
        statement("tiny", {part.path: sha256_hex(part.data) for part in files})
    )
    return found


def sign_claims(document: Any, signer: KeySigner = bundles.SIGNER) -> bytes:
    """Return ``model.sig`` over any statement, validly signed."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return render_signature(data, signer.sign(pre_authentication(data)), signer.public_key)


def envelope(signature: bytes, edit: Callable[[dict[str, Any]], None]) -> bytes:
    """Return a ``model.sig`` whose outer form was edited."""
    document = json.loads(signature)
    edit(document)
    return json.dumps(document).encode()


def base64_text(data: bytes) -> str:
    """Return bytes as a JSON document holds them."""
    return base64.b64encode(data).decode()


def rewrite_manifests(
    made: Sequence[TargetImage], edit: Callable[[dict[str, Any]], None]
) -> list[tuple[str, bytes]]:
    """Return a bundle's entries with every target's OCI manifest edited and found again."""
    stored = dict(layout_entries(made))
    documents = [
        json.loads(data)
        for name, data in stored.items()
        if name.startswith("blobs/")
        and b'"layers":[' in data
        and MANIFEST_TYPE.encode() in data
    ]
    for document in documents:
        edit(document)
    return assemble([json.dumps(item).encode() for item in documents], stored.values())


def assemble(documents: Sequence[bytes], blobs: Iterable[bytes]) -> list[tuple[str, bytes]]:
    """Return the entries of a layout whose index leads to these target manifests."""
    listed = [
        {
            "mediaType": MANIFEST_TYPE,
            "digest": f"sha256:{sha256_hex(data)}",
            "size": len(data),
        }
        for data in documents
    ]
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": listed}
    stored = {sha256_hex(data): data for data in (*documents, *blobs)}
    return [
        (LAYOUT_NAME, LAYOUT_BYTES),
        (INDEX_NAME, json.dumps(index).encode()),
        *((blob_name(digest), data) for digest, data in stored.items()),
    ]
