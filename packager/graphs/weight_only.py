"""Weights in few bits, from which the graph makes floats again: they need no rows to be made.

Rounding is elementwise, and the greatest of some values is exact, so the result is the same on
every processor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edge_runtime.contract.tensors import Array
from packager.graphs.external_data import byte_size
from packager.graphs.nested_graphs import every_graph

MICROSOFT = "com.microsoft"
TABLE = "Gather"
# Operators that read their weights as second input (recurrent ones as third too).
LAYERS = ("Conv", "ConvTranspose", "GRU", "Gemm", "LSTM", "MatMul", "RNN")
_RECURRENT = ("GRU", "LSTM", "RNN")
# Smaller matrices gain less than the nodes around them take.
MIN_ELEMENTS = 256
# MatMulNBits: so many weights of a column share a scale.
BLOCK = 32
# What the engine's 4-bit kernel may round inputs to: 4 allows int8, its fastest.
_ACCURACY_LEVEL = 4
_INT8, _INT4, _NIBBLE = 127, 15, 4


# --- int8 -----------------------------------------------------------------------------------


def int8_weights(model: ModelProto) -> int:
    """Keep matrices of layers as int8, which the engine makes floats of once, when it loads.

    Cast and Mul say so: every engine folds them, and its rules for quantized graphs leave them
    alone.

    Args:
        model: the graph, changed in place; it holds its weights.

    Returns:
        How many matrices were changed.
    """
    made: list[NodeProto] = []
    floats: dict[str, str] = {}
    for node, tensor in _matrices(model, LAYERS, shared=True):
        matrix, name = numpy_helper.to_array(tensor), tensor.name
        names = _store_int8(model, tensor, matrix, _summed(node, matrix.ndim))
        made += _floats_of(names)
        floats[name] = made[-1].output[0]
    for node in model.graph.node:
        node.input[:] = [floats.get(name, name) for name in node.input]
    _replace_nodes(model, [*made, *model.graph.node])
    return len(floats)


def int8_tables(model: ModelProto) -> int:
    """Keep tables that rows are looked up in as int8; the rows become floats at each call.

    Args:
        model: the graph, changed in place; it holds its weights.

    Returns:
        How many tables were changed.
    """
    nodes: list[NodeProto] = []
    tables = {node.output[0]: tensor for node, tensor in _matrices(model, (TABLE,))}
    for node in model.graph.node:
        tensor = tables.get(node.output[0])
        if tensor is None:
            nodes.append(node)
            continue
        matrix = numpy_helper.to_array(tensor)
        names = _store_int8(model, tensor, matrix, tuple(range(1, matrix.ndim)))
        ids, out = node.input[1], node.output[0]
        rows, scales = f"{out}_rows", f"{out}_scales"
        made = _floats_of((rows, scales))
        made[-1].output[0] = out
        looked_up = zip(names, (rows, scales), strict=True)
        nodes += [helper.make_node(TABLE, [name, ids], [row]) for name, row in looked_up]
        nodes += made
    _replace_nodes(model, nodes)
    return len(tables)


def _store_int8(
    model: ModelProto, tensor: TensorProto, matrix: Array, summed: tuple[int, ...]
) -> tuple[str, str]:
    """Put int8 in the place of a matrix, and its scales beside it; return both names.

    Args:
        model: the graph.
        tensor: the matrix as it stands in the graph.
        matrix: its values.
        summed: axes whose values share a scale.
    """
    most = np.abs(matrix).max(axis=summed, keepdims=True).astype(np.float32)
    scale = np.where(most > 0, most / np.float32(_INT8), np.float32(1)).astype(np.float32)
    small = np.rint(matrix / scale).astype(np.int8)
    name, scales = f"{tensor.name}_int8", f"{tensor.name}_scale"
    tensor.CopyFrom(numpy_helper.from_array(small, name))
    model.graph.initializer.append(numpy_helper.from_array(scale, scales))
    return name, scales


def _floats_of(names: tuple[str, str]) -> list[NodeProto]:
    """Return the nodes that make floats of int8 values and their scales."""
    values, scales = names
    cast = f"{values}_cast"
    return [
        helper.make_node("Cast", [values], [cast], to=TensorProto.FLOAT),
        helper.make_node("Mul", [cast, scales], [f"{values}_float"]),
    ]


def _summed(node: NodeProto, rank: int) -> tuple[int, ...]:
    """Return the axes of a layer's weights that it sums over, which leaves its outputs."""
    if node.op_type in _RECURRENT:
        return (rank - 1,)
    if node.op_type == "MatMul":
        return (rank - 2,)
    outputs = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0 if _flag(node, "transB") else 1}
    return tuple(axis for axis in range(rank) if axis != outputs[node.op_type])


# --- int4 -----------------------------------------------------------------------------------


def int4_weights(model: ModelProto, kept: Collection[str]) -> int:
    """Keep matrices of dense layers in 4 bits, as the engine's MatMulNBits multiplies them.

    Source: ONNX Runtime's page of contributed operators, com.microsoft.MatMulNBits: a column's
    weights in blocks, two in a byte, the first in the lower half.

    Args:
        model: the graph, changed in place; it holds its weights.
        kept: names of nodes to leave as they are.

    Returns:
        How many matrices were changed.
    """
    dense = {
        node.output[0]: tensor
        for node, tensor in _matrices(model, ("Gemm", "MatMul"))
        if node.name not in kept and _is_plain_product(node, tensor)
    }
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        tensor = dense.get(node.output[0])
        nodes += [node] if tensor is None else _in_blocks(model, node, tensor)
    _replace_nodes(model, nodes)
    if dense and all(item.domain != MICROSOFT for item in model.opset_import):
        model.opset_import.add(domain=MICROSOFT, version=1)
    return len(dense)


def _is_plain_product(node: NodeProto, tensor: TensorProto) -> bool:
    scaled = any(item.name in ("alpha", "beta") and item.f != 1 for item in node.attribute)
    return len(tensor.dims) == 2 and not scaled and not _flag(node, "transA")  # noqa: PLR2004


def _in_blocks(model: ModelProto, node: NodeProto, tensor: TensorProto) -> list[NodeProto]:
    """Return the nodes that do a dense layer's work on weights in blocks."""
    matrix = numpy_helper.to_array(tensor)
    columns = matrix if _flag(node, "transB") else matrix.T
    count, depth = columns.shape
    names = [f"{tensor.name}_{part}" for part in ("int4", "scale", "zero")]
    values, scales, zeros = rounded_int4(columns)
    tensor.CopyFrom(numpy_helper.from_array(values, names[0]))
    for name, value in zip(names[1:], (scales, zeros), strict=True):
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    has_bias = len(node.input) > 2 and bool(node.input[2])  # noqa: PLR2004
    out = node.output[0]
    product = helper.make_node(
        "MatMulNBits",
        [node.input[0], *names],
        [f"{out}_product" if has_bias else out],
        domain=MICROSOFT,
        K=depth,
        N=count,
        bits=_NIBBLE,
        block_size=BLOCK,
        accuracy_level=_ACCURACY_LEVEL,
    )
    if not has_bias:
        return [product]
    return [product, helper.make_node("Add", [product.output[0], node.input[2]], [out])]


def rounded_int4(columns: Array) -> tuple[Array, Array, Array]:
    """Round columns of weights to 4 bits, by blocks that share a scale and a zero point.

    Args:
        columns: ``[N, K]``, a row for each output.

    Returns:
        Values ``[N, blocks, BLOCK / 2]``, scales ``[N * blocks]``, and zero points, two
        blocks' in a byte, ``[N * ceil(blocks / 2)]``.
    """
    count, depth = columns.shape
    blocks = -(-depth // BLOCK)
    padded = np.zeros((count, blocks * BLOCK), np.float32)
    padded[:, :depth] = columns
    parts = padded.reshape(count, blocks, BLOCK)
    low = np.minimum(parts.min(axis=2, keepdims=True), np.float32(0))
    high = np.maximum(parts.max(axis=2, keepdims=True), np.float32(0))
    scale = ((high - low) / np.float32(_INT4)).astype(np.float32)
    scale[scale == 0] = 1
    zero = np.clip(np.rint(-low / scale), 0, _INT4)
    values = np.clip(np.rint(parts / scale) + zero, 0, _INT4).astype(np.uint8)
    zeros = np.zeros((count, blocks + blocks % 2), np.uint8)
    zeros[:, :blocks] = zero[:, :, 0].astype(np.uint8)
    return _nibbles(values), scale.reshape(-1), _nibbles(zeros).reshape(-1)


def _nibbles(values: Array) -> Array:
    """Pack two values in a byte along the last axis, the first in the lower half."""
    packed: Array = values[..., 0::2] | (values[..., 1::2] << _NIBBLE)
    return packed


# --- both -----------------------------------------------------------------------------------


def constant_bytes(model: ModelProto) -> int:
    """Return how many bytes the constants of a graph take."""
    return sum(map(byte_size, model.graph.initializer))


def large_bytes(model: ModelProto, kinds: Sequence[str]) -> int:
    """Return how many of them stand in matrices that can be made small."""
    return sum(byte_size(tensor) for _, tensor in _matrices(model, kinds, shared=True))


def _matrices(
    model: ModelProto, kinds: Sequence[str], *, shared: bool = False
) -> Iterator[tuple[NodeProto, TensorProto]]:
    """Yield each matrix that layers of some kinds read, with the first layer that does.

    Args:
        model: the graph.
        kinds: of layers.
        shared: those that several nodes read too.
    """
    graph = model.graph
    nodes = [node for inner in every_graph(graph) for node in inner.node]
    reads = Counter(name for node in nodes for name in node.input)
    inside = {name for node in nodes[len(graph.node) :] for name in node.input}
    ends = {item.name for item in graph.output}
    left = {
        tensor.name: tensor
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.FLOAT
        and len(tensor.dims) > 1
        and np.prod(tensor.dims) >= MIN_ELEMENTS
        and tensor.name not in ends | inside
        and (shared or reads[tensor.name] == 1)
    }
    for node in graph.node:
        if node.op_type not in kinds or node.domain or (_axis(node) and node.op_type == TABLE):
            continue
        places = (1, 2) if node.op_type in _RECURRENT else (int(node.op_type != TABLE),)
        for place in places:
            tensor = left.pop(node.input[place], None)
            if tensor is not None:
                yield node, tensor


def _axis(node: NodeProto) -> int:
    return next((int(item.i) for item in node.attribute if item.name == "axis"), 0)


def _flag(node: NodeProto, name: str) -> bool:
    return any(item.name == name and item.i for item in node.attribute)


def _replace_nodes(model: ModelProto, nodes: Sequence[NodeProto]) -> None:
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
