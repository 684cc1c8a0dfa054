"""Packing: one target's files become the parts of an image, and all targets one archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from edge_runtime.contract.bundle.archive import write_layout
from edge_runtime.contract.bundle.digests import sha256_hex
from edge_runtime.contract.bundle.manifest import MANIFEST_NAME, FileEntry, Manifest
from edge_runtime.contract.bundle.manifest_json import render_manifest
from edge_runtime.contract.bundle.oci import Part, TargetImage, layout_entries
from edge_runtime.contract.errors import OutputUnwritable


def target_parts(manifest: Manifest, files: Mapping[str, bytes]) -> list[Part]:
    """Return a target's parts, the manifest first, with its table filled in from the files.

    Args:
        manifest: everything but the table of files.
        files: the payload by path, without ``manifest.json`` and ``model.sig``.
    """
    table = tuple(
        FileEntry(path, len(data), sha256_hex(data)) for path, data in sorted(files.items())
    )
    document = Part(MANIFEST_NAME, render_manifest(replace(manifest, files=table)))
    payload = [Part(path, data) for path, data in sorted(files.items())]
    return [document, *payload]


def write_bundle(path: Path, images: Sequence[TargetImage]) -> None:
    """Write the archive under a temporary name.

    Raises:
        OutputUnwritable: when the path cannot be written; nothing is left there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_layout(path, layout_entries(images))
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise OutputUnwritable(
            f"{path.parent}, where the bundle goes, cannot be written: {error.strerror}",
            hint="Free space there, or choose another directory: --out DIR",
            path=str(path.parent),
            reason=error.strerror,
        ) from None
