"""A bundle as a file on the workstation: read without trust, to be shown or signed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_runtime.contract.bundle.archive import Layout, blob_name, open_layout
from edge_runtime.contract.bundle.content import Stored
from edge_runtime.contract.bundle.digests import checked
from edge_runtime.contract.bundle.manifest import (
    MANIFEST_NAME,
    SIGNATURE_NAME,
    FileEntry,
    Manifest,
)
from edge_runtime.contract.bundle.manifest_json import parse_manifest
from edge_runtime.contract.bundle.oci import Layer, Part, read_targets
from edge_runtime.contract.errors import FilesMismatch

_HELD = frozenset({MANIFEST_NAME, SIGNATURE_NAME})


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
        return next(part.sha256 for part in self.parts if part.path == MANIFEST_NAME)


def read_bundle(path: Path) -> tuple[PackedTarget, ...]:
    """Read every target of a bundle; digests are checked, signatures are not.

    Only manifests and signatures are held: whoever needs another file's bytes reads them out of
    the bundle again, piece by piece.

    Raises:
        BundleError: when the archive, a document or a digest is not in order.
    """
    layout = open_layout(path)
    try:
        return tuple(_read_target(layout, path, layers) for layers in read_targets(layout))
    finally:
        layout.close()


def _read_target(layout: Layout, path: Path, layers: Mapping[str, Layer]) -> PackedTarget:
    for layer in layers.values():
        for _ in _checked(layout, layer):
            pass
    found = {layer for layer in layers.values() if layer.path not in _HELD}
    held = {name: b"".join(_checked(layout, layers[name])) for name in _HELD & layers.keys()}
    manifest = parse_manifest(held.get(MANIFEST_NAME, b""))
    table = {Layer(entry.path, entry.sha256, entry.size) for entry in manifest.files}
    if table != found:
        differing = sorted({item.path for item in table ^ found})
        raise FilesMismatch(
            f"{manifest.target.name} must hold the files of its table, "
            f"found others: {', '.join(differing)}",
            hint="Build the bundle again.",
            target=manifest.target.name,
            found=differing,
        )
    signature = held.pop(SIGNATURE_NAME, None)
    parts = tuple(
        Part(name, held.get(name, _stored(path, layer)))
        for name, layer in layers.items()
        if name != SIGNATURE_NAME
    )
    return PackedTarget(manifest, parts, signature)


def _checked(layout: Layout, layer: Layer) -> Iterator[bytes]:
    entry = FileEntry(layer.path, layer.size, layer.digest)
    return checked(layout.chunks(blob_name(layer.digest)), entry)


def _stored(path: Path, layer: Layer) -> Stored:
    """Return one file of a bundle, to be read from there whenever it is needed."""

    def chunks() -> Iterator[bytes]:
        layout = open_layout(path)
        try:
            yield from layout.chunks(blob_name(layer.digest))
        finally:
            layout.close()

    return Stored(layer.size, layer.digest, chunks)


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
