"""The files of a target: layers, signed digests and the manifest's table are the same ones."""

from __future__ import annotations

from collections.abc import Mapping

from edge_runtime.contract.bundle.manifest import MANIFEST_NAME, SIGNATURE_NAME, Manifest
from edge_runtime.contract.bundle.oci import Layer
from edge_runtime.contract.errors import FilesMismatch


def check_table(
    manifest: Manifest, digests: Mapping[str, str], layers: Mapping[str, Layer]
) -> None:
    """Require that layers, signed digests and the manifest's table are the same files.

    A layer is a file as it stands in the archive, a signed digest that of the file unpacked.

    Raises:
        FilesMismatch: when they are not.
    """
    blobs = [entry.blob for entry in manifest.files]
    table = {(blob.path, blob.sha256, blob.size) for blob in blobs}
    present = {
        (layer.path, layer.digest, layer.size)
        for path, layer in layers.items()
        if path not in (MANIFEST_NAME, SIGNATURE_NAME)
    }
    signed = {(path, digest) for path, digest in digests.items() if path != MANIFEST_NAME}
    target = manifest.target.name
    if table != present:
        raise files_mismatch(_paths(table - present), _paths(present - table), target)
    listed = {(entry.path, entry.sha256) for entry in manifest.files}
    if listed != signed:
        raise files_mismatch(_paths(signed - listed), _paths(listed - signed), target)


def _paths(items: set[tuple[str, str, int]] | set[tuple[str, str]]) -> set[str]:
    return {item[0] for item in items}


def files_mismatch(wanted: set[str], extra: set[str], target: str) -> FilesMismatch:
    """Return the error for a target whose files are not exactly the signed ones."""
    parts = [f"{', '.join(sorted(wanted))} absent or different"] if wanted else []
    parts += [f"{', '.join(sorted(extra))} present but not signed so"] if extra else []
    return FilesMismatch(
        f"the files of {target} must be exactly the signed ones, found {' and '.join(parts)}",
        hint="Fetch the bundle again; if it stays so, build it again.",
        target=target,
        expected=sorted(wanted),
        found=sorted(extra),
    )
