"""Tree ensembles in a graph: read as arrays, stripped of what nothing reads, well ordered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, NodeProto, numpy_helper

from edge_runtime.contract.tensors import Array
from packager.graphs.nested_graphs import every_graph

Places: TypeAlias = NDArray[np.int64]
Held: TypeAlias = dict[str, Array]

ML = "ai.onnx.ml"
CLASSIFIER, REGRESSOR = "TreeEnsembleClassifier", "TreeEnsembleRegressor"
# What the attributes that tell a leaf's answers begin with.
ANSWERS = {CLASSIFIER: "class", REGRESSOR: "target"}
TRACKS = "nodes_missing_value_tracks_true"
# Both ways to write a number for each node, each leaf's answer, each output.
TENSOR = "_as_tensor"

_LEAF = b"LEAF"
_COMPARING = frozenset({b"BRANCH_LEQ", b"BRANCH_LT", b"BRANCH_GTE", b"BRANCH_GT"})
_NOT_READ = ("nodes_hitrates", "nodes_hitrates_as_tensor")
_DEFAULTS = {"post_transform": b"NONE", "aggregate_function": b"SUM"}
_ADDING = (b"SUM", b"AVERAGE")
# Of a leaf none of these is read.
_OF_BRANCHES = ("nodes_featureids", "nodes_values", "nodes_values_as_tensor", TRACKS)


@dataclass(frozen=True)
class Layout:
    """How the nodes of an ensemble hang together; places count in the order of its attributes.

    Attributes:
        order: all places, tree by tree, in each the branches before the leaves and both from
            the root outwards, so that what one tree says often stands in the next one too.
        starts: where each tree's root stands; a tree's nodes stand side by side.
        leaf: which places are leaves.
        true: each branch's true child.
        false: each branch's false child.
        answered: the leaf that each answer belongs to.
    """

    order: Places
    starts: Places
    leaf: NDArray[np.bool_]
    true: Places
    false: Places
    answered: Places


def strip_trees(model: ModelProto) -> None:
    """Drop what the runtime never reads of trees, or takes for granted; order the rest.

    The answers stay the same to the last bit: thresholds, answers and the order of the trees
    stay, and of the weights only zeros go, where a sum does not miss them. ONNX Runtime reads
    attributes in ``core/providers/cpu/ml/tree_ensemble_attribute.h`` and ``_common.h``.
    """
    for node in ensembles(model):
        _drop_defaults(node)
        _drop_zeros(node)
        _arrange(node)


def ensembles(model: ModelProto) -> Iterator[NodeProto]:
    """Yield the tree ensembles of a graph and of the graphs inside it."""
    for graph in every_graph(model.graph):
        for node in graph.node:
            if node.domain == ML and node.op_type in ANSWERS:
                yield node


def held(node: NodeProto) -> Held:
    """Return the attributes of an ensemble as arrays, text as bytes, single values as one."""
    return {item.name: _values(item) for item in node.attribute}


def numbers(found: Mapping[str, Array], name: str) -> Array:
    """Return numbers that may be written in either way; none where they are in neither."""
    nothing = np.zeros(0, np.float32)
    return found.get(name, found.get(name + TENSOR, nothing))


def _values(item: AttributeProto) -> Array:
    if item.type == AttributeProto.INTS:
        return np.array(item.ints, dtype=np.int64)
    if item.type == AttributeProto.FLOATS:
        return np.array(item.floats, dtype=np.float32)
    if item.type == AttributeProto.STRINGS:
        return np.array(item.strings, dtype=object)
    if item.type == AttributeProto.TENSOR:
        return numpy_helper.to_array(item.t)
    return np.array([item.s if item.type == AttributeProto.STRING else item.i], dtype=object)


def _write(node: NodeProto, changed: Mapping[str, Array]) -> None:
    for item in node.attribute:
        values = changed.get(item.name)
        if values is None:
            continue
        if item.type == AttributeProto.INTS:
            item.ints[:] = values.tolist()
        elif item.type == AttributeProto.FLOATS:
            item.floats[:] = values.tolist()
        elif item.type == AttributeProto.STRINGS:
            item.strings[:] = values.tolist()
        else:
            item.t.CopyFrom(numpy_helper.from_array(values, item.t.name))


# --- dropping ------------------------------------------------------------------------------


def _drop_defaults(node: NodeProto) -> None:
    found = held(node)
    spare = set(_NOT_READ)
    spare |= {name for name, value in _DEFAULTS.items() if found.get(name) == [value]}
    if not found.get(TRACKS, np.zeros(0)).any():
        spare.add(TRACKS)
    if node.op_type == REGRESSOR and not numbers(found, "base_values").any():
        # Of a classifier their number decides how two classes are told apart.
        spare |= {"base_values", "base_values" + TENSOR}
    kept = [item for item in node.attribute if item.name not in spare]
    if len(kept) < len(node.attribute):
        del node.attribute[:]
        node.attribute.extend(kept)


def _drop_zeros(node: NodeProto) -> None:
    """Drop answers of zero where sums of several outputs are not changed by them.

    A leaf keeps one answer, for older engines refuse one without. A class without any answer
    is no candidate for the label; so all must be positive or zero, and one of each leaf above
    it. Of two classes the number of answers decides how they are told apart.
    """
    found, kind = held(node), ANSWERS[node.op_type]
    weights = numbers(found, f"{kind}_weights")
    if found.get("aggregate_function", [b"SUM"])[0] not in _ADDING or not len(weights):
        return
    names = np.stack([found[f"{kind}_treeids"], found[f"{kind}_nodeids"]], axis=1)
    leaves = np.unique(names, axis=0, return_inverse=True)[1].reshape(-1)
    kept = weights != 0
    full = np.zeros(leaves.max() + 1, dtype=bool)
    full[leaves[kept]] = True
    if kind == "class":
        labels = found.get("classlabels_int64s", found.get("classlabels_strings", ()))
        if len(labels) <= 2 or not (weights >= 0).all() or not full.all():  # noqa: PLR2004
            return
    elif found.get("n_targets", [1])[0] == 1 or len(numbers(found, "base_values")):
        return  # an output that nothing was added to is zero, whatever its base value
    first = np.unique(leaves, return_index=True)[1]
    kept[first[~full]] = True
    answers = {name: values for name, values in found.items() if _is_answer(name, kind)}
    _write(node, {name: values[kept] for name, values in answers.items()})


def _is_answer(name: str, kind: str) -> bool:
    return name.startswith(f"{kind}_")


# --- order ---------------------------------------------------------------------------------


def layout(node: NodeProto) -> Layout | None:
    """Return how an ensemble's nodes hang together; None where they are no plain trees.

    Plain trees compare numbers, reach each node in one way, and answer in every leaf and there
    alone.
    """
    found, kind = held(node), ANSWERS[node.op_type]
    if not set(found.get("nodes_modes", ())) <= {_LEAF, *_COMPARING}:
        return None
    trees, modes = found["nodes_treeids"], found["nodes_modes"]
    leaf = np.array([mode == _LEAF for mode in modes])
    begins = np.concatenate([[True], trees[1:] != trees[:-1]])
    starts, which = np.flatnonzero(begins), np.cumsum(begins) - 1
    if len(np.unique(trees)) < len(starts):
        return None
    finder = _Finder(which, found["nodes_nodeids"])
    true = finder.places(which, np.where(leaf, 0, found["nodes_truenodeids"]))
    false = finder.places(which, np.where(leaf, 0, found["nodes_falsenodeids"]))
    known = {tree: number for number, tree in enumerate(trees[starts].tolist())}
    owners = [known.get(tree, -1) for tree in found[f"{kind}_treeids"].tolist()]
    answered = finder.places(np.array(owners, np.int64), found[f"{kind}_nodeids"])
    outwards = _outwards(starts, leaf, true, false)
    lost = min(answered.min(initial=0), true[~leaf].min(initial=0), false[~leaf].min(initial=0))
    if outwards is None or lost < 0 or not _answer_alone(leaf, answered):
        return None
    return Layout(np.lexsort((outwards, leaf, which)), starts, leaf, true, false, answered)


def _answer_alone(leaf: NDArray[np.bool_], answered: Places) -> bool:
    having = np.zeros(len(leaf), dtype=bool)
    having[answered] = True
    return bool((having == leaf).all())


class _Finder:
    """Finds nodes by the number of their tree and their name in it."""

    def __init__(self, which: Places, names: Places) -> None:
        self._width = int(names.max()) + 1
        keys = self._keys(which, names)
        self._sorter = np.argsort(keys, kind="stable")
        self._sorted = keys[self._sorter]

    def _keys(self, which: Places, names: Places) -> Places:
        inside = (which >= 0) & (names >= 0) & (names < self._width)
        return np.where(inside, which * self._width + names, -1)

    def places(self, which: Places, names: Places) -> Places:
        """Return where nodes stand, -1 for those that are nowhere or in two places."""
        keys = self._keys(which, names)
        at = np.searchsorted(self._sorted, keys)
        there = np.searchsorted(self._sorted, keys, side="right") - at == 1
        return np.where(there & (keys >= 0), self._sorter[np.where(there, at, 0)], -1)


def _outwards(
    starts: Places, leaf: NDArray[np.bool_], true: Places, false: Places
) -> Places | None:
    """Number nodes from the roots outwards; None where one is not reached just once."""
    found = np.full(len(leaf), -1, dtype=np.int64)
    level, count = starts, 0
    while len(level):
        twice = len(np.unique(level)) < len(level)
        if twice or level.min() < 0 or (found[level] >= 0).any():
            return None
        found[level] = np.arange(count, count + len(level))
        count += len(level)
        branches = level[~leaf[level]]
        level = np.stack([true[branches], false[branches]], axis=1).reshape(-1)
    return found if count == len(leaf) else None


def _arrange(node: NodeProto) -> None:
    """Name and order nodes alike in all trees; say nothing of leaves but that they are."""
    found, kind = held(node), ANSWERS[node.op_type]
    hang = layout(node)
    if hang is None:
        return
    order, leaf = hang.order, hang.leaf
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    # A tree's nodes stand where they stood, so its first place is its root's.
    sizes = np.diff(np.append(hang.starts, len(order)))
    names = place - np.repeat(hang.starts, sizes)
    changed = {name: np.where(leaf, 0, found[name]) for name in _OF_BRANCHES if name in found}
    changed |= {
        "nodes_nodeids": names,
        "nodes_truenodeids": np.where(leaf, 0, names[hang.true]),
        "nodes_falsenodeids": np.where(leaf, 0, names[hang.false]),
    }
    changed = {
        name: changed.get(name, values)[order].astype(values.dtype)
        for name, values in found.items()
        if name.startswith("nodes_")
    }
    sorter = np.argsort(place[hang.answered], kind="stable")
    answers = {n: values[sorter] for n, values in found.items() if _is_answer(n, kind)}
    answers[f"{kind}_nodeids"] = names[hang.answered][sorter]
    _write(node, {**changed, **answers})
