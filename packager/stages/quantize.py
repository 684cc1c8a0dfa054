"""Smaller and faster forms of a float32 graph: int8 dynamic, int8 static, float16.

Weights are rounded by elementwise arithmetic, which is the same on every processor.  Ranges of
activations come from running the graph, so they pass through the record.  The engine's
quantization tools are imported late: the session module must come first, to switch telemetry
off.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto

from edge_runtime.contract.errors import ModelLoadFailed
from edge_runtime.contract.tensors import DTYPES, Arrays, Tolerance
from edge_runtime.engine.session import SessionPlan, open_session
from packager.answers import BATCH, row_count, run_rows, take_rows
from packager.record import Record, fingerprint, within
from packager.variant import Skipped

Ranges = dict[str, list[float]]

MIN_CALIBRATION_ROWS = 10
MAX_CALIBRATION_ROWS = 512
# Per-channel weights need a DequantizeLinear with an axis.
MIN_OPSET = 13
# How far a range may stand from the recorded one when another processor measures it.
RANGE_TOLERANCE = Tolerance(rtol=1e-3, atol=1e-4)

_DENSE = ("MatMul", "Gemm")
_CONVOLUTIONS = ("Conv", "ConvTranspose")
# Between convolutions, values stay int8 only if these are quantized as well; elsewhere they
# would cost accuracy for nothing.
_BETWEEN_CONVOLUTIONS = (
    "Relu",
    "Clip",
    "Add",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "Flatten",
    "Reshape",
)
_ALREADY = ("QuantizeLinear", "DequantizeLinear", "MatMulInteger", "ConvInteger")

# The tools show with any of these that a graph is beyond them.
_REFUSALS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


def quantize(
    rung: str,
    model: ModelProto,
    *,
    calibration: Arrays | None,
    reduce_range: bool,
    record: Record,
) -> ModelProto | Skipped:
    """Return the graph in a rung's precision, or why there is nothing to gain by it.

    Args:
        rung: ``int8-dynamic``, ``int8-static`` or ``float16``.
        model: the optimised float32 graph; it is left as it is.
        calibration: a feed of calibration rows; None where there are none.
        reduce_range: weights in 7 bits, for chips whose int8 sums saturate.
        record: where ranges measured on the calibration rows are kept.

    Raises:
        ReplayMismatch: when ranges do not agree with the recorded ones.
    """
    reason = _reason_against(rung, model)
    if reason is not None:
        return Skipped(rung, reason)
    if rung == "float16":
        return _made(rung, lambda: _float16(model))
    if rung == "int8-dynamic":
        return _made(rung, lambda: _int8_dynamic(model, reduce_range))
    rows = row_count(calibration) if calibration else 0
    if calibration is None or rows < MIN_CALIBRATION_ROWS:
        return Skipped(
            rung,
            f"ranges need at least {MIN_CALIBRATION_ROWS} calibration rows, there are {rows}",
        )
    ranges = _recorded_ranges(
        model, take_rows(calibration, slice(MAX_CALIBRATION_ROWS)), record
    )
    empty = [name for name, found in ranges.items() if not np.isfinite(found).all()]
    if empty:
        return Skipped(rung, f"the calibration rows give {empty[0]!r} no finite value")
    return _made(rung, lambda: _int8_static(model, ranges, reduce_range))


def _reason_against(rung: str, model: ModelProto) -> str | None:
    found = {node.op_type for node in model.graph.node}
    if found.intersection(_ALREADY):
        return "the source model is quantized already"
    kinds = _DENSE if rung == "int8-dynamic" else _DENSE + _CONVOLUTIONS
    if not any(node.op_type in kinds for node in _with_weights(model)):
        return (
            f"there is nothing to quantize: no {' or '.join(kinds)} carries weights, "
            f"the graph is made of {', '.join(sorted(found))}"
        )
    version = next((item.version for item in model.opset_import if not item.domain), 0)
    if rung != "float16" and version < MIN_OPSET:
        return f"int8 weights per channel need opset {MIN_OPSET}, the graph has {version}"
    return None


def _with_weights(model: ModelProto) -> Iterable[NodeProto]:
    """Yield the nodes that carry constant matrices of floats."""
    weights = {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1
    }
    return (node for node in model.graph.node if weights.intersection(node.input))


def _made(rung: str, make: Callable[[], ModelProto]) -> ModelProto | Skipped:
    """Make a rung and see that the engine opens it; a graph beyond the tools is an answer."""
    try:
        with _quietly():
            result = make()
        open_session(result.SerializeToString(deterministic=True), SessionPlan())
    except (ModelLoadFailed, *_REFUSALS) as error:
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        return Skipped(rung, f"the quantization tools cannot make it: {first_line}")
    return result


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep the tools' warnings off the user's screen: what they warn of is measured later."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


# --- ranges --------------------------------------------------------------------------------


def _recorded_ranges(model: ModelProto, feed: Arrays, record: Record) -> Ranges:
    key = f"ranges/{fingerprint(model.SerializeToString(deterministic=True), feed)}"
    return record.measured(key, lambda: calibrate(model, feed), within(RANGE_TOLERANCE))


def calibrate(model: ModelProto, feed: Arrays) -> Ranges:
    """Run the graph; return the least and greatest finite value of each tensor to quantize.

    A tensor without any finite value gets infinities.
    """
    probed = onnx.shape_inference.infer_shapes(model)
    ranges: Ranges = {name: [np.inf, -np.inf] for name in _tensors_to_range(probed)}
    known = {item.name for item in (*probed.graph.output, *probed.graph.input)}
    infos = {item.name: item for item in probed.graph.value_info}
    probed.graph.output.extend(infos[name] for name in ranges if name not in known)
    session = open_session(probed.SerializeToString(), SessionPlan())
    for start in range(0, row_count(feed), BATCH):
        part = take_rows(feed, slice(start, start + BATCH))
        answers = {**part, **run_rows(session, part)}
        for name, (low, high) in ranges.items():
            finite = answers[name][np.isfinite(answers[name])]
            ranges[name] = [
                min(low, float(finite.min(initial=np.inf))),
                max(high, float(finite.max(initial=-np.inf))),
            ]
    return ranges


def _tensors_to_range(model: ModelProto) -> list[str]:
    """Return the float tensors around the nodes to quantize, in the graph's order."""
    graph = model.graph
    infos = (*graph.value_info, *graph.output, *graph.input)
    floats = {i.name for i in infos if i.type.tensor_type.elem_type == TensorProto.FLOAT}
    floats -= {tensor.name for tensor in graph.initializer}
    kinds = _static_kinds(model)
    nodes = [node for node in graph.node if node.op_type in kinds]
    names = [name for node in nodes for name in (*node.input, *node.output)]
    return [name for name in dict.fromkeys(names) if name in floats]


# --- rungs ---------------------------------------------------------------------------------


def _static_kinds(model: ModelProto) -> tuple[str, ...]:
    found = {node.op_type for node in model.graph.node}
    between = _BETWEEN_CONVOLUTIONS if found.intersection(_CONVOLUTIONS) else ()
    return _DENSE + _CONVOLUTIONS + between


def _int8_static(model: ModelProto, ranges: Ranges, reduce_range: bool) -> ModelProto:
    """Unsigned activations by known ranges, signed weights per channel, as QDQ pairs."""
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import QuantType

    limits = {name: tuple(map(np.float32, found)) for name, found in ranges.items()}
    quantizer = QDQQuantizer(
        _prepared(model),
        per_channel=True,
        reduce_range=reduce_range,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, limits),
        nodes_to_quantize=[],
        nodes_to_exclude=[],
        op_types_to_quantize=list(_static_kinds(model)),
        # Sums leave a dense layer as floats: smaller, faster and closer than rounded again.
        extra_options={"OpTypesToExcludeOutputQuantization": list(_DENSE)},
    )
    return _finished(quantizer)


def _int8_dynamic(model: ModelProto, reduce_range: bool) -> ModelProto:
    """Signed weights per channel; activations are measured by the device at each call."""
    from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
    from onnxruntime.quantization.quant_utils import QuantizationMode, QuantType

    quantizer = ONNXQuantizer(
        _prepared(model),
        per_channel=True,
        reduce_range=reduce_range,
        mode=QuantizationMode.IntegerOps,
        static=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=None,
        nodes_to_quantize=[],
        nodes_to_exclude=[],
        op_types_to_quantize=["MatMul"],  # the quantizer turns Gemm into MatMul and Add
        extra_options={"MatMulConstBOnly": True},
    )
    return _finished(quantizer)


def _float16(model: ModelProto) -> ModelProto:
    """Half the bytes; inputs and outputs stay float32."""
    from onnxconverter_common import float16

    prepared = _typed(_prepared(model))
    converted: ModelProto = float16.convert_float_to_float16(
        prepared,
        max_finite_val=float(np.finfo(np.float16).max),
        keep_io_types=True,
        # By name, because the tool adds casts of its own, and with all of that kind blocked it
        # would never end.
        node_block_list=_staying_float32(prepared),
    )
    return _cleared(converted)


def _staying_float32(model: ModelProto) -> list[str]:
    """Name the nodes that must not become half precision.

    A Cast to float32 must stay one.  What stands before the first layer with weights works on
    the user's own numbers, which may be larger than half precision holds.
    """
    weighted = {node.name for node in _with_weights(model)}
    behind: set[str] = set()
    names = []
    for node in model.graph.node:  # in topological order, as ONNX demands
        if node.name in weighted or behind.intersection(node.input):
            behind.update(node.output)
            if node.op_type != "Cast":
                continue
        names.append(node.name)
    return names


def _typed(model: ModelProto) -> ModelProto:
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
    for spec in open_session(asking.SerializeToString(), SessionPlan()).outputs:
        if spec.name in silent:
            kind = onnx.helper.np_dtype_to_tensor_dtype(DTYPES[spec.dtype])
            graph.value_info.append(onnx.helper.make_tensor_value_info(spec.name, kind, None))
    return model


def _prepared(model: ModelProto) -> ModelProto:
    """Return a copy with inferred shapes and named nodes, as the quantizers want it."""
    result = onnx.shape_inference.infer_shapes(model)
    for number, node in enumerate(result.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    # The quantizers' own mark that shapes are known; without it they go through files.
    result.metadata_props.add(key="onnx.infer", value="onnxruntime.quant")
    return result


def _finished(quantizer: Any) -> ModelProto:
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    return _cleared(quantizer.model.model)


def _cleared(model: ModelProto) -> ModelProto:
    model.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    return model
