"""Probation: what a version does in its first predictions decides whether it stays.

A load on probation is entered on disk before anything of the version is loaded, so that a crash
counts. Enough answered rows mark the version good; an error of the engine or a damaged file
gives it up. Refused input is no fault of the version's, and neither is what the device lacks.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from edge_runtime.contract.errors import (
    DeadlineExceeded,
    DigestMismatch,
    EdgepackError,
    ExecutionProviderMissing,
    FilesMismatch,
    GoldenMismatch,
    GraphRefused,
    ModelLoadFailed,
    PredictionFailed,
    StoreCorrupt,
    TrialFailed,
    WorkerFailed,
)
from edge_runtime.state.loads import Load, Loads

# Rows that a version has to answer, over all its loads, before it is marked good by itself.
ROWS: Final = 100

# What a version on probation is given up for, while it is loaded and while it predicts.
FAULTS: Final = (
    DeadlineExceeded,
    DigestMismatch,
    ExecutionProviderMissing,
    FilesMismatch,
    GoldenMismatch,
    GraphRefused,
    ModelLoadFailed,
    PredictionFailed,
    StoreCorrupt,
    TrialFailed,
    WorkerFailed,
)


def is_fault(error: EdgepackError) -> bool:
    """Tell whether an error is the version's own, not the caller's or the device's.

    What only waited, for its turn or for a process, says nothing of the version.
    """
    return isinstance(error, FAULTS) and error.values.get("begun") is not False


class Probation:
    """Watches one load of a version that is not proven yet. Several threads may call it.

    Args:
        loads: where verdicts are written.
        load: this load, entered durably.
        rows: what earlier loads answered.

    Attributes:
        over: whether it was decided.
        problem: why something could not be noted; empty otherwise.
    """

    def __init__(self, loads: Loads, load: Load, rows: int) -> None:
        self._loads = loads
        self._load = load
        self._before = rows
        self._rows = 0
        self._lock = threading.Lock()
        self.over = False
        self.problem = ""
        # A program that ends without having closed its model has not crashed.
        atexit.register(self.close)

    def answered(self, rows: int) -> None:
        """Count rows that were answered; enough of them mark the version good."""
        with self._lock:
            if self.over:
                return
            first = not self._rows
            self._rows += rows
            enough = self._before + self._rows >= ROWS
            self.over = enough
        with self._noting():
            if first:
                self._load.answered()
            if enough:
                self._loads.mark_good(self._load.digest)

    def failed(self, error: EdgepackError) -> None:
        """Give the version up, if the error is its own."""
        if not is_fault(error):
            return
        with self._lock:
            if self.over:
                return
            self.over = True
        with self._noting():
            self._loads.mark_failed(self._load.digest, f"{error.code}: {error.message}")

    def close(self) -> None:
        """End the load in order."""
        atexit.unregister(self.close)
        self._load.end(0 if self.over else self._rows)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Let no full disk stop a prediction; what could not be noted is said."""
        try:
            yield
        except OSError as error:
            self.problem = f"the probation cannot be recorded: {error.strerror or error}"
