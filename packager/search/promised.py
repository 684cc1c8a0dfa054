"""The CPU models that a profile promises: which can be asked here, and what follows if not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.contract.cpuinfo import parse_cpuinfo
from packager.emulation.machines import Machine, find_machines, host_architecture
from packager.record import Record, fingerprint
from packager.target import TargetProfile
from packager.target_rules import CPU

VNNI = frozenset({"avx512_vnni", "avx_vnni"})
_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Promised:
    """What the machine that builds, and no other, can say of the promised CPU models.

    Attributes:
        cpus: those that it can ask, as QEMU calls them.
        missing: for every other one a sentence that tells why not.
        unproven: why int8 may not ship without being asked; empty where it cannot go wrong.
        machines: those of ``cpus`` that this machine can ask; a replay may run on another.
    """

    cpus: Sequence[str]
    missing: Sequence[str]
    unproven: str
    machines: Sequence[Machine]


def find_promised(profile: TargetProfile, record: Record) -> Promised:
    """Find out which of a profile's CPU models can be asked; a replay goes by the record."""
    if profile.providers[0] != CPU:  # an accelerator's answers do not depend on the CPU
        return Promised((), (), "", ())
    machines, missing = find_machines(profile.architecture, profile.cpu_models)
    models = " ".join(f"{cpu.name} {cpu.qemu}" for cpu in profile.cpu_models)
    found: dict[str, Any] = record.taken(
        f"machines/{profile.name}/{fingerprint(models)}",
        lambda: {
            "cpus": [machine.cpu for machine in machines],
            "missing": missing,
            "unproven": _unproven(profile, missing),
        },
        _fits,
    )
    asked = [machine for machine in machines if machine.cpu in found["cpus"]]
    return Promised(found["cpus"], found["missing"], found["unproven"], asked)


def _fits(found: Any) -> bool:
    return (
        isinstance(found, dict)
        and found.keys() == {"cpus", "missing", "unproven"}
        and all(_texts(found[key]) for key in ("cpus", "missing"))
        and isinstance(found["unproven"], str)
    )


def _texts(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(one, str) for one in found)


def _unproven(profile: TargetProfile, missing: Sequence[str]) -> str:
    """Say why nobody can know here whether int8 answers right; empty where it must.

    x86 without VNNI adds two products of 8 bits in 16: 2 · 255 · 127 is beyond 32,767, where
    the sum stops. With weights of 7 bits it is 2 · 255 · 64 = 32,640, which fits; VNNI and ARM
    add in 32 bits.
    """
    if profile.reduce_range or profile.architecture != "x86-64":
        return ""
    if host_architecture() == "x86-64" and VNNI.isdisjoint(processor_flags()):
        return "this machine has no VNNI: its own sums may saturate and pass for right answers"
    demanded = any(VNNI.issuperset(group) for group in profile.cpu_flags)
    if missing and not demanded:
        return f"sums may saturate where nobody could look: {missing[0]}"
    return ""


def processor_flags() -> Sequence[str]:
    """Return what this machine's processor can do; nothing where the system does not tell."""
    try:
        return parse_cpuinfo(_CPUINFO.read_text("utf-8", "replace"))[1]
    except OSError:
        return ()
