"""Metrics logs for the tests: lines to write, what a directory adds up to, writing programs."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.contract.logs import LogReader
from edge_runtime.contract.segments import Dropped, Subject
from edge_runtime.contract.windows import Event, Tally, Window
from edge_runtime.segment_writer import CAP_BYTES, SegmentWriter

CHECKOUT = Path(__file__).resolve().parents[2]
SUBJECT = Subject("fraud", "1.4.0", "ab" * 32, "int8-dynamic", "CPUExecutionProvider")
PADDED_PER_SEGMENT = 3  # padded windows, at the smallest cap

# How a program of ``run_program`` begins; its first argument is the log's directory.
START = f"""
import os, sys, time
from pathlib import Path
from edge_runtime.metrics import Recorder, Subject, summarize
directory = Path(sys.argv[1])
subject = Subject({SUBJECT.model!r}, {SUBJECT.version!r}, "00", "float32", "CPU")
"""


def window(sequence: int, predictions: int = 1, *, padding: int = 0) -> dict[str, Any]:
    """Return a line; padding is so many characters of text that hardly compresses."""
    tally = Tally(rows=predictions)
    for _ in range(predictions):
        tally.latency.record(5_000)
    events = (Event("pad", 0, {"text": os.urandom(padding // 2).hex()}),) if padding else ()
    return Window(sequence, 0, 60_000, 0, tally, events, 0, 9_000, 12).to_json()


def writer(directory: Path, cap_bytes: int = CAP_BYTES) -> SegmentWriter:
    """Return a writer of a new stream."""
    return SegmentWriter(directory, SUBJECT, cap_bytes=cap_bytes)


@dataclass
class Sums:
    """What a log adds up to."""

    predictions: int
    windows: int
    dropped: Dropped
    text: str


def sums_of(directory: Path) -> Sums:
    """Read a log."""
    reader = LogReader([directory])
    windows = [found for _, _, found in reader]
    predictions = sum(found.tally.predictions for found in windows)
    return Sums(predictions, len(windows), reader.health.dropped, reader.health.text())


def names_in(directory: Path) -> list[str]:
    """Return the names of segments without their streams, which are drawn by lot."""
    return sorted(path.name.replace(path.name[8:25], "") for path in directory.iterdir())


def run_program(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a program that begins with ``START``."""
    return subprocess.Popen(
        [sys.executable, "-c", START + script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a program to end well and return what it printed."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out
