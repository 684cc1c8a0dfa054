"""What a child that tries a model may take from this machine."""

from __future__ import annotations

import resource
from pathlib import Path

_STATUS = Path("/proc/self/status")
# A thread maps a stack, and the allocator an arena for it.
_THREAD_BYTES = 80 << 20


def confine(*, memory_bytes: int | None, threads: int, cpu_s: float) -> None:
    """Bound this process for the rest of its life; call it once the engine is imported.

    Nothing is written to any file, no core is dumped, and what never returns is ended even if
    nobody waits for it any more.

    Args:
        memory_bytes: what it may take beyond what it has now; None for no bound.
        threads: how many it will start.
        cpu_s: seconds of CPU time.
    """
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CPU, int(cpu_s) + 1)
    taken = _private_bytes()
    if memory_bytes is not None and taken is not None:
        _limit(resource.RLIMIT_DATA, taken + memory_bytes + threads * _THREAD_BYTES)


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _private_bytes() -> int | None:
    """Return what RLIMIT_DATA counts, as the kernel tells it."""
    for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        name, _, rest = line.partition(":")
        if name == "VmData":
            return int(rest.split()[0]) * 1024
    return None
