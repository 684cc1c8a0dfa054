"""What this machine is: read from the kernel's own files; nothing is started or written."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from edge_runtime import __version__
from edge_runtime.contract.cpuinfo import parse_cpuinfo
from edge_runtime.contract.errors import EngineConflict, EngineMissing
from edge_runtime.contract.facts import DeviceFacts, EngineFacts

# The kernel's name of a machine → ours, for a 64-bit and for a 32-bit userland.
_ARCHITECTURES = {
    "x86_64": ("x86-64", "x86"),
    "amd64": ("x86-64", "x86"),
    "i686": ("x86", "x86"),
    "aarch64": ("arm64", "arm"),
    "arm64": ("arm64", "arm"),
    "armv7l": ("arm", "arm"),
    "armv6l": ("arm", "arm"),
}

# Control groups of version 1 write "no limit" as the largest whole number of pages.
_UNLIMITED = 1 << 62
_QUOTA = re.compile(r"(?P<quota>\d+)\s+(?P<period>\d+)")


def probe(*, engine: bool = True, root: Path = Path("/")) -> DeviceFacts:
    """Return the facts of this machine.

    Args:
        engine: also import the engine, which alone knows its real execution providers.
        root: where ``proc`` and ``sys`` stand.
    """
    kernel = os.uname()
    cpu_model, cpu_flags = parse_cpuinfo(_read(root / "proc/cpuinfo"))
    quota, limit = control_group_limits(root)
    found, problem = _engine() if engine else (None, "nobody asked for it")
    return DeviceFacts(
        os=sys.platform,
        architecture=architecture(kernel.machine, wide=sys.maxsize > 1 << 32),
        kernel=f"{kernel.machine} {kernel.release}",
        cpu_model=cpu_model,
        cpu_flags=cpu_flags,
        cpus=len(os.sched_getaffinity(0)),
        cpu_quota=quota,
        memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        memory_limit_bytes=limit,
        libc=_libc(),
        python=f"{sys.implementation.name} {platform.python_version()}",
        boot_id=_read(root / "proc/sys/kernel/random/boot_id").strip(),
        runtime=__version__,
        engine=found,
        engine_problem=problem,
        accelerator=accelerator(root),
    )


def architecture(machine: str, *, wide: bool) -> str:
    """Return our name of an architecture.

    Args:
        machine: the kernel's name of it.
        wide: whether the userland has 64 bits; a 32-bit one also runs on 64-bit kernels.
    """
    names = _ARCHITECTURES.get(machine.lower())
    if names is None:
        return machine
    return names[0] if wide else names[1]


def control_group_limits(root: Path) -> tuple[float | None, int | None]:
    """Return the CPU quota in CPUs and the memory limit in bytes, the least of every level.

    Versions 1 and 2 of control groups are read alike, because a directory only has the files
    of its own version.
    """
    quotas: list[float] = []
    limits: list[int] = []
    for directory in control_groups(root):
        quotas += _quota(_read(directory / "cpu.max"))
        period = _read(directory / "cpu.cfs_period_us")
        quotas += _quota(f"{_read(directory / 'cpu.cfs_quota_us')} {period}")
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _read(directory / name).strip()
            if text.isdigit() and int(text) < _UNLIMITED:
                limits.append(int(text))
    return min(quotas, default=None), min(limits, default=None)


def _quota(text: str) -> list[float]:
    """Read ``quota period`` in microseconds; ``max`` or a negative quota means none."""
    found = _QUOTA.fullmatch(text.strip())
    if found is None:
        return []
    quota, period = int(found["quota"]), int(found["period"])
    return [quota / period] if quota and period else []


def control_groups(root: Path) -> Iterator[Path]:
    """Yield the directories of this process's control groups, and those above them."""
    own: dict[str, str] = {}
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        # Version 2 lists no controllers.
        own.update(dict.fromkeys(controllers.split(","), path))
    for line in _read(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        mount, filesystem = before.split(), after.split()
        if filesystem[:1] not in (["cgroup"], ["cgroup2"]):
            continue
        names = [""] if filesystem[0] == "cgroup2" else filesystem[-1].split(",")
        inside = next((own[name] for name in names if name in own), None)
        if inside is not None:
            yield from _levels(root / mount[4].lstrip("/"), mount[3], inside)


def _levels(mounted: Path, mounted_from: str, path: str) -> Iterator[Path]:
    """Yield a group's directory and those above it, up to the mount.

    In a container the mount often starts below the real root, and the path may then lie out of
    sight; the mount itself is the nearest group there.
    """
    group, base = Path(path), Path(mounted_from)
    inside = group.relative_to(base) if group.is_relative_to(base) else Path()
    if ".." in inside.parts:
        inside = Path()
    for level in (inside, *inside.parents):
        yield mounted / level


def accelerator(root: Path) -> str:
    """Return the driver and the chips of an accelerator; empty where none is known.

    NVIDIA's driver tells its version and its chips, boards with a Tegra the release of their
    system, AMD's driver its version where it was installed apart from the kernel.
    """
    told: list[str] = []
    for module in ("nvidia", "amdgpu"):
        version = _read(root / "sys/module" / module / "version").strip()
        told += [f"{module} {version}"] if version else []
    chips = (root / "proc/driver/nvidia/gpus").glob("*/information")
    told += sorted({_after_colon(_read(path), "Model") for path in chips} - {""})
    told += _read(root / "etc/nv_tegra_release").splitlines()[:1]
    return " ".join(" ".join(told).split())


def _after_colon(text: str, name: str) -> str:
    """Return what stands behind a name in lines of ``name: value``."""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _libc() -> str:
    if "CS_GNU_LIBC_VERSION" in os.confstr_names:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    return "musl" if any(Path("/lib").glob("ld-musl-*")) else ""


def _engine() -> tuple[EngineFacts | None, str]:
    # Imported here, because the session pulls numpy in.
    from edge_runtime.engine.session import engine_facts

    try:
        return engine_facts(), ""
    except (EngineMissing, EngineConflict) as error:
        return None, error.message


def _read(path: Path) -> str:
    """Return a kernel file's text; empty where this kernel does not have it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
