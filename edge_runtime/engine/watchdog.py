"""Deadlines: one thread stops every timed prediction of this process that is not over in time.

Each timed call brings something of its own to be stopped by, so a shot that comes too late hits
nothing: the next call has another.
"""

from __future__ import annotations

import os
import threading
import time
from numbers import Real
from typing import Any, Final, Protocol

from edge_runtime.contract.errors import DeadlineExceeded, UsageError

_NEVER: Final = 1 << 63
_NS_PER_MS: Final = 1_000_000
# About 11 days; the kernel's own timers end soon after.
MAX_TIMEOUT_MS: Final = 1e9
_HINT: Final = "Give it more time or fewer rows; isolate=True bounds what cannot be stopped."


class Stoppable(Protocol):
    """What the engine looks at between two nodes; ONNX Runtime's ``RunOptions``."""

    terminate: bool


def checked_timeout(timeout_ms: Any) -> float:
    """Return how long a prediction may take, if it is a time at all.

    Raises:
        UsageError: when it is no number above 0 and up to ``MAX_TIMEOUT_MS`` milliseconds.
    """
    if not isinstance(timeout_ms, Real) or not 0 < float(timeout_ms) <= MAX_TIMEOUT_MS:
        raise UsageError(
            f"timeout_ms must be above 0, at most {MAX_TIMEOUT_MS:.0f}, it is {timeout_ms!r}",
            hint="Give milliseconds, or nothing where a prediction may take for ever.",
            expected=[0, MAX_TIMEOUT_MS],
            found=repr(timeout_ms),
        )
    return float(timeout_ms)


class Deadline:
    """The moment by which one call must be over.

    Attributes:
        timeout_ms: how long the call may take.
        at_ns: that moment by ``time.monotonic_ns``.
        stop: what ends the call; None where nothing but the caller looks at the time.
    """

    __slots__ = ("at_ns", "began_ns", "stop", "timeout_ms")

    def __init__(self, timeout_ms: float, stop: Stoppable | None = None) -> None:
        self.timeout_ms = timeout_ms
        self.stop = stop
        self.began_ns = time.monotonic_ns()
        self.at_ns = self.began_ns + int(timeout_ms * _NS_PER_MS)

    @property
    def passed(self) -> bool:
        """Tell whether that moment lies behind."""
        return time.monotonic_ns() >= self.at_ns

    def left_ms(self) -> float:
        """Return how long the call may still take; 0 when the moment lies behind."""
        return max(0.0, (self.at_ns - time.monotonic_ns()) / _NS_PER_MS)

    def elapsed_ms(self) -> float:
        """Return how long ago the call began."""
        return round((time.monotonic_ns() - self.began_ns) / _NS_PER_MS, 3)


def deadline_exceeded(
    deadline: Deadline, how: str, *, begun: bool = True, hint: str = _HINT
) -> DeadlineExceeded:
    """Return the error of a call that was not over in time.

    Args:
        deadline: the call's.
        how: what became of it.
        begun: whether the graph was being computed; otherwise it only waited.
        hint: what helps.
    """
    return DeadlineExceeded(
        f"a prediction must end within {deadline.timeout_ms:g} ms; {how}",
        hint=hint,
        timeout_ms=deadline.timeout_ms,
        elapsed_ms=deadline.elapsed_ms(),
        begun=begun,
    )


class Watchdog:
    """Stops calls at their deadlines. One thread serves them all, from the first one on.

    The thread sleeps until the earliest deadline that it was ever told of and not until that of
    a call that is still running: calls of one timeout that follow each other wake it once a
    timeout, not once a call.
    """

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._running: set[Deadline] = set()
        self._wakes_ns = _NEVER
        self._thread: threading.Thread | None = None

    def begin(self, deadline: Deadline) -> None:
        """Watch a call until ``end``.

        Raises:
            RuntimeError: when the thread cannot be started.
        """
        if self._thread is None:
            self.start()
        with self._changed:
            self._running.add(deadline)
            if deadline.at_ns < self._wakes_ns:
                self._wakes_ns = deadline.at_ns
                self._changed.notify()

    def start(self) -> None:
        """Start the thread now, where it is not to be started by the first call.

        Raises:
            RuntimeError: when it cannot be started.
        """
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._watch, name="edgepack-watchdog")
                thread.daemon = True
                thread.start()
                self._thread = thread

    def end(self, deadline: Deadline) -> None:
        """Watch a call no longer; nothing is stopped on its account after this."""
        with self._changed:
            self._running.discard(deadline)

    def after_fork(self) -> None:
        """Begin anew in a forked child, which has none of the threads."""
        self._renew()

    def _watch(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic_ns()
                if now >= self._wakes_ns:
                    self._stop_those_due(now)
                sleeping = None if self._wakes_ns == _NEVER else (self._wakes_ns - now) / 1e9
                self._changed.wait(sleeping)

    def _stop_those_due(self, now: int) -> None:
        for deadline in [one for one in self._running if one.at_ns <= now]:
            self._running.discard(deadline)
            if deadline.stop is not None:
                deadline.stop.terminate = True
        self._wakes_ns = min((one.at_ns for one in self._running), default=_NEVER)


WATCHDOG: Final = Watchdog()
os.register_at_fork(after_in_child=WATCHDOG.after_fork)
