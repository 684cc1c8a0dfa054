"""A float32 graph in fewer nodes: what only training needs is folded or dropped.

Every change is elementwise arithmetic on weights or none at all, so that the result is the same
on every processor.  A graph that holds graphs of its own is left as it is: they may read any
name.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from edge_runtime.contract.tensors import Array
from packager.graphs.external_data import is_outside
from packager.graphs.model_files import Weights
from packager.graphs.nested_graphs import inner_graphs

# The axis of a layer's weights that stands for its outputs.
_OUTPUT_AXIS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1}
_NORM_INPUTS = 5
_EPSILON = 1e-5  # BatchNormalization's default
_HALF, _ONE = 0.5, 1.0


def folded(model: ModelProto, weights: Weights | None) -> ModelProto:
    """Return a copy without batch normalisation behind layers and without idle nodes.

    Args:
        model: the graph; it is left as it is.
        weights: what the graph reads beside it; weights that change come into the graph.
    """
    result = ModelProto()
    result.CopyFrom(model)
    if any(True for node in result.graph.node for _ in inner_graphs(node)):
        return result
    for change in (_drop_idle, _fold_norms, _order_gelu):
        work = _Work(result, weights.path.parent if weights else None)
        change(work)
        work.finish()
    return result


class _Work:
    """One pass over a graph: who makes and who reads each name, and what is to go."""

    def __init__(self, model: ModelProto, directory: Path | None) -> None:
        graph = model.graph
        self.model = model
        self.nodes = list(graph.node)  # held, so that their identities last
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.ends = {item.name for item in graph.output}
        self._reads = Counter(name for node in self.nodes for name in node.input)
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._directory = directory
        self._gone: set[int] = set()

    def drop(self, node: NodeProto) -> None:
        self._gone.add(id(node))

    def finish(self) -> None:
        """Drop what is to go, and the constants that nothing reads any more."""
        graph = self.model.graph
        nodes = [_copy(node) for node in self.nodes if id(node) not in self._gone]
        read = self.ends.union(*(node.input for node in nodes))
        unread = self._tensors.keys() - read
        if self._gone:
            del graph.node[:]
            graph.node.extend(nodes)
        if unread:
            kept = [tensor for tensor in graph.initializer if tensor.name in read]
            del graph.initializer[:]
            graph.initializer.extend(kept)

    def only_reader(self, name: str) -> bool:
        """Tell whether a value goes to one node and nowhere else."""
        return self._reads[name] == 1 and name not in self.ends

    def constant(self, name: str) -> Array | None:
        """Return a constant of floats; None where a name is none."""
        tensor = self._tensors.get(name)
        if tensor is None or tensor.data_type != TensorProto.FLOAT:
            return None
        base = str(self._directory) if is_outside(tensor) and self._directory else ""
        return numpy_helper.to_array(tensor, base_dir=base)

    def is_scalar(self, name: str, wanted: float) -> bool:
        """Tell whether a name is a constant of one number, near the wanted one."""
        tensor = self._tensors.get(name)
        if tensor is None or np.prod(tensor.dims) != 1:
            return False
        value = self.constant(name)
        return value is not None and bool(np.isclose(value.item(), wanted, rtol=1e-6, atol=0))

    def add(self, name: str, value: Array) -> str:
        """Add a constant of floats under a name that no other value has; return the name."""
        while name in self._tensors or name in self.makers:
            name += "_"
        tensor = numpy_helper.from_array(value.astype(np.float32), name)
        self.model.graph.initializer.append(tensor)
        self._tensors[name] = tensor
        return name


def _copy(node: NodeProto) -> NodeProto:
    result = NodeProto()
    result.CopyFrom(node)
    return result


def _input(node: NodeProto, index: int) -> str:
    """Return the name of an input, empty where it is left out."""
    return str(node.input[index]) if index < len(node.input) else ""


# --- idle nodes -----------------------------------------------------------------------------


def _drop_idle(work: _Work) -> None:
    """Drop Identity, Dropout and Cast to the same type, where no output of the graph is one."""
    kinds = _element_types(work.model)
    names: dict[str, str] = {}
    for node in work.nodes:
        for index, name in enumerate(node.input):
            node.input[index] = names.get(name, name)
        if _is_idle(node, kinds) and not work.ends.intersection(node.output):
            names[node.output[0]] = node.input[0]
            work.drop(node)


def _is_idle(node: NodeProto, kinds: dict[str, int]) -> bool:
    if node.op_type == "Dropout":  # the mask, and the switch to training
        return not any(node.output[1:]) and not _input(node, 2)
    if node.op_type == "Cast":
        wanted = next(item.i for item in node.attribute if item.name == "to")
        return bool(kinds.get(node.input[0]) == wanted)
    kind: str = node.op_type
    return kind == "Identity"


def _element_types(model: ModelProto) -> dict[str, int]:
    """Return the element types that the graph declares or that can be inferred."""
    if not any(node.op_type == "Cast" for node in model.graph.node):
        return {}
    graph = onnx.shape_inference.infer_shapes(model).graph
    told = (*graph.input, *graph.output, *graph.value_info)
    return {item.name: item.type.tensor_type.elem_type for item in told}


# --- batch normalisation --------------------------------------------------------------------


def _fold_norms(work: _Work) -> None:
    """Scale a layer's weights instead of its outputs.

    Source: the ONNX operator BatchNormalization, y = (x - mean) / sqrt(variance + epsilon) *
    scale + bias, applied to x = weights * input + b.
    """
    for norm in work.nodes:
        if norm.op_type != "BatchNormalization" or len(norm.input) != _NORM_INPUTS:
            continue
        layer = work.makers.get(norm.input[0])
        if layer is None or layer.op_type not in _OUTPUT_AXIS:
            continue
        if not work.only_reader(norm.input[0]):
            continue
        factor, parameters = _factor(work, norm), _parameters(work, layer)
        if factor is not None and parameters is not None:
            _scale(work, layer, parameters, factor)
            layer.output[0] = norm.output[0]
            work.drop(norm)


def _factor(work: _Work, norm: NodeProto) -> tuple[Array, Array] | None:
    """Return what outputs are multiplied by, and what is added; None where that varies."""
    told = {item.name: item for item in norm.attribute}
    found = [work.constant(name) for name in norm.input[1:]]
    parts = [part.astype(np.float64) for part in found if part is not None]
    training = "training_mode" in told and told["training_mode"].i
    if training or any(norm.output[1:]) or len(parts) < len(found):
        return None
    scale, bias, mean, variance = parts
    epsilon = told["epsilon"].f if "epsilon" in told else _EPSILON
    factor = scale / np.sqrt(variance + epsilon)
    return factor, bias - mean * factor


def _parameters(work: _Work, layer: NodeProto) -> tuple[Array, Array, int] | None:
    """Return weights, bias and the axis of outputs; None where scaling is not as simple."""
    told = {item.name: item for item in layer.attribute}
    grouped = layer.op_type == "ConvTranspose" and "group" in told and told["group"].i != 1
    if grouped or "alpha" in told or "beta" in told:
        return None
    axis = _OUTPUT_AXIS[layer.op_type]
    if "transB" in told and told["transB"].i:
        axis = 0
    matrix, name = work.constant(layer.input[1]), _input(layer, 2)
    bias = work.constant(name) if name else np.zeros(1, np.float32)
    return None if matrix is None or bias is None else (matrix, bias, axis)


def _scale(
    work: _Work,
    layer: NodeProto,
    parameters: tuple[Array, Array, int],
    factor: tuple[Array, Array],
) -> None:
    matrix, bias, axis = parameters
    multiplied, added = factor
    shape = [-1 if index == axis else 1 for index in range(matrix.ndim)]
    source, name = layer.input[0], layer.input[1]
    scaled = work.add(f"{name}_folded", matrix.astype(np.float64) * multiplied.reshape(shape))
    moved = work.add(f"{name}_bias", bias.astype(np.float64) * multiplied + added)
    del layer.input[:]
    layer.input.extend([source, scaled, moved])


# --- Gelu -----------------------------------------------------------------------------------


def _order_gelu(work: _Work) -> None:
    """Write x * (0.5 * (1 + erf)) as (x * 0.5) * (1 + erf), which the engine takes for a Gelu.

    Halving is exact, so every answer keeps its bits.
    """
    for outer in work.nodes:
        if outer.op_type != "Mul":
            continue
        for x, name in (outer.input, reversed(outer.input)):
            inner = work.makers.get(name)
            if inner is not None and (plus := _halved(work, inner, x)) is not None:
                half = next(part for part in inner.input if part != plus)
                inner.input[0], inner.input[1] = x, half
                outer.input[0], outer.input[1] = name, plus
                break


def _halved(work: _Work, inner: NodeProto, x: str) -> str | None:
    """Return e of a node 0.5 * e whose e is 1 + erf(x / √2); None where it is another node."""
    if inner.op_type != "Mul" or not work.only_reader(inner.output[0]):
        return None
    for half, name in (inner.input, reversed(inner.input)):
        plus = work.makers.get(name)
        if plus is None or plus.op_type != "Add" or not work.is_scalar(half, _HALF):
            continue
        if any(work.is_scalar(part, _ONE) for part in plus.input) and _is_erf_of(work, plus, x):
            return str(name)
    return None


def _is_erf_of(work: _Work, plus: NodeProto, x: str) -> bool:
    """Tell whether a sum has a term erf(x / √2); x is then made before the sum."""
    erfs = [work.makers.get(part) for part in plus.input]
    scaled = [work.makers.get(erf.input[0]) for erf in erfs if erf and erf.op_type == "Erf"]
    return any(node is not None and x in node.input for node in scaled)
