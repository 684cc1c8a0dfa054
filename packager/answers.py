"""What a graph answers: running rows in batches, and how clear each label is.

It also runs where only numpy and the engine are: ``emulation/worker.py`` takes it along.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_runtime.contract.tensors import Array, Arrays
from edge_runtime.engine.session import Session

if TYPE_CHECKING:
    from packager.graph import Graph

BATCH = 32


def open_graph(graph: Graph) -> Session:
    """Open a graph in the engine, as it is before anything is optimised.

    Raises:
        ModelLoadFailed: when the engine refuses it.
    """
    return graph.files.open_mapped()


def row_count(feed: Mapping[str, Array]) -> int:
    """Return how many rows a feed or a set of outputs holds."""
    return len(next(iter(feed.values())))


def take_rows(arrays: Mapping[str, Array], rows: Array | slice) -> Arrays:
    """Return the same rows of every array."""
    return {name: array[rows] for name, array in arrays.items()}


def fixed_batch(session: Session) -> int | None:
    """Return the only batch length that the graph takes; None where any will do."""
    lengths = [spec.shape[0] for spec in session.inputs if spec.shape]
    return next((length for length in lengths if length is not None), None)


def run_rows(session: Session, feed: Mapping[str, Array], batch: int = BATCH) -> Arrays:
    """Run rows in batches and return every output for all of them.

    A graph of fixed batch length gets batches of that length, the last one filled up with
    copies of its last row whose answers are dropped.
    """
    fixed = fixed_batch(session)
    batch = fixed or batch
    total = row_count(feed)
    parts = []
    for start in range(0, total, batch):
        rows = np.arange(start, min(start + batch, total))
        filled = np.pad(rows, (0, batch - len(rows)), mode="edge") if fixed else rows
        parts.append(take_rows(session.run(take_rows(feed, filled)), slice(len(rows))))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def label_margins(
    task: str,
    roles: Mapping[str, str],
    answers: Mapping[str, Array],
    threshold: float | None = None,
) -> NDArray[np.float64] | None:
    """Return how far each row's label is from being another one, in units of its scores.

    That is the distance between the two best scores, or from zero where a single score decides;
    where a threshold does, the distance of the second class's score from it. None where the
    graph shows no scores.
    """
    name = roles.get("probability", roles.get("score"))
    if name is None:
        return None
    scores = np.nan_to_num(answers[name].astype(np.float64))
    scores = scores.reshape(len(scores), -1)
    if threshold is not None:
        return np.abs(scores[:, -1] - threshold)
    if scores.shape[1] == 1:
        return np.abs(scores[:, 0])
    if task == "clustering" and name == roles.get("score"):  # distances: the nearest wins
        scores = -scores
    best = np.sort(scores, axis=1)[:, -2:]
    return np.asarray(best[:, 1] - best[:, 0])
