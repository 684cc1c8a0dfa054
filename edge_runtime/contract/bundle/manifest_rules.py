"""What must hold inside a manifest and between its fields, beyond their types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import TypeVar

from edge_runtime.contract.bundle.archive import MAX_ENTRY_BYTES
from edge_runtime.contract.bundle.manifest import (
    CPU_FLAGS,
    EXTERNAL_WEIGHTS,
    MANIFEST_NAME,
    MAX_PACKED_PATH,
    PACKED_FILES,
    SIGNATURE_NAME,
    FileEntry,
    Manifest,
    Variant,
    is_version,
)
from edge_runtime.contract.errors import ManifestInvalid
from edge_runtime.contract.versions import release_numbers

Value = TypeVar("Value")


def require(value: Value, rule: Callable[[Value], bool], wanted: str) -> Value:
    """Return the value if the rule holds for it.

    Raises:
        ManifestInvalid: when it does not.
    """
    if not rule(value):
        raise ManifestInvalid(
            f"{MANIFEST_NAME} must have {wanted}, found {str(value)[:80]!r}",
            hint="Build the bundle again with a packager of this format.",
            expected=wanted,
            found=str(value)[:80],
        )
    return value


def is_release(text: str) -> bool:
    """Tell whether a text is a version that can be compared.

    One without a number would count as older than everything, and so be let through.
    """
    return is_version(text) and release_numbers(text) != ()


def features(manifest: Manifest) -> tuple[str, ...]:
    """Return what a manifest uses and an older runtime would misread or pass over."""
    used = {
        EXTERNAL_WEIGHTS: any(variant.weights for variant in manifest.variants),
        PACKED_FILES: any(entry.packed for entry in manifest.files),
        CPU_FLAGS: bool(manifest.target.cpu_flags),
    }
    return tuple(name for name, is_used in used.items() if is_used)


def check_consistent(manifest: Manifest) -> None:
    """Require that every name used in a manifest is declared in it, and each once.

    Raises:
        ManifestInvalid: when one is not.
    """
    named = manifest.must_understand
    for feature in features(manifest):
        require(feature, named.__contains__, "what it uses in must_understand")
    for entry in manifest.files:
        _check_packed(entry)
    _check_paths([entry.path for entry in manifest.files])
    paths = {entry.path for entry in manifest.files}
    used = [path for v in manifest.variants for path in (v.model_file, *v.weights)]
    for needed in (manifest.golden.file, *used):
        require(needed, paths.__contains__, "a file of the signed table")
    inputs = _unique([spec.name for spec in manifest.interface.inputs], "inputs")
    outputs = _unique([spec.name for spec in manifest.interface.outputs], "outputs")
    _unique([column.name for column in manifest.interface.columns], "columns")
    for column in manifest.interface.columns:
        require(column.input, inputs.__contains__, "an input of the graph")
    for output in manifest.interface.roles.values():
        require(output, outputs.__contains__, "an output of the graph")
    for variant in manifest.variants:
        _check_weights(variant)
        require(set(variant.tolerances), outputs.__eq__, "a tolerance for every output")


def _check_packed(entry: FileEntry) -> None:
    """Require that a packed file has room in the tar around it."""
    if entry.packed is not None:
        require(
            entry.path, lambda path: len(path) <= MAX_PACKED_PATH, "a packed path that fits"
        )
        require(entry.size, lambda size: size <= MAX_ENTRY_BYTES, "a packed file that fits")


def _check_weights(variant: Variant) -> None:
    """Require that weights stand beside their graph: there is nowhere else to look for them."""
    _unique(list(variant.weights), "weights")
    beside = PurePosixPath(variant.model_file).parent
    for path in variant.weights:
        require(path, lambda found: PurePosixPath(found).parent == beside, "weights beside it")


def _check_paths(paths: list[str]) -> None:
    """Refuse paths that cannot all be files side by side, on any file system."""
    taken = [MANIFEST_NAME, SIGNATURE_NAME, *(path.casefold() for path in paths)]
    files = _unique(taken, "files, whatever their case")
    parents = {str(parent) for path in taken for parent in PurePosixPath(path).parents}
    require(files & parents, lambda both: not both, "no file that is a directory too")


def _unique(names: list[str], what: str) -> set[str]:
    twice = [name for name, times in Counter(names).items() if times > 1]
    require(twice, lambda found: not found, f"different names of {what}")
    return set(names)
