"""What goes through the pipes between a model's process and its worker: frames of tensors.

A frame is two little-endian lengths (32 and 64 bits), a JSON object of the first length, and
the bytes of its arrays, one after the other, of the second. Each array begins at a multiple of
64, because the engine computes on it where it lies. Numbers are the array's own bytes in the
order of C. Text is the length of every cell in UTF-8 (64 bits each), then all cells.

The worker runs a graph that nobody vouches for, so its frames are read as a stranger's: every
length is bounded before anything is allocated for it, and every array has to fit its bytes.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any, Final, TypeAlias

import numpy as np

from edge_runtime.contract import strictjson
from edge_runtime.contract.errors import JsonMalformed
from edge_runtime.contract.tensors import DTYPES, Array, Arrays, dtype_name, plain

LENGTHS: Final = struct.Struct("<IQ")
MAX_HEAD_BYTES: Final = 1 << 20
_MAX_AXES: Final = 64
_ALIGNMENT: Final = 64
_LENGTH: Final = np.dtype("<u8")

# A part of a frame as it is written: an array's own memory is not copied first.
Part: TypeAlias = bytes | memoryview


@dataclass(frozen=True)
class Frame:
    """One message.

    Attributes:
        kind: what it is.
        facts: anything that JSON can hold.
        arrays: tensors by name.
    """

    kind: str
    facts: dict[str, Any] = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)


def parts(frame: Frame) -> list[Part]:
    """Return a frame as it goes into the pipe."""
    body: list[Part] = []
    listed = []
    for name, given in frame.arrays.items():
        array = plain(given)
        pieces = _pieces(array)
        size = sum(len(piece) for piece in pieces)
        body += [*pieces, bytes(_padding(size))]
        listed.append([name, dtype_name(array), list(array.shape), size])
    facts = {"kind": frame.kind, "facts": frame.facts, "arrays": listed}
    head = strictjson.dumps(facts)
    return [LENGTHS.pack(len(head), sum(map(len, body))), head, *body]


def _padding(size: int) -> int:
    return -size % _ALIGNMENT


def _pieces(array: Array) -> list[Part]:
    if array.dtype.kind != "O":
        # A view of bytes: memoryview alone knows no half-precision floats.
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return [flat.data]
    # Half a surrogate pair is for the engine to refuse, as it does without a worker.
    cells = [str(cell).encode("utf-8", "surrogatepass") for cell in array.flat]
    lengths = np.array([len(cell) for cell in cells], _LENGTH)
    return [lengths.tobytes(), b"".join(cells)]


def lengths(data: bytes, *, limit: int) -> tuple[int, int]:
    """Return the lengths of a frame's two parts from its first bytes.

    Args:
        data: as many bytes as ``LENGTHS`` has.
        limit: the most bytes of arrays to take.

    Raises:
        JsonMalformed: when one is larger than it may be.
    """
    head, body = LENGTHS.unpack(data)
    if head > MAX_HEAD_BYTES or body > limit:
        raise _malformed(
            f"its lengths are {head} and {body}, the most are {MAX_HEAD_BYTES} and {limit}"
        )
    return head, body


def unpack(head: bytes, body: Array) -> Frame:
    """Return the frame that two parts are.

    Args:
        head: the JSON object.
        body: the bytes of the arrays, whose memory those of the frame share.

    Raises:
        JsonMalformed: when they are none.
    """
    fields = strictjson.Fields(
        strictjson.loads(head, what="a frame", limit=MAX_HEAD_BYTES), "a frame", JsonMalformed
    )
    kind, facts, listed = fields.text("kind"), fields.object("facts"), fields.list("arrays")
    fields.done()
    arrays: Arrays = {}
    start = 0
    for entry in listed:
        name, dtype, shape, size = _entry(entry)
        if name in arrays or size > len(body) - start:
            raise _malformed(f"its array {name[:80]!r} stands twice or has not {size} bytes")
        arrays[name] = _array(body[start : start + size], dtype, shape)
        start += size + _padding(size)
    if start != len(body):
        raise _malformed(f"its arrays have {start} bytes, it has {len(body)}")
    return Frame(kind, facts, arrays)


def _entry(entry: object) -> tuple[str, str, tuple[int, ...], int]:
    match entry:
        case [str(name), str(dtype), list(shape), int(size)] if (
            dtype in DTYPES
            and len(shape) <= _MAX_AXES
            and all(type(axis) is int and axis >= 0 for axis in [*shape, size])
        ):
            return name, dtype, tuple(shape), size
    raise _malformed(f"it lists as an array {str(entry)[:80]!r}")


def _array(data: Array, dtype: str, shape: tuple[int, ...]) -> Array:
    count = math.prod(shape)
    kind = DTYPES[dtype]
    if kind.kind == "O":
        flat = _texts(data, count)
    elif count * kind.itemsize != len(data) or (kind.kind == "b" and (data > 1).any()):
        raise _malformed(f"{len(data)} bytes are no array of {dtype}{list(shape)}")
    else:
        flat = data.view(kind)
    try:
        return flat.reshape(shape)
    except (ValueError, OverflowError):  # an axis past what a machine can count
        raise _malformed(f"an array has the shape {list(shape)}") from None


def _texts(data: Array, count: int) -> Array:
    if count * _LENGTH.itemsize > len(data):
        raise _malformed(f"{count} texts have {len(data)} bytes")
    first = count * _LENGTH.itemsize
    cells = data[first:].data
    sizes: list[int] = data[:first].view(_LENGTH).tolist()
    if sum(sizes) != len(cells):
        raise _malformed(f"{count} texts of {sum(sizes)} bytes have {len(cells)}")
    found = np.empty(count, object)
    try:
        found[:] = [
            str(cells[start:end], "utf-8", "surrogatepass")
            for start, end in pairwise(accumulate(sizes, initial=0))
        ]
    except UnicodeDecodeError:
        raise _malformed("a text of it is not UTF-8") from None
    return found


def _malformed(reason: str) -> JsonMalformed:
    return JsonMalformed(
        f"a frame between a model and its worker must be whole and sound; {reason}",
        hint="Load the model again.",
        reason=reason,
    )
