"""A loaded model: checks what comes in, predicts, counts; several threads may call it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from edge_runtime.contract.answers import answer_rows
from edge_runtime.contract.bundle.manifest import Interface, Manifest, Variant
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
from edge_runtime.engine.session import Session, telemetry_state
from edge_runtime.metrics import Recorder


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
    """

    manifest: Manifest
    digest: str
    variant: Variant
    engine: str
    proof: str
    degraded: str = ""
    unrecorded: str = ""


class Model:
    """A verified model on exactly the execution provider that its manifest names.

    Use it as a context manager, or call ``close``. Every method may be called from several
    threads at once.

    Attributes:
        served: what serves, for logs and status.
    """

    def __init__(self, session: Session, served: Served, recorder: Recorder) -> None:
        self.served = served
        self._session = session
        self._recorder = recorder
        self._interface: Interface = served.manifest.interface
        self._closed = False

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
        """Write the last window of metrics. The model still answers, and nothing counts it."""
        if not self._closed:
            self._closed = True
            self._recorder.close()

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
        return self._session.provider

    @property
    def interface(self) -> Interface:
        """What goes in and comes out."""
        return self._interface

    def status(self) -> dict[str, Any]:
        """Return what serves and how, without any I/O."""
        served = self.served
        return {
            "name": self.name,
            "version": self.version,
            "release": served.manifest.release,
            "digest": served.digest,
            "target": served.manifest.target.name,
            "variant": self.variant,
            "provider": self.provider,
            "engine": served.engine,
            "proof": served.proof,
            "degraded": served.degraded,
            "telemetry": telemetry_state(),
            "metrics": self._metrics_state(),
        }

    def _metrics_state(self) -> str:
        if self.served.unrecorded:
            return f"not recorded: {self.served.unrecorded}"
        if self._closed:
            return "not recorded: the model was closed"
        return self._recorder.problem or "recorded"

    def predict(self, feed: Mapping[str, Any], *, where: Where = row_number) -> Arrays:
        """Predict a batch: the fast door.

        Args:
            feed: arrays by the graph's input names, with exactly their dtypes and shapes; or
                one value sequence per column by the user's own column names, converted as the
                manifest says.
            where: names a row in errors, given its position.

        Returns:
            Every output of the graph by its name, one row per input row.

        Raises:
            InputError: when names, dtypes, shapes or values are not as declared; the model
                stays usable.
            PredictionFailed: when the engine fails.
        """
        started = time.perf_counter_ns()
        try:
            arrays = self._conform(feed, where)
            answers = self._session.run(arrays)
        except EdgepackError as error:
            self._recorder.error(error.code)
            raise
        self._recorder.record(_row_count(arrays), time.perf_counter_ns() - started)
        return answers

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
            self._recorder.error(error.code)
            raise
        if not rows:
            return []
        return answer_rows(self._interface, self.predict(raw), len(rows))

    def count_refused(self, error: EdgepackError) -> None:
        """Count input that was refused before it came here, as the reader of a table does."""
        self._recorder.error(error.code)

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
