"""One loaded version with all that belongs to it, and how another takes its place."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from edge_runtime.contract.bundle.manifest import Manifest, Variant
from edge_runtime.contract.errors import EdgepackError
from edge_runtime.contract.tensors import Array, Arrays
from edge_runtime.engine.watchdog import Deadline, deadline_exceeded
from edge_runtime.metrics import Recorder
from edge_runtime.probation import Probation
from edge_runtime.state.loads import Load


@dataclass(frozen=True)
class Served:
    """What serves, and why it may.

    Attributes:
        manifest: the package's.
        digest: the package's name.
        variant: the variant chosen on this device.
        engine: the engine's distribution and version.
        proof: how its golden vectors were found to hold.
        degraded: what is wrong although it serves; empty when nothing is.
        unrecorded: why no metrics are written; empty when they are meant to be.
        threads: within one operator.
        origins: who decided on the ``variant`` and on the ``threads``.
    """

    manifest: Manifest
    digest: str
    variant: Variant
    engine: str
    proof: str
    degraded: str = ""
    unrecorded: str = ""
    threads: int = 1
    origins: Mapping[str, str] = field(default_factory=dict)


class Answers(dict[str, Array]):
    """Every output of the graph by its name, and which version gave it.

    Attributes:
        version: of the model that answered.
        digest: the same for machines.
    """

    __slots__ = ("digest", "version")

    def __init__(self, outputs: Arrays, served: Served) -> None:
        super().__init__(outputs)
        self.version = served.manifest.version
        self.digest = served.digest


class Runner(Protocol):
    """What computes a graph's answers: a session of this process, or a worker that has one."""

    @property
    def provider(self) -> str:
        """The execution provider that runs it."""

    @property
    def worker(self) -> dict[str, Any] | None:
        """The process that runs it and how often it was replaced; None where it is this one."""

    def run(self, feed: Arrays, *, timeout_ms: float | None = None) -> Arrays:
        """Return every output by name.

        Raises:
            PredictionFailed: when the engine fails.
            DeadlineExceeded: when it did not end in time.
            WorkerFailed: when the process that runs it did not answer.
        """

    def close(self) -> None:
        """Let go of what it holds."""


@dataclass(frozen=True)
class Serving:
    """One loaded version with all that belongs to it; a model may go on with another one.

    Attributes:
        runner: what answers.
        served: what serves, and why it may.
        recorder: counts.
        load: its entry in the store; None where it is in none.
        probation: watches it until it is proven; None where it is.
        awaited: what calls wait for, where no version is loaded for the moment.
    """

    runner: Runner
    served: Served
    recorder: Recorder
    load: Load | None = None
    probation: Probation | None = None
    awaited: Awaited | None = None

    def close(self) -> None:
        """Write the last window of metrics and end the load in order."""
        self.recorder.close()
        if self.probation is not None:
            self.probation.close()
        elif self.load is not None:
            self.load.end()
        self.runner.close()


class Awaited:
    """Stands where a version was that had to go before the next could come: calls wait.

    Attributes:
        provider: of the version that was.
        worker: None; nothing runs.
    """

    worker = None

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self._decided = threading.Event()
        self._outcome: Serving | EdgepackError | None = None

    def come(self, serving: Serving) -> None:
        """Let the calls go on with this version."""
        self._decide(serving)

    def fail(self, error: EdgepackError) -> None:
        """Let the calls fail, those to come as well, until a version comes."""
        self._decide(error)

    def _decide(self, outcome: Serving | EdgepackError) -> None:
        self._outcome = outcome
        self._decided.set()

    def wait(self, deadline: Deadline | None) -> Serving:
        """Return the version that came.

        Raises:
            DeadlineExceeded: when none came in time.
            EdgepackError: why none could be loaded.
        """
        while not isinstance(outcome := self._outcome, Serving):
            if outcome is not None:
                raise type(outcome)(outcome.message, hint=outcome.hint, **outcome.values)
            if deadline is not None and deadline.passed:
                how = "it waited for a version to be loaded"
                raise deadline_exceeded(deadline, how, begun=False)
            self._decided.wait(None if deadline is None else deadline.left_ms() / 1000)
        return outcome

    def run(self, feed: Arrays, *, timeout_ms: float | None = None) -> Arrays:
        """Answer by the version that came."""
        deadline = None if timeout_ms is None else Deadline(timeout_ms)
        return self.wait(deadline).runner.run(feed, timeout_ms=timeout_ms)

    def close(self) -> None:
        """Nothing to let go of."""


class Retired:
    """A version that answers no further call, though earlier ones may still be under way.

    A call holds its ``Serving`` for as long as it lasts, and nobody else holds that one any
    more. So its end tells that the last call has ended, and no call has to count itself.

    Args:
        serving: what answered so far.
    """

    def __init__(self, serving: Serving) -> None:
        self._parts = replace(serving)
        self._used = weakref.ref(serving)

    @property
    def in_use(self) -> bool:
        """Tell whether a call is still under way."""
        return self._used() is not None

    def revived(self) -> Serving:
        """Return what can answer again, instead of being closed."""
        return replace(self._parts)

    def close(self) -> None:
        """Write its last metrics, end its load in order, and let go of it."""
        self._parts.close()
