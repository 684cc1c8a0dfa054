"""Graphs made ready for tools that shrink them, and made clean again afterwards."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import chain, count

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edge_runtime.contract.tensors import DTYPES
from packager.graphs.external_data import PAGE, byte_size, take_in
from packager.graphs.folding import folded
from packager.graphs.model_files import ModelFiles, Weights
from packager.graphs.nested_graphs import inner_graphs

DENSE = ("MatMul", "Gemm")
CONVOLUTIONS = ("Conv", "ConvTranspose")
# Operators that have an int8 kernel or leave values as they are: between quantized layers they
# spare the way to floats and back; elsewhere they would cost accuracy for nothing.
_CARRIERS = (
    "Add",
    "AveragePool",
    "Clip",
    "Concat",
    "Flatten",
    "GlobalAveragePool",
    "LeakyRelu",
    "MaxPool",
    "Mul",
    "Relu",
    "Reshape",
    "Resize",
    "Sigmoid",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)
# Rounding to int8 does what these do; behind a layer they cost nothing then.
_LIMITS = ("Relu", "Clip")
# What the engine moves a rounding to int8 in front of.
_LETS_PASS = ("Flatten", "MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze", *_LIMITS)
# Convolutions with fewer channels than this and fewer products a value are slower in int8 than
# in the engine's float layout: measured 0.1 to 0.8 times as fast; with more, 0.9 to 3.8 times.
_THIN_CHANNELS, _THIN_PRODUCTS = 8, 128

# The least and greatest value of a tensor, by its name.
Ranges = dict[str, list[float]]


def weighted_nodes(model: ModelProto) -> Iterable[NodeProto]:
    """Yield the nodes that carry constant matrices of floats."""
    weights = {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1
    }
    return (node for node in model.graph.node if weights.intersection(node.input))


# --- before ---------------------------------------------------------------------------------


def prepared(model: ModelProto, weights: Weights | None) -> ModelProto:
    """Return a folded copy with inferred shapes and named nodes, as the quantizers want it."""
    result = onnx.shape_inference.infer_shapes(folded(model, weights))
    for number, node in enumerate(result.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    # The quantizers' own mark that shapes are known; without it they go through files.
    result.metadata_props.add(key="onnx.infer", value="onnxruntime.quant")
    return result


def typed(model: ModelProto, weights: Weights | None) -> ModelProto:
    """Give every value its element type, asking the engine where shape inference is silent.

    The converter puts casts only around values that it knows to be float, and ONNX infers
    nothing for some operators of ``ai.onnx.ml``.
    """
    graph = model.graph
    known = {item.name for item in chain(graph.value_info, graph.output)}
    silent = {name for node in graph.node for name in node.output if name} - known
    if not silent:
        return model
    asking = ModelProto()
    asking.CopyFrom(model)
    asking.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(silent))
    for spec in ModelFiles.of(asking, weights).open_mapped().outputs:
        if spec.name in silent:
            kind = onnx.helper.np_dtype_to_tensor_dtype(DTYPES[spec.dtype])
            graph.value_info.append(onnx.helper.make_tensor_value_info(spec.name, kind, None))
    return model


def whole(model: ModelProto, weights: Weights | None) -> ModelProto:
    """Take the weights into a graph that is our own copy, as the tools want them."""
    if weights is not None:
        take_in(model, weights.path.parent)
    return model


# --- what a static recipe quantizes ---------------------------------------------------------


def layers(model: ModelProto, *, dense_only: bool) -> list[NodeProto]:
    """Return the layers that pay in int8: their weights are constants and they are not thin."""
    shapes = {
        tensor.name: list(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1
    }
    kinds = DENSE if dense_only else DENSE + CONVOLUTIONS
    nodes = [node for node in model.graph.node if node.op_type in kinds]
    weighted = [node for node in nodes if node.input[1] in shapes]
    return [node for node in weighted if not _is_thin(node, shapes[node.input[1]])]


def _is_thin(node: NodeProto, shape: list[int]) -> bool:
    """Tell whether a convolution reads so few values at once that int8 is no faster.

    A depthwise one stands between others that gain more than it loses.
    """
    grouped = any(item.name == "group" and item.i > 1 for item in node.attribute)
    if node.op_type != "Conv" or grouped:
        return False
    return shape[1] < _THIN_CHANNELS and int(np.prod(shape[1:])) < _THIN_PRODUCTS


def static_nodes(
    model: ModelProto, *, dense_only: bool, kept: Collection[str] = ()
) -> list[str]:
    """Name the nodes that a static recipe quantizes: layers, and what lies between them.

    Args:
        model: a prepared graph.
        dense_only: leave everything but MatMul and Gemm as it is.
        kept: names of layers that stay float32.
    """
    chosen = [node for node in layers(model, dense_only=dense_only) if node.name not in kept]
    if dense_only:
        return [node.name for node in chosen]
    names = {node.name for node in chosen}
    constants = {tensor.name for tensor in model.graph.initializer}
    rounded = {node.input[0] for node in chosen}
    # Dense layers' sums stay floats: see the quantizer's options.
    sums = {node.output[0] for node in chosen if node.op_type in CONVOLUTIONS}
    carried, known = set(sums), sums | rounded
    candidates = []
    for node in model.graph.node:  # in topological order, as ONNX demands
        read = [name for name in node.input if name and name not in constants]
        if node.op_type in _CARRIERS and carried.intersection(read) and known.issuperset(read):
            candidates.append(node)
            carried.update(node.output)
            known.update(node.output)
    wanted = set(rounded)
    for node in reversed(candidates):
        closing = node.op_type in _LIMITS and node.input[0] in sums
        if closing or wanted.intersection(node.output):
            names.add(node.name)
            wanted.update(node.input)
    return [node.name for node in model.graph.node if node.name in names]


def fence_pools(model: ModelProto, quantized: Collection[str]) -> None:
    """Keep the engine from rounding in front of a pool that stays float32.

    It moves a QuantizeLinear through MaxPool, whose int8 kernel without a convolution before it
    was measured 50 times slower. A maximum with the least number changes nothing and stops it.
    """
    graph = model.graph
    chosen = set(quantized)
    makers = {name: node for node in graph.node for name in node.output}
    read = {name for node in graph.node if node.name in chosen for name in node.input}
    fenced = [name for name in makers if name in read and _behind_pool(name, makers, chosen)]
    if not fenced:
        return
    least = numpy_helper.from_array(np.array(np.finfo(np.float32).min), "least_number")
    graph.initializer.append(least)
    infos = {item.name: item for item in graph.value_info}
    nodes = []
    for node in graph.node:
        nodes.append(node)
        for index, name in enumerate(node.output):
            if name in fenced:
                node.output[index] = f"{name}_free"
                fence = helper.make_node("Max", [node.output[index], least.name], [name])
                nodes.append(fence)
                if name in infos:
                    graph.value_info.add().CopyFrom(infos[name])
                    graph.value_info[-1].name = node.output[index]
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _behind_pool(name: str, makers: Mapping[str, NodeProto], chosen: Collection[str]) -> bool:
    """Tell whether rounding a value would slip in front of a pool that stays float32."""
    node = makers.get(name)
    while node is not None and node.op_type in _LETS_PASS and node.name not in chosen:
        if node.op_type == "MaxPool":
            return True
        node = makers.get(node.input[0])
    return False


# --- afterwards -----------------------------------------------------------------------------


def cleared(model: ModelProto) -> ModelProto:
    """Drop what was noted for the tools, what they noted, and names that nobody asks for."""
    model.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    if any(True for node in model.graph.node for _ in inner_graphs(node)):
        return model  # inner graphs may read any name
    shared = _share_constants(model)
    kept = {"", *(item.name for item in (*model.graph.input, *model.graph.output))}
    short: dict[str, str] = {}
    fresh = (name for number in count() if (name := f"t{number}") not in kept)

    def renamed(name: str) -> str:
        name = shared.get(name, name)
        if name in kept:
            return name
        if name not in short:
            short[name] = next(fresh)
        return short[name]

    for tensor in model.graph.initializer:
        tensor.name = renamed(tensor.name)
    for number, node in enumerate(model.graph.node):
        # Without any name ONNX Runtime 1.20 gives the parts of two nodes one name, and fails.
        node.name = f"n{number}"
        for part in (node.input, node.output):
            part[:] = [renamed(name) for name in part]
    return model


def _share_constants(model: ModelProto) -> dict[str, str]:
    """Keep one of small constants that are equal; return the names of the others' stand-ins."""
    graph = model.graph
    ends = {item.name for item in graph.output}
    first: dict[bytes, str] = {}
    stands_in: dict[str, str] = {}
    for tensor in graph.initializer:
        if tensor.name in ends or byte_size(tensor) >= PAGE:
            continue
        bare = TensorProto()
        bare.CopyFrom(tensor)
        bare.ClearField("name")
        name = first.setdefault(bare.SerializeToString(deterministic=True), tensor.name)
        if name != tensor.name:
            stands_in[tensor.name] = name
    kept = [tensor for tensor in graph.initializer if tensor.name not in stands_in]
    if stands_in:
        del graph.initializer[:]
        graph.initializer.extend(kept)
    return stands_in
