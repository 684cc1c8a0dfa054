"""Bundles with a packed file, sound and bent: a blob that is signed and unpacks to a lie."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import bundles
import devices
from onnx import ModelProto

from edge_runtime.contract.bundle.digests import sha256_hex
from edge_runtime.contract.bundle.manifest import MANIFEST_NAME, FileEntry, Packed
from edge_runtime.contract.bundle.manifest_json import parse_manifest
from edge_runtime.contract.bundle.manifest_render import render_manifest
from edge_runtime.contract.bundle.oci import Part, TargetImage
from edge_runtime.contract.bundle.packing import framed
from packager.stages.pack import target_parts, write_bundle

Bend = Callable[[bytes], bytes]


def graph() -> bytes:
    """Return the small classifier with a long story in it, which takes no room when packed."""
    model = ModelProto.FromString(bundles.graph())
    model.doc_string = "once upon a time " * 4000
    return bytes(model.SerializeToString(deterministic=True))


def gzipped(path: str, data: bytes) -> bytes:
    """Return a file as a gzipped tar, whatever it is."""
    return gzip.compress(b"".join(framed(path, len(data), [data])), mtime=0)


def parts(bend: Bend = bytes, **changes: object) -> list[Part]:
    """Return a target's unsigned parts whose graph is packed.

    Args:
        bend: what to do with the packed graph before it is listed.
        changes: fields of the graph's entry in the table to change, by name.
    """
    document, *payload = target_parts(
        bundles.manifest(devices.TARGET), bundles.payload(graph())
    )
    bent = [_bent(part, bend) for part in payload]
    manifest = parse_manifest(document.data)
    table = tuple(_entry(part, changes) for part in bent)
    return [Part(MANIFEST_NAME, render_manifest(replace(manifest, files=table))), *bent]


def _bent(part: Part, bend: Bend) -> Part:
    if part.packed is None:
        return part
    assert isinstance(part.packed, bytes)
    return Part(part.path, part.content, bend(part.packed))


def _entry(part: Part, changes: object) -> FileEntry:
    plain = FileEntry(part.path, part.size, part.sha256)
    if not isinstance(part.packed, bytes):
        return plain
    blob = Packed(len(part.packed), sha256_hex(part.packed))
    return replace(plain, packed=blob, **changes)


def write(path: Path, made: Sequence[Part]) -> Path:
    """Sign parts and write them as a bundle for this machine."""
    target = TargetImage(
        devices.TARGET, "linux", devices.ARCHITECTURE, "tiny", "1.4.0", bundles.signed(made)
    )
    write_bundle(path, [target])
    return path
