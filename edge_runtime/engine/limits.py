"""What a child that tries or serves a model may take here: computed, not guessed."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from edge_runtime.contract.errors import JsonMalformed
from edge_runtime.contract.strictjson import Fields
from edge_runtime.engine.session import SessionPlan, open_session

PROC: Final = Path("/proc")

# A graph of one Identity, as the engine reads it: y = x. A session of it has the engine's own
# threads, their stacks and their share of the allocator, and next to nothing else.
EMPTY: Final = (
    b'\x08\x07:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01e'
    b"Z\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01"
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)

# Threads that an engine may have of its own beside those of a session.
_SPARE_THREADS: Final = 8
# How often and how long apart they are looked at until they are all there.
_LOOKS: Final = 500
_LOOK_S: Final = 0.001
_PR_SET_PDEATHSIG: Final = 1
_FIELDS: Final = ("VmSize", "VmData", "RssAnon", "Threads")


@dataclass(frozen=True)
class Usage:
    """What a process takes, as the kernel counts it.

    Attributes:
        address_space: bytes that RLIMIT_AS counts: mapped files and reserves too.
        data: bytes that RLIMIT_DATA counts: private memory, touched or not.
        anonymous: bytes of memory that are no file's and really there.
        threads: how many it has.
    """

    address_space: int
    data: int
    anonymous: int
    threads: int


@dataclass(frozen=True)
class Bounds:
    """What a confined process may have in all; beyond that its parent ends it.

    Attributes:
        engine: bytes of memory that it had before the model; no file's, as all of these.
        working_set: bytes of memory that the model may have.
        mapped: bytes of files that it maps.
        threads: how many.
    """

    engine: int
    working_set: int
    mapped: int
    threads: int

    def to_json(self) -> dict[str, int]:
        """Return the bounds as a child tells them to its parent."""
        return asdict(self)


def bounds_from_json(value: object) -> Bounds:
    """Read what ``to_json`` returned.

    Raises:
        JsonMalformed: when it is anything else.
    """
    fields = Fields(value, "bounds", JsonMalformed)
    bounds = Bounds(
        engine=fields.integer("engine"),
        working_set=fields.integer("working_set"),
        mapped=fields.integer("mapped"),
        threads=fields.integer("threads"),
    )
    fields.done()
    return bounds


def usage(process: int | str = "self") -> Usage | None:
    """Return what a process takes; None where it has ended or the kernel does not tell."""
    try:
        text = (PROC / str(process) / "status").read_text("ascii", errors="replace")
    except OSError:
        return None
    told: Mapping[str, str] = dict(
        line.split(":", 1) for line in text.splitlines() if ":" in line
    )
    if any(name not in told for name in _FIELDS):
        return None
    size, data, anonymous = (int(told[name].split()[0]) * 1024 for name in _FIELDS[:3])
    return Usage(size, data, anonymous, int(told["Threads"]))


def confine(
    *, memory_bytes: int | None, threads: int, cpu_s: float | None, mapped_bytes: int = 0
) -> Bounds | None:
    """Bound this process for the rest of its life; nothing of a model may be open yet.

    Nothing is written to any file, no core is dumped, and what never returns is ended even if
    nobody waits for it any more. Memory is counted from what the engine takes for itself: a
    session of nothing is opened with as many threads, and its address space is what the
    model's own comes on top of.

    Args:
        memory_bytes: the model's working set; None for no bound.
        threads: how many the engine will start for it.
        cpu_s: seconds of CPU time; None for no bound.
        mapped_bytes: files that it will map; address space, but no memory of its own.

    Returns:
        What a parent has to watch; None where memory has no bound, or the kernel does not tell
        what a process takes.
    """
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    if cpu_s is not None:
        _limit(resource.RLIMIT_CPU, int(cpu_s) + 1)
    engine = _engine_usage(threads) if memory_bytes is not None else None
    if memory_bytes is None or engine is None:
        return None
    more = memory_bytes + mapped_bytes
    _limit(resource.RLIMIT_AS, engine.address_space + more)
    # Older engines map weights in a way that counts as private memory.
    _limit(resource.RLIMIT_DATA, engine.data + more)
    return Bounds(
        engine=engine.anonymous,
        working_set=memory_bytes,
        mapped=mapped_bytes,
        threads=engine.threads + _SPARE_THREADS,
    )


def _engine_usage(threads: int) -> Usage | None:
    """Return what this process takes while the engine has a session of nothing."""
    session = open_session(EMPTY, SessionPlan(threads=threads))
    _wait_for_sleep()
    found = usage()
    session.close()
    return found


def _wait_for_sleep() -> None:
    """Wait until all other threads sleep: one that was not yet started has not all it takes."""
    quiet = 0
    for _ in range(_LOOKS):
        time.sleep(_LOOK_S)
        quiet = quiet + 1 if _others_sleep() else 0
        if quiet > 1:  # who waits for a lock on its way looks asleep, but not for long
            return


def _others_sleep() -> bool:
    own = str(threading.get_native_id())
    with suppress(OSError):
        tasks = [task for task in (PROC / "self/task").iterdir() if task.name != own]
        states = [(task / "stat").read_text("ascii", errors="replace") for task in tasks]
        return all(state.rpartition(")")[2].split()[:1] == ["S"] for state in states)
    return False


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def go_first() -> None:
    """Be what the kernel ends first when the machine's memory runs out, before any service."""
    with suppress(OSError):
        (PROC / "self/oom_score_adj").write_text("1000", "ascii")


def end_with_parent(parent: int) -> None:
    """End this process when the thread that started it ends, however that happens.

    Args:
        parent: the process that is meant to be waiting.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before that could be asked for
        os.kill(os.getpid(), signal.SIGKILL)
