"""Promised CPU models: who can be asked, and when int8 may not ship without asking."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from packager.emulation.machines import Machine
from packager.errors import ReplayMismatch
from packager.record import Record
from packager.search import promised
from packager.search.promised import find_promised
from packager.target import TargetProfile, load_profile

HASWELL = Machine("Haswell", ("qemu-x86_64", "python3"), emulated=True)
NEHALEM = Machine("Nehalem", ("qemu-x86_64", "python3"), emulated=True)
WHY = "Haswell: no emulator here"
VNNI = (("avx512_vnni", "avx_vnni"),)


@pytest.fixture(scope="module")
def profile() -> TargetProfile:
    return load_profile("x86-64-cpu")


@pytest.fixture(autouse=True)
def on_x86(monkeypatch):
    """Let the machine that builds be x86, whatever it is."""
    monkeypatch.setattr(promised, "host_architecture", lambda: "x86-64")


@pytest.fixture
def machines(monkeypatch):
    """Let a machine have these emulators, and lack others for these reasons."""

    def have(*found: Machine, missing: tuple[str, ...] = ()) -> None:
        told = (list(found), list(missing))
        monkeypatch.setattr(promised, "find_machines", lambda *_: told)

    return have


@pytest.fixture
def flags(tmp_path, monkeypatch):
    def have(*names: str) -> None:
        file = tmp_path / "cpuinfo"
        file.write_text(f"processor : 0\nflags : {' '.join(names)}\n\n")
        monkeypatch.setattr(promised, "_CPUINFO", file)

    return have


def test_what_can_be_asked_and_what_not_is_told(profile, machines):
    machines(NEHALEM, missing=(WHY,))
    found = find_promised(profile, Record())
    assert (found.cpus, found.missing, found.machines) == (["Nehalem"], [WHY], [NEHALEM])
    assert found.unproven == ""  # weights of 7 bits cannot saturate


def test_a_replay_goes_by_the_machine_that_built(profile, machines):
    record = Record()
    machines(NEHALEM, missing=(WHY,))
    built = find_promised(profile, record)
    machines(HASWELL, NEHALEM)
    more = find_promised(profile, Record(record.values))
    assert (more.cpus, more.missing, more.machines) == (["Nehalem"], [WHY], [NEHALEM])
    machines(missing=("Nehalem: no emulator here", WHY))
    less = find_promised(profile, Record(record.values))
    assert (less.cpus, less.missing, less.machines) == (built.cpus, built.missing, [])


def test_an_accelerators_answers_do_not_hang_on_the_cpu(machines):
    machines(missing=("Haswell: nobody may ask",))
    found = find_promised(load_profile("x86-64-cuda"), Record())
    assert (found.cpus, found.missing, found.unproven) == ((), (), "")


# --- may int8 ship without being asked? ----------------------------------------------------


def unproven(profile: TargetProfile) -> str:
    return find_promised(profile, Record()).unproven


@pytest.fixture
def wide(profile) -> TargetProfile:
    """A target for weights of 8 bits."""
    return replace(profile, reduce_range=False)


def test_weights_of_8_bits_on_x86_must_be_asked(wide, machines, flags):
    flags("avx2", "avx_vnni")
    machines(NEHALEM, HASWELL)
    assert unproven(wide) == ""
    machines(NEHALEM, missing=(WHY,))
    assert unproven(wide) == f"sums may saturate where nobody could look: {WHY}"


def test_a_target_that_demands_vnni_need_not_be_asked(wide, machines, flags):
    flags("avx2", "avx512_vnni")
    machines(missing=(WHY,))
    assert unproven(replace(wide, cpu_flags=VNNI)) == ""
    assert "nobody could look" in unproven(replace(wide, cpu_flags=(("avx2",),)))


@pytest.mark.parametrize("demanded", [(), VNNI])
def test_a_machine_without_vnni_does_not_know_right_answers(wide, machines, flags, demanded):
    flags("avx2")
    machines(NEHALEM, HASWELL)
    told = unproven(replace(wide, cpu_flags=demanded))
    assert told.startswith("this machine has no VNNI: its own sums may saturate")


def test_where_the_system_tells_no_flags_there_are_none(wide, machines, monkeypatch):
    monkeypatch.setattr(promised, "_CPUINFO", Path("/absent"))
    machines()
    assert "this machine has no VNNI" in unproven(wide)


def test_arm_adds_in_32_bits_as_target_and_as_the_machine_that_builds(
    wide, machines, monkeypatch
):
    machines(missing=("cortex-a53: no emulator here",))
    assert unproven(replace(load_profile("arm64-cpu"), reduce_range=False)) == ""
    monkeypatch.setattr(promised, "host_architecture", lambda: "arm64")
    assert unproven(replace(wide, cpu_flags=VNNI)) == ""
    assert "nobody could look" in unproven(wide)


@pytest.mark.parametrize(
    "found",
    [None, [], {}, {"cpus": ["Nehalem"], "missing": [7], "unproven": ""}],
    ids=["nothing", "a list", "an empty table", "a number among texts"],
)
def test_a_record_that_was_tampered_with_is_refused(profile, machines, found):
    record = Record()
    machines(NEHALEM)
    find_promised(profile, record)
    (key,) = record.values
    with pytest.raises(ReplayMismatch, match="machines/x86-64-cpu"):
        find_promised(profile, Record({key: found}))
