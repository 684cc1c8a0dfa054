"""How much a graph multiplies for one row: what an emulated processor is slow at."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import chain

import onnx
from onnx import NodeProto

from edge_runtime.contract.tensors import Array

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]


def products_a_row(graph: bytes, feed: Mapping[str, Array]) -> int:
    """Return how many products of two numbers a row costs, as far as shapes can be inferred.

    Matrix products, convolutions and recurrent layers count; axes that nobody knows count as
    one, as the batch does.

    Args:
        graph: the ONNX file; weights beside it are not read.
        feed: rows, whose shapes the inputs then have.
    """
    model = onnx.load_model_from_string(graph)
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        for dim, length in zip(dims, (1, *feed[value.name].shape[1:]), strict=False):
            dim.dim_value = length
    model.graph.ClearField("value_info")
    known = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes: dict[str, Shape] = {item.name: tuple(item.dims) for item in known.initializer}
    for value in chain(known.input, known.value_info, known.output):
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = tuple(max(1, dim.dim_value) for dim in dims)
    return sum(_PRODUCTS[node.op_type](node, shapes) for node in known.node if _counts(node))


def _counts(node: NodeProto) -> bool:
    return node.op_type in _PRODUCTS


def _size(name: str, shapes: Shapes) -> int:
    return math.prod(shapes.get(name, ()))


def _matrix(node: NodeProto, shapes: Shapes) -> int:
    """Return the numbers that come out, times the length of the rows that make each.

    Where shapes are unknown, as behind operators of ``ai.onnx.ml``, each weight counts once.
    """
    rows = shapes.get(node.input[0], (1,))
    products = _size(node.output[0], shapes) * (rows[-1] if rows else 1)
    return max(products, _size(node.input[1], shapes))


def _convolution(node: NodeProto, shapes: Shapes) -> int:
    """Return the pixels that come out (or, transposed, go in), times a filter's weights."""
    transposed = node.op_type == "ConvTranspose"
    pixels = _size(node.input[0] if transposed else node.output[0], shapes)
    products = pixels * math.prod(shapes.get(node.input[1], ())[1:])
    return max(products, _size(node.input[1], shapes))


def _recurrent(node: NodeProto, shapes: Shapes) -> int:
    """Return the steps times the weights."""
    steps = shapes.get(node.input[0], (1,))[0]
    return steps * (_size(node.input[1], shapes) + _size(node.input[2], shapes))


_PRODUCTS: Mapping[str, Callable[[NodeProto, Shapes], int]] = {
    "MatMul": _matrix,
    "Gemm": _matrix,
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
}
