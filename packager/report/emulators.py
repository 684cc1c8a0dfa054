"""Which promised CPU models run on this machine, as ``packager emulators`` tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from packager.emulation.emulators import EmulatorsHere
from packager.report.terminal import table


def emulators_json(found: EmulatorsHere) -> dict[str, Any]:
    """Return the object that ``--json`` prints."""
    return {
        "folder": str(found.folder),
        "libraries": dict(found.there),
        "cpus": [{**asdict(cpu), "runs": not cpu.missing} for cpu in found.cpus],
    }


def emulators_text(found: EmulatorsHere) -> str:
    """Return a table of the CPU models, why some do not run, and what the ARM Python has."""
    rows = [
        (cpu.target, cpu.qemu, "does not run" if cpu.missing else "runs", cpu.name)
        for cpu in found.cpus
    ]
    lines = [table(rows, ("target", "qemu", "here", "CPU"), indent="")]
    lines += dict.fromkeys(cpu.missing for cpu in found.cpus if cpu.missing)
    lines += [f"kept in {found.folder}"]
    if found.there:
        lines += [f"the ARM Python has {_versions(found.there)}"]
    other = {name: found.here.get(name, version) for name, version in found.there.items()}
    if other != found.there:
        lines += [f"this Python has {_versions(other)}"]
    return "\n".join(lines)


def _versions(libraries: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {libraries[name]}" for name in sorted(libraries))
