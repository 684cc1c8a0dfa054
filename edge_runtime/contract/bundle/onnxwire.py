"""The bytes of an ONNX file read field by field, without the engine and without trust.

A library that understands ONNX is too large for a device, so this reads the wire format
itself: sources are the encoding page of Protocol Buffers and ``onnx.proto``.  It is stricter
than a parser: what a parser would pass over or repair is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias

import numpy as np

from edge_runtime.contract.errors import GraphRefused

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_MAX_PARTS = 10_000_000
_MAX_VARINT = 10
_MIN_TAG, _MAX_TAG = 1 << 3, 1 << 32
_MORE = 0x80  # the bit of a byte that says: more to come
_MAX_TEXT = 1000


def _texts(tags: bytes) -> re.Pattern[bytes]:
    """Return the expression for fields of these tags that hold texts below 128 bytes."""
    sized = b"|".join(re.escape(bytes([size])) + b".{%d}" % size for size in range(128))
    return re.compile(b"(?:[%b](?:%b)){1,4096}" % (re.escape(tags), sized), re.DOTALL)


# What nobody needs to see is passed over in runs, because a loop in Python would take longer
# than the engine: names of nodes, words of encoders, and the millions of numbers of trees.
_TEXTS: Mapping[str, re.Pattern[bytes]] = {
    "node": _texts(b"\x0a\x12\x1a\x32"),
    "attribute": _texts(b"\x4a"),
    "tensor": _texts(b"\x32"),
}
_FLOAT, _INTEGER = 0x3D, 0x40
_FLOAT_SIZE = 5
_RUN = 1 << 16

# A field: its number, where it begins, where its bytes begin and end, and its number where it
# holds one instead of bytes.
Field: TypeAlias = tuple[int, int, int, int, "int | None"]


def blocks(
    graph: bytes, start: int, end: int, message: str, name: str
) -> Iterator[tuple[int, int, int, int]]:
    """Yield the fields of a message that hold bytes: number, begin, first byte, end.

    Args:
        graph: the whole file; it may be mapped.
        start: the message's first byte.
        end: where it ends.
        message: what it is, as ``onnx.proto`` has it: ``model``, ``graph``, ``tensor``, …
        name: what errors call the file.

    Raises:
        GraphRefused: when they are not whole.
    """
    for number, field, first, last, value in Wire(graph, name).fields(start, end, message):
        if value is None:
            yield number, field, first, last


class Wire:
    """The bytes of a file, read field by field.

    Args:
        data: the bytes; they may be mapped.
        name: what errors call the file.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self.data = data
        self.name = name
        self._parts = 0

    def fields(self, start: int, end: int, message: str) -> Iterator[Field]:
        """Yield the fields of a message, but for long runs of plain numbers and texts.

        Raises:
            GraphRefused: when they are not whole.
        """
        at = start
        while at < end:
            field = at = self._passed(message, at, end)
            if at == end:
                break
            tag, at = self._varint(at, end)
            self._parts += 1
            # Parsers cut off what a tag has above 32 bits, and so would see another field.
            kind = tag & 7 if _MIN_TAG <= tag < _MAX_TAG else -1
            if kind == _BYTES:
                size, first = self._varint(at, end)
                at = first + size
                if at <= end:
                    yield tag >> 3, field, first, at, None
            elif kind == _VARINT:
                value, at = self._varint(at, end)
                yield tag >> 3, field, at, at, value
            elif kind in _FIXED:
                at += _FIXED[kind]
            else:
                raise self.refused("be made of plain fields", f"one with the tag {tag}")
        self._finish(at, end)

    def _finish(self, at: int, end: int) -> None:
        if at != end:
            raise self.refused("end where its parts end", f"{at - end} bytes too few")
        if self._parts > _MAX_PARTS:
            raise self.refused(f"have {_MAX_PARTS} parts at most", "more")

    def _passed(self, message: str, at: int, end: int) -> int:
        """Return where the first field begins that is not one of a run to be passed over."""
        texts = _TEXTS.get(message)
        if texts is None:
            return at
        while passed := texts.match(self.data, at, end):
            at = passed.end()
        if message == "attribute" and end - at > _FLOAT_SIZE:
            tag = self.data[at]
            if tag == _FLOAT:
                return _floats(self.data, at, end)
            if tag == _INTEGER:
                return _integers(self.data, at, end)
        return at

    def numbers(self, start: int, end: int) -> Iterator[int]:
        """Yield numbers that stand side by side, as parsers also accept them."""
        while start < end:
            value, start = self._varint(start, end)
            yield value

    def text(self, start: int, end: int) -> str:
        """Return a text that is short, or its beginning."""
        return self.data[start : min(end, start + _MAX_TEXT)].decode("utf-8", "replace")

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """Return a number of variable length and where it ends."""
        data, value = self.data, 0
        if at < end and data[at] < _MORE:  # nearly all have one byte
            return data[at], at + 1
        for step in range(min(_MAX_VARINT, end - at)):
            byte = data[at + step]
            value |= (byte & 0x7F) << 7 * step
            if byte < _MORE:
                return value, at + step + 1
        raise self.refused("be made of whole fields", "a number that does not end")

    def refused(self, wanted: str, found: str) -> GraphRefused:
        """Return the error for a file that is not as it must be."""
        return refused(self.name, wanted, found)


def _floats(data: bytes, at: int, end: int) -> int:
    """Return where a run of single fields of floats ends."""
    while end - at >= _FLOAT_SIZE:
        count = min((end - at) // _FLOAT_SIZE, _RUN)
        tags = np.frombuffer(data, np.uint8, count * _FLOAT_SIZE, at)[::_FLOAT_SIZE]
        others = np.flatnonzero(tags != _FLOAT)
        if others.size:
            return at + int(others[0]) * _FLOAT_SIZE
        at += count * _FLOAT_SIZE
    return at


def _integers(data: bytes, at: int, end: int) -> int:
    """Return where a run of single fields of integers ends.

    Every byte below 128 ends a number, and a tag of one byte is one: they take turns.
    """
    while at < end:
        part = np.frombuffer(data, np.uint8, min(end - at, _RUN), at)
        ends = np.flatnonzero(part < _MORE)
        tags, values = ends[0 : ends.size & ~1 : 2], ends[1::2]
        begins = np.concatenate(([0], values[:-1] + 1))[: tags.size]
        whole = (tags == begins) & (part[tags] == _INTEGER) & (values - tags <= _MAX_VARINT)
        good = int(np.argmin(whole)) if not whole.all() else whole.size
        if good:
            at += int(values[good - 1]) + 1
        if good < whole.size or not good:
            return at
    return at


def refused(name: str, wanted: str, found: str) -> GraphRefused:
    """Return the error for a graph that is not as it must be."""
    return GraphRefused(
        f"the graph {name} must {wanted}, it has {found}",
        hint="Do not use this bundle unless you know who built it; build it again.",
        graph=name,
        expected=wanted,
        found=found,
    )
