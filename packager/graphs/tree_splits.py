"""Where the trees of a graph split, traced back to the columns: rows that reach each split."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, product
from typing import Any, TypeAlias

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edge_runtime.contract.table import Column
from edge_runtime.contract.tensors import Array

Value: TypeAlias = float | int | str

_TREES = frozenset({"TreeEnsembleClassifier", "TreeEnsembleRegressor"})
_LEAF = "LEAF"
# So many leaves are tried on either side of a split, found by looking at so many nodes.
_ENDS = 12
_LOOKED_AT = 64
# Which side of its threshold a node's true branch takes: below or above it.
_BELOW = frozenset({"BRANCH_LEQ", "BRANCH_LT"})
_ABOVE = frozenset({"BRANCH_GT", "BRANCH_GTE"})

# Operators that hand every feature on with its value, whatever its shape.
_SAME = frozenset({"Cast", "Flatten", "Identity", "Imputer", "Reshape", "Squeeze", "Unsqueeze"})


@dataclass(frozen=True)
class _Feature:
    """One feature of a tensor: ``scale * column + offset``, or whether it is a category."""

    column: Column
    scale: float = 1.0
    offset: float = 0.0
    category: Value | None = None


@dataclass(frozen=True)
class Bounds:
    """What the nodes above a split ask of one column.

    Attributes:
        low: the column must be above this.
        high: and no more than this.
        equal: the category that it must be; None where any will do.
        unequal: categories that it must not be.
    """

    low: float = -math.inf
    high: float = math.inf
    equal: Value | None = None
    unequal: tuple[Value, ...] = ()


_Way: TypeAlias = dict[str, Bounds]


@dataclass(frozen=True)
class Split:
    """A node of a tree.

    Attributes:
        column: the column that it asks.
        value: the column's value that stands at the threshold.
        way: what leads to it, by column, and from its two sides to different answers.
    """

    column: Column
    value: float
    way: Mapping[str, Bounds] = field(default_factory=dict)


def tree_splits(model: ModelProto, columns: Sequence[Column], limit: int) -> list[Split]:
    """Return the splits of a graph's trees that can be traced back to a column.

    Between columns and trees may stand what keeps features apart: scalers, imputers, casts,
    selections, one-hot categories.

    Args:
        model: the graph.
        columns: how columns become its inputs.
        limit: the most splits to return; of more, every so-manieth is taken.
    """
    tracer = _Tracer(model.graph, columns)
    found: list[tuple[_Forest, int]] = []
    for node in model.graph.node:
        if node.op_type in _TREES:
            forest = _Forest(node, tracer.features(node.input[0]))
            found += [(forest, index) for index in forest.traceable()]
    chosen = np.unique(np.linspace(0, len(found) - 1, min(limit, len(found))).astype(int))
    return [forest.split(index) for forest, index in (found[place] for place in chosen)]


class _Forest:
    """The nodes of one ensemble, and what leads to each of them."""

    def __init__(self, node: NodeProto, features: Sequence[_Feature | None]) -> None:
        held = _attributes(node)
        self._features = features
        self._ids = held["nodes_featureids"]
        self._modes = [mode.decode() for mode in held["nodes_modes"]]
        self._values = _thresholds(held)
        trees, names = held["nodes_treeids"], held["nodes_nodeids"]
        self._place = {key: index for index, key in enumerate(zip(trees, names, strict=True))}
        self._below: dict[int, tuple[int, int]] = {}
        self._above: dict[int, tuple[int, bool]] = {}
        for index, mode in enumerate(self._modes):
            ends = (held["nodes_truenodeids"][index], held["nodes_falsenodeids"][index])
            children = [self._place.get((trees[index], end), index) for end in ends]
            if mode != _LEAF and index not in children:
                self._below[index] = (children[0], children[1])
                self._above[children[0]], self._above[children[1]] = (
                    (index, True),
                    (index, False),
                )
        self._outcomes = self._leaves(held)

    def _leaves(self, held: Mapping[str, Any]) -> dict[int, list[tuple[int, float]]]:
        """Return what each leaf answers."""
        kind = "class" if "class_treeids" in held else "target"
        weights = held.get(f"{kind}_weights", ())
        keys = zip(held[f"{kind}_treeids"], held[f"{kind}_nodeids"], strict=True)
        outcomes: dict[int, list[tuple[int, float]]] = {}
        for key, number, weight in zip(keys, held[f"{kind}_ids"], weights, strict=False):
            outcomes.setdefault(self._place.get(key, -1), []).append((number, weight))
        return outcomes

    def traceable(self) -> Iterator[int]:
        """Yield the nodes that ask a column for a number."""
        for index, mode in enumerate(self._modes):
            feature = self._feature(index)
            asks = mode in _BELOW | _ABOVE and index in self._below
            if asks and feature is not None and feature.category is None:
                yield index

    def split(self, index: int) -> Split:
        """Return one of these nodes, with a way on which its two sides end differently."""
        feature = self._feature(index)
        if feature is None:
            message = f"node {index} asks no column"
            raise ValueError(message)
        column, value = feature.column, self._at(feature, index)
        way: _Way = {}
        for above, side in self._path(index):
            way = self._narrowed(way, above, side)
        sides = [list(islice(self._ends(child, {}), _ENDS)) for child in self._below[index]]
        for (one, there), (other, here) in product(*sides):
            joined = _joined(_joined(way, one), other)
            own = joined.get(column.name, Bounds())
            differ = self._outcomes.get(there) != self._outcomes.get(here)
            if differ and own.low < value < own.high and all(map(_possible, joined.values())):
                return Split(column, value, joined)
        return Split(column, value, way)

    def _ends(self, index: int, way: _Way) -> Iterator[tuple[_Way, int]]:
        """Yield the leaves below a node, nearest first, and the way to each."""
        waiting = deque([(index, way)])
        for _ in range(_LOOKED_AT):
            if not waiting:
                return
            index, way = waiting.popleft()
            if index not in self._below:
                yield way, index
                continue
            for child, side in zip(self._below[index], (True, False), strict=True):
                waiting.append((child, self._narrowed(way, index, side)))

    def _feature(self, index: int) -> _Feature | None:
        number = self._ids[index]
        return self._features[number] if number < len(self._features) else None

    def _at(self, feature: _Feature, index: int) -> float:
        return (self._values[index] - feature.offset) / feature.scale

    def _path(self, index: int) -> Iterator[tuple[int, bool]]:
        for _ in self._modes:  # no way is longer than the ensemble is large
            if index not in self._above:
                return
            index, side = self._above[index]
            yield index, side

    def _narrowed(self, way: _Way, index: int, side: bool) -> _Way:
        """Return a way that goes on to this side of a node."""
        feature, mode = self._feature(index), self._modes[index]
        if feature is None or mode not in _BELOW | _ABOVE:
            return way
        below = side == (mode in _BELOW)
        if feature.category is not None:
            only = {"unequal": (feature.category,)} if below else {"equal": feature.category}
            asked = Bounds(**only)
        else:
            value = self._at(feature, index)
            low = below == (feature.scale > 0)
            asked = Bounds(high=value) if low else Bounds(low=value)
        return _joined(way, {feature.column.name: asked})


def _joined(one: _Way, other: _Way) -> _Way:
    """Return what two ways ask together."""
    joined = dict(one)
    for name, more in other.items():
        known = one.get(name, Bounds())
        joined[name] = Bounds(
            low=max(known.low, more.low),
            high=min(known.high, more.high),
            equal=more.equal if known.equal is None else known.equal,
            unequal=(*known.unequal, *more.unequal, *_other(known.equal, more.equal)),
        )
    return joined


def _other(one: Value | None, other: Value | None) -> tuple[Value, ...]:
    """Return what makes two categories asked for at once impossible."""
    return () if one is None or other in (None, one) else (one,)


def _possible(bounds: Bounds) -> bool:
    return bounds.low < bounds.high and bounds.equal not in bounds.unequal


def _thresholds(held: Mapping[str, Any]) -> list[float]:
    tensor = held.get("nodes_values_as_tensor")
    values = numpy_helper.to_array(tensor) if tensor is not None else held["nodes_values"]
    return [float(value) for value in values]


class _Tracer:
    """Follows features back from a tensor to the columns that they come from."""

    def __init__(self, graph: GraphProto, columns: Sequence[Column]) -> None:
        self._makers = {name: node for node in graph.node for name in node.output}
        self._constants = {
            item.name: item
            for item in graph.initializer
            if item.data_location != TensorProto.EXTERNAL  # too large to be one of ours
        }
        self._inputs: dict[str, list[_Feature | None]] = {}
        for column in sorted(columns, key=lambda one: one.index or 0):
            self._inputs.setdefault(column.input, []).append(_Feature(column))

    def features(self, name: str) -> list[_Feature | None]:
        """Return the features of a tensor; None for one that cannot be traced."""
        if name in self._inputs:
            return self._inputs[name]
        node = self._makers.get(name)
        return self._made(node) if node is not None else []

    def _made(self, node: NodeProto) -> list[_Feature | None]:
        kind = node.op_type
        if kind in _SAME:
            return self.features(node.input[0])
        if kind in ("Concat", "FeatureVectorizer"):
            return [one for name in node.input for one in self.features(name)]
        if kind in ("ArrayFeatureExtractor", "Gather"):
            return self._selected(node)
        if kind == "Scaler":
            held = _attributes(node)
            scale, offset = np.array(held["scale"]), np.array(held["offset"])
            return _affine(self.features(node.input[0]), scale, -offset * scale)
        if kind == "OneHotEncoder":
            return self._categories(node)
        return self._calculated(node) if kind in ("Add", "Sub", "Mul", "Div") else []

    def _selected(self, node: NodeProto) -> list[_Feature | None]:
        features, which = self.features(node.input[0]), self._constant(node.input[1])
        if which is None or (node.op_type == "Gather" and _attributes(node).get("axis") != 1):
            return []
        wanted = [int(index) for index in which.ravel()]
        return [features[i] if -len(features) <= i < len(features) else None for i in wanted]

    def _categories(self, node: NodeProto) -> list[_Feature | None]:
        held = _attributes(node)
        texts = [one.decode() for one in held.get("cats_strings", ())]
        before = self.features(node.input[0])
        known = before[0] if len(before) == 1 else None
        found = texts or list(held.get("cats_int64s", ()))
        return [replace(known, category=one) if known is not None else None for one in found]

    def _calculated(self, node: NodeProto) -> list[_Feature | None]:
        """Trace what is added to, taken from, or multiplied by a constant."""
        left, right = (self._constant(name) for name in node.input)
        if (left is None) == (right is None):
            return []
        constant = left if right is None else right
        if constant is None or (left is not None and node.op_type == "Div"):
            return []
        features = self.features(node.input[1 if right is None else 0])
        scale, offset = np.ones(1), np.zeros(1)
        if node.op_type == "Mul":
            scale = constant
        elif node.op_type == "Div":
            with np.errstate(divide="ignore"):
                scale = 1 / constant
        elif node.op_type == "Add":
            offset = constant
        elif right is None:
            scale, offset = -scale, constant
        else:
            offset = -constant
        return _affine(features, scale, offset)

    def _constant(self, name: str) -> Array | None:
        if name in self._constants:
            return numpy_helper.to_array(self._constants[name]).astype(np.float64)
        node = self._makers.get(name)
        if node is None or node.op_type != "Constant":
            return None
        value = _attributes(node).get("value")
        return None if value is None else numpy_helper.to_array(value).astype(np.float64)


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def _affine(
    features: Sequence[_Feature | None], scale: Array, offset: Array
) -> list[_Feature | None]:
    """Scale and move features by one number, or by one for each of them."""
    count = len(features)
    if {scale.size, offset.size} - {1, count}:
        return []
    scales, offsets = np.resize(scale, count).tolist(), np.resize(offset, count).tolist()
    return [
        replace(one, scale=one.scale * a, offset=one.offset * a + b)
        if one is not None and one.category is None and a and math.isfinite(a)
        else None
        for one, a, b in zip(features, scales, offsets, strict=True)
    ]
