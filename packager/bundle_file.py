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
    Variant,
)
from edge_runtime.contract.bundle.manifest_json import parse_manifest
from edge_runtime.contract.bundle.oci import Layer, Part, read_targets
from edge_runtime.contract.bundle.verify import file_chunks
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

    def sizes(self, variant: Variant) -> tuple[int, int]:
        """Return the bytes of a variant's graph and weights, installed and in the bundle."""
        paths = {variant.model_file, *variant.weights}
        entries = [entry for entry in self.manifest.files if entry.path in paths]
        return sum(one.size for one in entries), sum(one.blob.size for one in entries)

    def part(self, path: str) -> Part | None:
        """Return the file of that path, if it is there."""
        return next((part for part in self.parts if part.path == path), None)


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
        _exhaust(_checked(layout, layer))
    found = {layer for layer in layers.values() if layer.path not in _HELD}
    held = {name: b"".join(_checked(layout, layers[name])) for name in _HELD & layers.keys()}
    manifest = parse_manifest(held.get(MANIFEST_NAME, b""))
    table = {Layer(one.path, one.blob.sha256, one.blob.size) for one in manifest.files}
    if table != found:
        differing = sorted({item.path for item in table ^ found})
        raise FilesMismatch(
            f"{manifest.target.name} must hold the files of its table, "
            f"found others: {', '.join(differing)}",
            hint="Build the bundle again.",
            target=manifest.target.name,
            found=differing,
        )
    entries = {entry.path: entry for entry in manifest.files}
    for entry in manifest.files:
        if entry.packed is not None:
            _exhaust(checked(file_chunks(layout, entry), entry))
    signature = held.pop(SIGNATURE_NAME, None)
    parts = tuple(
        Part(name, held[name]) if name in held else _part(path, entries[name])
        for name in layers
        if name != SIGNATURE_NAME
    )
    return PackedTarget(manifest, parts, signature)


def _checked(layout: Layout, layer: Layer) -> Iterator[bytes]:
    entry = FileEntry(layer.path, layer.size, layer.digest)
    return checked(layout.chunks(blob_name(layer.digest)), entry)


def _exhaust(chunks: Iterator[bytes]) -> None:
    for _ in chunks:
        pass


def _part(path: Path, entry: FileEntry) -> Part:
    """Return one file of a bundle, packed or not, to be read from there when it is needed."""
    content = _stored(path, entry)
    return Part(entry.path, content, _stored(path, entry.blob) if entry.packed else None)


def _stored(path: Path, entry: FileEntry) -> Stored:
    def chunks() -> Iterator[bytes]:
        layout = open_layout(path)
        try:
            yield from file_chunks(layout, entry)
        finally:
            layout.close()

    return Stored(entry.size, entry.sha256, chunks)


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
                "variants": [_variant(target, one) for one in target.manifest.variants],
                "golden": asdict(target.manifest.golden),
                "files": [asdict(entry) for entry in target.manifest.files],
            }
            for target in targets
        ],
    }


def _variant(target: PackedTarget, variant: Variant) -> dict[str, Any]:
    size, packed = target.sizes(variant)
    return {**asdict(variant), "size": size, "packed_size": packed}
