"""Times of ONNX files beside each other: in one process, on one thread, taking turns."""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, at the engine's import

import numpy as np
import onnxruntime as ort

BATCHES = (1, 32)
ROUNDS = 31
READING_NS = 3_000_000
_WARM_UP = 3


@dataclass(frozen=True)
class File:
    """An ONNX file to be timed, and the configuration entries that it is opened with."""

    path: Path
    entries: Mapping[str, str] = field(default_factory=dict)

    def open(self) -> ort.InferenceSession:
        """Open it as devices do: on one thread that sleeps when it waits."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        quiet = {"session.intra_op.allow_spinning": "0", "session.inter_op.allow_spinning": "0"}
        for key, value in {**quiet, **self.entries}.items():
            options.add_session_config_entry(key, value)
        return ort.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])


def time_shares(
    files: Mapping[str, File], feed: Mapping[str, Any], rounds: int = ROUNDS
) -> dict[str, dict[str, float]]:
    """Return by file and batch size how much of the first file's time a call takes.

    In each round every file is read once, forwards and backwards by turns; what counts is the
    median over rounds of the share within a round, so that a disturbance hits both sides of it.

    Args:
        files: what is timed; the first one is the measure of the others.
        feed: rows to take batches of.
        rounds: how many.
    """
    sessions = {name: file.open() for name, file in files.items()}
    found: dict[str, dict[str, float]] = {name: {} for name in files}
    for batch in BATCHES:
        part = {
            name: np.resize(array, (batch, *array.shape[1:])) for name, array in feed.items()
        }
        calls = {name: _call(session, part) for name, session in sessions.items()}
        for name, share in _shares(calls, rounds).items():
            found[name][str(batch)] = share
    return found


def _call(session: ort.InferenceSession, part: dict[str, Any]) -> Callable[[], object]:
    return lambda: session.run(None, part)


def _shares(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    repeats = {name: _repeats(call) for name, call in calls.items()}
    first = next(iter(calls))
    shares: dict[str, list[float]] = {name: [] for name in calls}
    gc.disable()
    try:
        for turn in range(rounds):
            names = list(calls)[:: 1 if turn % 2 else -1]
            read = {name: _reading(calls[name], repeats[name]) for name in names}
            for name in names:
                shares[name].append(read[name] / read[first])
    finally:
        gc.enable()
    return {name: statistics.median(found) for name, found in shares.items()}


def _repeats(call: Callable[[], object]) -> int:
    _reading(call, _WARM_UP)
    return max(1, round(READING_NS / _reading(call, _WARM_UP)))


def _reading(call: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter_ns()
    for _ in range(repeats):
        call()
    return (time.perf_counter_ns() - start) / repeats
