"""Where the weights of large models lie while a bundle is built."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from onnx import ModelProto

from packager.graph import Graph
from packager.graphs.external_data import are_many, moved_out, reads_all, weights_size
from packager.graphs.model_files import ModelFiles, Weights
from packager.output import complaining, temporary_room

SUFFIX = ".weights"
_SETTLED = "float32"


class Workspace:
    """A directory beside the bundle to come: made when a model needs it, gone at the end.

    Args:
        out: the directory that the bundle will appear in, which has room for one.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._stack = ExitStack()
        self._root: Path | None = None

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def settle(self, graph: Graph) -> Graph:
        """Return a graph whose weights, if they are many, lie in one file here.

        From here on passes work on the graph alone, and the engine maps the weights.

        Raises:
            OutputUnwritable: when there is no room.
        """
        if graph.beside is None and not are_many(weights_size(graph.model)):
            return graph
        with complaining(self._out):
            target = self._room("source") / f"{_SETTLED}{SUFFIX}"
            model, weights = moved_out(graph.model, graph.beside, target)
        return replace(graph, model=model, beside=None, weights=weights)

    def files(
        self, model: ModelProto, weights: Weights | None, *, target: str, rung: str
    ) -> ModelFiles:
        """Return a rung as the files that ship.

        Args:
            model: its graph.
            weights: what the graph reads; None where it holds its weights.
            target: the target that it is for.
            rung: its name, and that of a file of its own weights.

        Raises:
            OutputUnwritable: when there is no room.
        """
        if are_many(weights_size(model)) and (weights is None or not reads_all(model, weights)):
            beside = weights.path.parent if weights else None
            with complaining(self._out):
                own = self._room(target) / f"{rung}{SUFFIX}"
                model, weights = moved_out(model, beside, own)
        return ModelFiles.of(model, weights)

    def _room(self, name: str) -> Path:
        if self._root is None:
            self._root = self._stack.enter_context(temporary_room(self._out))
        room = self._root / name
        room.mkdir(exist_ok=True)
        return room
