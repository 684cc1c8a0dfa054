"""Graphs made ready for tools that shrink them, and made clean again afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import onnx
from onnx import ModelProto, NodeProto, TensorProto

from edge_runtime.contract.tensors import DTYPES
from packager.external_data import take_in
from packager.model_files import ModelFiles, Weights


def weighted_nodes(model: ModelProto) -> Iterable[NodeProto]:
    """Yield the nodes that carry constant matrices of floats."""
    weights = {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1
    }
    return (node for node in model.graph.node if weights.intersection(node.input))


def prepared(model: ModelProto) -> ModelProto:
    """Return a copy with inferred shapes and named nodes, as the quantizers want it."""
    result = onnx.shape_inference.infer_shapes(model)
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


def cleared(model: ModelProto) -> ModelProto:
    """Drop what was noted for the tools, and what they noted."""
    model.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    return model
