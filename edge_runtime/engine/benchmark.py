"""How long one call of a variant takes on this chip."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edge_runtime.contract.errors import PredictionFailed
from edge_runtime.contract.tensors import Arrays, TensorSpec
from edge_runtime.engine.session import Session

# Batch sizes take turns, a short stretch of calls each.
STRETCHES: Final = 10
STRETCH_S: Final = 0.012
# A model whose calls take long gets fewer stretches, and in the end one call.
PATIENCE_S: Final = 2.0
_LEAST_CALLS: Final = 3
_FINE_MS: Final = 10


@dataclass(frozen=True)
class Timing:
    """What one call takes, in microseconds, for a batch of so many rows."""

    rows: int
    microseconds: float

    @property
    def text(self) -> str:
        """The same for people."""
        noun = "row" if self.rows == 1 else "rows"
        taken = self.microseconds / 1000
        return f"{taken:.{3 if taken < _FINE_MS else 0}f} ms for {self.rows} {noun}"

    def to_json(self) -> dict[str, float]:
        """Return the timing as it is kept."""
        return {"rows": self.rows, "microseconds": self.microseconds}


def benchmark(session: Session, feed: Arrays, rows: int) -> tuple[Timing, ...]:
    """Time a session on one row and on all of them.

    Of each size it is the median of the quietest stretch: whatever else the machine does only
    makes calls slower, and the first stretches warm the session up.

    Args:
        session: opened as it will serve.
        feed: the golden inputs.
        rows: how many those are.

    Returns:
        One row first, where the graph takes one alone and is fast enough for both; then all.
    """
    begun = time.perf_counter()
    batches = {rows: feed}
    found = {rows: [_median_us(session, feed)]}
    single = _first_row(session.inputs, feed)
    if rows > 1 and single and _seconds_since(begun) < PATIENCE_S:
        try:
            found[1] = [_median_us(session, single)]
            batches[1] = single
        except PredictionFailed:
            pass  # its first axis is no batch
    for _ in range(1, STRETCHES):
        if _seconds_since(begun) >= PATIENCE_S:
            break
        for count, batch in batches.items():
            found[count].append(_median_us(session, batch))
    return tuple(Timing(count, round(min(found[count]), 1)) for count in sorted(found))


def _first_row(inputs: Sequence[TensorSpec], feed: Arrays) -> Arrays:
    """Return the first row alone; nothing where the graph fixes how many it takes."""
    if not all(spec.shape and spec.shape[0] is None for spec in inputs):
        return {}
    return {name: array[:1] for name, array in feed.items()}


def _median_us(session: Session, feed: Arrays) -> float:
    """Return the median of a stretch of calls, in microseconds."""
    taken: list[int] = []
    begun = time.perf_counter()
    while len(taken) < _LEAST_CALLS or _seconds_since(begun) < STRETCH_S:
        started = time.perf_counter_ns()
        session.run(feed)
        taken.append(time.perf_counter_ns() - started)
        if _seconds_since(begun) >= PATIENCE_S:
            break
    return statistics.median(taken) / 1000


def _seconds_since(begun: float) -> float:
    return time.perf_counter() - begun
