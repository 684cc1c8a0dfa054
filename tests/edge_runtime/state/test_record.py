"""The record: two copies, of which any damage to one never hides the other."""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.errors import StoreCorrupt, StoreNewer
from edge_runtime.state import record
from edge_runtime.state.record import (
    COPIES,
    Event,
    Reading,
    State,
    Version,
    activated,
    proven_good,
    rolled_back,
)

BIG = (1 << 63) - 1
digests = st.integers(0, (1 << 256) - 1).map(lambda number: f"{number:064x}")
versions = st.builds(
    Version,
    digest=digests,
    version=st.text(max_size=20),
    release=st.integers(0, BIG),
    trust=digests,
)
events = st.builds(
    Event,
    generation=st.integers(1, BIG),
    action=st.text(max_size=20),
    version=st.text(max_size=20),
    digest=digests,
    detail=st.text(max_size=50),
)
states = st.builds(
    State,
    generation=st.integers(1, BIG - 1),
    active=st.none() | versions,
    previous_good=st.none() | versions,
    candidate=st.none() | versions,
    tries_left=st.integers(0, 10),
    floor=st.integers(0, BIG),
    history=st.lists(events, max_size=3).map(tuple),
)

ONE = Version("1" * 64, "1.0.0", 1_000_000, "a" * 64)
TWO = Version("2" * 64, "2.0.0", 2_000_000, "a" * 64)
THREE = Version("3" * 64, "3.0.0", 3_000_000, "a" * 64)


def put(directory: Path, first: bytes | None, second: bytes | None) -> Reading:
    for name, data in zip(COPIES, (first, second), strict=True):
        (directory / name).unlink(missing_ok=True)
        if data is not None:
            (directory / name).write_bytes(data)
    return record.read(directory)


@given(states)
def test_a_record_reads_back_as_it_was_written(state: State) -> None:
    data = record.render(state)
    assert record.parse(data, "state") == state
    assert json.loads(data)["schema"] == record.SCHEMA


@given(states, st.data())
def test_a_copy_with_any_byte_changed_is_refused(state: State, data: st.DataObject) -> None:
    whole = record.render(state)
    place = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[place]))
    with pytest.raises(StoreCorrupt):
        record.parse(whole[:place] + bytes([other]) + whole[place + 1 :], "state")


@given(states, states, st.data())
def test_a_torn_copy_leaves_the_other_in_use_and_is_said(
    sound: State, torn: State, data: st.DataObject
) -> None:
    whole = record.render(torn)
    kept = data.draw(st.integers(0, len(whole) - 1))
    tail = data.draw(st.sampled_from([b"", b"\0" * (len(whole) - kept)]))
    copies = [whole[:kept] + tail, record.render(sound)]
    broken = data.draw(st.sampled_from([0, 1]))
    with TemporaryDirectory() as directory:
        reading = put(Path(directory), copies[broken], copies[1 - broken])
    assert reading.state == sound
    assert not reading.lost
    assert COPIES[broken] in reading.degraded


@given(states, states)
def test_the_higher_generation_counts_wherever_it_stands(one: State, two: State) -> None:
    newer = replace(two, generation=one.generation + 1)
    with TemporaryDirectory() as directory:
        for copies in ((one, newer), (newer, one)):
            reading = put(Path(directory), *(record.render(state) for state in copies))
            assert reading == Reading(newer, "", lost=False)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_two_copies_of_garbage_are_a_loss_and_no_fresh_start(
    first: bytes, second: bytes
) -> None:
    with TemporaryDirectory() as directory:
        reading = put(Path(directory), first, second)
    assert reading.lost
    assert reading.state == State()
    assert all(name in reading.degraded for name in COPIES)


def test_no_copy_at_all_is_a_fresh_start(tmp_path: Path) -> None:
    assert record.read(tmp_path) == Reading(State(), "", lost=False)


def test_writes_take_turns_so_that_the_state_before_stays_readable(tmp_path: Path) -> None:
    state = State()
    for generation in range(1, 6):
        before = {name: _bytes(tmp_path / name) for name in COPIES}
        state = record.write(tmp_path, state)
        after = {name: _bytes(tmp_path / name) for name in COPIES}
        assert state.generation == generation
        assert record.read(tmp_path) == Reading(state, "", lost=False)
        assert sum(before[name] != after[name] for name in COPIES) == 1


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def test_the_first_write_stands_alone_without_being_degraded(tmp_path: Path) -> None:
    record.write(tmp_path, State())
    assert [name for name in COPIES if (tmp_path / name).exists()] == [COPIES[0]]
    assert record.read(tmp_path).degraded == ""


def test_a_copy_that_vanished_later_is_said(tmp_path: Path) -> None:
    state = record.write(tmp_path, record.write(tmp_path, State()))
    (tmp_path / COPIES[0]).unlink()
    reading = record.read(tmp_path)
    assert reading.state == state
    assert "missing" in reading.degraded


@pytest.mark.parametrize("bad", COPIES)
def test_a_write_goes_over_the_bad_copy_and_never_over_the_good_one(
    tmp_path: Path, bad: str
) -> None:
    state = record.write(tmp_path, record.write(tmp_path, State()))
    good = next(name for name in COPIES if name != bad)
    (tmp_path / good).unlink()
    (tmp_path / good).write_bytes(record.render(state))
    (tmp_path / bad).unlink()
    (tmp_path / bad).write_bytes(b"garbage")
    kept = (tmp_path / good).read_bytes()
    record.write(tmp_path, state)
    assert (tmp_path / good).read_bytes() == kept
    assert record.read(tmp_path).degraded == ""


def test_a_copy_of_a_newer_form_is_neither_read_nor_overwritten(tmp_path: Path) -> None:
    rest = b'"schema":"edgepack.state/2","state":{}}'
    data = b'{"crc32":"%08x",%s' % (zlib.crc32(rest), rest)
    (tmp_path / COPIES[1]).write_bytes(data)
    with pytest.raises(StoreNewer, match=r"state/2, this runtime reads edgepack\.state/1"):
        record.read(tmp_path)
    with pytest.raises(StoreNewer):
        record.write(tmp_path, State())
    assert (tmp_path / COPIES[1]).read_bytes() == data


@pytest.mark.parametrize(
    "body",
    [
        b'"state":{}}',
        b'"schema":"edgepack.state/1","state":{}}',
        b'"schema":"edgepack.state/1","state":{"generation":1e999}}',
        b'"schema":"edgepack.state/1","schema":"x","state":{}}',
        b'"schema":"edgepack.state/1","state":' + b"[" * 100_000,
        b"",
    ],
)
def test_a_sound_checksum_over_nonsense_is_refused_all_the_same(body: bytes) -> None:
    with pytest.raises(StoreCorrupt):
        record.parse(b'{"crc32":"%08x",%s' % (zlib.crc32(body), body), "state")


def test_a_digest_that_could_name_another_directory_is_refused() -> None:
    state = State(generation=1, active=replace(ONE, digest="../" * 10))
    with pytest.raises(StoreCorrupt, match="digest"):
        record.parse(record.render(state), "state")


def test_a_version_that_is_activated_is_on_probation() -> None:
    state = activated(State(generation=1), ONE)
    assert (state.active, state.candidate, state.previous_good) == (ONE, ONE, None)
    assert state.tries_left == record.TRIES
    assert state.floor == 0


def test_what_is_proven_raises_the_floor_and_never_lowers_it() -> None:
    state = proven_good(activated(State(), TWO), "rows")
    assert (state.active, state.candidate, state.floor) == (TWO, None, 2_000_000)
    assert proven_good(activated(state, ONE)).floor == 2_000_000
    assert proven_good(state) == state
    assert proven_good(State()) == State()


def test_activation_keeps_what_was_proven_before_and_writes_history() -> None:
    first = proven_good(activated(State(generation=1), ONE), "rows")
    second = activated(replace(first, generation=2), TWO, "trial passed")
    assert (second.active, second.previous_good) == (TWO, ONE)
    assert [(event.generation, event.action, event.version) for event in second.history] == [
        (2, "activated", "1.0.0"),
        (2, "marked good", "1.0.0"),
        (3, "activated", "2.0.0"),
    ]
    assert [event.detail for event in second.history] == ["", "rows", "trial passed"]


def test_the_way_back_leads_over_versions_on_probation_to_the_proven_one() -> None:
    state = activated(activated(proven_good(activated(State(), ONE)), TWO), THREE)
    assert (state.active, state.previous_good) == (THREE, ONE)
    assert activated(activated(State(), ONE), TWO).previous_good is None


def test_going_back_to_the_proven_version_needs_no_probation() -> None:
    state = activated(activated(proven_good(activated(State(), ONE)), TWO), ONE)
    assert (state.active, state.candidate, state.previous_good) == (ONE, None, None)


def test_activating_what_serves_keeps_the_way_back() -> None:
    state = activated(proven_good(activated(State(), ONE)), TWO)
    again = activated(state, replace(TWO, trust="b" * 64))
    assert again.previous_good == ONE
    assert again.active == again.candidate == replace(TWO, trust="b" * 64)
    proven = activated(proven_good(again), TWO)
    assert (proven.active, proven.candidate, proven.previous_good) == (TWO, None, ONE)


def test_a_rollback_serves_what_was_proven_and_leaves_no_way_further_back() -> None:
    state = rolled_back(activated(proven_good(activated(State(), ONE)), TWO), "it crashed")
    assert (state.active, state.candidate, state.previous_good) == (ONE, None, None)
    assert (state.history[-1].action, state.history[-1].version) == ("rolled back", "2.0.0")
    assert state.history[-1].detail == "it crashed"
    assert rolled_back(state, "again") == state


def test_staged_and_removed_versions_change_the_history_alone() -> None:
    state = activated(State(), ONE)
    waiting = record.staged(state, TWO)
    gone = record.removed(waiting, TWO)
    assert [event.action for event in gone.history] == ["activated", "staged", "removed"]
    assert replace(gone, history=()) == replace(state, history=())


def test_a_signature_verified_again_is_remembered_for_the_active_version() -> None:
    state = record.reverified(activated(State(), ONE), ONE.digest, "b" * 64)
    assert state.active == replace(ONE, trust="b" * 64)
    assert record.reverified(state, TWO.digest, "c" * 64) == state
    assert record.reverified(State(), ONE.digest, "b" * 64) == State()


def test_the_history_is_bounded_and_so_is_each_reason(tmp_path: Path) -> None:
    state = State()
    for _ in range(100):
        state = activated(state, ONE, os.fsdecode(b"\xff") + "x" * 10_000)
    assert len(state.history) == record.MAX_HISTORY
    record.write(tmp_path, state)
    assert record.read(tmp_path).state.history == state.history
    assert (tmp_path / COPIES[0]).stat().st_size < 100_000
