"""The facts of a device, and the passport that carries them."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.errors import InputUnreadable
from edge_runtime.contract.facts import DeviceFacts, EngineFacts, facts_from_json

BOARD = DeviceFacts(
    os="linux",
    architecture="arm64",
    kernel="aarch64 6.1.0-18-arm64",
    cpu_model="CPU implementer 0x41, CPU part 0xd08",
    cpu_flags=("asimd", "crc32"),
    cpus=4,
    cpu_quota=None,
    memory_bytes=1 << 30,
    memory_limit_bytes=None,
    libc="glibc 2.36",
    python="cpython 3.11.2",
    boot_id="b",
    runtime="0.1.0",
    engine=EngineFacts("onnxruntime", "1.20.1", ("CPUExecutionProvider",)),
    engine_problem="",
)


def passport(facts: DeviceFacts) -> bytes:
    return json.dumps(facts.to_json()).encode()


engines = st.builds(
    EngineFacts,
    name=st.text(max_size=20),
    version=st.text(max_size=20),
    providers=st.lists(st.text(max_size=20), max_size=3).map(tuple),
)
devices = st.builds(
    DeviceFacts,
    os=st.text(max_size=20),
    architecture=st.text(max_size=20),
    kernel=st.text(max_size=20),
    cpu_model=st.text(max_size=20),
    cpu_flags=st.lists(st.text(max_size=9), max_size=3).map(tuple),
    cpus=st.integers(1, 1024),
    cpu_quota=st.none() | st.floats(0.01, 1024, allow_nan=False),
    memory_bytes=st.integers(0, 1 << 50),
    memory_limit_bytes=st.none() | st.integers(0, 1 << 50),
    libc=st.text(max_size=20),
    python=st.text(max_size=20),
    boot_id=st.text(max_size=20),
    runtime=st.text(max_size=20),
    engine=st.none() | engines,
    engine_problem=st.text(max_size=20),
    accelerator=st.text(max_size=20),
)


@given(devices)
def test_a_passport_gives_back_the_facts_that_it_was_made_from(facts: DeviceFacts) -> None:
    assert facts_from_json(passport(facts)) == facts


def test_what_a_newer_runtime_adds_to_a_passport_is_left_aside() -> None:
    extended = {**BOARD.to_json(), "gpu_memory_bytes": 8 << 30}
    assert facts_from_json(json.dumps(extended).encode()) == BOARD


def test_a_passport_of_an_older_runtime_tells_no_accelerator() -> None:
    older = {name: value for name, value in BOARD.to_json().items() if name != "accelerator"}
    assert facts_from_json(json.dumps(older).encode()) == BOARD


CUDA = EngineFacts(
    "onnxruntime-gpu", "1.20.1", ("CUDAExecutionProvider", "CPUExecutionProvider")
)


def test_a_driver_is_part_of_the_identity_where_the_engine_can_use_it() -> None:
    old, new = (replace(BOARD, accelerator=f"nvidia {number}") for number in ("535", "550"))
    assert old.identity == new.identity == BOARD.identity
    old, new = (replace(facts, engine=CUDA) for facts in (old, new))
    assert old.identity != new.identity
    assert new.identity.endswith("-nvidia-550")


@given(st.text(max_size=200))
def test_an_identity_may_always_name_a_file(accelerator: str) -> None:
    identity = replace(BOARD, engine=CUDA, accelerator=accelerator).identity
    assert re.fullmatch(r"[A-Za-z0-9.-]{1,128}", identity)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"schema": "edgepack.passport/2"}, "edgepack.passport/2"),
        ({"architecture": 64}, "passport.architecture"),
        ({"cpus": 0}, "passport.cpus"),
        ({"cpus": None}, "passport.cpus"),
        ({"cpu_quota": "2"}, "passport.cpu_quota"),
        ({"engine": "onnxruntime"}, "passport.engine"),
        ({"engine": {"name": "onnxruntime"}}, "passport.engine.version"),
    ],
)
def test_a_wrong_field_of_a_passport_is_named(change: dict[str, object], named: str) -> None:
    data = json.dumps({**BOARD.to_json(), **change}).encode()
    with pytest.raises(InputUnreadable, match=named):
        facts_from_json(data)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b'{"a":1,"a":2}', b"{" * 5000])
def test_what_is_no_passport_at_all_is_an_input_error(data: bytes) -> None:
    with pytest.raises(InputUnreadable) as caught:
        facts_from_json(data)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("cpus", "quota", "threads"), [(4, None, 4), (4, 2.5, 2), (4, 0.5, 1), (2, 8.0, 2)]
)
def test_threads_stay_within_affinity_and_quota(
    cpus: int, quota: float | None, threads: int
) -> None:
    assert replace(BOARD, cpus=cpus, cpu_quota=quota).threads == threads


def test_usable_memory_is_what_the_control_group_leaves() -> None:
    assert BOARD.usable_memory_bytes == 1 << 30
    assert replace(BOARD, memory_limit_bytes=1 << 20).usable_memory_bytes == 1 << 20
    assert replace(BOARD, memory_limit_bytes=1 << 40).usable_memory_bytes == 1 << 30


def test_the_identity_changes_with_cpu_and_engine_and_with_nothing_else() -> None:
    assert BOARD.engine is not None
    newer = replace(BOARD, engine=replace(BOARD.engine, version="1.32.0"))
    other_core = replace(BOARD, cpu_model="CPU implementer 0x41, CPU part 0xd0b")
    other_flags = replace(BOARD, cpu_flags=("asimd", "asimddp", "crc32"))
    rebooted = replace(BOARD, boot_id="c", cpus=2, kernel="aarch64 6.6", memory_bytes=1 << 31)
    identities = {facts.identity for facts in (BOARD, newer, other_core, other_flags)}
    assert len(identities) == 4
    assert rebooted.identity == BOARD.identity
    assert BOARD.identity.startswith("onnxruntime-1.20.1-")
    assert newer.cpu_identity == BOARD.cpu_identity
