"""What a graph may hold before any engine opens it, whichever engine that will be.

Engines differ in what they check by themselves: ONNX Runtime 1.20 opens any file that a graph
names, and none refuses a sparse tensor of a hundred bytes that unpacks to gigabytes. So every
graph passes these rules first, after its bytes were hashed. What only running tells, memory
that a graph allocates or a loop without end, the trial's child finds out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from edge_runtime.contract.bundle.onnxparts import (
    Fact,
    Format,
    Import,
    Node,
    Note,
    Reference,
    Special,
    Tensor,
    walk,
)
from edge_runtime.contract.bundle.onnxwire import refused
from edge_runtime.contract.errors import GraphRefused

MICROSOFT = "com.microsoft"
# The operators that engines bring themselves; of any other domain they would come as a library.
DOMAINS = frozenset({"", "ai.onnx.ml", MICROSOFT})
# ONNX Runtime knows one version of its own operators only.
_OWN_VERSIONS = {MICROSOFT: 1}

# Operators that hand bytes of the graph, or a file that it names, to native code or to Python.
_NATIVE = frozenset({"EPContext", "Snpe", "PythonOp", "PythonOpGrad", "ATen"})

# Keys of metadata by which a model sets options of its own session.
_SETTINGS = frozenset({"ort_config"})

# Bits of an element by its type's number in onnx.proto; a text has none.
_TEXT = 8
_BITS: Mapping[int, int] = {
    **dict.fromkeys((25, 26), 2),
    **dict.fromkeys((21, 22, 23), 4),
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20, 24), 8),
    **dict.fromkeys((4, 5, 10, 16), 16),
    **dict.fromkeys((1, 6, 12), 32),
    **dict.fromkeys((7, 11, 13, 14), 64),
    15: 128,
}

# The other format that engines read is told by these bytes, and by this end of a name.
_FOREIGN, _FOREIGN_END = b"ORTM", ".ort"
_FOREIGN_AT = slice(4, 8)
_MAX_AXIS = 1 << 63
_SHOWN = 80


@dataclass(frozen=True)
class Allowed:
    """What was signed about a graph.

    Attributes:
        opset: the newest operator sets, by domain.
        ir: the newest version of ONNX's format.
        files: sizes in bytes by the only names that the graph may read.
    """

    opset: Mapping[str, int]
    ir: int
    files: Mapping[str, int]


def check_graph(graph: bytes, name: str, allowed: Allowed) -> None:
    """Require that a graph holds nothing but what was signed and what engines compute with.

    Args:
        graph: the bytes of an ONNX file.
        name: what errors call it.
        allowed: what was signed about it.

    Raises:
        GraphRefused: when it reads another file or other bytes than signed, holds operators
            that are native code, is newer than signed, claims more than it holds, or cannot be
            read to its end.
    """
    if graph[_FOREIGN_AT] == _FOREIGN or name.lower().endswith(_FOREIGN_END):
        raise refused(name, "be an ONNX file", "the marks of another format")
    walk(graph, name, _Rules(name, allowed).judge)


class _Rules:
    """The rules for one graph, by the kind of its parts."""

    def __init__(self, name: str, allowed: Allowed) -> None:
        self._name = name
        self._files = allowed.files
        self._ir = allowed.ir
        signed = {**_OWN_VERSIONS, **allowed.opset}
        self._newest = {domain: signed[domain] for domain in DOMAINS & signed.keys()}
        self._judges: Mapping[type, Callable[[Any], None]] = {
            Special: self._special,
            Format: self._format,
            Note: self._note,
            Import: self._import,
            Node: self._node,
            Tensor: self._tensor,
        }

    def _refused(self, wanted: str, found: str) -> GraphRefused:
        return refused(self._name, wanted, found)

    def judge(self, fact: Fact) -> None:
        """Refuse a part that breaks a rule."""
        self._judges[type(fact)](fact)

    def _special(self, fact: Special) -> None:
        raise self._refused("be one graph of plain tensors", fact.what)

    def _format(self, fact: Format) -> None:
        if fact.ir > self._ir:
            raise self._refused(f"have IR version {self._ir} or older", str(fact.ir))

    def _note(self, fact: Note) -> None:
        if fact.key in _SETTINGS:
            raise self._refused("leave the session's options alone", f"{fact.key} of its own")

    def _import(self, fact: Import) -> None:
        domain = self._domain(fact.domain)
        if fact.version > self._newest[domain]:
            shown = f"{domain or 'ai.onnx'} up to opset {self._newest[domain]}"
            raise self._refused(f"use {shown}", f"opset {fact.version}")

    def _node(self, fact: Node) -> None:
        self._domain(fact.domain)
        if fact.operator in _NATIVE:
            raise self._refused("run on the engine's own operators", f"a node {fact.operator}")

    def _domain(self, domain: str) -> str:
        """Return a domain by its one name."""
        domain = "" if domain == "ai.onnx" else domain
        if domain not in self._newest:
            known = ", ".join(sorted(name or "ai.onnx" for name in self._newest))
            raise self._refused(f"use operators of {known}", f"some of {domain[:_SHOWN]!r}")
        return domain

    def _tensor(self, fact: Tensor) -> None:
        """Require that a tensor's elements are there, in the graph or in signed weights."""
        size = self._claimed(fact)
        shown = f"hold what its tensors claim, {fact.name[:_SHOWN]!r} of {list(fact.axes)}"
        for reference in fact.references:
            room = self._room(reference)
            if size > room:
                raise self._refused(shown, f"{room} bytes of it in {reference.location}")
        if fact.references:
            return
        if fact.raw is None:
            # Of a list of elements each takes a byte or more, or a share of one.
            share = max(8 // (_BITS.get(fact.data_type) or 8), 1)
            if prod(fact.axes) > fact.size * share:
                raise self._refused(shown, f"{fact.size} bytes of it")
        elif fact.raw != size:
            raise self._refused(shown, f"{fact.raw} bytes of it")

    def _claimed(self, fact: Tensor) -> int:
        """Return how many bytes a tensor's elements have; texts have none that count."""
        if any(axis >= _MAX_AXIS for axis in fact.axes):
            raise self._refused("have axes of 0 or more", str(list(fact.axes)))
        bits = _BITS.get(fact.data_type)
        if bits is not None:
            return -(-prod(fact.axes) * bits // 8)
        if fact.data_type != _TEXT or fact.raw is not None or fact.references:
            raise self._refused("hold elements of a known size", f"type {fact.data_type}")
        return 0

    def _room(self, reference: Reference) -> int:
        """Return how many bytes a reference may read."""
        location, files = reference.location, self._files
        if location not in files:
            allowed = ", ".join(files) or "no file beside it"
            raise self._refused(f"read {allowed}", f"a reference to {location[:_SHOWN]!r}")
        end = reference.offset + (reference.length or 0)
        if end > files[location]:
            wanted = f"stay within {files[location]} bytes of {location}"
            raise self._refused(wanted, f"a reference to byte {end}")
        left = files[location] - reference.offset
        return left if reference.length is None else reference.length
