"""A loaded model: checks what comes in, predicts, counts; several threads may call it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Protocol

from edge_runtime.contract.answers import answer_rows
from edge_runtime.contract.bundle.manifest import Interface
from edge_runtime.contract.columns import (
    accepts,
    assemble,
    check_missing,
    records_to_raw,
    row_number,
)
from edge_runtime.contract.errors import EdgepackError, InputName
from edge_runtime.contract.tensors import Arrays, check_feed
from edge_runtime.contract.values import Where
from edge_runtime.engine.session import telemetry_state
from edge_runtime.engine.watchdog import Deadline, checked_timeout
from edge_runtime.serving import Answers, Awaited, Retired, Served, Serving


class Follower(Protocol):
    """What lets a model go on with another version while the program runs."""

    def status(self) -> dict[str, Any]:
        """Return what it did and what keeps it from more."""

    def close(self) -> None:
        """Follow no longer."""


class Model:
    """A verified model on exactly the execution provider that its manifest names.

    Use it as a context manager, or call ``close``. Every method may be called from several
    threads at once.

    Args:
        serving: what answers.
        timeout_ms: how long a prediction may take where the call does not say; None for ever.
    """

    def __init__(self, serving: Serving, timeout_ms: float | None = None) -> None:
        self._serving = serving
        self._timeout_ms = timeout_ms
        self._interface: Interface = serving.served.manifest.interface
        self._closed = False
        self._follower: Follower | None = None

    @property
    def served(self) -> Served:
        """What serves, for logs and status."""
        return self._serving.served

    @property
    def held(self) -> bool:
        """Whether no version is loaded for the moment, so that calls wait."""
        return self._serving.awaited is not None

    def follow(self, follower: Follower) -> None:
        """Let ``follower`` swap versions until the model is closed."""
        self._follower = follower

    def swap(self, serving: Serving) -> Retired:
        """Let another version of the same interface answer from the next prediction on.

        Returns:
            What answered before, to be closed once its last call has ended.
        """
        before, self._serving = self._serving, serving
        if before.awaited is not None:
            before.awaited.come(serving)
        return Retired(before)

    def hold(self) -> Retired:
        """Let calls wait from the next one on, until ``swap`` brings what answers them.

        Returns:
            What answered before, to be closed once its last call has ended.
        """
        before = self._serving
        awaited = Awaited(before.runner.provider)
        self._serving = replace(
            before, runner=awaited, load=None, probation=None, awaited=awaited
        )
        return Retired(before)

    def fail_calls(self, error: EdgepackError) -> None:
        """Let the calls that wait fail, and those to come, until ``swap`` brings a version."""
        if self._serving.awaited is not None:
            self._serving.awaited.fail(error)

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write the last window of metrics.

        A model of this process still answers, and nothing counts it; a worker is ended.
        """
        if not self._closed:
            self._closed = True
            if self._follower is not None:
                self._follower.close()
            self._serving.close()

    @property
    def name(self) -> str:
        """The model's name."""
        return self.served.manifest.name

    @property
    def version(self) -> str:
        """The version that answers."""
        return self.served.manifest.version

    @property
    def variant(self) -> str:
        """The variant that answers."""
        return self.served.variant.name

    @property
    def provider(self) -> str:
        """The execution provider that answers, by its full name."""
        return self._serving.runner.provider

    @property
    def interface(self) -> Interface:
        """What goes in and comes out."""
        return self._interface

    def status(self) -> dict[str, Any]:
        """Return what serves and how, without any I/O."""
        serving = self._serving
        served, probation = serving.served, serving.probation
        return {
            "name": self.name,
            "version": self.version,
            "release": served.manifest.release,
            "digest": served.digest,
            "target": served.manifest.target.name,
            "variant": self.variant,
            "provider": self.provider,
            "engine": served.engine,
            "threads": served.threads,
            "origins": dict(served.origins),
            "proof": served.proof,
            "degraded": served.degraded or (probation.problem if probation else ""),
            "probation": probation is not None and not probation.over,
            "worker": serving.runner.worker,
            "telemetry": telemetry_state(),
            "metrics": self._metrics_state(),
            "following": self._follower.status() if self._follower else None,
        }

    def _metrics_state(self) -> str:
        if self.served.unrecorded:
            return f"not recorded: {self.served.unrecorded}"
        if self._closed:
            return "not recorded: the model was closed"
        return self._serving.recorder.problem or "recorded"

    def predict(
        self,
        feed: Mapping[str, Any],
        *,
        where: Where = row_number,
        timeout_ms: float | None = None,
    ) -> Answers:
        """Predict a batch: the fast door.

        Args:
            feed: arrays by the graph's input names, with exactly their dtypes and shapes; or
                one value sequence per column by the user's own column names, converted as the
                manifest says.
            where: names a row in errors, given its position.
            timeout_ms: how long it may take, in milliseconds; by default as the model was
                loaded. It is stopped between two nodes of the graph, so that a long one ends
                later; a model that was loaded with ``isolate`` is ended then.

        Returns:
            Every output of the graph by its name, one row per input row, and which version
            answered.

        Raises:
            InputError: when names, dtypes, shapes or values are not as declared; the model
                stays usable.
            PredictionFailed: when the engine fails.
            DeadlineExceeded: when it did not end in time.
            WorkerFailed: when the process that computes did not answer.
        """
        started = time.perf_counter_ns()
        limit = self._timeout_ms if timeout_ms is None else checked_timeout(timeout_ms)
        serving = self._serving  # one version from here to the end, whatever is swapped
        if serving.awaited is not None:
            serving, limit = _came(serving.awaited, limit)
        try:
            arrays = self._conform(feed, where)
            answers = serving.runner.run(arrays, timeout_ms=limit)
        except EdgepackError as error:
            serving.recorder.error(error.code)
            if serving.probation is not None:
                serving.probation.failed(error)
            del serving  # whoever keeps the error must not keep the version in use
            raise
        rows = _row_count(arrays)
        serving.recorder.record(rows, time.perf_counter_ns() - started)
        if serving.probation is not None:
            serving.probation.answered(rows)
        return Answers(answers, serving.served)

    def predict_records(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Predict rows given as dictionaries: the easy door.

        Args:
            records: one mapping of the user's column names to values each; None is missing.

        Returns:
            One dictionary a row, for example ``{'label': 'fraud', 'probability': {'fraud':
            0.93, 'fine': 0.07}}``, or ``{'value': 12.5}`` for a regression.

        Raises:
            InputError: when a row lacks a column or holds a value of another kind.
            PredictionFailed: when the engine fails, or does not give one answer a row.
        """
        rows = list(records)
        try:
            raw = self._columns_of(rows)
        except EdgepackError as error:
            self.count_refused(error)
            raise
        if not rows:
            return []
        return answer_rows(self._interface, self.predict(raw), len(rows))

    def count_refused(self, error: EdgepackError) -> None:
        """Count input that was refused before it came here, as the reader of a table does."""
        serving = self._serving  # stays open until it is counted
        serving.recorder.error(error.code)

    def _conform(self, feed: Mapping[str, Any], where: Where) -> Arrays:
        interface = self._interface
        if not hasattr(feed, "keys"):  # a data frame has them too
            raise InputName(
                f"the model takes arrays by name, found a {type(feed).__name__}",
                hint="Hand over a dictionary: {name: array}.",
                expected=[spec.name for spec in interface.inputs],
                found=type(feed).__name__,
            )
        if accepts(interface.columns, feed.keys()):
            return assemble(interface.columns, interface.inputs, feed, where)
        arrays = check_feed(interface.inputs, feed)
        check_missing(interface.columns, arrays, where)
        return arrays

    def _columns_of(self, records: list[Mapping[str, Any]]) -> dict[str, list[Any]]:
        columns = self._interface.columns
        if not columns:
            names = [spec.name for spec in self._interface.inputs]
            raise InputName(
                f"{self.name} takes tensors ({', '.join(names)}), records have named columns",
                hint="Use predict() with one array an input.",
                expected=names,
                found="records",
            )
        return records_to_raw(columns, records)


def _row_count(arrays: Arrays) -> int:
    """Return how many rows were asked; a graph without a batch axis answers one."""
    first = next(iter(arrays.values()), None)
    return len(first) if first is not None and first.ndim else 1


def _came(awaited: Awaited, timeout_ms: float | None) -> tuple[Serving, float | None]:
    """Return the version that calls wait for, and how much of the time is left then."""
    if timeout_ms is None:
        return awaited.wait(None), None
    deadline = Deadline(timeout_ms)
    return awaited.wait(deadline), max(1.0, deadline.left_ms())
