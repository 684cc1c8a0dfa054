"""Models of bare tensors for the tests: one child for many, and how far their graphs stand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.contract.tensors import Arrays, TensorSpec
from packager.answers import open_graph
from packager.graph import Graph
from packager.sources.child_source import ChildSource, Saved
from packager.sources.sandbox import Sandbox
from packager.sources.saved import open_saved

OPSET = {"": 18, "ai.onnx.ml": 3}
OTHER_LENGTH = 9  # of an axis that varies beside the rows


class Children(ExitStack):
    """Gives a living child, the same one as long as no model has made it crash."""

    def __init__(self, readable: Iterable[Path]) -> None:
        super().__init__()
        self.readable = list(readable)
        self.child: Sandbox | None = None

    def open(self, path: Path, form: str, **options: Any) -> ChildSource:
        """Open a file as ``open_source`` would."""
        if self.child is None or self.child._child.poll() is not None:
            self.child = self.enter_context(Sandbox("a model", readable=self.readable))
        return open_saved(self.child, Saved(path.name, path, form, "0" * 64, options))


def rows_of(spec: TensorSpec, count: int, seed: int = 0) -> Any:
    """Return rows that an input takes; whole numbers are 1 to 6."""
    random = np.random.default_rng(seed)
    shape = [count, *(axis or OTHER_LENGTH for axis in spec.shape[1:])]
    if spec.dtype.startswith("float"):
        return random.standard_normal(shape).astype(spec.dtype)
    return random.integers(0 if spec.dtype == "bool" else 1, 7, shape).astype(spec.dtype)


def furthest(
    source: ChildSource,
    graph: Graph,
    counts: Iterable[int] = (1, 2, 7),
    feed_of: Callable[[int], Arrays] | None = None,
) -> float:
    """Return how far the graph in the engine stands from the source, for batches of rows."""
    session, worst = open_graph(graph), 0.0
    for count in counts:
        feed = {spec.name: rows_of(spec, count) for spec in graph.inputs}
        feed = feed_of(count) if feed_of else feed
        own, found = source.reference(feed), session.run(feed)
        assert list(own) == list(found)
        for name, wanted in own.items():
            assert wanted.shape == found[name].shape
            assert len(wanted) == count
            if wanted.dtype.kind == "f":
                assert wanted.dtype == np.float64
                worst = max(worst, float(np.abs(wanted - found[name]).max()))
            else:
                np.testing.assert_array_equal(wanted, found[name])
    return worst
