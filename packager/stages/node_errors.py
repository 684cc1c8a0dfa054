"""How far each layer's small form throws answers off, and which layers to spare it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from onnx import ModelProto, NodeProto

from edge_runtime.contract.tensors import Array, Arrays, Tolerance
from packager.answers import run_rows, take_rows
from packager.graphs.external_data import byte_size
from packager.graphs.model_files import ModelFiles, Weights
from packager.graphs.prepared import layers, prepared
from packager.recipes import INT8_STATIC, Recipe
from packager.record import Record, fingerprint, within
from packager.variant import Skipped

# Makes the recipe's graph with some nodes kept as they are.
Make = Callable[[Sequence[str]], ModelProto | Skipped]
# Neighbouring layers by the name of the first.
Groups = Mapping[str, Sequence[str]]

# A deep graph's layers are tried a few neighbours at a time, which bounds how many are made.
MAX_GROUPS = 40
# Rows that layers are tried on, and that the choice is made on.
ROWS = 128
# The least agreement with float32 on calibration rows that sparing aims at.
WANTED = 0.99
# A layer that errs by less than this share of the worst one's error is no cause of trouble.
_HARMLESS = 0.02
# How far a value may stand from the recorded one: on another processor some values fall on the
# other side of a rounding.
_ERRORS_AGREE = Tolerance(rtol=0.5, atol=1e-3)
_SHARES_AGREE = Tolerance(rtol=0.0, atol=0.03)


def spare(
    recipe: Recipe,
    model: ModelProto,
    feed: Arrays | None,
    make: Make,
    *,
    weights: Weights | None,
    record: Record,
) -> list[str] | Skipped:
    """Name the fewest layers that must stay float32 for answers to stay as they are.

    Layers whose small form errs most for their bytes come first; as many of them are kept as
    answers on calibration rows need, found by bisection.

    Args:
        recipe: a sparing one.
        model: the float32 graph; it is left as it is.
        feed: calibration rows; None where there are none.
        make: makes the recipe's graph with some nodes kept.
        weights: what the graph reads beside it.
        record: keeps errors and agreements.

    Raises:
        ReplayMismatch: when a value does not agree with the recorded one.
    """
    ready = prepared(model, weights)
    groups = _groups(recipe, ready)
    plain = make(())
    if isinstance(plain, Skipped):
        return plain
    if feed is None or len(groups) <= 1:
        return _none(recipe, "there is one layer at most, or no calibration row")
    feed = take_rows(feed, slice(ROWS))
    trial = _Trial(recipe, ModelFiles.of(model, weights), feed, make, record)
    trial.key = fingerprint(ModelFiles.of(plain, None).mark, feed)
    order = worst_first(trial.errors(groups), _bytes(ready, groups))
    least = trial.fewest([groups[name] for name in order])
    if least == len(order):
        return _none(recipe, "answers change whichever layer is made small")
    return [name for first in order[:least] for name in groups[first]]


def worst_first(errors: Mapping[str, float], sizes: Mapping[str, int]) -> list[str]:
    """Return names by how much error sparing them takes away for a byte, the most first.

    Args:
        errors: how far answers are off where that layer alone is small, by its name.
        sizes: bytes of its weights.
    """
    worst = max(errors.values())

    def place(name: str) -> tuple[bool, float, str]:
        error = errors[name]
        return error < _HARMLESS * worst, -error / max(sizes[name], 1), name

    return sorted(errors, key=place)


def _none(recipe: Recipe, why: str) -> Skipped:
    return Skipped(recipe.name, f"sparing layers does not help: {why}", "none-to-spare")


def _groups(recipe: Recipe, ready: ModelProto) -> dict[str, list[str]]:
    """Return the layers that a recipe makes small, neighbours together where they are many."""
    dense_only = recipe.dense_only or recipe.family != INT8_STATIC
    names = [node.name for node in layers(ready, dense_only=dense_only)]
    parts = np.array_split(np.arange(len(names)), min(len(names), MAX_GROUPS) or 1)
    groups = [[names[index] for index in part] for part in parts if len(part)]
    return {group[0]: group for group in groups}


def _bytes(ready: ModelProto, groups: Groups) -> dict[str, int]:
    sizes = {tensor.name: byte_size(tensor) for tensor in ready.graph.initializer}
    nodes: dict[str, NodeProto] = {node.name: node for node in ready.graph.node}
    return {
        first: sum(sizes.get(nodes[name].input[1], 0) for name in group)
        for first, group in groups.items()
    }


class _Trial:
    """Tries a recipe with some layers kept, on rows whose float32 answers are known.

    Attributes:
        key: stands for the recipe's plain graph and the rows in the record.
    """

    key = ""

    def __init__(
        self, recipe: Recipe, plain: ModelFiles, feed: Arrays, make: Make, record: Record
    ) -> None:
        self._recipe, self._feed, self._make, self._record = recipe, feed, make, record
        self._wanted = run_rows(plain.open_mapped(), feed)

    def errors(self, groups: Groups) -> dict[str, float]:
        """Return how far answers are off where one group alone is small, by its first name."""
        names = [name for group in groups.values() for name in group]
        scores = [name for name, array in self._wanted.items() if array.dtype.kind == "f"]
        # Scores tell of small errors, of which labels change by chance.
        shown = {name: self._wanted[name] for name in scores or self._wanted}

        def compute() -> dict[str, float]:
            return {
                first: 1 - self._agreement([name for name in names if name not in group], shown)
                for first, group in groups.items()
            }

        found: dict[str, float] = self._record.measured(
            f"errors/{self._recipe.name}/{self.key}", compute, within(_ERRORS_AGREE)
        )
        return found

    def fewest(self, groups: Sequence[Sequence[str]]) -> int:
        """Return how many groups, from the first on, must be kept; all of them are enough."""
        few, many = 0, len(groups)
        while many - few > 1:
            middle = (few + many) // 2
            kept = [name for group in groups[:middle] for name in group]
            agreement = self._record.measured(
                f"agreement/{self._recipe.name}/{middle}/{self.key}",
                partial(self._agreement, kept, self._wanted),
                within(_SHARES_AGREE),
            )
            few, many = (few, middle) if agreement >= WANTED else (middle, many)
        return many

    def _agreement(self, kept: Sequence[str], wanted: Arrays) -> float:
        """Return how far answers are float32's: 1 where all are, 0 where the graph fails."""
        made = self._make(kept)
        if isinstance(made, Skipped):
            return 0.0
        answers = run_rows(ModelFiles.of(made, None).open_mapped(), self._feed)
        return min(_alike(array, answers[name]) for name, array in wanted.items())


def _alike(wanted: Array, found: Array) -> float:
    """Return the share of equal values; of floats, the share of variance explained."""
    if wanted.dtype.kind != "f":
        return float((wanted == found).mean())
    one, other = (np.nan_to_num(array.astype(np.float64)) for array in (wanted, found))
    spread = np.square(one - one.mean(axis=0)).sum()
    error = np.square(other - one).sum()
    if spread == 0:
        return float(error == 0)
    return float(max(0.0, 1 - error / spread))
