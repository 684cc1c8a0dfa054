"""What a model's process saw: counted without a lock, written to its log once a window."""

from __future__ import annotations

import atexit
import math
import os
import threading
import time
import weakref
from bisect import bisect_left
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_runtime.contract.histogram import BOUNDS
from edge_runtime.contract.segments import Subject
from edge_runtime.contract.summary import Summary, summarize
from edge_runtime.contract.windows import MAX_EVENTS, MAX_TEXT, Event, Fact, Tally, Window
from edge_runtime.segment_writer import CAP_BYTES, SegmentWriter

__all__ = ["WINDOW_S", "Recorder", "Subject", "Summary", "summarize"]

WINDOW_S: Final = 60.0
MAX_CODES: Final = 64  # distinct error codes that are kept apart; the rest share OTHER_CODE
OTHER_CODE: Final = "other"
_STATM: Final = Path("/proc/self/statm")
_ALIVE: Final[weakref.WeakSet[Recorder]] = weakref.WeakSet()


class Recorder:
    """Counts the predictions, errors and events of one loaded model.

    Counting never fails and never waits for the disk. A window that cannot be written stays
    in memory, is merged with the next, and ``problem`` says why. A forked child counts anew,
    from zero and into segments of its own. Close it, or the process's exit does.

    Args:
        directory: the model's log directory; None counts in memory and writes nothing.
        subject: what is measured.
        window_s: seconds between two writes; what a killed process loses at most.
        cap_bytes: what the directory's segments may take up, at least 128 KiB.
    """

    def __init__(
        self,
        directory: Path | None,
        subject: Subject,
        *,
        window_s: float = WINDOW_S,
        cap_bytes: int = CAP_BYTES,
    ) -> None:
        self._directory = directory
        self._subject = subject
        self._window_s = window_s
        self._cap_bytes = cap_bytes
        self._problem: str | None = None
        self._renew()
        hindrance = None if directory is None else _hindrance(directory)
        if hindrance is not None:
            self._complain(hindrance)
        _ALIVE.add(self)

    def _renew(self) -> None:
        """Set up what belongs to one process alone."""
        self._writing = threading.Lock()  # held over a window's write, by nobody who serves
        self._noting = threading.Lock()  # held shortly, over errors, events and the start
        self._mine = threading.local()
        self._tallies = _Tallies()
        self._errors: dict[str, int] = {}
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._events_ever = 0
        self._writer: SegmentWriter | None = None
        if self._directory is not None:
            self._writer = SegmentWriter(
                self._directory, self._subject, cap_bytes=self._cap_bytes
            )
        self._written = self._look()
        self._sequence = 0
        self._started = False
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    @property
    def problem(self) -> str | None:
        """Why windows are not being written at present; None when all is well."""
        return self._problem

    def record(self, rows: int, elapsed_ns: int) -> None:
        """Count one successful prediction."""
        try:
            tally = self._mine.tally
        except AttributeError:
            tally = self._first_tally()
        latency = tally.latency  # what follows is Histogram.record without the cost of a call
        latency.counts[bisect_left(BOUNDS, elapsed_ns)] += 1
        latency.sum_ns += elapsed_ns
        tally.rows += rows

    def error(self, code: str) -> None:
        """Count one failed prediction."""
        key = _text(code)
        with self._noting:
            if key not in self._errors and len(self._errors) >= MAX_CODES:
                key = OTHER_CODE
            self._errors[key] = self._errors.get(key, 0) + 1
            self._start()

    def event(self, kind: str, /, **facts: Fact) -> None:
        """Note that something happened once, such as a load."""
        plain = {name: _fact(value) for name, value in facts.items()}
        with self._noting:
            self._events.append(Event(_text(kind), _since_boot_ms(), plain))
            self._events_ever += 1
            self._start()

    def flush(self) -> None:
        """Write the window so far, now."""
        with self._writing:
            if self._writer is None:
                return
            seen = self._look()
            window = self._window(seen)
            if window.tally != Tally() or window.events:
                try:
                    self._writer.append(window.to_json())
                except OSError as error:
                    self._complain(error.strerror or str(error))
                    return
                self._sequence += 1
                self._problem = None
            self._written = seen

    def close(self) -> None:
        """Write what is left and end the thread; what is counted later is not written."""
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self.flush()
        if self._writer is not None:
            self._writer.close()
        atexit.unregister(self.close)

    def after_fork(self) -> None:
        """Begin anew in a forked child: what was counted before is the parent's to write."""
        if self._writer is not None:
            self._writer.abandon()
        self._renew()

    def _first_tally(self) -> Tally:
        # Nothing but the thread's own storage holds the lease, so it ends with the thread.
        lease = self._mine.lease = self._tallies.lease()
        self._mine.tally = lease.tally
        with self._noting:
            self._start()
        return lease.tally

    def _start(self) -> None:
        """Start the writing thread with the first thing to write, once a process."""
        if self._started or self._writer is None or self._stop.is_set():
            return
        self._started = True
        atexit.register(self.close)
        thread = threading.Thread(target=self._run, name="edgepack-metrics", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._complain(f"{error}, so they are written at exit only")
        else:
            self._thread = thread

    def _run(self) -> None:
        while not self._stop.wait(self._window_s):
            self.flush()

    def _look(self) -> _Seen:
        with self._noting:
            total = Tally(errors=dict(self._errors))
            events, events_ever = tuple(self._events), self._events_ever
        self._tallies.add_to(total)
        return _Seen(total, events, events_ever, _since_boot_ms(), _cpu_ms())

    def _window(self, seen: _Seen) -> Window:
        """Return what came since the last window that was written."""
        written = self._written
        fresh = seen.events_ever - written.events_ever
        kept = min(fresh, len(seen.events))
        return Window(
            sequence=self._sequence,
            from_ms=written.at_ms,
            to_ms=seen.at_ms,
            clock_s=max(0, int(time.time())),
            tally=seen.total.minus(written.total),
            events=seen.events[len(seen.events) - kept :],
            events_dropped=fresh - kept,
            rss_kib=_rss_kib(),
            cpu_ms=seen.cpu_ms - written.cpu_ms,
        )

    def _complain(self, reason: str) -> None:
        problem = (
            f"metrics are not written to {self._directory}: {reason} (user {os.geteuid()}); "
            f"counts stay in memory, a try is made every {self._window_s:g} s"
        )
        known, self._problem = self._problem, problem
        if problem == known:
            return
        # Imported only here, because that takes a while; where nothing can be opened any more
        # it fails, and ``problem`` alone tells.
        with suppress(ImportError, OSError):
            import logging

            logging.getLogger(__name__).warning("%s", problem)


@dataclass(frozen=True)
class _Seen:
    """All that a process has counted up to a moment; two of them make a window."""

    total: Tally
    events: tuple[Event, ...]  # the latest
    events_ever: int
    at_ms: int
    cpu_ms: int


class _Tallies:
    """Every thread's own tally, so that counting needs no lock.

    Tallies are never reset, only added up, so one passes from a thread that has ended to the
    next: there are never more of them than threads were alive at once.
    """

    def __init__(self) -> None:
        self._all: list[Tally] = []
        self._free: deque[Tally] = deque()

    def lease(self) -> _Lease:
        try:
            tally = self._free.pop()
        except IndexError:
            tally = Tally()
            self._all.append(tally)
        return _Lease(tally, self._free)

    def add_to(self, total: Tally) -> None:
        for tally in tuple(self._all):
            total.add(tally)


class _Lease:
    """Gives its tally back when it is let go of."""

    def __init__(self, tally: Tally, free: deque[Tally]) -> None:
        self.tally = tally
        self._free = free

    def __del__(self) -> None:
        self._free.append(self.tally)


def _hindrance(directory: Path) -> str | None:
    """Return what is known to keep this process from writing, before it tries."""
    try:
        directory.stat()
    except OSError as error:
        return error.strerror
    allowed = os.access(directory, os.R_OK | os.W_OK | os.X_OK)
    return None if allowed else "it may not be written"


def _fact(value: Fact) -> Fact:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return _text(str(value))


def _text(value: str) -> str:
    """Return text that any encoding and any log line can hold."""
    return value[:MAX_TEXT].encode("utf-8", "replace").decode("utf-8")


def _since_boot_ms() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def _cpu_ms() -> int:
    return time.process_time_ns() // 1_000_000


def _rss_kib() -> int | None:
    try:
        pages = int(_STATM.read_bytes().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def _begin_anew_in_child() -> None:
    for recorder in tuple(_ALIVE):
        recorder.after_fork()


os.register_at_fork(after_in_child=_begin_anew_in_child)
