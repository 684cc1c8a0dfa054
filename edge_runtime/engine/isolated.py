"""A model in a process of its own, which is ended when it does not answer, and started anew."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge_runtime.contract.bundle.manifest import Variant
from edge_runtime.contract.bundle.verify import VerifiedPackage
from edge_runtime.contract.errors import (
    DeadlineExceeded,
    EdgepackError,
    InputShape,
    JsonMalformed,
    PredictionFailed,
    WorkerFailed,
    leaves,
)
from edge_runtime.contract.strictjson import Fields
from edge_runtime.contract.tensors import Arrays, dtype_name
from edge_runtime.engine import frames
from edge_runtime.engine.frames import Frame, Part
from edge_runtime.engine.watchdog import Deadline, deadline_exceeded
from edge_runtime.engine.worker_pipes import EndedError, TooLateError, WorkerProcess

START_S: Final = 120.0
# What a worker gets beyond a deadline, to stop between two nodes before it is ended.
GRACE_MS: Final = 50.0
_CLOSED: Final = "the model was closed"
_ALIVE: Final[weakref.WeakSet[Isolated]] = weakref.WeakSet()


@dataclass(frozen=True)
class Task:
    """What a worker serves.

    Attributes:
        directory: where the version is installed.
        package: the version.
        variant: the variant that serves.
        threads: how many threads the engine gets.
    """

    directory: Path
    package: VerifiedPackage
    variant: Variant
    threads: int

    @property
    def limit(self) -> int:
        """The most bytes of arrays that go in or come out at once: the signed memory."""
        return self.package.manifest.target.memory_bytes

    def arguments(self) -> list[str]:
        """Return what ``worker.main`` takes."""
        numbers = (self.threads, self.limit, os.getpid())
        return [
            str(self.directory.resolve()),
            self.package.digest,
            self.variant.name,
            *map(str, numbers),
        ]


class Isolated:
    """Answers by a worker. Threads take turns; a forked child has a worker of its own.

    A worker that does not answer in time, ends, or answers what it must not is replaced at
    once, so that the next call finds another.

    Args:
        task: what is served.
        replaced: told why, whenever a worker was replaced.

    Attributes:
        provider: the execution provider that runs it.

    Raises:
        WorkerFailed: when no worker can be started.
        EdgepackError: why the worker could not open the model.
    """

    def __init__(self, task: Task, replaced: Callable[[str], None]) -> None:
        self.provider = task.variant.provider
        self._task = task
        self._replaced = replaced
        outputs = task.package.manifest.interface.outputs
        self._outputs = {spec.name: spec.dtype for spec in outputs}
        self._closed = False
        self._restarts = 0
        self._reason = ""
        self._number = 0
        self._process: WorkerProcess | None = None
        self._renew()
        _ALIVE.add(self)
        try:
            self._await_ready(self._present(), None)
        except BaseException as error:
            self.close()
            if isinstance(error, EndedError):
                raise _worker_failed(str(error)) from None
            raise

    def _renew(self) -> None:
        self._turn = threading.Lock()  # held over a whole exchange
        self._changing = threading.Lock()  # held shortly, over which worker there is

    @property
    def worker(self) -> dict[str, Any]:
        """The process, how often it was replaced, and why the last time."""
        process = self._process
        return {
            "pid": process.pid if process is not None else None,
            "restarts": self._restarts,
            "reason": self._reason,
        }

    def run(self, feed: Arrays, *, timeout_ms: float | None = None) -> Arrays:
        """Let the worker run the graph and return every output by name.

        Args:
            feed: checked arrays by the names of the inputs.
            timeout_ms: how long it may take, other threads' turns included; None for ever.

        Raises:
            PredictionFailed: when the engine fails.
            DeadlineExceeded: when it did not end in time.
            WorkerFailed: when the worker ended, or was not what answered.
            InputShape: when the feed is larger than what a worker takes.
        """
        deadline = None if timeout_ms is None else Deadline(timeout_ms)
        turn = self._turn
        if not turn.acquire(timeout=-1 if deadline is None else deadline.left_ms() / 1000):
            raise _late(deadline, "others had their turn", begun=False)
        try:
            return self._ask(feed, deadline)
        finally:
            turn.release()

    def _ask(self, feed: Arrays, deadline: Deadline | None) -> Arrays:
        process = self._present()
        try:
            self._await_ready(process, deadline)
            return self._exchange(process, feed, deadline)
        except TooLateError:
            self._replace("it was ended, because it did not stop in time")
            raise _late(deadline, "its worker was ended and is started anew") from None
        except EndedError as error:
            self._replace(str(error))
            reason = _CLOSED if self._closed else str(error)
            raise _worker_failed(reason) from None
        except EdgepackError:
            raise
        except BaseException:  # an interruption: what the worker says later is for nobody
            self._drop()
            raise

    def _exchange(
        self, process: WorkerProcess, feed: Arrays, deadline: Deadline | None
    ) -> Arrays:
        self._number += 1
        left_ms = None if deadline is None else max(deadline.left_ms(), 1e-3)
        facts = {"number": self._number, "timeout_ms": left_ms}
        parts = frames.parts(Frame("run", facts, feed))
        self._check_size(parts)
        until = None if deadline is None else deadline.at_ns + int(GRACE_MS * 1e6)
        process.send(parts, until)
        reply = process.receive(until, limit=self._task.limit)
        if reply.facts.pop("number", None) != self._number:
            raise EndedError("it did not answer what it was asked")
        answers = self._answers(reply, deadline)
        if deadline is not None and deadline.passed:
            raise _late(deadline, "it ended later: a single node cannot be stopped")
        return answers

    def _check_size(self, parts: list[Part]) -> None:
        size = sum(map(len, parts[2:]))
        if size > self._task.limit:
            raise InputShape(
                f"an isolated model takes {self._task.limit} bytes at once, the working memory "
                f"of its target; these are {size}",
                hint="Give fewer rows at once.",
                expected=self._task.limit,
                found=size,
            )

    def _answers(self, reply: Frame, deadline: Deadline | None) -> Arrays:
        found = {name: dtype_name(array) for name, array in reply.arrays.items()}
        if reply.kind == "answers" and found == self._outputs:
            return reply.arrays
        if reply.kind == "refused":
            error = _refusal(reply)
            if isinstance(error, DeadlineExceeded):
                raise _late(deadline, "it was stopped")
            if isinstance(error, PredictionFailed):
                raise error
        raise EndedError(f"it answered what the model does not: {str(found)[:200]}")

    # --- which worker there is -------------------------------------------------------------

    def _present(self) -> WorkerProcess:
        """Return the worker; one that ended while nobody asked is replaced first."""
        process = self._process
        fault = process.fault() if process is not None and process.ready else ""
        if fault:
            self._replace(f"between two predictions {fault}")
        with self._changing:
            if self._closed:
                raise _worker_failed(_CLOSED)
            if self._process is None:
                self._process = WorkerProcess(self._task.arguments())
            return self._process

    def _await_ready(self, process: WorkerProcess, deadline: Deadline | None) -> None:
        """Wait until a worker has opened the model; the caller's deadline leaves it alone."""
        if process.ready:
            return
        latest = process.began_ns + int(START_S * 1e9)
        try:
            process.await_answer(latest if deadline is None else min(latest, deadline.at_ns))
        except TooLateError:
            if time.monotonic_ns() < latest:
                how = "its worker was still being started"
                raise _late(deadline, how, begun=False) from None
            raise EndedError(f"it was not ready within {START_S:g} s") from None
        try:
            reply = process.receive(latest, limit=0)
        except TooLateError:
            raise EndedError(f"it was not ready within {START_S:g} s") from None
        if reply.kind != "ready":
            error = _refusal(reply)
            self._drop()
            raise error
        process.ready = True

    def _replace(self, reason: str) -> None:
        self._drop()
        with self._changing:
            if self._closed:
                return
            self._restarts += 1
            self._reason = reason
            with suppress(WorkerFailed):  # the next call tries again, and says it
                self._process = WorkerProcess(self._task.arguments())
        self._replaced(reason)

    def _drop(self) -> None:
        with self._changing:
            process, self._process = self._process, None
        if process is not None:
            process.end()
            process.let_go()

    def close(self) -> None:
        """End the worker, whatever it does. The model does not answer any more."""
        with self._changing:
            self._closed = True
            process = self._process
        if process is not None:
            process.end()
            with self._turn:  # a call that was under way has seen the end by then
                self._drop()

    def after_fork(self) -> None:
        """Leave the worker to the parent; a forked child starts its own."""
        process, self._process = self._process, None
        if process is not None:
            process.let_go()
        self._renew()


def _refusal(reply: Frame) -> EdgepackError:
    """Return the error that a worker raised.

    Raises:
        EndedError: when it tells none.
    """
    try:
        fields = Fields(reply.facts, "a refusal", JsonMalformed)
        code, message, hint = (fields.text(key) for key in ("code", "message", "hint"))
        values = fields.object("values")
    except JsonMalformed as error:
        raise EndedError(f"it did not answer as a worker does: {error.message}") from None
    for leaf in leaves():
        if leaf.code == code:
            return leaf(message, hint=hint, **values)
    raise EndedError(f"it did not answer as a worker does: {code[:80]!r} is no error")


def _late(deadline: Deadline | None, how: str, *, begun: bool = True) -> DeadlineExceeded:
    if deadline is None:
        raise EndedError("it gave up, though it had all the time")
    hint = "Give it more time, or fewer rows at once."
    return deadline_exceeded(deadline, how, begun=begun, hint=hint)


def _worker_failed(reason: str) -> WorkerFailed:
    return WorkerFailed(
        f"the worker that serves the model must answer; {reason}",
        hint="Load the model again." if reason == _CLOSED else "Call again, with fewer rows.",
        reason=reason,
        begun=reason != _CLOSED,
    )


def _begin_anew_in_child() -> None:
    for isolated in tuple(_ALIVE):
        isolated.after_fork()


os.register_at_fork(after_in_child=_begin_anew_in_child)
