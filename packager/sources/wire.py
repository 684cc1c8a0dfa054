"""Messages between the host and the child that opens sources: a JSON line, then raw bytes.

The reader bounds everything and never unpickles: what comes back is JSON, ONNX and NPZ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from edge_runtime.contract import strictjson
from edge_runtime.contract.errors import JsonMalformed, TableMalformed
from edge_runtime.contract.npz import read_npz, write_npz
from edge_runtime.contract.tensors import Array, Arrays

MAX_LINE_BYTES = 8 << 20
MAX_PAYLOAD_BYTES = 8 << 30
MAX_ARRAYS_BYTES = 1 << 30


class WireBrokenError(ValueError):
    """The other side sent something that is no message; callers say what that means."""


@dataclass(frozen=True)
class Message:
    """One request or answer: a small object and the bytes that belong to it."""

    head: Mapping[str, Any]
    payload: bytes = b""


def send(stream: BinaryIO, message: Message) -> None:
    """Write one message and flush it."""
    head = {**message.head, "payload": len(message.payload)}
    stream.write(strictjson.dumps(head) + b"\n")
    stream.write(message.payload)
    stream.flush()


def receive(stream: BinaryIO, limit: int = MAX_PAYLOAD_BYTES) -> Message | None:
    """Read one message of at most ``limit`` bytes; None when the stream ends before it starts.

    Raises:
        WireBrokenError: when it is cut short, too large or no message at all.
    """
    line = stream.readline(MAX_LINE_BYTES)
    if not line:
        return None
    try:
        head = strictjson.loads(line, what="a message", limit=MAX_LINE_BYTES)
    except JsonMalformed as error:
        raise WireBrokenError(error.message) from None
    size = head.pop("payload", None) if isinstance(head, dict) else None
    if type(size) is not int or not 0 <= size <= limit:
        message = f"no object with a payload size within 0…{limit}"
        raise WireBrokenError(message)
    payload = stream.read(size)
    if len(payload) != size:
        message = f"{size} bytes were announced, {len(payload)} came"
        raise WireBrokenError(message)
    return Message(head, payload)


def pack(arrays: Mapping[str, Array]) -> Message:
    """Render arrays as a message.

    Names may be any text, so entries go by position. Text goes as UTF-8 bytes and lengths,
    because numpy's ``<U`` would pad every cell to the longest one.
    """
    entries: Arrays = {}
    texts: list[bool] = []
    for index, array in enumerate(arrays.values()):
        texts.append(array.dtype.kind in "UO")
        if texts[-1]:
            cells = [str(cell).encode("utf-8", "surrogatepass") for cell in array.ravel()]
            entries[f"{index}.utf8"] = np.frombuffer(b"".join(cells), dtype=np.uint8)
            lengths = np.array([len(cell) for cell in cells], dtype=np.int64)
            entries[f"{index}"] = lengths.reshape(array.shape)
        else:
            entries[f"{index}"] = array
    return Message({"arrays": list(arrays), "text": texts}, write_npz(entries))


def unpack(message: Message) -> Arrays:
    """Read what ``pack`` wrote; text comes back as object arrays.

    Raises:
        WireBrokenError: when the message does not hold arrays.
    """
    names, texts = message.head.get("arrays", ()), message.head.get("text", ())
    try:
        entries = read_npz(message.payload, what="the answer", limit=MAX_ARRAYS_BYTES)
        return {
            str(name): _text(entries[f"{index}.utf8"], entries[f"{index}"])
            if is_text
            else entries[f"{index}"]
            for index, (name, is_text) in enumerate(zip(list(names), list(texts), strict=True))
        }
    except (TableMalformed, KeyError, TypeError, ValueError) as error:
        message_text = f"the answer's arrays cannot be read: {error}"
        raise WireBrokenError(message_text) from None


def _text(utf8: Array, lengths: Array) -> Array:
    ends = np.cumsum(lengths.ravel())
    data = utf8.tobytes()
    cells = [
        data[end - size : end].decode("utf-8", "surrogatepass")
        for end, size in zip(ends.tolist(), lengths.ravel().tolist(), strict=True)
    ]
    out = np.empty(len(cells), dtype=object)
    out[:] = cells
    return out.reshape(lengths.shape)
