"""A bundle as a file on the workstation: read without trust, to be shown or signed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_runtime.contract.bundle.archive import Layout, blob_name, open_layout
from edge_runtime.contract.bundle.digests import checked, sha256_hex
from edge_runtime.contract.bundle.manifest import (
    MANIFEST_NAME,
    SIGNATURE_NAME,
    FileEntry,
    Manifest,
)
from edge_runtime.contract.bundle.manifest_json import parse_manifest
from edge_runtime.contract.bundle.oci import Layer, Part, read_targets
from edge_runtime.contract.errors import FilesMismatch


@dataclass(frozen=True)
class PackedTarget:
    """One target of a bundle whose bytes are whole, whoever signed them.

    Attributes:
        manifest: what the target says of itself.
        parts: every file but the signature, in the bundle's order.
        signature: the bytes of ``model.sig``; None for an unsigned target.
    """

    manifest: Manifest
    parts: tuple[Part, ...]
    signature: bytes | None

    @property
    def digest(self) -> str:
        """The package's name on devices: sha256 of its manifest."""
        return next(sha256_hex(p.data) for p in self.parts if p.path == MANIFEST_NAME)


def read_bundle(path: Path) -> tuple[PackedTarget, ...]:
    """Read every target of a bundle; digests are checked, signatures are not.

    Raises:
        BundleError: when the archive, a document or a digest is not in order.
    """
    layout = open_layout(path)
    try:
        return tuple(_read_target(layout, layers) for layers in read_targets(layout))
    finally:
        layout.close()


def _read_target(layout: Layout, layers: Mapping[str, Layer]) -> PackedTarget:
    files = {path: _blob(layout, layer) for path, layer in layers.items()}
    signature = files.pop(SIGNATURE_NAME, None)
    manifest = parse_manifest(files.get(MANIFEST_NAME, b""))
    table = {(entry.path, entry.size, entry.sha256) for entry in manifest.files}
    found = {
        (path, len(data), sha256_hex(data))
        for path, data in files.items()
        if path != MANIFEST_NAME
    }
    if table != found:
        differing = sorted({item[0] for item in table ^ found})
        raise FilesMismatch(
            f"{manifest.target.name} must hold the files of its table, "
            f"found others: {', '.join(differing)}",
            hint="Build the bundle again.",
            target=manifest.target.name,
            found=differing,
        )
    parts = tuple(Part(path, data) for path, data in files.items())
    return PackedTarget(manifest, parts, signature)


def _blob(layout: Layout, layer: Layer) -> bytes:
    entry = FileEntry(layer.path, layer.size, layer.digest)
    return b"".join(checked(layout.chunks(blob_name(layer.digest)), entry))


def bundle_json(targets: tuple[PackedTarget, ...]) -> dict[str, Any]:
    """Return what a bundle holds, for machines."""
    first = targets[0].manifest
    return {
        "name": first.name,
        "version": first.version,
        "release": first.release,
        "description": first.description,
        "task": first.interface.task,
        "targets": [
            {
                "target": target.manifest.target.name,
                "package": target.digest,
                "has_signature": target.signature is not None,
                "variants": [asdict(variant) for variant in target.manifest.variants],
                "golden": asdict(target.manifest.golden),
                "files": [asdict(entry) for entry in target.manifest.files],
            }
            for target in targets
        ],
    }
