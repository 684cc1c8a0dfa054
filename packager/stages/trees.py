"""Trees in a smaller form: the operator TreeEnsemble of ``ai.onnx.ml`` 5 for the older two.

The older operators name every node and every leaf, with the tree that it stands in.  The newer
one keeps leaves apart from nodes, so that all leaves that answer alike become one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import (
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
    shape_inference,
)

from edge_runtime.contract.errors import ModelLoadFailed
from edge_runtime.contract.tensors import Array
from edge_runtime.engine.session import SessionPlan, open_session
from packager.graphs.tree_ensembles import (
    ANSWERS,
    CLASSIFIER,
    ML,
    TRACKS,
    Held,
    Layout,
    Places,
    ensembles,
    held,
    layout,
    numbers,
)

VERSION = 5
# What stands around trees here is the same in every operator set since.
_MIN_OPSET = 13

# Numbers of the operator's own.
_AGGREGATES = {b"AVERAGE": 0, b"SUM": 1, b"MIN": 2, b"MAX": 3}
_MODES = {b"BRANCH_LEQ": 0, b"BRANCH_LT": 1, b"BRANCH_GTE": 2, b"BRANCH_GT": 3}
_DTYPES: Mapping[int, type] = {TensorProto.FLOAT: np.float32, TensorProto.DOUBLE: np.float64}
# Whatever these of ``ai.onnx.ml`` are given, they make floats.
_FLOATING = frozenset({"FeatureVectorizer", "Normalizer", "OneHotEncoder", "Scaler"})
_TWO = 2


def as_tree_ensemble(model: ModelProto) -> ModelProto | str:
    """Return a copy whose trees are TreeEnsembles, or why they cannot be, as a sentence.

    ONNX Runtime turns either form into the same trees, so thresholds, sums and their order are
    the same; labels and base values are made by operators of their own.

    Args:
        model: the optimised float32 graph; it is left as it is.
    """
    here = [node for node in model.graph.node if _is_trees(node)]
    if len(here) < sum(1 for _ in ensembles(model)):
        return "some of the trees stand in a graph inside the graph"
    if not here:
        return "there are no trees in the graph"
    result, types = ModelProto(), _types(model)
    result.CopyFrom(model)
    del result.graph.node[:]
    for node in model.graph.node:
        if not _is_trees(node):
            result.graph.node.append(node)
            continue
        made = _rewritten(node, types.get(node.input[0], TensorProto.UNDEFINED))
        if isinstance(made, str):
            return made
        result.graph.node.extend(made.nodes)
        result.graph.initializer.extend(made.constants)
    _import(result)
    try:
        open_session(result.SerializeToString(deterministic=True), SessionPlan())
    except ModelLoadFailed as error:
        return f"the engine does not take them in this form: {error.message}"
    return result


def _is_trees(node: NodeProto) -> bool:
    return node.domain == ML and node.op_type in ANSWERS


def _types(model: ModelProto) -> dict[str, int]:
    """Return the element types of tensors, where they are known."""
    told = ModelProto()
    told.CopyFrom(model)
    for node in model.graph.node:
        if node.domain == ML and node.op_type in _FLOATING:  # which ONNX does not infer
            info = helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)
            told.graph.value_info.append(info)
    graph = shape_inference.infer_shapes(told).graph
    return {
        item.name: item.type.tensor_type.elem_type for item in (*graph.input, *graph.value_info)
    }


def _import(model: ModelProto) -> None:
    wanted = {ML: VERSION, "": _MIN_OPSET}
    for item in model.opset_import:
        least = wanted.pop(item.domain, 0)
        item.version = max(item.version, least)
    model.opset_import.extend(helper.make_opsetid(*item) for item in wanted.items())


@dataclass(frozen=True)
class _Made:
    """What stands in an operator's place."""

    nodes: Sequence[NodeProto]
    constants: Sequence[TensorProto]


def _rewritten(node: NodeProto, kind: int) -> _Made | str:
    found, hang, dtype = held(node), layout(node), _DTYPES.get(kind)
    if dtype is None:
        return "trees that compare anything but floats have no such form"
    if hang is None:
        return "trees that ask for categories, or share nodes, are left as they are"
    return _unlike(node, found, hang) or _Writer(node, found, dtype).write(hang)


def _unlike(node: NodeProto, found: Held, hang: Layout) -> str:
    """Return what of an ensemble has no like in the new form; "" where all has."""
    if len(numbers(found, f"{ANSWERS[node.op_type]}_weights")) > hang.leaf.sum():
        return "a leaf of such trees gives one number, some of these give several"
    if found.get("post_transform", [b"NONE"])[0] != b"NONE":
        return "what follows the sum of these trees cannot be said to the last bit"
    if len(numbers(found, "base_values")) > 1:
        return "of these trees an output that nothing is added to has no base value"
    return _no_label(found) if node.op_type == CLASSIFIER else ""


def _no_label(found: Held) -> str:
    """Return why a classifier's label cannot be told from its scores alone; "" where it can."""
    weights = numbers(found, "class_weights")
    if len(numbers(found, "base_values")) or not (weights >= 0).all():
        return "labels of trees with base values or negative weights need rules of their own"
    full = len(np.unique(found["class_ids"])) == _classes(found) > _TWO
    alone = len(np.unique(found["class_ids"])) == 1 and _classes(found) == _TWO
    return "" if full or alone else "some of the classes are named by no leaf"


def _classes(found: Held) -> int:
    return len(_labels(found))


def _labels(found: Held) -> Array:
    return found.get("classlabels_strings", found.get("classlabels_int64s", np.zeros(0)))


class _Writer:
    """Writes one ensemble anew; ``dtype`` is what its input holds and its sums are made in."""

    def __init__(self, node: NodeProto, found: Held, dtype: type) -> None:
        self._node = node
        self._found = found
        self._dtype = dtype
        self._kind = ANSWERS[node.op_type]
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []
        self._prefix = f"{next(filter(None, node.output))}/trees"

    def write(self, hang: Layout) -> _Made:
        """Return the operators that stand in its place."""
        sums = self._new("TreeEnsemble", self._node.input[0], domain=ML, **self._trees(hang))
        base = numbers(self._found, "base_values")
        if len(base):
            sums = self._new("Add", sums, self._constant("base", base.astype(self._dtype)))
        if self._node.op_type == CLASSIFIER:
            sums = self._labelled(sums)
        if self._dtype != np.float32:
            sums = self._new("Cast", sums, to=TensorProto.FLOAT)
        self._call(sums, self._node.output[-1])
        return _Made(self._nodes, self._constants)

    def _new(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node and return its output's name."""
        output = f"{self._prefix}/{len(self._nodes)}"
        made = helper.make_node(kind, inputs, [output], domain=domain, **attributes)
        self._nodes.append(made)
        return output

    def _call(self, old: str, new: str) -> None:
        """Call an output otherwise, where it is made and where it is read."""
        for node in self._nodes:
            for names in (node.input, node.output):
                names[:] = [new if name == old else name for name in names]

    def _constant(self, name: str, values: Array) -> str:
        name = f"{self._prefix}/{name}"
        self._constants.append(numpy_helper.from_array(values, name))
        return name

    def _labelled(self, scores: str) -> str:
        """Answer the class of the highest score, the first of those that are even."""
        labels = _labels(self._found)
        if len(labels) == _TWO:
            one = self._constant("one", np.ones(1, self._dtype))
            scores = self._new("Concat", self._new("Sub", one, scores), scores, axis=1)
        best = self._new("ArgMax", scores, axis=1, keepdims=0)
        label = self._new("Gather", self._constant("labels", labels), best)
        self._call(label, self._node.output[0])
        return scores

    def _trees(self, hang: Layout) -> dict[str, Any]:
        """Return the operator's attributes: branches and leaves, each numbered on their own."""
        found, leaf, own = self._found, hang.leaf, np.arange(len(hang.leaf))
        leaves, number = self._leaves(hang)
        branches = hang.order[~leaf[hang.order]]
        # A tree that is but a leaf becomes a branch that leads to it on either side.
        nodes = np.concatenate([branches, hang.starts[leaf[hang.starts]]])
        place = np.empty(len(own), np.int64)
        place[nodes] = np.arange(len(nodes))
        roots = place[hang.starts]
        true, false = (np.where(leaf, own, side)[nodes] for side in (hang.true, hang.false))
        ends = {"true": np.where(leaf, number, place)[true]}
        ends["false"] = np.where(leaf, number, place)[false]
        # The engine takes a root with one leaf on both sides for a leaf, by a wrong number.
        alike = leaf[true] & leaf[false] & (ends["true"] == ends["false"])
        alike[np.setdiff1d(np.arange(len(nodes)), roots)] = False
        twins = ends["true"][alike]
        ends["false"][alike] = len(leaves) + np.arange(len(twins))
        ids, weights = np.concatenate([leaves, leaves[twins]]).T
        modes = [_MODES.get(mode, 0) for mode in found["nodes_modes"][nodes]]
        splits = np.where(leaf, 0, numbers(found, "nodes_values"))[nodes]
        tracks = {TRACKS: np.where(leaf, 0, found[TRACKS])[nodes]} if TRACKS in found else {}
        wholes = {
            "leaf_targetids": ids.astype(np.int64),
            "nodes_featureids": np.where(leaf, 0, found["nodes_featureids"])[nodes],
            "nodes_falseleafs": leaf[false].astype(np.int64),
            "nodes_falsenodeids": ends["false"],
            "nodes_trueleafs": leaf[true].astype(np.int64),
            "nodes_truenodeids": ends["true"],
            "tree_roots": roots,
            **tracks,
        }
        return {
            **{name: values.tolist() for name, values in wholes.items()},
            "aggregate_function": _AGGREGATES[found.get("aggregate_function", [b"SUM"])[0]],
            "leaf_weights": numpy_helper.from_array(weights.astype(self._dtype)),
            "n_targets": self._targets(),
            "nodes_modes": numpy_helper.from_array(np.array(modes, np.uint8)),
            "nodes_splits": numpy_helper.from_array(splits.astype(self._dtype)),
        }

    def _targets(self) -> int:
        if self._kind == "target":
            return int(self._found["n_targets"][0])
        return 1 if _classes(self._found) == _TWO else _classes(self._found)

    def _leaves(self, hang: Layout) -> tuple[Array, Places]:
        """Return distinct answers, ``[answer, (output, number)]``, and each leaf's by place."""
        ids = self._found[f"{self._kind}_ids"]
        if self._targets() == 1:
            ids = np.zeros_like(ids)
        weights = numbers(self._found, f"{self._kind}_weights").astype(np.float64)
        pairs = np.stack([ids.astype(np.float64), weights], axis=1)
        distinct, which = np.unique(pairs, axis=0, return_inverse=True)
        number = np.zeros(len(hang.leaf), np.int64)
        number[hang.answered] = which.reshape(-1)
        return distinct, number
