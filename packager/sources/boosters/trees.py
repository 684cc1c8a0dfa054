"""What a gradient booster computes, whichever library made it: trees, a sum and a link."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import numpy_helper

from packager.errors import ConversionFailed

LIBRARIES = ("xgboost", "lightgbm", "catboost")

# Measured on one thread with 500 trees: in a batch of 6,000 rows, and a row at a time.
_LARGE = "in batches of thousands of rows the graph is slower than {} ({} of its speed), a row "
_SINGLE = "at a time it is faster"
SLOWER = {
    "xgboost": _LARGE.format("XGBoost", "a quarter") + _SINGLE,
    "catboost": _LARGE.format("CatBoost", "a thirtieth") + _SINGLE,
}

_HINT = "Train without this, or export the model to ONNX yourself and build from that file."


@dataclass
class Trees:
    """The nodes and leaves of all trees, as the columns of two tables.

    A node sends a row to ``yes`` where ``feature MODE value`` holds, and a row without a value
    there where ``missing`` says so.
    """

    nodes: list[tuple[int, int, int, str, float, int, int, bool]] = field(default_factory=list)
    leaves: list[tuple[int, int, int, float]] = field(default_factory=list)

    def split(
        self,
        place: tuple[int, int],
        test: tuple[int, str, float],
        ways: tuple[int, int],
        *,
        missing: bool,
    ) -> None:
        """Add a node.

        Args:
            place: its tree and its number in that tree; a tree's root comes first.
            test: the feature it asks, the comparison, as ONNX names it, and the threshold.
            ways: the numbers of the nodes where it holds, and where it does not.
            missing: whether a row without a value takes the first way.
        """
        self.nodes.append((*place, *test, *ways, missing))

    def leaf(self, place: tuple[int, int], weights: Sequence[tuple[int, float]]) -> None:
        """Add a leaf: what it adds to which sums."""
        self.nodes.append((*place, 0, "LEAF", 0.0, 0, 0, False))
        self.leaves += [(*place, target, weight) for target, weight in weights]

    def attributes(self, base: Sequence[float], *, double: bool) -> dict[str, Any]:
        """Return the attributes of a TreeEnsembleRegressor of ``ai.onnx.ml`` 3.

        Args:
            base: what each sum starts from.
            double: whether it reads and adds up float64.
        """
        tree, node, feature, mode, value, yes, no, missing = zip(*self.nodes, strict=True)
        leaf_tree, leaf_node, target, weight = zip(*self.leaves, strict=True)
        floats = {"nodes_values": value, "target_weights": weight, "base_values": base}
        return {
            "nodes_treeids": tree,
            "nodes_nodeids": node,
            "nodes_featureids": feature,
            "nodes_modes": mode,
            "nodes_truenodeids": yes,
            "nodes_falsenodeids": no,
            "nodes_missing_value_tracks_true": [int(one) for one in missing],
            "target_treeids": leaf_tree,
            "target_nodeids": leaf_node,
            "target_ids": target,
            "n_targets": len(base),
            "post_transform": "NONE",
            **{
                f"{name}_as_tensor" if double else name: _tensor(name, values)
                if double
                else list(values)
                for name, values in floats.items()
            },
        }


@dataclass(frozen=True)
class Ensemble:
    """A booster's rule.

    Attributes:
        trees: its trees.
        base: what each sum starts from, one a class or target; a single one where two classes
            share it.
        double: whether features are compared as float64; as float32 otherwise.
        link: what turns the sum of the leaves into the answer: ``identity``, ``sigmoid``,
            ``softmax``, ``exp``, ``signed square`` or ``softplus``.
        slope: what a sum is multiplied by before a sigmoid.
        empty: the number that stands for a missing value beside NaN; NaN where none does.
        threshold: the probability above which a row is of the second of two classes.
    """

    trees: Trees
    base: tuple[float, ...]
    double: bool
    link: str
    slope: float = 1.0
    empty: float = math.nan
    threshold: float = 0.5

    @property
    def operators(self) -> str:
        """The operators that it becomes, for people."""
        return "TreeEnsembleRegressor" + ("" if self.link == "identity" else f", {self.link}")


def library_of(model: Any) -> str | None:
    """Return the library of a booster or of its estimator; None for any other model."""
    root = type(model).__module__.partition(".")[0]
    own = getattr(type(model), "booster_library", None)
    return root if root in LIBRARIES else own


def refused(model: Any, cause: str, hint: str = _HINT) -> ConversionFailed:
    """Return the error for a booster that has no faithful form, by its cause."""
    return ConversionFailed(
        f"the {type(model).__name__} must have a form in ONNX, but {cause}",
        hint=hint,
        expected="a form in ONNX",
        found=cause,
    )


def _tensor(name: str, values: Sequence[float]) -> Any:
    return numpy_helper.from_array(np.array(values, dtype=np.float64), name)
