"""Small graphs that do one thing: multiply, translate, saturate, never end, take all memory."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from edge_runtime.contract.tensors import Array
from packager.graphs.external_data import moved_out
from packager.graphs.model_files import ModelFiles

FEATURES = 64
ANSWERS = 8


def of(model: ModelProto) -> ModelFiles:
    """Return a model that holds its weights."""
    return ModelFiles.of(model, None)


def product(seed: int = 0, rows: int | None = None) -> ModelProto:
    """Return ``y = x @ w`` with weights around zero, for any number of rows or only one."""
    generator = np.random.default_rng(seed)
    weights = generator.normal(size=(FEATURES, ANSWERS)).astype(np.float32)
    return _product(weights, rows)


def beside(directory: Path) -> ModelFiles:
    """Return the same with its weights in a file beside it."""
    return ModelFiles.of(*moved_out(product(), None, directory / "product.weights"))


def weighing(megabytes: int) -> ModelProto:
    """Return ``y = x @ w`` with weights of so many millions of bytes."""
    return _product(np.ones((FEATURES, megabytes * 1_000_000 // 4 // FEATURES), np.float32))


def saturating(*, reduce_range: bool) -> ModelProto:
    """Return a product in int8 whose sums exceed 16 bits, unless weights take 7 bits only."""
    weights = np.linspace(0.9, 1.0, FEATURES * ANSWERS, dtype=np.float32)
    return quantized(_product(weights.reshape(FEATURES, ANSWERS)), reduce_range=reduce_range)


def quantized(model: ModelProto, *, reduce_range: bool) -> ModelProto:
    """Return a graph of rows near one in int8, as ONNX Runtime's own quantizer makes it."""
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "quantized.onnx"
        quantize_static(
            model,
            target,
            _OneBatch(),
            per_channel=True,
            reduce_range=reduce_range,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(target)


class _OneBatch(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        self._left = [{"x": unit_rows(8)}]

    def get_next(self) -> dict[str, Array] | None:
        return self._left.pop() if self._left else None


def unit_rows(count: int) -> Array:
    """Return rows of values near one."""
    generator = np.random.default_rng(1)
    return generator.uniform(0.9, 1.0, (count, FEATURES)).astype(np.float32)


def translating(texts: Sequence[str]) -> ModelProto:
    """Return a graph that answers each of these texts by its number and by itself turned."""
    encode = helper.make_node(
        "LabelEncoder",
        ["x"],
        ["number"],
        domain="ai.onnx.ml",
        keys_strings=texts,
        values_int64s=range(len(texts)),
    )
    turn = helper.make_node(
        "LabelEncoder",
        ["x"],
        ["turned"],
        domain="ai.onnx.ml",
        keys_strings=texts,
        values_strings=[text[::-1] for text in texts],
    )
    return _model(
        [encode, turn],
        [("x", TensorProto.STRING, ["N"])],
        [("number", TensorProto.INT64, ["N"]), ("turned", TensorProto.STRING, ["N"])],
    )


def measuring_ranges() -> ModelProto:
    """Return a graph that rounds its rows as the largest of their batch has it."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    return _model(nodes, [_ROWS], [("y", TensorProto.FLOAT, ["N", FEATURES])])


def endless() -> ModelProto:
    """Return a graph that adds to its rows without an end in sight."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Add", ["sum", "sum"], ["more"]),
        ],
        "again",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("more", TensorProto.FLOAT, None),
        ],
    )
    node = helper.make_node("Loop", ["turns", "", "x"], ["y"], body=body)
    return _model([node], [_ROWS], [("y", TensorProto.FLOAT, None)], turns=np.int64(1 << 60))


def greedy() -> ModelProto:
    """Return a graph that wants more memory than any machine has."""
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["many"]),
        helper.make_node("ReduceSum", ["many"], ["none"], keepdims=0),
        helper.make_node("Add", ["x", "none"], ["y"]),
    ]
    return _model(nodes, [_ROWS], [("y", *_ROWS[1:])], shape=np.array([1 << 50]))


_ROWS = ("x", TensorProto.FLOAT, ["N", FEATURES])


def _product(weights: Array, rows: int | None = None) -> ModelProto:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    ends = [
        (name, TensorProto.FLOAT, [rows or "N", axis])
        for name, axis in zip("xy", weights.shape, strict=True)
    ]
    return _model([node], ends[:1], ends[1:], w=weights)


def _model(
    nodes: Sequence[NodeProto], inputs: Sequence[Any], outputs: Sequence[Any], **weights: Any
) -> ModelProto:
    ends = [[helper.make_tensor_value_info(*one) for one in side] for side in (inputs, outputs)]
    tensors = [numpy_helper.from_array(np.asarray(value), n) for n, value in weights.items()]
    graph = helper.make_graph(nodes, "odd", *ends, tensors)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)
