"""Which files an ONNX graph reads, told from its bytes without the engine and without trust.

The engine opens whatever file an external tensor names, and a library that understands ONNX is
too large for a device, so this walks the wire format itself: sources are the encoding page of
Protocol Buffers and ``onnx.proto``.  It is stricter than a parser and errs to one side: every
entry that could be read as a reference counts as one, whatever stands around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from edge_runtime.contract.errors import GraphRefused

# Messages inside messages, by the numbers of the fields that hold them: all that can lead to a
# tensor.
_INSIDE: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse",
        23: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_KEY, _VALUE = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_MAX_DEPTH = 100  # protobuf's own
_MAX_ENTRIES = 64
_MAX_VARINT, _MAX_TAG = 10, 1 << 32
# Trees keep their numbers as millions of single fields of an attribute: floats and integers.
_NUMBERS = re.compile(rb"(?:\x3d[\x00-\xff]{4}|\x40[\x80-\xff]{0,9}[\x00-\x7f]){1,4096}")

_LOCATION, _OFFSET, _LENGTH = b"location", b"offset", b"length"
_WHOLE = re.compile(rb"[0-9]{1,18}")

_Entries: TypeAlias = list[tuple[bytes, bytes]]
# A field that holds bytes: its number, where it begins, where its bytes do, and their end.
Block: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True)
class Reference:
    """What one external tensor reads: a file beside the graph, and which of its bytes.

    Attributes:
        location: the file, as the graph names it.
        offset: the first byte.
        length: how many bytes; None for all that follow.
    """

    location: str
    offset: int
    length: int | None


def check_references(graph: bytes, name: str, files: Mapping[str, int]) -> None:
    """Require that a graph reads none but these files, and nothing beyond their ends.

    Args:
        graph: the bytes of an ONNX file.
        name: what errors call it.
        files: sizes by the only names that the graph may use.

    Raises:
        GraphRefused: when it names another file or other bytes, or cannot be read to its end.
    """
    allowed = ", ".join(files) or "no file beside it"
    for found in references(graph, name):
        if found.location not in files:
            raise _refused(name, f"read {allowed}", f"a reference to {found.location[:80]!r}")
        end = found.offset + (found.length or 0)
        if end > files[found.location]:
            wanted = f"stay within {files[found.location]} bytes of {found.location}"
            raise _refused(name, wanted, f"a reference to byte {end}")


def references(graph: bytes, name: str) -> Iterator[Reference]:
    """Yield every reference of a graph to bytes outside it.

    Raises:
        GraphRefused: when the bytes are no ONNX graph, or a reference is not understood.
    """
    if _LOCATION not in graph:  # without this word nothing is a reference
        return
    open_messages: list[tuple[str, Iterator[Block], _Entries]]
    open_messages = [("model", blocks(graph, 0, len(graph), "model", name), [])]
    while open_messages:
        message, inside, entries = open_messages[-1]
        block = next(inside, None)
        if block is None:
            open_messages.pop()
            yield from _told(entries, name)
            continue
        number, _, start, end = block
        inner = _INSIDE[message].get(number)
        if inner == "entry":
            entries.append(_entry(graph, start, end, name))
        elif inner is not None:
            open_messages.append((inner, blocks(graph, start, end, inner, name), []))
        if len(open_messages) > _MAX_DEPTH or len(entries) > _MAX_ENTRIES:
            raise _refused(name, f"nest {_MAX_DEPTH} messages at most, of few entries", "more")


def _told(entries: _Entries, name: str) -> Iterator[Reference]:
    """Read one tensor's entries; each location counts, were there several."""
    told = dict(entries)
    offset, length = told.get(_OFFSET, b"0"), told.get(_LENGTH)
    for key, value in entries:
        if key != _LOCATION:
            continue
        for number in (offset, length):
            if number is not None and not _WHOLE.fullmatch(number):
                raise _refused(name, "count bytes in digits", repr(number[:40]))
        location = value.decode("utf-8", "backslashreplace")
        yield Reference(location, int(offset), None if length is None else int(length))


def _entry(graph: bytes, start: int, end: int, name: str) -> tuple[bytes, bytes]:
    """Return the key and the value of one entry, each of which stands there once at most."""
    parts: dict[int, bytes] = {}
    for number, _, first, last in blocks(graph, start, end, "entry", name):
        if number in parts:
            raise _refused(name, "say each part of a reference once", "one that says it twice")
        parts[number] = graph[first:last]
    return parts.get(_KEY, b""), parts.get(_VALUE, b"")


def blocks(graph: bytes, start: int, end: int, message: str, name: str) -> Iterator[Block]:
    """Yield the fields of a message that hold bytes.

    Args:
        graph: the whole file; it may be mapped.
        start: the message's first byte.
        end: where it ends.
        message: what it is, as ``onnx.proto`` has it: ``model``, ``graph``, ``tensor``, …
        name: what errors call the file.

    Raises:
        GraphRefused: when they are not whole.
    """
    at = start
    while at < end:
        if message == "attribute" and (numbers := _NUMBERS.match(graph, at, end)):
            at = numbers.end()
            continue
        field, (tag, at) = at, _varint(graph, at, end, name)
        # Parsers cut off what a tag has above 32 bits, and so would see another field.
        kind = tag & 7 if tag < _MAX_TAG else tag
        if kind == _VARINT:
            _, at = _varint(graph, at, end, name)
        elif kind in _FIXED:
            at += _FIXED[kind]
        elif kind == _BYTES:
            size, first = _varint(graph, at, end, name)
            at = first + size
            if at <= end:
                yield tag >> 3, field, first, at
        else:
            raise _refused(name, "be made of plain fields", f"a field of the kind {kind}")
    if at != end:
        raise _refused(name, "end where its parts end", f"{at - end} bytes too few")


def _varint(graph: bytes, at: int, end: int, name: str) -> tuple[int, int]:
    """Return a number of variable length and where it ends."""
    value = 0
    for step in range(_MAX_VARINT):
        if at + step >= end:
            break
        byte = graph[at + step]
        value |= (byte & 0x7F) << 7 * step
        if byte < 0x80:  # noqa: PLR2004  the bit that says: more to come
            return value, at + step + 1
    raise _refused(name, "be made of whole fields", "a number that does not end")


def _refused(name: str, wanted: str, found: str) -> GraphRefused:
    return GraphRefused(
        f"the graph {name} must {wanted}, it has {found}",
        hint="Do not use this bundle unless you know who built it; build it again.",
        graph=name,
        expected=wanted,
        found=found,
    )
