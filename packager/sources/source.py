"""What the pipeline sees of a source model, whatever its framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_runtime.contract.tensors import Array, Arrays
from packager.graph import Description, Graph, MissingProbe


class Source(Protocol):
    """A model before it is a graph; each framework has its own.

    ``describe`` comes first when there are data: they decide how columns enter the graph.
    """

    def describe(self, kinds: Mapping[str, str] | None = None) -> Description:
        """Say what it is, and plan its columns for data of these columns and kinds."""

    def graph(self, opset: Mapping[str, int]) -> Graph:
        """Convert it for these operator sets, by domain."""

    def reference(self, columns: Mapping[str, Array]) -> Arrays | None:
        """Return its own answers by output name, for raw rows by column name.

        A model of bare tensors takes rows by input name. None where the graph is the source
        itself, so that nothing can be compared.
        """

    def missing_probe(self, columns: Mapping[str, Array]) -> tuple[MissingProbe, ...]:
        """Say what it answers when a column is missing, for some of these rows."""

    def attempt(
        self, columns: Mapping[str, Array], blocks: Sequence[int]
    ) -> tuple[NDArray[np.bool_], Arrays]:
        """Ask it for rows that it may refuse: which it answered, and these answers.

        Asked only where ``reference`` answers. Blocks are rows that are alike.
        """

    def diagnose(self) -> tuple[Mapping[str, str], ...]:
        """Say of each step what would become of it: path, class, form, verdict and why."""

    def example(self) -> Arrays | None:
        """Return rows that came with the model, as ``reference`` takes them; None without."""
