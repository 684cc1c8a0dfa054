"""``manifest.json`` parsed strictly, on both sides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_runtime import __version__
from edge_runtime.contract import strictjson
from edge_runtime.contract.bundle.manifest import (
    COMPONENT,
    FORMAT,
    MANIFEST_NAME,
    MAX_FILES,
    MAX_FLAGS,
    MAX_MANIFEST_BYTES,
    MAX_VARIANTS,
    OURS,
    PROVIDER_OPTIONS,
    SESSION_OPTIONS,
    TASKS,
    UNDERSTOOD,
    VARIANT_DIRECTORY,
    FileEntry,
    Golden,
    Interface,
    Manifest,
    Packed,
    Target,
    Variant,
    is_bundle_path,
    is_cpu_flag,
    is_digest,
    is_name,
    is_version,
)
from edge_runtime.contract.bundle.manifest_rules import check_consistent, is_release, require
from edge_runtime.contract.errors import ManifestInvalid, MustUnderstand, RuntimeTooOld
from edge_runtime.contract.strictjson import Fields
from edge_runtime.contract.table import KINDS, MISSING_RULES, Column, TableFormat
from edge_runtime.contract.tensors import DTYPES, TensorSpec, Tolerance
from edge_runtime.contract.versions import at_least

_MAX_FILE = 1 << 40
_MAX_ROWS = 100_000


def parse_manifest(data: bytes) -> Manifest:
    """Parse the bytes of a ``manifest.json`` whose digest was verified before.

    Keys that this runtime does not know are passed over inside our own object, because a
    feature that must not be passed over is named in ``must_understand``.

    Raises:
        JsonMalformed: when the bytes are not strict JSON.
        ManifestInvalid: when a field is missing or impossible.
        MustUnderstand: when the bundle depends on a feature unknown here.
        RuntimeTooOld: when the bundle needs a newer runtime.
    """
    document = strictjson.loads(data, what=MANIFEST_NAME, limit=MAX_MANIFEST_BYTES)
    outer = Fields(document, MANIFEST_NAME, ManifestInvalid)
    ours = outer.fields("additional_metadata").fields(OURS)
    min_runtime, must_understand = _readable(ours)
    variants = outer.fields("components").fields(COMPONENT).fields("variants")
    manifest = Manifest(
        name=require(outer.text("package_name"), is_name, "a lower-case model name"),
        version=require(outer.text("package_version"), is_version, "a version"),
        release=ours.integer("release", low=1),
        description=outer.text("description"),
        min_runtime=min_runtime,
        must_understand=must_understand,
        target=_target(ours.fields("target")),
        interface=_interface(ours),
        variants=tuple(_variant(variants.fields(name), name) for name in _ladder(ours)),
        golden=_golden(ours.fields("golden")),
        files=tuple(_file(item) for item in ours.list("files", limit=MAX_FILES)),
        provenance=ours.object("provenance"),
    )
    variants.done()
    check_consistent(manifest)
    return manifest


def _readable(ours: Fields) -> tuple[str, tuple[str, ...]]:
    """Refuse by version before any field whose form may have changed is read."""
    number = ours.integer("format", low=1)
    needed = require(ours.text("min_runtime"), is_release, "a release as min_runtime")
    if number > FORMAT or not at_least(__version__, needed):
        raise RuntimeTooOld(
            f"the bundle has format {number} and needs edge-runtime {needed}, "
            f"this is edge-runtime {__version__}, which reads format {FORMAT}",
            hint="Carry a newer edge-runtime wheel to the device, or build for this one.",
            expected=needed,
            found=__version__,
        )
    features = ours.texts("must_understand")
    unknown = sorted(set(features) - UNDERSTOOD)
    if unknown:
        known = ", ".join(sorted(UNDERSTOOD)) or "no such feature"
        raise MustUnderstand(
            f"the bundle depends on {', '.join(unknown)}, "
            f"edge-runtime {__version__} knows {known}",
            hint="Carry a newer edge-runtime wheel to the device, or build without it.",
            expected=unknown,
            found=sorted(UNDERSTOOD),
        )
    return needed, features


def _target(read: Fields) -> Target:
    opset = read.object("opset")
    for domain, number in opset.items():
        require(number, lambda value: type(value) is int, f"an opset number for {domain!r}")
    return Target(
        name=require(read.text("name"), is_name, "a target name"),
        os=require(read.text("os"), is_name, "an operating system"),
        architecture=require(read.text("architecture"), is_name, "an architecture"),
        priority=read.integer("priority"),
        min_engine=require(read.text("min_engine"), is_release, "a release as min_engine"),
        opset=opset,
        ir=read.integer("ir", low=1),
        memory_bytes=read.integer("memory_bytes", low=1),
        threads=read.integer("threads", low=1, high=1024),
        cpu_flags=_cpu_flags(read) if read.has("cpu_flags") else (),
    )


def _cpu_flags(read: Fields) -> tuple[tuple[str, ...], ...]:
    groups = read.list("cpu_flags", limit=MAX_FLAGS)
    for group in groups:
        require(group, _is_flag_group, "cpu_flags as lists of flags of /proc/cpuinfo")
    return tuple(map(tuple, groups))


def _is_flag_group(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 0 < len(value) <= MAX_FLAGS
        and all(isinstance(flag, str) and is_cpu_flag(flag) for flag in value)
    )


def _interface(ours: Fields) -> Interface:
    inputs = tuple(_spec(item, "inputs") for item in ours.list("inputs", limit=10_000))
    outputs = tuple(_spec(item, "outputs") for item in ours.list("outputs", limit=1000))
    return Interface(
        inputs=inputs,
        outputs=outputs,
        columns=tuple(_column(item) for item in ours.list("columns")),
        table=TableFormat(missing_tokens=ours.fields("table").texts("missing_tokens")),
        task=require(ours.text("task"), TASKS.__contains__, f"one of {', '.join(TASKS)}"),
        roles=ours.text_map("roles"),
        labels=tuple(_label(item) for item in ours.list("labels")),
    )


def _spec(item: Any, where: str) -> TensorSpec:
    read = Fields(item, f"{MANIFEST_NAME}.{where}", ManifestInvalid)
    shape = tuple(
        require(axis, _is_axis, f"axes of {where} as lengths or null")
        for axis in read.list("shape", limit=16)
    )
    dtype = require(read.text("dtype"), DTYPES.__contains__, f"a dtype of {where}")
    return TensorSpec(name=read.text("name"), dtype=dtype, shape=shape)


def _is_axis(value: Any) -> bool:
    return value is None or (type(value) is int and 0 <= value < _MAX_FILE)


def _label(item: Any) -> str | int | float | bool:
    label: str | int | float | bool = require(item, _is_label, "a plain label")
    return label


def _is_label(value: Any) -> bool:
    return isinstance(value, (str, int, float))


def _column(item: Any) -> Column:
    read = Fields(item, f"{MANIFEST_NAME}.columns", ManifestInvalid)
    index = read.any("index")
    return Column(
        name=read.text("name"),
        kind=require(read.text("kind"), KINDS.__contains__, f"one of {', '.join(KINDS)}"),
        input=read.text("input"),
        index=require(index, _is_axis, "a column index or null"),
        missing=require(read.text("missing"), MISSING_RULES.__contains__, "a missing rule"),
    )


def _ladder(ours: Fields) -> tuple[str, ...]:
    ladder = ours.texts("ladder")
    fits = 1 <= len(ladder) <= MAX_VARIANTS and len(set(ladder)) == len(ladder)
    return require(ladder, lambda _: fits, f"a ladder of 1…{MAX_VARIANTS} different variants")


def _variant(read: Fields, name: str) -> Variant:
    require(name, is_name, "a variant name")
    directory = read.text("variant_directory")
    require(directory, VARIANT_DIRECTORY.__eq__, f"variant_directory {VARIANT_DIRECTORY!r}")
    ort = read.fields("executor_info").fields("ort")
    ours = read.fields("additional_metadata").fields(OURS)
    session_options = ort.text_map("session_options")
    provider_options = ort.text_map("provider_options")
    weights = ours.texts("weights") if ours.has("weights") else ()
    for key in session_options:
        require(key, SESSION_OPTIONS.__contains__, "a session option of the allow-list")
    for key in provider_options:
        require(key, PROVIDER_OPTIONS.__contains__, "a provider option of the allow-list")
    return Variant(
        name=name,
        precision=ours.text("precision"),
        provider=read.text("ep"),
        model_file=f"{VARIANT_DIRECTORY}/{ort.text('model_file')}",
        session_options=session_options,
        provider_options=provider_options,
        tolerances=_tolerances(ours.object("tolerances")),
        weights=tuple(f"{VARIANT_DIRECTORY}/{name}" for name in weights),
    )


def _tolerances(items: Mapping[str, Any]) -> dict[str, Tolerance]:
    found = {}
    for output, item in items.items():
        read = Fields(item, f"{MANIFEST_NAME}.tolerances.{output}", ManifestInvalid)
        found[output] = Tolerance(rtol=_tolerance(read, "rtol"), atol=_tolerance(read, "atol"))
    return found


def _tolerance(read: Fields, key: str) -> float:
    return require(read.number(key), lambda value: value >= 0, f"{key} of 0 or more")


def _golden(read: Fields) -> Golden:
    return Golden(
        file=read.text("file"),
        rows=read.integer("rows", low=1, high=_MAX_ROWS),
        synthetic=read.boolean("synthetic"),
    )


def _file(item: Any) -> FileEntry:
    read = Fields(item, f"{MANIFEST_NAME}.files", ManifestInvalid)
    entry = FileEntry(
        path=require(read.text("path"), is_bundle_path, "a plain relative path"),
        size=read.integer("size", high=_MAX_FILE),
        sha256=require(read.text("sha256"), is_digest, "a sha256 in hex"),
        packed=_packed(read.fields("packed")) if read.has("packed") else None,
    )
    # Unlike elsewhere nothing may be passed over here: an unknown key would change the bytes.
    read.done()
    return entry


def _packed(read: Fields) -> Packed:
    packed = Packed(
        size=read.integer("size", high=_MAX_FILE),
        sha256=require(read.text("sha256"), is_digest, "a sha256 in hex"),
    )
    read.done()
    return packed
