"""Tests of whole logs: every window once, whatever else lies in the directories."""

from __future__ import annotations

import os
import shutil
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.logs import LogReader
from edge_runtime.contract.segments import UNKNOWN, Dropped, Header, Subject, frame
from edge_runtime.contract.windows import Tally, Window

STREAM, OTHER = "00112233445566ff", "ffeeddccbbaa9988"
SUBJECT = Subject("fraud", "1.4.0", "ab" * 32, "int8-dynamic", "CPUExecutionProvider")


def window(sequence: int, rows: int = 1) -> bytes:
    return frame(Window(sequence, 0, 60_000, 0, Tally(rows), (), 0, None, 12).to_json())


def header(
    number: int,
    stream: str = STREAM,
    *,
    dropped: Dropped | None = None,
    replaced: tuple[str, ...] = (),
) -> bytes:
    found = Header(stream, number, "boot", 42, "0.1.0", SUBJECT, dropped or Dropped(), replaced)
    return frame(found.to_json())


def plain(directory: Path, number: int, *lines: bytes, stream: str = STREAM) -> Path:
    path = directory / f"{number:08d}-{stream}.jsonl"
    path.write_bytes(b"".join(lines))
    return path


def packed(directory: Path, number: int, *lines: bytes, stream: str = STREAM) -> Path:
    path = directory / f"{number:08d}-{stream}.jsonl.z"
    path.write_bytes(zlib.compress(b"".join(lines)))
    return path


def read(*directories: Path) -> tuple[LogReader, list[tuple[str, int, int]]]:
    reader = LogReader(directories)
    return reader, [(stream, found.sequence, found.tally.rows) for stream, _, found in reader]


def test_windows_of_several_streams_come_newest_segment_first(tmp_path: Path) -> None:
    packed(tmp_path, 1, header(1), window(0), window(1))
    plain(tmp_path, 2, header(2, OTHER), window(0), stream=OTHER)
    plain(tmp_path, 3, header(3), window(2))
    reader, found = read(tmp_path)
    assert found == [(STREAM, 2, 1), (OTHER, 0, 1), (STREAM, 1, 1), (STREAM, 0, 1)]
    assert reader.health.segments == 3
    assert reader.health.text() == "complete; segments 3"


def test_an_empty_directory_is_an_empty_log(tmp_path: Path) -> None:
    reader, found = read(tmp_path)
    assert found == []
    assert reader.health.text() == "complete; no segments"


def test_a_segment_that_was_being_compressed_counts_once(tmp_path: Path) -> None:
    lines = header(1), window(0), window(1)
    plain(tmp_path, 1, *lines)
    packed(tmp_path, 1, *lines)
    reader, found = read(tmp_path)
    assert found == [(STREAM, 1, 1), (STREAM, 0, 1)]
    assert reader.health.segments == 1


def test_what_one_of_two_copies_lost_the_other_gives(tmp_path: Path) -> None:
    plain(tmp_path, 1, header(1), window(0), window(1)[:-5])
    packed(tmp_path, 1, window(0)[3:], window(1), window(2))
    reader, found = read(tmp_path)
    assert [sequence for _, sequence, _ in found] == [2, 1, 0]
    assert reader.health.damaged_lines == 2


def test_copies_of_a_log_in_several_directories_count_once(tmp_path: Path) -> None:
    device, stick, late = tmp_path / "device", tmp_path / "stick", tmp_path / "late"
    device.mkdir()
    packed(device, 1, header(1), window(0), window(1))
    open_segment = plain(device, 2, header(2), window(2))
    shutil.copytree(device, stick)
    open_segment.write_bytes(open_segment.read_bytes() + window(3))
    late.mkdir()
    plain(late, 3, header(3), window(4))
    for order in ((device, stick, late), (late, stick, device)):
        reader, found = read(*order)
        assert [sequence for _, sequence, _ in found] == [4, 3, 2, 1, 0]
        assert reader.health.missing_windows == 0


def test_a_window_written_again_after_a_failure_replaces_the_first(tmp_path: Path) -> None:
    plain(tmp_path, 1, header(1), window(0), window(1, rows=5))
    plain(tmp_path, 2, header(2), window(1, rows=8), window(2))
    _, found = read(tmp_path)
    assert found == [(STREAM, 2, 1), (STREAM, 1, 8), (STREAM, 0, 1)]


def test_a_gap_in_the_sequence_is_counted_as_missing(tmp_path: Path) -> None:
    packed(tmp_path, 1, header(1), window(3), window(4))
    plain(tmp_path, 2, header(2), window(7), window(9))
    reader, _ = read(tmp_path)
    assert reader.health.missing_windows == 3
    assert "missing windows 3" in reader.health.text()


def test_a_segment_that_a_newer_header_names_no_longer_counts(tmp_path: Path) -> None:
    old = packed(tmp_path, 1, header(1, dropped=Dropped(1, 1, 1)), window(0))
    stem = old.name.removesuffix(".jsonl.z")
    plain(tmp_path, 2, header(2, dropped=Dropped(2, 2, 9), replaced=(stem,)), window(1))
    reader, found = read(tmp_path)
    assert found == [(STREAM, 1, 1)]
    assert reader.health.dropped == Dropped(2, 2, 9)


def test_what_was_dropped_is_summed_over_headers(tmp_path: Path) -> None:
    plain(tmp_path, 4, header(4, dropped=Dropped(1, 10, 100)), window(1))
    plain(tmp_path, 5, header(5, OTHER, dropped=Dropped(2, 20, 200)), stream=OTHER)
    reader, _ = read(tmp_path)
    assert reader.health.dropped == Dropped(3, 30, 300)


def test_windows_without_a_header_are_of_an_unknown_version(tmp_path: Path) -> None:
    plain(tmp_path, 1, header(1)[4:], window(0))
    reader = LogReader([tmp_path])
    assert [subject for _, subject, _ in reader] == [UNKNOWN]
    assert reader.health.damaged_lines == 1


def test_a_lost_header_is_replaced_by_a_later_one_of_its_stream(tmp_path: Path) -> None:
    plain(tmp_path, 1, header(1)[4:], window(0))
    plain(tmp_path, 2, header(2), window(1))
    assert [subject for _, subject, _ in LogReader([tmp_path])] == [SUBJECT, SUBJECT]


def test_a_renamed_copy_counts_once(tmp_path: Path) -> None:
    plain(tmp_path, 1, header(1), window(0))
    plain(tmp_path, 9, header(1), window(0), stream=OTHER)
    _, found = read(tmp_path)
    assert found == [(STREAM, 0, 1)]


def test_foreign_entries_are_passed_over_and_counted(tmp_path: Path) -> None:
    plain(tmp_path, 1, header(1), window(0))
    (tmp_path / "._00000001-00112233445566ff.jsonl").write_bytes(b"AppleDouble")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / f"00000002-{STREAM}.jsonl").mkdir()
    (tmp_path / f"00000003-{STREAM}.jsonl").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / f"00000004-{STREAM}.jsonl.z")
    (tmp_path / f"00000005-{STREAM}.tmp").write_bytes(b"left by a crash")
    reader, found = read(tmp_path)
    assert found == [(STREAM, 0, 1)]
    assert reader.health.foreign_files == 5


def test_a_segment_of_zeros_or_of_nothing_is_an_empty_one(tmp_path: Path) -> None:
    plain(tmp_path, 1)
    plain(tmp_path, 2, bytes(4096))
    (tmp_path / f"00000003-{STREAM}.jsonl.z").write_bytes(b"")
    reader, found = read(tmp_path)
    assert found == []
    assert reader.health.damaged_lines == 2


def test_a_directory_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    plain(tmp_path, 1, header(1), window(0))
    reader, found = read(tmp_path / "absent", tmp_path)
    assert len(found) == 1
    assert reader.health.unreadable_files == 1
    assert f"{tmp_path / 'absent'}: No such file or directory" in reader.health.text()


def test_a_segment_that_is_compressed_under_the_readers_eyes_is_not_lost(
    tmp_path: Path,
) -> None:
    first = plain(tmp_path, 1, header(1), window(0))
    plain(tmp_path, 2, header(2), window(1))
    reader = LogReader([tmp_path])
    found = []
    for _, _, each in reader:
        found.append(each.sequence)
        if first.exists():
            packed(tmp_path, 1, header(1), window(0))
            first.unlink()
    assert found == [1, 0]
    assert reader.vanished == 0


def test_a_segment_that_is_dropped_under_the_readers_eyes_is_noticed(tmp_path: Path) -> None:
    first = plain(tmp_path, 1, header(1), window(0))
    plain(tmp_path, 2, header(2), window(1))
    reader = LogReader([tmp_path])
    for _ in reader:
        first.unlink(missing_ok=True)
    assert reader.vanished == 1


names = st.one_of(
    st.just(f"00000001-{STREAM}.jsonl"),
    st.just(f"00000001-{STREAM}.jsonl.z"),
    st.just(f"00000002-{STREAM}.jsonl"),
    st.just(f"999999999999-{OTHER}.jsonl.z"),
    st.just(f"00000001-{STREAM}.tmp"),
    st.from_regex(r"[a-z0-9.-]{1,12}", fullmatch=True).filter(lambda name: name.strip(".")),
)
bodies = st.one_of(
    st.binary(max_size=100),
    st.lists(
        st.sampled_from([header(1), header(2), window(0), window(1), b"\0" * 9, b"\n", b"x"])
    ).map(b"".join),
).flatmap(lambda body: st.sampled_from([body, body[: len(body) // 2], zlib.compress(body)]))


@given(st.dictionaries(names, bodies, max_size=6))
def test_no_directory_makes_reading_fail(entries: dict[str, bytes]) -> None:
    with TemporaryDirectory() as directory:
        for name, body in entries.items():
            Path(directory, name).write_bytes(body)
        reader, found = read(Path(directory))
    assert len(set(found)) == len(found)
    assert {sequence for _, sequence, _ in found} <= {0, 1}
    assert reader.health.text()
