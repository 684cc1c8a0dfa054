"""Frames between a model and its worker: all that graphs take and give, and no lie."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_runtime.contract.errors import JsonMalformed
from edge_runtime.contract.tensors import DTYPES, Array
from edge_runtime.engine import frames
from edge_runtime.engine.frames import Frame

LIMIT = 1 << 20


def passed(data: bytes, limit: int = LIMIT) -> Frame:
    """Return the frame that these bytes are to the process that gets them."""
    head, body = frames.lengths(data[: frames.LENGTHS.size], limit=limit)
    rest = data[frames.LENGTHS.size :]
    assert len(rest) == head + body
    return frames.unpack(rest[:head], np.frombuffer(rest[head:], np.uint8).copy())


def through(frame: Frame) -> Frame:
    return passed(b"".join(frames.parts(frame)))


def forged(arrays: Any, body: bytes = b"", **more: Any) -> bytes:
    head = json.dumps({"kind": "answers", "facts": {}, "arrays": arrays, **more}).encode()
    return frames.LENGTHS.pack(len(head), len(body)) + head + body


NUMBERS = [np.dtype(kind) for kind in DTYPES.values() if kind.kind != "O"]


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.sampled_from(NUMBERS).flatmap(
            lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, min_side=0, max_side=4))
        ),
        max_size=4,
    )
)
def test_numbers_of_every_type_and_shape_pass_bit_for_bit(arrays: dict[str, Array]) -> None:
    found = through(Frame("run", {"number": 1}, arrays))
    assert (found.kind, found.facts, list(found.arrays)) == ("run", {"number": 1}, list(arrays))
    for name, array in arrays.items():
        assert found.arrays[name].dtype == array.dtype
        assert found.arrays[name].shape == array.shape
        assert found.arrays[name].tobytes() == array.tobytes()
        assert found.arrays[name].flags.aligned
        assert found.arrays[name].flags.writeable


@given(st.lists(st.text(st.characters(), max_size=9), max_size=9))
def test_text_passes_whole_with_zeros_and_half_pairs(cells: list[str]) -> None:
    array = np.empty((len(cells), 1), object)
    array[:, 0] = cells
    found = through(Frame("run", {}, {"a": array, "b": np.ones(3, np.float16)})).arrays
    assert found["a"].dtype == object
    assert found["a"].shape == array.shape
    assert found["a"][:, 0].tolist() == cells
    assert found["b"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "array",
    [
        np.array([["a", "bc"]]),
        np.arange(6, dtype=np.int32).reshape(2, 3).T,
        np.arange(8, dtype=np.float32)[::2],
        np.arange(3, dtype=">f8"),
    ],
)
def test_an_array_in_another_order_is_brought_into_ours(array: Array) -> None:
    found = through(Frame("run", {}, {"a": array})).arrays["a"]
    assert found.tolist() == array.tolist()
    assert found.dtype.isnative


@pytest.mark.parametrize(
    "data",
    [
        frames.LENGTHS.pack(frames.MAX_HEAD_BYTES + 1, 0),
        frames.LENGTHS.pack((1 << 32) - 1, 0),
        frames.LENGTHS.pack(2, LIMIT + 1),
        frames.LENGTHS.pack(2, (1 << 64) - 1),
    ],
)
def test_a_length_past_its_bound_is_refused_before_anything_is_allocated(data: bytes) -> None:
    with pytest.raises(JsonMalformed, match="its lengths are"):
        frames.lengths(data, limit=LIMIT)


SOUND = ["a", "float32", [2], 8]
PADDED = bytes(64)


@pytest.mark.parametrize(
    ("arrays", "body"),
    [
        (None, b""),
        ([7], b""),
        ([["a", "float32", [2]]], PADDED),
        ([["a", "object", [2], 8]], PADDED),
        ([["a", "float32", [2.0], 8]], PADDED),
        ([["a", "float32", [True], 4]], PADDED),
        ([["a", "float32", [-1], 8]], PADDED),
        ([["a", "float32", [3], 8]], PADDED),
        ([["a", "float32", [2], 65]], PADDED),
        ([["a", "float32", [2], 1 << 70]], PADDED),
        ([["a", "float32", [0, 1 << 70], 0]], b""),
        ([["a", "float32", [0] * 65, 0]], b""),
        ([["a", "float32", [1 << 40, 1 << 40], 8]], PADDED),
        ([SOUND, SOUND], PADDED * 2),
        ([SOUND], PADDED * 2),
        ([SOUND], b""),
        ([["a", "bool", [1], 1]], b"\x07" + bytes(63)),
        ([["a", "string", [1], 4]], PADDED),
        ([["a", "string", [1], 9]], bytes([2]) + bytes(63)),
        ([["a", "string", [1], 9]], bytes([1]) + bytes(7) + b"\xff" + bytes(55)),
        ([["a", "string", [2], 17]], b"\xff" * 16 + bytes(48)),
    ],
)
def test_a_frame_that_is_none_is_refused(arrays: Any, body: bytes) -> None:
    with pytest.raises(JsonMalformed):
        passed(forged(arrays, body))


@pytest.mark.parametrize("head", [b"", b"[]", b"\xff", b"{}", b'{"kind":"a","kind":"b"}'])
def test_a_head_that_is_none_is_refused(head: bytes) -> None:
    with pytest.raises(JsonMalformed):
        passed(frames.LENGTHS.pack(len(head), 0) + head)


def test_unknown_facts_of_a_frame_are_refused() -> None:
    with pytest.raises(JsonMalformed, match="unknown key"):
        passed(forged([], more=1))


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_bytes_are_anything_but_a_frame_or_refused(head: bytes, body: bytes) -> None:
    try:
        frames.unpack(head, np.frombuffer(body, np.uint8).copy())
    except JsonMalformed:
        return


@given(st.data())
def test_no_byte_of_a_frame_can_be_turned_into_a_traceback(data: st.DataObject) -> None:
    arrays = {"a": np.ones((2, 2), np.float32), "b": np.array(["x", "yz"], object)}
    sound = bytearray(b"".join(frames.parts(Frame("answers", {"number": 3}, arrays))))
    place = data.draw(st.integers(frames.LENGTHS.size, len(sound) - 1))
    sound[place] = data.draw(st.integers(0, 255))
    try:
        found = passed(bytes(sound))
    except JsonMalformed:
        return
    assert sum(array.nbytes for array in found.arrays.values()) <= len(sound)
