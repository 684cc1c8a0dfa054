"""The signed ``manifest.json`` of one target: an ONNX Runtime model package plus our fields.

The outer form is ONNX Runtime's model package (schema 1.0), which refuses unknown keys; ours
stand under ``additional_metadata.edgepack``. ``docs/bundle-format.md`` describes every field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_runtime.contract.table import Column, TableFormat
from edge_runtime.contract.tensors import TensorSpec, Tolerance

FORMAT = 1
MANIFEST_NAME = "manifest.json"
SIGNATURE_NAME = "model.sig"
COMPONENT = "model"
OURS = "edgepack"
VARIANT_DIRECTORY = "variants"
MAX_VARIANTS = 3
MAX_FILES = 1000
# Groups of instruction sets that a target may need, and alternatives in a group.
MAX_FLAGS = 16
MAX_MANIFEST_BYTES = 4 << 20
MAX_SIGNATURE_BYTES = 1 << 20
# The tar around a packed file has room for as long a name.
MAX_PACKED_PATH = 100

# Features that a bundle may name in ``must_understand`` and that this runtime honours.
EXTERNAL_WEIGHTS = "external-weights"
PACKED_FILES = "packed-files"
CPU_FLAGS = "cpu-flags"
UNDERSTOOD: frozenset[str] = frozenset({EXTERNAL_WEIGHTS, PACKED_FILES, CPU_FLAGS})

# The only session options that a manifest may set, because the engine accepts any key silently.
SESSION_OPTIONS = frozenset(
    {
        "session.intra_op.allow_spinning",
        "session.inter_op.allow_spinning",
        "session.disable_prepacking",
        "session.set_denormal_as_zero",
    }
)

# The same for the execution providers of NVIDIA's chips; none of these names a file.
PROVIDER_OPTIONS = frozenset(
    {
        "arena_extend_strategy",
        "cudnn_conv_algo_search",
        "cudnn_conv_use_max_workspace",
        "do_copy_in_default_stream",
        "gpu_mem_limit",
        "use_tf32",
    }
)

TASKS = ("classification", "regression", "clustering", "outliers", "transform", "tensors")

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,62}")
_PATH_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CPU_FLAG = re.compile(r"[a-z0-9_]{1,40}")
_MAX_PATH = 200


def is_name(text: str) -> bool:
    """Tell whether a text may name a model, a target or a variant: it becomes a file name."""
    return _NAME.fullmatch(text) is not None


def is_version(text: str) -> bool:
    """Tell whether a text may be a version: with a target it is an OCI tag of 128 at most."""
    return _VERSION.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Tell whether a text is a sha256 in lower-case hex."""
    return _SHA256.fullmatch(text) is not None


def is_cpu_flag(text: str) -> bool:
    """Tell whether a text may be an instruction set's flag in ``/proc/cpuinfo``."""
    return _CPU_FLAG.fullmatch(text) is not None


def is_bundle_path(text: str) -> bool:
    """Tell whether a text is a plain relative path that can mean nothing else anywhere."""
    parts = text.split("/")
    return len(text) <= _MAX_PATH and all(_PATH_PART.fullmatch(part) for part in parts)


@dataclass(frozen=True)
class Packed:
    """A packed file as it stands in the archive: bytes and sha256 in hex of that blob."""

    size: int
    sha256: str


@dataclass(frozen=True)
class FileEntry:
    """One signed file of a target.

    Attributes:
        path: its place in the package.
        size: its bytes, unpacked.
        sha256: of these, in hex.
        packed: the blob that holds it packed; None where the blob is the file.
    """

    path: str
    size: int
    sha256: str
    packed: Packed | None = None

    @property
    def blob(self) -> FileEntry:
        """The file as it stands in the archive."""
        found = self.packed or self
        return FileEntry(self.path, found.size, found.sha256)


@dataclass(frozen=True)
class Target:
    """The kind of device that a package is for, as signed.

    Attributes:
        name: the target profile's name.
        os: ``linux``.
        architecture: ``x86-64`` or ``arm64``.
        priority: where several targets fit a device, the highest wins.
        min_engine: the oldest ONNX Runtime that loads the graphs, for example ``1.20``.
        opset: the newest ONNX operator sets that a graph may use, by domain.
        ir: the newest ONNX IR version that one may have.
        memory_bytes: the memory budget of the profile.
        threads: intra-op threads the profile grants; the device may take fewer.
        cpu_flags: what the processor must have, by the names of Linux: of each group one.
    """

    name: str
    os: str
    architecture: str
    priority: int
    min_engine: str
    opset: Mapping[str, int]
    ir: int
    memory_bytes: int
    threads: int
    cpu_flags: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Variant:
    """One rung of the ladder: a graph for one execution provider and precision.

    Attributes:
        name: for example ``int8-static``.
        precision: ``float32``, ``float16``, ``int8`` or ``int4``.
        provider: ONNX Runtime's full provider name.
        model_file: path inside the package.
        session_options: configuration entries, all out of ``SESSION_OPTIONS``.
        provider_options: options of the execution provider, all out of ``PROVIDER_OPTIONS``.
        tolerances: how far golden answers may differ on another chip, by output.
        weights: paths of the only files that the graph reads, beside ``model_file``; empty for
            a graph that holds its weights.
    """

    name: str
    precision: str
    provider: str
    model_file: str
    session_options: Mapping[str, str]
    provider_options: Mapping[str, str]
    tolerances: Mapping[str, Tolerance]
    weights: tuple[str, ...] = ()


@dataclass(frozen=True)
class Golden:
    """Where the golden vectors stand and what they are.

    Attributes:
        file: NPZ with ``in/<input>`` and ``out/<variant>/<output>`` arrays.
        rows: how many.
        synthetic: False when rows of the user's data were opted in.
    """

    file: str
    rows: int
    synthetic: bool


@dataclass(frozen=True)
class Interface:
    """What goes in and comes out.

    Attributes:
        inputs: the graph's inputs.
        outputs: the graph's outputs.
        columns: how the user's columns become inputs; empty for a model of bare tensors.
        table: how text cells become values.
        task: one of ``TASKS``.
        roles: which output is ``label``, ``probability``, ``score`` or ``value``.
        labels: the classes in the order of the probability columns; empty where none.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    columns: tuple[Column, ...]
    table: TableFormat
    task: str
    roles: Mapping[str, str]
    labels: tuple[str | int | float | bool, ...]


@dataclass(frozen=True)
class Manifest:
    """Everything a device decides by. ``variants`` is the ladder, best first."""

    name: str
    version: str
    release: int
    description: str
    min_runtime: str
    must_understand: tuple[str, ...]
    target: Target
    interface: Interface
    variants: tuple[Variant, ...]
    golden: Golden
    files: tuple[FileEntry, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def variant(self, name: str) -> Variant | None:
        """Return the variant of that name, if it is there."""
        return next((item for item in self.variants if item.name == name), None)

    def file(self, path: str) -> FileEntry | None:
        """Return the signed entry of a path, if it is there."""
        return next((item for item in self.files if item.path == path), None)
