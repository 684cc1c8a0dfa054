"""Packing: one target's files become the parts of an image, and all targets one archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edge_runtime.contract.bundle.archive import write_layout
from edge_runtime.contract.bundle.content import Content
from edge_runtime.contract.bundle.manifest import MANIFEST_NAME, FileEntry, Manifest
from edge_runtime.contract.bundle.manifest_json import render_manifest
from edge_runtime.contract.bundle.oci import Part, TargetImage, layout_entries


def target_parts(manifest: Manifest, files: Mapping[str, Content]) -> list[Part]:
    """Return a target's parts, the manifest first, with its table filled in from the files.

    Args:
        manifest: everything but the table of files.
        files: the payload by path, without ``manifest.json`` and ``model.sig``.
    """
    payload = [Part(path, content) for path, content in sorted(files.items())]
    table = tuple(FileEntry(part.path, part.size, part.sha256) for part in payload)
    return [Part(MANIFEST_NAME, render_manifest(replace(manifest, files=table))), *payload]


def write_bundle(path: Path, images: Sequence[TargetImage]) -> None:
    """Write the archive; the same images give the same bytes.

    Raises:
        OSError: when the path cannot be written; then the file is the caller's to remove.
    """
    write_layout(path, layout_entries(images))
