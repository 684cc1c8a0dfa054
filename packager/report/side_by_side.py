"""Two bundles side by side: sizes, quality, interface, and what a device lacks of one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.contract import strictjson
from edge_runtime.contract.bundle.digests import sha256_hex
from edge_runtime.contract.bundle.manifest import (
    MANIFEST_NAME,
    SIGNATURE_NAME,
    Interface,
)
from edge_runtime.contract.errors import JsonMalformed
from packager.bundle_file import PackedTarget, read_bundle
from packager.report.bom import FILE_NAME as BOM_NAME

_MAX_BOM = 8 << 20
_MAX_TEXT = 200


@dataclass(frozen=True)
class BundleSide:
    """One of the two bundles: where it is, what it calls itself, and its bytes as a file."""

    bundle: str
    name: str
    version: str
    release: int
    size: int


@dataclass(frozen=True)
class VariantSide:
    """A rung of the ladder.

    Attributes:
        name: the variant's.
        provider: its execution provider.
        size: bytes of its graph and weights, installed.
        packed_size: the same in the bundle.
        metric: what its quality means; empty where the bundle does not tell.
        quality: its value; None where the bundle does not tell, or it is no number.
    """

    name: str
    provider: str
    size: int
    packed_size: int
    metric: str
    quality: float | None


@dataclass(frozen=True)
class TargetSide:
    """One target as one bundle has it.

    Attributes:
        package: the digest that names it on devices.
        has_signature: whether anybody signed it; nobody looked who.
        size: bytes of all its files, installed.
        packed_size: the same in the bundle.
        variants: the ladder, best first.
        golden: how many golden rows there are.
        synthetic: whether they were drawn.
        min_engine: the oldest ONNX Runtime that loads it.
        min_runtime: the oldest edge runtime that reads it.
        memory_bytes: what the device must have.
        understands: features that the device must know.
    """

    package: str
    has_signature: bool
    size: int
    packed_size: int
    variants: Sequence[VariantSide]
    golden: int
    synthetic: bool
    min_engine: str
    min_runtime: str
    memory_bytes: int
    understands: Sequence[str]


@dataclass(frozen=True)
class Change:
    """A part of the interface that differs: how it is in each bundle, None where it is not."""

    what: str
    name: str
    a: str | None
    b: str | None


@dataclass(frozen=True)
class Blob:
    """A file as it stands in a bundle: its path in the package, and size and sha256 there."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Fetch:
    """What a device that has A installed lacks of B.

    Attributes:
        size: bytes of the blobs that A's target does not have.
        whole: bytes of all blobs of B's target.
        blobs: those that are lacking, as they stand in B.
    """

    size: int
    whole: int
    blobs: Sequence[Blob]


@dataclass(frozen=True)
class TargetPair:
    """One target in both bundles, or in one alone."""

    target: str
    a: TargetSide | None
    b: TargetSide | None
    changes: Sequence[Change]
    fetch: Fetch | None

    @property
    def sides(self) -> tuple[TargetSide | None, TargetSide | None]:
        """The target as A and as B has it."""
        return self.a, self.b


@dataclass(frozen=True)
class SideBySide:
    """Two bundles, target by target, in the order of the targets' names."""

    a: BundleSide
    b: BundleSide
    targets: Sequence[TargetPair]


def compare_bundles(one: Path, other: Path) -> SideBySide:
    """Compare two bundles, whoever signed them.

    Raises:
        BundleError: when one of them is not in order.
    """
    lefts, rights = (
        {target.manifest.target.name: target for target in read_bundle(path)}
        for path in (one, other)
    )
    return SideBySide(
        _bundle(one, next(iter(lefts.values()))),
        _bundle(other, next(iter(rights.values()))),
        [
            _pair(name, lefts.get(name), rights.get(name))
            for name in sorted(lefts.keys() | rights.keys())
        ],
    )


def _bundle(path: Path, first: PackedTarget) -> BundleSide:
    files = path.rglob("*") if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files if file.is_file())
    manifest = first.manifest
    return BundleSide(str(path), manifest.name, manifest.version, manifest.release, size)


def _pair(name: str, a: PackedTarget | None, b: PackedTarget | None) -> TargetPair:
    return TargetPair(
        name,
        _target(a) if a else None,
        _target(b) if b else None,
        _changes(a.manifest.interface, b.manifest.interface) if a and b else [],
        _fetch(a, b) if b else None,
    )


def _target(target: PackedTarget) -> TargetSide:
    manifest, needs = target.manifest, target.manifest.target
    qualities = _qualities(target)
    variants = [
        VariantSide(
            variant.name,
            variant.provider,
            *target.sizes(variant),
            *qualities.get(variant.name, ("", None)),
        )
        for variant in manifest.variants
    ]
    return TargetSide(
        package=target.digest,
        has_signature=target.signature is not None,
        size=sum(entry.size for entry in manifest.files),
        packed_size=sum(entry.blob.size for entry in manifest.files),
        variants=variants,
        golden=manifest.golden.rows,
        synthetic=manifest.golden.synthetic,
        min_engine=needs.min_engine,
        min_runtime=manifest.min_runtime,
        memory_bytes=needs.memory_bytes,
        understands=manifest.must_understand,
    )


def _qualities(target: PackedTarget) -> dict[str, tuple[str, float | None]]:
    """Return metric and quality by variant, as the bill of materials has them.

    It is a file of the signed table, so these are the words of whoever signed; a bundle of
    another maker may have none, or one of another form.
    """
    part = target.part(BOM_NAME)
    if part is None or part.size > _MAX_BOM:
        return {}
    try:
        document = strictjson.loads(part.data, what=BOM_NAME, limit=_MAX_BOM)
        card = document["metadata"]["component"]["modelCard"]
        told = card["quantitativeAnalysis"]["performanceMetrics"]
        return {
            _text(one["slice"]): (_text(one["type"]), _number(one["value"])) for one in told
        }
    except (JsonMalformed, KeyError, TypeError, ValueError):
        return {}


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise ValueError(value)
    return value


def _number(value: Any) -> float | None:
    number = float(_text(value))
    return number if math.isfinite(number) else None


# --- differences ---------------------------------------------------------------------------


def _changes(a: Interface, b: Interface) -> list[Change]:
    """Return what goes in or comes out otherwise, or in another order."""
    lefts, rights = _described(a), _described(b)
    return [
        Change(*key, lefts.get(key), rights.get(key))
        for key in dict.fromkeys((*lefts, *rights))
        if lefts.get(key) != rights.get(key)
    ]


def _described(interface: Interface) -> dict[tuple[str, str], str]:
    roles = {output: f", the {role}" for role, output in interface.roles.items()}
    told = {("task", ""): interface.task}
    for spec in interface.inputs:
        told["input", spec.name] = spec.text()
    for spec in interface.outputs:
        told["output", spec.name] = spec.text() + roles.get(spec.name, "")
    for column in interface.columns:
        place = column.input if column.index is None else f"{column.input}[{column.index}]"
        missing = "may be missing" if column.missing == "allow" else "never missing"
        told["column", column.name] = f"{column.kind}, {missing}, to {place}"
    if interface.labels:
        told["labels", ""] = ", ".join(map(str, interface.labels))
    if interface.columns:
        told["missing cells", ""] = ", ".join(map(repr, interface.table.missing_tokens))
    return told


def _fetch(a: PackedTarget | None, b: PackedTarget) -> Fetch:
    """Return the blobs of B's target that A's has not, each once, by digest."""
    there = {blob.sha256 for blob in _blobs(a)} if a else set()
    wanted = {blob.sha256: blob for blob in _blobs(b)}
    blobs = [blob for digest, blob in wanted.items() if digest not in there]
    whole = sum(blob.size for blob in wanted.values())
    return Fetch(sum(blob.size for blob in blobs), whole, blobs)


def _blobs(target: PackedTarget) -> list[Blob]:
    """Return all that a device reads of a target, the signature included."""
    manifest = next(part.data for part in target.parts if part.path == MANIFEST_NAME)
    held = {MANIFEST_NAME: manifest, SIGNATURE_NAME: target.signature}
    own = [Blob(path, len(data), sha256_hex(data)) for path, data in held.items() if data]
    files = [entry.blob for entry in target.manifest.files]
    return [*own, *(Blob(one.path, one.size, one.sha256) for one in files)]
