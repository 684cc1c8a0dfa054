"""A process that counts, told to write its metrics a few times; each time it says so.

    python -m power_metrics --store DIR WINDOWS

It writes as a recorder does, only sooner: a window a minute would take too long.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import metric_logs
from power_world import NAME

from edge_runtime.segment_writer import MIN_CAP_BYTES, SegmentWriter
from edge_runtime.state.store import Store

# Text that hardly compresses, so much that three windows fill a segment at the smallest cap.
PADDING = 3200
PREDICTIONS = 7  # in each window, by which they are known again


def write_windows(store: Path, number: int, predictions: int) -> Iterator[int]:
    """Write windows, and yield the number of each once it is on the disk."""
    directory = Store(store, "named by the test").model(NAME).metrics
    writer = SegmentWriter(directory, metric_logs.SUBJECT, cap_bytes=MIN_CAP_BYTES)
    for sequence in range(number):
        writer.append(metric_logs.window(sequence, predictions, padding=PADDING))
        yield sequence
    writer.close()


def main(arguments: list[str]) -> int:
    """Write windows and tell of each."""
    _, store, number = arguments
    try:
        for sequence in write_windows(Path(store), int(number), PREDICTIONS):
            os.write(1, f"{sequence}\n".encode())  # the acknowledgement
    except OSError as error:
        os.write(2, f"error[metrics]: {error}\n".encode())
        return 5
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
