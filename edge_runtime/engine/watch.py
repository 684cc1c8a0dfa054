"""Watching a child: its memory, threads and time; one that takes too much is ended by name.

The limits that the kernel keeps (``edge_runtime.engine.limits``) count address space, and so
have to leave room for what is only mapped. What a process really takes is seen from outside.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Final

from edge_runtime.contract import strictjson
from edge_runtime.contract.errors import JsonMalformed
from edge_runtime.contract.units import size
from edge_runtime.engine.control_group import ControlGroup
from edge_runtime.engine.limits import PROC, Bounds, bounds_from_json, usage

_POLL_MS: Final = 10
_PIECE: Final = 1 << 16
# What is kept of a pipe: more than any report has, however long an engine complains.
_KEPT: Final = 1 << 20


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        status: its exit status; the negative number of the signal that ended it.
        stopped: why it was ended from outside; empty where it ended by itself.
        report: the last line that it wrote into its pipe; empty where it never did.
        complaint: the last line of its standard error.
        memory_bytes: the most memory seen beyond the engine's own; None where the child had no
            bounds to count it from.
    """

    status: int
    stopped: str
    report: bytes
    complaint: str
    memory_bytes: int | None


def watched(command: Sequence[str], *, timeout_s: float) -> Ended:
    """Run a child until it ends or takes too much; whatever it started ends with it.

    It is told the number of its parent and that of a pipe, as its last two arguments. Into the
    pipe it writes a line with its bounds, where it has any, before it opens anything of a
    model; and a line with its report at the end.

    Args:
        command: the child's command line.
        timeout_s: how long it may take.

    Raises:
        OSError: when it cannot be started.
    """
    with ExitStack() as stack:
        group = stack.enter_context(ControlGroup.made())
        report, errors = (stack.enter_context(_Pipe()) for _ in range(2))
        child = subprocess.Popen(
            [*command, str(os.getpid()), str(report.writing)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors.writing,
            pass_fds=(report.writing,),
            cwd="/",
            start_new_session=True,  # a process group of its own, which is ended whole
        )
        stack.callback(_end, child)
        group.enter(child.pid)
        watch = _Watch(child.pid, report, errors, group)
        stopped = watch.until_it_ends(timeout_s)
        stopped = stopped or group.reason()
        _end(child)
        return Ended(
            status=child.returncode,
            stopped=stopped,
            report=report.last_line(),
            complaint=errors.last_line().decode("utf-8", "replace"),
            memory_bytes=watch.memory_bytes(),
        )


class _Pipe:
    """A pipe that a child writes into; what it writes is read without waiting for it."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        self.data = b""

    def __enter__(self) -> _Pipe:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.reading)
        os.close(self.writing)

    def read(self) -> None:
        """Take what is there."""
        with suppress(BlockingIOError):
            while piece := os.read(self.reading, _PIECE):
                self.data = (self.data + piece)[-_KEPT:]

    def last_line(self) -> bytes:
        """Return the last line that has any text."""
        return self.data.strip().rpartition(b"\n")[2]


class _Watch:
    """One child as its parent sees it."""

    def __init__(self, pid: int, report: _Pipe, errors: _Pipe, group: ControlGroup) -> None:
        self._pid = pid
        self._report, self._errors = report, errors
        self._group = group
        self._bounds: Bounds | None = None
        self._peak = 0
        self._poll = select.poll()
        for pipe in (report, errors):
            self._poll.register(pipe.reading, select.POLLIN)

    def until_it_ends(self, timeout_s: float) -> str:
        """Wait, and return why the child has to be ended; empty where it ended by itself."""
        deadline = time.monotonic() + timeout_s
        while not _has_ended(self._pid):
            if time.monotonic() >= deadline:
                return f"it did not answer within {timeout_s:g} s"
            self._poll.poll(_POLL_MS)
            self._listen()
            reason = self._too_much()
            if reason:
                return reason
        self._listen()
        return ""

    def memory_bytes(self) -> int | None:
        """Return the most memory that was seen to be the model's."""
        if self._bounds is None:
            return None
        return max(0, self._peak - self._bounds.engine)

    def _listen(self) -> None:
        self._report.read()
        self._errors.read()
        if self._bounds is None and b"\n" in self._report.data:
            first = self._report.data.partition(b"\n")[0]
            with suppress(JsonMalformed):
                self._bounds = bounds_from_json(strictjson.loads(first, what="the bounds"))
                self._group.limit(self._bounds)

    def _too_much(self) -> str:
        """Return what the child takes that it must not; empty while it does not."""
        bounds, taken = self._bounds, usage(self._pid)
        if bounds is None or taken is None:
            return ""
        self._peak = max(self._peak, taken.anonymous)
        if taken.anonymous > bounds.engine + bounds.working_set:
            return f"it took more memory than its working set of {size(bounds.working_set)}"
        if taken.threads > bounds.threads:
            return f"it started {taken.threads} threads, it may have {bounds.threads}"
        return "it started another process" if _has_children(self._pid) else ""


def _has_ended(pid: int) -> bool:
    """Tell whether a child has ended; its number stays taken until somebody waits for it."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True  # whoever owns this process has its children waited for


def _has_children(pid: int) -> bool:
    """Tell whether a process has started others; False where the kernel does not say."""
    with suppress(OSError):
        tasks = (PROC / str(pid) / "task").iterdir()
        return any((task / "children").read_bytes() for task in tasks)
    return False


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a child and all that it started, before its number may mean somebody else."""
    if child.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
