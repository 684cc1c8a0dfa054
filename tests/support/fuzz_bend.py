"""Sound things bent at random, with an eye for their structure: bytes, JSON, ONNX, tars."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

BLOCK = 512
_MOST = 1 << 20  # so that the memory that is seen is that of the reader
_INTERESTING = (0, 1, 2, 7, 127, 128, 255, 256, 1 << 31, (1 << 32) + 5, (1 << 63) - 1, 1 << 63)
_TEXTS = (
    "",
    "..",
    "../../x",
    "/etc/passwd",
    "a\0b",
    "ÿ",
    "\ud800",
    "a" * 5000,
    "sha512",
    "NaN",
    "manifest.json",
    "model.sig",
    "variants/float32.onnx",
    "EPContext",
    "com.evil",
    "0" * 64,
)


class Bender:
    """One source of chance, and what it does to things."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def choice(self, items: Sequence[Any]) -> Any:
        """Return one of some items."""
        return items[self.random.randrange(len(items))]

    def often(self, share: float) -> bool:
        """Return True in this share of all cases."""
        return self.random.random() < share

    def number(self) -> int:
        """Return a number at which something may break."""
        return int(self.choice(_INTERESTING)) + self.random.choice((-1, 0, 0, 1))

    # --- bytes -----------------------------------------------------------------------------

    def bytes(self, data: bytes, times: int = 3) -> bytes:
        """Change, repeat, drop, insert or swap a few pieces of bytes."""
        for _ in range(self.random.randint(1, times)):
            data = self._bytes_once(data)[:_MOST]
        return data

    def _bytes_once(self, data: bytes) -> bytes:
        random = self.random
        at, to = sorted(random.randrange(len(data) + 1) for _ in range(2))
        to = min(to, at + self.choice((1, 2, 8, 100, len(data))))
        return self.choice(
            (
                lambda: (
                    data[:at]
                    + bytes(byte ^ 1 << at % 8 for byte in data[at:][:1])
                    + data[at + 1 :]
                ),
                lambda: data[:at] + random.randbytes(1) + data[at + 1 :],
                lambda: data[:at] + data[to:],
                lambda: data[:to] + data[at:to] * self.choice((1, 2, 50)) + data[to:],
                lambda: data[:at] + random.randbytes(self.choice((1, 4, 40))) + data[at:],
                lambda: data[:at],
                lambda: data[:at] + bytes(to - at) + data[to:],
            )
        )()

    # --- JSON ------------------------------------------------------------------------------

    def json(self, data: bytes, times: int = 3) -> bytes:
        """Change a few places of a document, or how it is written."""
        document = json.loads(data)
        for _ in range(self.random.randint(1, times)):
            document = self._value(document, self.random.randrange(7))
        return self._written(document)

    def _value(self, value: Any, depth: int) -> Any:
        if not depth or not isinstance(value, (dict, list)) or not value:
            return self._leaf(value)
        if isinstance(value, dict):
            key = self.choice(list(value))
            if self.often(0.8):
                return {**value, key: self._value(value[key], depth - 1)}
            return self._keys(value, key)
        place = self.random.randrange(len(value))
        if self.often(0.7):
            return [*value[:place], self._value(value[place], depth - 1), *value[place + 1 :]]
        return self._items(value, place)

    def _leaf(self, value: Any) -> Any:
        return self.choice(
            (
                None,
                True,
                self.number(),
                -1,
                0.5,
                1e308,
                self.choice(_TEXTS),
                [],
                {},
                [value],
                {"": value},
                [[[[value]]]],
                str(value)[:-1],
                f"{value}x",
            )
        )

    def _keys(self, value: dict[str, Any], key: str) -> dict[str, Any]:
        rest = {name: item for name, item in value.items() if name != key}
        other = self.choice(list(value))
        return self.choice(
            (
                rest,
                {**rest, self.choice(_TEXTS): value[key]},
                {**value, "unknown": 1},
                {**value, key: value[other], other: value[key]},
                dict(reversed(value.items())),
            )
        )

    def _items(self, value: list[Any], place: int) -> list[Any]:
        other = self.random.randrange(len(value))
        swapped = list(value)
        swapped[place], swapped[other] = value[other], value[place]
        return self.choice(
            (
                value[:place] + value[place + 1 :],
                [*value, value[place]],
                swapped,
                [],
                value * self.choice((2, 30)),
            )
        )

    def _written(self, document: Any) -> bytes:
        text = json.dumps(document, ensure_ascii=self.often(0.5))
        data = text.encode("utf-8", "surrogatepass")
        if self.often(0.85):
            return data
        return self.choice(
            (
                lambda: data.replace(b":", b":" + b"[" * self.choice((5, 40, 5000)), 1),
                lambda: data.replace(b"{", b'{"a":1,"a":2,', 1),
                lambda: data.replace(b"1", b"NaN", 1),
                lambda: data.replace(b"1", b"1" * 400, 1),
                lambda: b"\xef\xbb\xbf" + data,
                lambda: data + b"{}",
                lambda: data.decode("utf-8", "replace").encode("utf-16"),
                lambda: self.bytes(data),
            )
        )()

    # --- the wire format of ONNX -------------------------------------------------------------

    def wire(self, data: bytes, pieces: Sequence[bytes], times: int = 3) -> bytes:
        """Change a few fields, somewhere inside, or put some pieces of another file there."""
        for _ in range(self.random.randint(1, times)):
            data = self._message(data, pieces, self.random.randrange(9))
        return data if self.often(0.9) else self.bytes(data, 1)

    def _message(self, data: bytes, pieces: Sequence[bytes], depth: int) -> bytes:
        fields = split_wire(data)
        if not fields:
            return data + self.choice(pieces)
        place = self.random.randrange(len(fields))
        tag, value = fields[place]
        inner = tag & 7 == 2 and depth
        if inner and split_wire(value) is not None and self.often(0.85):
            fields[place] = tag, self._message(value, pieces, depth - 1)
        else:
            self._field(fields, place, pieces)
        return b"".join(self._joined(tag, value) for tag, value in fields)

    def _field(
        self, fields: list[tuple[int, bytes]], place: int, pieces: Sequence[bytes]
    ) -> None:
        tag, value = fields[place]
        changed: tuple[Callable[[], tuple[int, bytes]], ...] = (
            lambda: (tag, self.bytes(value, 1) if value else b"\x01"),
            lambda: (tag & ~7 | 2, self.choice(pieces)),
            lambda: (self.random.randrange(30) << 3 | tag & 7, value),
            lambda: (tag & ~7 | self.random.randrange(8), value),
            lambda: (tag & ~7, varint(self.number() % (1 << 64))),
            lambda: (tag + (1 << 35), value),
            lambda: (tag, self.choice(_TEXTS).encode("utf-8", "surrogatepass")),
            lambda: (tag, value * self.choice((2, 3, 200))),
        )
        kind = self.random.randrange(len(changed) + 3)
        if kind < len(changed):
            fields[place] = changed[kind]()
        elif kind == len(changed):
            del fields[place]
        elif kind == len(changed) + 1:
            fields.insert(self.random.randrange(len(fields)), fields[place])
        else:
            fields += split_wire(self.choice(pieces)) or []

    def _joined(self, tag: int, value: bytes) -> bytes:
        head = varint(tag)
        if self.often(0.005):  # longer than it need be
            head = head[:-1] + bytes([head[-1] | 128]) + b"\x80\x00"
        if tag & 7 != 2:
            return head + value
        size = len(value) if self.often(0.995) else self.number() % (1 << 40)
        return head + varint(size) + value

    # --- tars --------------------------------------------------------------------------------

    def tar(self, data: bytes) -> bytes:
        """Change headers, with sums that hold, or drop, repeat, swap and cut entries."""
        parts = split_tar(data)
        kind = self.random.randrange(8)
        place = self.random.randrange(len(parts))
        if kind < 4:
            header, body = parts[place]
            parts[place] = self._header(header), body
        elif kind == 4:
            del parts[place]
        elif kind == 5:
            parts.insert(self.random.randrange(len(parts)), parts[place])
        elif kind == 6:
            self.random.shuffle(parts)
        else:
            parts[place] = parts[place][0], self.bytes(parts[place][1] or b"\0", 1)
        end = bytes(1024) if self.often(0.9) else self.bytes(bytes(1024), 1)
        return b"".join(header + body for header, body in parts) + end

    def _header(self, header: bytes) -> bytes:
        begin, end = self.choice(
            (
                (0, 100),
                (100, 108),
                (124, 136),
                (124, 136),
                (156, 157),
                (157, 257),
                (257, 265),
                (345, 500),
            )
        )
        size = end - begin
        fresh = self.choice(
            (
                b"%0*o" % (size - 1, self.number() % 8 ** (size - 1)) if size > 1 else b"5",
                self.random.randbytes(size),
                self.choice(_TEXTS).encode("utf-8", "replace"),
                b"\x80" + (1 << 40).to_bytes(size, "big")[-size + 1 :] if size > 8 else b"2",
                self.bytes(header[begin:end], 1),
            )
        )
        made = header[:begin] + fresh[:size].ljust(size, b"\0") + header[end:]
        return with_sum(made) if self.often(0.9) else made


def with_sum(header: bytes) -> bytes:
    """Return a tar header whose sum holds."""
    blank = header[:148] + b" " * 8 + header[156:]
    return header[:148] + b"%06o\0 " % sum(blank) + header[156:]


def split_tar(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return headers and padded bodies of a sound tar."""
    parts, at = [], 0
    while any(data[at : at + BLOCK]):
        header = data[at : at + BLOCK]
        size = -(-int(header[124:135], 8) // BLOCK) * BLOCK
        parts.append((header, data[at + BLOCK : at + BLOCK + size]))
        at += BLOCK + size
    return parts


def varint(value: int) -> bytes:
    """Return a number as the wire format has it."""
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def split_wire(data: bytes) -> list[tuple[int, bytes]] | None:
    """Return tags and values of a message; None where the bytes are none."""
    fields, at = [], 0
    while at < len(data):
        tag, at = _number(data, at)
        size = {1: 8, 5: 4}.get(tag & 7, 0)
        begin = at
        if tag & 7 == 0:
            _, at = _number(data, at)
        elif tag & 7 == 2:
            size, begin = _number(data, at)
            at = begin
        elif not size:
            return None
        at += size
        if at > len(data) or tag < 8 or begin < 0:
            return None
        fields.append((tag, data[begin:at]))
    return fields


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at
    return 0, len(data) + 1
