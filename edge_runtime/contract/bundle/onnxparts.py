"""What an ONNX file consists of, as far as it can make an engine do something.

The engine opens whatever file a graph names and allocates what a tensor claims.  This walks
down from the model and tells each such part; it errs to one side: whatever some parser could
read as a part counts as one, whatever stands around it.  What a graph may hold is said in
``graph_rules``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from edge_runtime.contract.bundle.onnxwire import Wire

# Fields by their numbers in onnx.proto.
_MODEL_IR, _MODEL_GRAPH, _MODEL_IMPORT, _MODEL_NOTE = 1, 7, 8, 14
_GRAPH_NODE, _GRAPH_TENSOR = 1, 5
_NODE_TYPE, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, (5, 10), (6, 11)
_TENSOR_AXIS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW, _TENSOR_ENTRY = 1, 2, 8, 9, 13
_TENSOR_ONCE = frozenset({_TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW})
_DOMAIN, _VERSION = 1, 2
_KEY, _VALUE = 1, 2

# What no graph of ours holds and engines read all the same: each told as it is found.
_SPECIAL: Mapping[str, Mapping[int, str]] = {
    "model": {20: "a training graph", 25: "a function of its own"},
    "graph": {15: "a sparse tensor"},
    "attribute": {22: "a sparse tensor", 23: "a sparse tensor"},
}

# Inside one another: of 16, ONNX Runtime 1.20 takes a second to load, and doubles it with each.
_MAX_GRAPHS = 8
_MAX_ENTRIES = 64

_LOCATION, _OFFSET, _LENGTH = b"location", b"offset", b"length"
_WHOLE = re.compile(rb"[0-9]{1,18}")


class Reference(NamedTuple):
    """What one external tensor reads: a file beside the graph, and which of its bytes.

    Attributes:
        location: the file, as the graph names it.
        offset: the first byte.
        length: how many bytes; None for all that follow.
    """

    location: str
    offset: int
    length: int | None


class Tensor(NamedTuple):
    """A tensor that the graph holds or refers to.

    Attributes:
        name: of an initialiser; others have none.
        axes: its shape, as claimed.
        data_type: the number of its type in ``onnx.proto``.
        raw: bytes of its raw data; None where it has none.
        size: bytes of all that it consists of in the file.
        references: where its data lies instead; every location that it names counts.
    """

    name: str
    axes: tuple[int, ...]
    data_type: int
    raw: int | None
    size: int
    references: tuple[Reference, ...]


class Node(NamedTuple):
    """A use of an operator, in any graph."""

    domain: str
    operator: str


class Import(NamedTuple):
    """An operator set that the model says it uses."""

    domain: str
    version: int


class Format(NamedTuple):
    """The version of ONNX's format that the model says it has."""

    ir: int


class Note(NamedTuple):
    """A key of the model's metadata."""

    key: str


class Special(NamedTuple):
    """A part that is outside of what graphs of ours consist of, in words."""

    what: str


Fact: TypeAlias = Tensor | Node | Import | Format | Note | Special


def walk(graph: bytes, name: str, tell: Callable[[Fact], None]) -> None:
    """Tell every part of an ONNX file that can make an engine do something.

    Time and memory are bounded: memory by a few parts, time by a number of them.

    Args:
        graph: the bytes of the file; it may be mapped.
        name: what errors call it.
        tell: takes one part after the other.

    Raises:
        GraphRefused: when the bytes are no ONNX graph, or a part is not understood; and
            whatever ``tell`` raises.
    """
    _Walker(Wire(graph, name), tell).model(len(graph))


class _Walker:
    """One walk through one file, down from the model."""

    def __init__(self, wire: Wire, tell: Callable[[Fact], None]) -> None:
        self._wire = wire
        self._tell = tell

    def model(self, end: int) -> None:
        for number, _, first, last, value in self._wire.fields(0, end, "model"):
            if value is not None:
                if number == _MODEL_IR:
                    self._tell(Format(value))
            elif number == _MODEL_GRAPH:
                self._graph(first, last, 1)
            elif number == _MODEL_IMPORT:
                self._import(first, last)
            elif number == _MODEL_NOTE:
                self._tell(Note(self._entry(first, last)[0].decode("utf-8", "replace")))
            else:
                self._special("model", number)

    def _special(self, message: str, number: int) -> None:
        what = _SPECIAL[message].get(number)
        if what is not None:
            self._tell(Special(what))

    def _import(self, start: int, end: int) -> None:
        """Tell an operator set; were one of its parts said twice, the last would count."""
        domain, version = "", 0
        for number, _, first, last, value in self._wire.fields(start, end, "import"):
            if number == _DOMAIN and value is None:
                domain = self._wire.text(first, last)
            elif number == _VERSION and value is not None:
                version = value
        self._tell(Import(domain, version))

    def _graph(self, start: int, end: int, depth: int) -> None:
        if depth > _MAX_GRAPHS:
            raise self._wire.refused(f"nest {_MAX_GRAPHS} graphs at most", "more")
        for number, _, first, last, value in self._wire.fields(start, end, "graph"):
            if value is not None:
                continue
            if number == _GRAPH_NODE:
                self._node(first, last, depth)
            elif number == _GRAPH_TENSOR:
                self._tensor(first, last)
            else:
                self._special("graph", number)

    def _node(self, start: int, end: int, depth: int) -> None:
        domain = operator = ""
        for number, _, first, last, value in self._wire.fields(start, end, "node"):
            if value is not None:
                continue
            if number == _NODE_ATTRIBUTE:
                self._attribute(first, last, depth)
            elif number == _NODE_TYPE:
                operator = self._wire.text(first, last)
            elif number == _NODE_DOMAIN:
                domain = self._wire.text(first, last)
        self._tell(Node(domain, operator))

    def _attribute(self, start: int, end: int, depth: int) -> None:
        tensors = 0
        for number, _, first, last, value in self._wire.fields(start, end, "attribute"):
            if value is not None:
                continue
            if number in _ATTRIBUTE_GRAPHS:
                self._graph(first, last, depth + 1)
            elif number in _ATTRIBUTE_TENSORS:
                tensors += number == _ATTRIBUTE_TENSOR
                self._tensor(first, last)
            else:
                self._special("attribute", number)
        if tensors > 1:  # parsers would merge them into a third
            raise self._wire.refused("say each tensor once", "one that it says twice")

    def _tensor(self, start: int, end: int) -> None:
        wire = self._wire
        axes: list[int] = []
        entries: list[tuple[bytes, bytes]] = []
        once: dict[int, tuple[int, int, int | None]] = {}
        for number, _, first, last, value in wire.fields(start, end, "tensor"):
            if number == _TENSOR_AXIS:
                axes += wire.numbers(first, last) if value is None else (value,)
            elif number == _TENSOR_ENTRY and value is None:
                entries.append(self._entry(first, last))
            elif number in once:
                raise wire.refused("say each part of a tensor once", "one that it says twice")
            elif number in _TENSOR_ONCE:
                once[number] = first, last, value
            if max(len(axes), len(entries)) > _MAX_ENTRIES:
                raise wire.refused(f"have tensors of {_MAX_ENTRIES} axes and entries", "more")
        self._tell_tensor(once, tuple(axes), end - start, tuple(self._references(entries)))

    def _tell_tensor(
        self,
        once: Mapping[int, tuple[int, int, int | None]],
        axes: tuple[int, ...],
        size: int,
        references: tuple[Reference, ...],
    ) -> None:
        first, last, no_text = once.get(_TENSOR_NAME, (0, 0, None))
        name = self._wire.text(first, last) if no_text is None else ""
        data_type = once.get(_TENSOR_TYPE, (0, 0, None))[2] or 0
        first, last, no_bytes = once.get(_TENSOR_RAW, (0, 0, 0))
        raw = last - first if no_bytes is None else None
        self._tell(Tensor(name, axes, data_type, raw, size, references))

    def _references(self, entries: list[tuple[bytes, bytes]]) -> Iterator[Reference]:
        """Read one tensor's entries; each location counts, were there several."""
        told = dict(entries)
        offset, length = told.get(_OFFSET, b"0"), told.get(_LENGTH)
        for key, value in entries:
            if key != _LOCATION:
                continue
            for number in (offset, length):
                if number is not None and not _WHOLE.fullmatch(number):
                    raise self._wire.refused("count bytes in digits", repr(number[:40]))
            location = value.decode("utf-8", "backslashreplace")
            yield Reference(location, int(offset), None if length is None else int(length))

    def _entry(self, start: int, end: int) -> tuple[bytes, bytes]:
        """Return the key and the value of one entry, each of which stands there once."""
        parts: dict[int, bytes] = {}
        for number, _, first, last, value in self._wire.fields(start, end, "entry"):
            if value is not None:
                continue
            if number in parts:
                raise self._wire.refused(
                    "say each part of an entry once", "one that it says twice"
                )
            parts[number] = self._wire.data[first:last]
        return parts.get(_KEY, b""), parts.get(_VALUE, b"")
