"""Tests of one segment: frames, and reading whatever bytes a field device gives back."""

from __future__ import annotations

import os
import threading
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.errors import JsonMalformed
from edge_runtime.contract.segments import (
    MAX_LINE_BYTES,
    MAX_SEGMENT_BYTES,
    Content,
    Dropped,
    Header,
    Subject,
    decode,
    frame,
    read_bytes,
    unframe,
)
from edge_runtime.contract.windows import Tally, Window

SUBJECT = Subject("fraud", "1.4.0", "ab" * 32, "int8-dynamic", "CPUExecutionProvider")
HEADER = Header("00112233445566ff", 7, "boot", 42, "0.1.0", SUBJECT, Dropped(1, 2, 3), ("x",))


def window(sequence: int, predictions: int = 1) -> Window:
    tally = Tally(rows=predictions)
    for _ in range(predictions):
        tally.latency.record(5_000)
    return Window(sequence, 0, 60_000, 0, tally, (), 0, 9_000, 12)


LINES = [frame(HEADER.to_json()), *(frame(window(number).to_json()) for number in range(4))]
SEGMENT = b"".join(LINES)


def predictions(content: Content) -> int:
    return sum(found.tally.predictions for found in content.windows.values())


def test_a_frame_is_a_checksum_a_blank_and_json() -> None:
    assert frame({"a": "ü"}) == b'%08x {"a":"\xc3\xbc"}\n' % zlib.crc32(b'{"a":"\xc3\xbc"}')


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=4))
def test_a_frame_is_one_line_and_comes_back(value: dict[str, str]) -> None:
    line = frame(value)
    assert line.count(b"\n") == 1
    assert unframe(line.removesuffix(b"\n")) == value


@given(st.binary(max_size=200))
def test_no_bytes_make_reading_a_line_fail_otherwise(line: bytes) -> None:
    with pytest.raises(JsonMalformed):
        unframe(line)


@pytest.mark.parametrize(
    "body",
    [
        b"NaN",
        b'{"a":1,"a":2}',
        b"[" * 5000,
        b"1" * 5000,
        b'"\\ud800"',
        b"\xff",
        b"",
        b'"' + b"x" * MAX_LINE_BYTES + b'"',
    ],
)
def test_a_sound_checksum_over_anything_but_strict_json_is_refused(body: bytes) -> None:
    with pytest.raises(JsonMalformed):
        unframe(b"%08x %s" % (zlib.crc32(body), body))


def test_a_segment_comes_back_as_it_was_written() -> None:
    for content in (
        decode(SEGMENT, packed=False),
        decode(zlib.compress(SEGMENT), packed=True),
    ):
        assert content.header == HEADER
        assert content.windows == {number: window(number) for number in range(4)}
        assert content.damaged_lines == 0


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_make_reading_a_segment_fail(data: bytes, packed: bool) -> None:
    assert decode(data, packed=packed).windows == {}


@given(st.integers(0, len(SEGMENT) - 1), st.integers(1, 255))
def test_a_flipped_byte_costs_its_line_and_is_counted(place: int, mask: int) -> None:
    flipped = bytearray(SEGMENT)
    flipped[place] ^= mask
    content = decode(bytes(flipped), packed=False)
    assert content.damaged_lines in {1, 2}  # two where it made a newline
    assert predictions(content) >= 2  # one line, or two that it joined
    for number, found in content.windows.items():
        assert found == window(number)


@given(st.data())
def test_a_flipped_byte_in_a_compressed_segment_is_counted(data: st.DataObject) -> None:
    packed = bytearray(zlib.compress(SEGMENT))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    content = decode(bytes(packed), packed=True)
    assert content.damaged_lines >= 1
    for number, found in content.windows.items():
        assert found == window(number)


@given(st.integers(0, len(SEGMENT)))
def test_a_torn_end_costs_one_line_at_most(length: int) -> None:
    content = decode(SEGMENT[:length], packed=False)
    whole = [line for line in LINES if SEGMENT.index(line) + len(line) - 1 <= length]
    assert len(content.windows) + (content.header is not None) == len(whole)
    assert content.damaged_lines <= 1


def test_what_stands_before_a_torn_end_of_a_compressed_segment_is_read() -> None:
    data = b"".join([SEGMENT, *(frame(window(number).to_json()) for number in range(4, 4000))])
    packed = zlib.compress(data)
    content = decode(packed[: len(packed) // 2], packed=True)
    assert len(content.windows) > 1000
    assert content.damaged_lines == 2  # the torn line, and that more was to come


def test_an_end_filled_with_zeros_is_skipped_and_counted() -> None:
    content = decode(SEGMENT + bytes(4096), packed=False)
    assert (len(content.windows), content.damaged_lines) == (4, 1)


def test_zeros_in_the_middle_are_skipped_and_counted() -> None:
    data = LINES[0] + LINES[1] + bytes(100) + b"\n" + LINES[2]
    content = decode(data, packed=False)
    assert (len(content.windows), content.damaged_lines) == (2, 1)


def test_the_later_of_two_lines_with_one_sequence_counts() -> None:
    content = decode(LINES[0] + LINES[1] + frame(window(0, 3).to_json()), packed=False)
    assert predictions(content) == 3


def test_lines_of_a_newer_runtime_are_told_from_damage() -> None:
    newer = frame({"kind": "outcomes", "sequence": 1})
    content = decode(SEGMENT + newer, packed=False)
    assert (content.newer_lines, content.damaged_lines) == (1, 0)


@pytest.mark.parametrize("value", [[], 1, "window", {"kind": 1}, {}, {"kind": "window"}])
def test_a_sound_line_of_no_form_is_counted_as_damaged(value: Any) -> None:
    assert decode(frame(value), packed=False).damaged_lines == 1


def test_a_segment_of_another_schema_has_no_header() -> None:
    other = {**HEADER.to_json(), "schema": "edgepack.metrics-segment/2"}
    content = decode(frame(other), packed=False)
    assert (content.header, content.damaged_lines) == (None, 1)


def test_a_compressed_segment_unpacks_to_a_limit() -> None:
    bomb = zlib.compress(LINES[1] + bytes(64 << 20), 9)
    content = decode(bomb, packed=True)
    assert len(content.windows) == 1
    assert content.damaged_lines >= 1


def test_lines_past_the_limit_are_not_looked_at() -> None:
    padding = b"x" * (MAX_SEGMENT_BYTES - 1) + b"\n"
    assert decode(padding + SEGMENT, packed=False).windows == {}


def test_dropping_a_segment_costs_its_windows_and_what_it_had_dropped() -> None:
    assert decode(SEGMENT, packed=False).dropping() == Dropped(2, 6, 7)
    assert decode(LINES[1], packed=False).dropping() == Dropped(1, 1, 1)


def test_a_header_names_its_file() -> None:
    assert replace(HEADER, number=12).stem == "00000012-00112233445566ff"


def test_links_pipes_and_directories_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(SEGMENT)
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "real")
    (tmp_path / "directory.jsonl").mkdir()
    os.mkfifo(tmp_path / "pipe.jsonl")
    for name in ("link.jsonl", "directory.jsonl", "pipe.jsonl"):
        with pytest.raises(OSError, match=name):
            read_bytes(tmp_path / name)


def test_a_line_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "growing.jsonl"
    path.write_bytes(SEGMENT[:-20])

    def finish() -> None:
        time.sleep(0.003)
        path.write_bytes(SEGMENT)

    writer = threading.Thread(target=finish)
    writer.start()
    found = read_bytes(path)
    writer.join()
    assert found == SEGMENT
