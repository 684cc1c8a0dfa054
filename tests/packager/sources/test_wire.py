"""Messages between host and child: what goes in comes out, and nothing else is taken."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from packager.sources import wire
from packager.sources.wire import Message, WireBrokenError

HEADS = st.dictionaries(
    st.text(max_size=5).filter(lambda key: key != "payload"),
    st.one_of(st.text(max_size=5), st.integers(-9, 9), st.booleans()),
    max_size=3,
)


@given(HEADS, st.binary(max_size=64))
def test_a_message_comes_out_as_it_went_in(head: dict[str, object], payload: bytes) -> None:
    stream = io.BytesIO()

    wire.send(stream, Message(head, payload))
    wire.send(stream, Message({}))

    stream.seek(0)
    assert wire.receive(stream) == Message(head, payload)
    assert wire.receive(stream) == Message({})
    assert wire.receive(stream) is None


@given(st.data())
def test_a_message_cut_short_is_refused(data: st.DataObject) -> None:
    stream = io.BytesIO()
    wire.send(stream, Message({"do": "plan"}, b"12345678"))
    whole = stream.getvalue()
    cut = data.draw(st.integers(1, len(whole) - 1))

    with pytest.raises(WireBrokenError):
        wire.receive(io.BytesIO(whole[:cut]))


@given(st.binary(min_size=1, max_size=200))
def test_bytes_of_any_kind_are_a_message_or_refused(data: bytes) -> None:
    try:
        assert isinstance(wire.receive(io.BytesIO(data)), Message)
    except WireBrokenError as broken:
        assert str(broken)


def test_a_payload_beyond_the_limit_is_refused_before_it_is_read() -> None:
    stream = io.BytesIO(b'{"payload": 1000}\n')

    with pytest.raises(WireBrokenError, match="0…999"):
        wire.receive(stream, limit=999)


TEXTS = st.lists(st.text(max_size=9), min_size=0, max_size=5)


@given(TEXTS, st.lists(st.floats(allow_nan=False), max_size=5), st.text(max_size=9))
def test_arrays_come_out_as_they_went_in(
    texts: list[str], numbers: list[float], name: str
) -> None:
    words = np.empty(len(texts), dtype=object)
    words[:] = texts
    arrays = {name: words, f"{name}/2": np.array(numbers), "": np.array([[1, 2]])}

    found = wire.unpack(wire.pack(arrays))

    assert list(found) == list(arrays)
    assert found[f"{name}/2"].tolist() == numbers
    if name:
        assert found[name].tolist() == texts
        assert found[name].dtype == object
    assert found[""].tolist() == [[1, 2]]


def test_one_long_text_does_not_pad_the_others() -> None:
    words = np.array(["x"] * 1000 + ["y" * 100_000], dtype=object)

    assert len(wire.pack({"a": words}).payload) < 200_000


@pytest.mark.parametrize(
    "message",
    [
        Message({}, b"no zip"),
        Message({"arrays": ["a"], "text": [False]}, wire.pack({}).payload),
        Message({"arrays": ["a"], "text": []}, wire.pack({"a": np.zeros(1)}).payload),
        Message({"arrays": 3, "text": 4}, wire.pack({}).payload),
    ],
)
def test_a_message_without_the_arrays_it_names_is_refused(message: Message) -> None:
    with pytest.raises(WireBrokenError, match="cannot be read"):
        wire.unpack(message)
