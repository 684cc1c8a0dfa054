"""Tree ensembles as scikit-learn descends them: missing values, losses with a logarithm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx

from edge_runtime.contract.tensors import Array
from packager.sources.sklearn.causes import learned_missing, logarithmic, trees_of
from packager.sources.sklearn.wires import ML, Wires

Converter: TypeAlias = Callable[[Any, Any, Any], None]

_TRACKS = "nodes_missing_value_tracks_true"
_PREFIX = "TreeEnsemble"
_ROOM = 2.0**-40  # of a threshold, for the last bits of values that the engine computed
_ROOM_AT_ZERO = 2.0**-46
_TENSORS_SINCE = 3  # of ai.onnx.ml: thresholds of float64


def tracking_missing(original: Converter) -> Converter:
    """Let rows without a value go where the trees learned to send them."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        start = len(container.nodes)
        original(scope, operator, container)
        if not learned_missing(operator.raw_operator):
            return
        trees = trees_of(operator.raw_operator)
        for node in container.nodes[start:]:
            if node.op_type.startswith(_PREFIX):
                _fill_tracks(node, trees)

    return convert


def isolating(original: Converter) -> Converter:
    """The same for an isolation forest, which has one node a tree."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        start = len(container.nodes)
        original(scope, operator, container)
        if not learned_missing(operator.raw_operator):
            return
        ensembles = [n for n in container.nodes[start:] if n.op_type.startswith(_PREFIX)]
        for node, tree in zip(ensembles, trees_of(operator.raw_operator), strict=True):
            _fill_tracks(node, [tree])

    return convert


def _fill_tracks(node: onnx.NodeProto, trees: Sequence[Any]) -> None:
    given = {attribute.name: attribute for attribute in node.attribute}
    leads = [np.asarray(tree.missing_go_to_left) for tree in trees]
    places = zip(given["nodes_treeids"].ints, given["nodes_nodeids"].ints, strict=True)
    tracks = [int(leads[tree][place]) for tree, place in places]
    given[_TRACKS].ints[:] = tracks


def histogram_boosting(original: Converter) -> Converter:
    """Compare as histogram boosting does, in float64 or exactly rounded, and undo its link."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        wires = Wires(scope, operator, container)
        number = len(operator.outputs) - 1
        other, raw = wires.aside(number)
        start = len(container.nodes)
        original(scope, other, container)
        exact = wires.double and wires.needs(ML, _TENSORS_SINCE)
        for node in container.nodes[start:]:
            if node.op_type.startswith(_PREFIX):
                (_as_double if exact else _round_down)(node, wires.model)
        # The operator gives float32 whatever it is fed.
        value = wires.node("Exp", raw) if logarithmic(wires.model) else raw
        wires.cast(value, wires.floats, out=wires.output(number))

    return convert


def _thresholds(node: onnx.NodeProto, model: Any) -> Array:
    """Return the model's own float64 thresholds in the order of the node's."""
    given = {attribute.name: attribute for attribute in node.attribute}
    flat = [tree.nodes for step in model._predictors for tree in step]
    leaf = np.array([mode == b"LEAF" for mode in given["nodes_modes"].strings])
    places = zip(given["nodes_treeids"].ints, given["nodes_nodeids"].ints, strict=True)
    values = np.array([flat[tree]["num_threshold"][place] for tree, place in places])
    if getattr(model, "edgepack_room", False):
        values = values + np.abs(values) * _ROOM + _ROOM_AT_ZERO
    return np.asarray(np.where(leaf, 0.0, values))


def _round_down(node: onnx.NodeProto, model: Any) -> None:
    """Round thresholds so that float32 values compare with them as with the true ones."""
    exact = _thresholds(node, model)
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
    rounded = np.where(rounded > exact, np.nextafter(rounded, np.float32(-np.inf)), rounded)
    _set(node, {"nodes_values": rounded})


def _as_double(node: onnx.NodeProto, model: Any) -> None:
    """Give a node that reads float64 thresholds and weights of float64."""
    names = ("nodes_values", "class_weights", "target_weights", "nodes_hitrates", "base_values")
    given = {a.name: np.array(a.floats) for a in node.attribute if a.name in names}
    given["nodes_values"] = _thresholds(node, model)
    kept = [attribute for attribute in node.attribute if attribute.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)
    for name, values in sorted(given.items()):
        tensor = onnx.numpy_helper.from_array(values.astype(np.float64), name)
        node.attribute.append(onnx.helper.make_attribute(f"{name}_as_tensor", tensor))


def _set(node: onnx.NodeProto, values: Mapping[str, Array]) -> None:
    for attribute in node.attribute:
        if attribute.name in values:
            attribute.floats[:] = values[attribute.name].tolist()
