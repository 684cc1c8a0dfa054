"""Packing: one target's files become the parts of an image, and all targets one archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edge_runtime.contract.bundle.archive import write_layout
from edge_runtime.contract.bundle.content import Content, digest_of, size_of
from edge_runtime.contract.bundle.manifest import MANIFEST_NAME, FileEntry, Manifest, Packed
from edge_runtime.contract.bundle.manifest_render import render_manifest
from edge_runtime.contract.bundle.manifest_rules import features
from edge_runtime.contract.bundle.oci import Part, TargetImage, layout_entries
from edge_runtime.contract.bundle.packing import packed


def target_parts(manifest: Manifest, files: Mapping[str, Content]) -> list[Part]:
    """Return a target's parts, the manifest first, with its table filled in from the files.

    Files that are a good deal smaller packed are packed, and the manifest names what a reader
    has to understand.

    Args:
        manifest: everything but the table of files.
        files: the payload by path, without ``manifest.json`` and ``model.sig``.
    """
    payload = [
        Part(path, content, packed(path, content)) for path, content in sorted(files.items())
    ]
    filled = replace(manifest, files=tuple(map(_entry, payload)))
    used = dict.fromkeys((*manifest.must_understand, *features(filled)))
    document = render_manifest(replace(filled, must_understand=tuple(used)))
    return [Part(MANIFEST_NAME, document), *payload]


def _entry(part: Part) -> FileEntry:
    blob = None
    if part.packed is not None:
        blob = Packed(size_of(part.packed), digest_of(part.packed))
    return FileEntry(part.path, part.size, part.sha256, blob)


def write_bundle(path: Path, images: Sequence[TargetImage], trust: bytes | None = None) -> None:
    """Write the archive; the same images give the same bytes.

    Args:
        path: where to.
        images: its targets.
        trust: a ``trust.json`` for it to carry.

    Raises:
        OSError: when the path cannot be written; then the file is the caller's to remove.
    """
    write_layout(path, layout_entries(images, trust))
