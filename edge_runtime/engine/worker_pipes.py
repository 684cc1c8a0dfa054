"""One worker process and the two pipes to it; used by one thread at a time."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Final, cast

import numpy as np

from edge_runtime.contract.errors import JsonMalformed, WorkerFailed
from edge_runtime.contract.tensors import Array
from edge_runtime.engine import frames
from edge_runtime.engine.child import command
from edge_runtime.engine.frames import Frame, Part

_MODULE: Final = "edge_runtime.engine.worker"
# Up to here one write, and so one wake-up of the worker, is worth a copy.
_JOINED_BYTES: Final = 1 << 16
_PIPE_BYTES: Final = 1 << 20  # the kernel's default of 64 KiB made large tensors slower
_END_S: Final = 1.0
_WORDS_BYTES: Final = 1 << 16  # as many as a pipe holds


class TooLateError(Exception):
    """A step was not over by its time."""


class EndedError(Exception):
    """The worker has ended, or says what no worker of ours says."""


class WorkerProcess:
    """A worker, from its start to its end.

    Args:
        arguments: what ``worker.main`` takes.

    Attributes:
        began_ns: when it was started, by ``time.monotonic_ns``.
        ready: whether it said that it has opened the model.

    Raises:
        WorkerFailed: when it cannot be started.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.began_ns = time.monotonic_ns()
        self.ready = False
        try:
            self._process = subprocess.Popen(
                command(_MODULE, arguments),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd="/",
                start_new_session=True,  # Ctrl-C is for the process that has the terminal
            )
        except OSError as error:
            raise WorkerFailed(
                f"a worker must be started by {sys.executable!r}, the kernel says "
                f"{error.strerror}",
                hint="Check that Python and the number of processes that this user may have.",
                program=sys.executable,
                reason=error.strerror,
                begun=False,
            ) from None
        pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._pipes = [cast("IO[bytes]", pipe) for pipe in pipes]
        self._to, self._from, self._words = (pipe.fileno() for pipe in self._pipes)
        for pipe in self._pipes:
            os.set_blocking(pipe.fileno(), False)
        for descriptor in (self._to, self._from):
            with suppress(OSError):  # this user's pipes hold enough already
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def fault(self) -> str:
        """Return why it cannot be asked: it ended, or speaks unasked; empty where it can."""
        try:
            said = os.read(self._from, 1)
        except BlockingIOError:
            return ""
        return "it spoke unasked" if said else self.how_ended()

    def send(self, parts: Sequence[Part], until_ns: int | None) -> None:
        """Write a frame.

        Raises:
            TooLateError: when it is not written by then.
            EndedError: when nobody reads it.
        """
        joined = sum(map(len, parts)) <= _JOINED_BYTES
        for part in [b"".join(parts)] if joined else parts:
            rest = memoryview(part)
            while len(rest):
                try:
                    rest = rest[os.write(self._to, rest) :]
                except BlockingIOError:
                    self._wait(self._to, select.POLLOUT, until_ns)
                except BrokenPipeError:
                    raise EndedError(self.how_ended()) from None

    def receive(self, until_ns: int | None, *, limit: int) -> Frame:
        """Read a frame.

        Args:
            until_ns: when it must be there, by ``time.monotonic_ns``; None for ever.
            limit: the most bytes of arrays to take.

        Raises:
            TooLateError: when it is not there by then.
            EndedError: when it does not come, or is none.
        """
        try:
            start = self._read(frames.LENGTHS.size, until_ns)
            head, body = frames.lengths(start.tobytes(), limit=limit)
            return frames.unpack(
                self._read(head, until_ns).tobytes(), self._read(body, until_ns)
            )
        except JsonMalformed as error:
            raise EndedError(f"it did not answer as a worker does: {error.message}") from None

    def _read(self, size: int, until_ns: int | None) -> Array:
        data = np.empty(size, np.uint8)
        rest = data.data
        while len(rest):
            try:
                count = os.readv(self._from, [rest])
            except BlockingIOError:
                self._wait(self._from, select.POLLIN, until_ns)
                continue
            if not count:
                raise EndedError(self.how_ended())
            rest = rest[count:]
        return data

    def await_answer(self, until_ns: int) -> None:
        """Wait until there is something to read.

        Raises:
            TooLateError: when there is nothing by then.
        """
        self._wait(self._from, select.POLLIN, until_ns)

    def _wait(self, descriptor: int, event: int, until_ns: int | None) -> None:
        waiting = select.poll()
        waiting.register(descriptor, event)
        left_ms = None if until_ns is None else (until_ns - time.monotonic_ns()) / 1e6
        in_time = left_ms is None or left_ms > 0
        if not in_time or not waiting.poll(left_ms):
            raise TooLateError

    def how_ended(self) -> str:
        """End it, if it has not ended by itself, and return how that was."""
        try:
            status = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.end()
            return "it hung up"
        if status >= 0:
            return f"it ended with exit status {status}: {self._last_words() or 'silence'}"
        name = signal.Signals(-status).name
        what = ", as happens when memory runs out" if name == "SIGKILL" else ""
        return f"it was ended by {name}{what}"

    def _last_words(self) -> str:
        """Return the last line that it wrote to its standard error before it was ready."""
        try:
            data = os.read(self._words, _WORDS_BYTES)
        except BlockingIOError:
            return ""
        return data.decode("utf-8", "replace").strip().rpartition("\n")[2][-200:]

    def end(self) -> None:
        """End it at once, whatever it does."""
        self._process.kill()
        # One that the kernel holds, for a disk that does not answer, ends when it is let go.
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)

    def let_go(self) -> None:
        """Close the pipes; a worker that still lives ends by that."""
        for pipe in self._pipes:
            pipe.close()
