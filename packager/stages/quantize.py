"""Smaller and faster forms of a float32 graph: int8 dynamic, int8 static, float16.

Weights are rounded by elementwise arithmetic, which is the same on every processor.  Ranges of
activations come from running the graph, so they pass through the record.  The engine's
quantization tools are imported late: the session module must come first, to switch telemetry
off.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import psutil
from onnx import ModelProto, TensorProto

from edge_runtime.contract.errors import ModelLoadFailed
from edge_runtime.contract.tensors import Arrays, Tolerance
from edge_runtime.engine.session import SessionPlan, open_session
from packager.answers import BATCH, row_count, run_rows, take_rows
from packager.model_files import ModelFiles, Weights
from packager.prepared import cleared, prepared, typed, weighted_nodes, whole
from packager.record import Record, fingerprint, within
from packager.variant import Skipped

Ranges = dict[str, list[float]]

MIN_CALIBRATION_ROWS = 10
MAX_CALIBRATION_ROWS = 512
# Per-channel weights need a DequantizeLinear with an axis.
MIN_OPSET = 13
# What the tools hold at their worst, in sizes of the weights.
PEAK = 4
# What a graph in one piece may have, and what a rung leaves of the weights.
MAX_MESSAGE = (2 << 30) - 1
_SHRINKS = {"float16": 2, "int8-dynamic": 4, "int8-static": 4}
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
    weights: Weights | None = None,
) -> ModelProto | Skipped:
    """Return the graph in a rung's precision, or why there is nothing to gain by it.

    Args:
        rung: ``int8-dynamic``, ``int8-static`` or ``float16``.
        model: the optimised float32 graph; it is left as it is.
        calibration: a feed of calibration rows; None where there are none.
        reduce_range: weights in 7 bits, for chips whose int8 sums saturate.
        record: where ranges measured on the calibration rows are kept.
        weights: what the graph reads beside it; the result holds its weights.

    Raises:
        ReplayMismatch: when ranges do not agree with the recorded ones.
    """
    reason = _reason_against(rung, model) or _no_room(rung, model, weights, record)
    if reason is not None:
        return Skipped(rung, reason)
    if rung == "float16":
        return _made(rung, lambda: _float16(model, weights))
    if rung == "int8-dynamic":
        return _made(rung, lambda: _int8_dynamic(whole(prepared(model), weights), reduce_range))
    rows = row_count(calibration) if calibration else 0
    if calibration is None or rows < MIN_CALIBRATION_ROWS:
        return Skipped(
            rung,
            f"ranges need at least {MIN_CALIBRATION_ROWS} calibration rows, there are {rows}",
        )
    rows_taken = take_rows(calibration, slice(MAX_CALIBRATION_ROWS))
    ranges = _recorded_ranges(model, rows_taken, record, weights)
    empty = [name for name, found in ranges.items() if not np.isfinite(found).all()]
    if empty:
        return Skipped(rung, f"the calibration rows give {empty[0]!r} no finite value")
    return _made(
        rung, lambda: _int8_static(whole(prepared(model), weights), ranges, reduce_range)
    )


def _no_room(
    rung: str, model: ModelProto, weights: Weights | None, record: Record
) -> str | None:
    """Say why weights beside a graph are too many for tools that hold them all at once."""
    if weights is None:
        return None
    size, shrinks = weights.content.size, _SHRINKS[rung]
    if size > shrinks * MAX_MESSAGE:
        return (
            f"{size / 1e9:.1f} GB of weights would stay more than the {MAX_MESSAGE:,} bytes "
            "that the tools can write"
        )
    needed, free = PEAK * size, psutil.virtual_memory().available
    # A replay goes by what the build found, for the rung is in the bundle or it is not.
    fits = record.measured(
        f"room/{rung}/{fingerprint(ModelFiles.of(model, weights).mark)}",
        lambda: bool(needed <= free),
        lambda *_: None,
    )
    if fits:
        return None
    return (
        f"the tools need about {needed / 1e9:.1f} GB of memory for "
        f"{size / 1e9:.1f} GB of weights, which this machine did not have free"
    )


def _reason_against(rung: str, model: ModelProto) -> str | None:
    found = {node.op_type for node in model.graph.node}
    if found.intersection(_ALREADY):
        return "the source model is quantized already"
    kinds = _DENSE if rung == "int8-dynamic" else _DENSE + _CONVOLUTIONS
    if not any(node.op_type in kinds for node in weighted_nodes(model)):
        return (
            f"there is nothing to quantize: no {' or '.join(kinds)} carries weights, "
            f"the graph is made of {', '.join(sorted(found))}"
        )
    version = next((item.version for item in model.opset_import if not item.domain), 0)
    if rung != "float16" and version < MIN_OPSET:
        return f"int8 weights per channel need opset {MIN_OPSET}, the graph has {version}"
    return None


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


def _recorded_ranges(
    model: ModelProto, feed: Arrays, record: Record, weights: Weights | None
) -> Ranges:
    key = f"ranges/{fingerprint(ModelFiles.of(model, weights).mark, feed)}"
    return record.measured(
        key, lambda: calibrate(model, feed, weights), within(RANGE_TOLERANCE)
    )


def calibrate(model: ModelProto, feed: Arrays, weights: Weights | None = None) -> Ranges:
    """Run the graph; return the least and greatest finite value of each tensor to quantize.

    A tensor without any finite value gets infinities.
    """
    probed = onnx.shape_inference.infer_shapes(model)
    ranges: Ranges = {name: [np.inf, -np.inf] for name in _tensors_to_range(probed)}
    known = {item.name for item in (*probed.graph.output, *probed.graph.input)}
    infos = {item.name: item for item in probed.graph.value_info}
    probed.graph.output.extend(infos[name] for name in ranges if name not in known)
    session = ModelFiles.of(probed, weights).open_mapped()
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
        model,
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
        model,
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


def _float16(model: ModelProto, weights: Weights | None) -> ModelProto:
    """Half the bytes; inputs and outputs stay float32."""
    from onnxconverter_common import float16

    ready = whole(typed(prepared(model), weights), weights)
    converted: ModelProto = float16.convert_float_to_float16(
        ready,
        max_finite_val=float(np.finfo(np.float16).max),
        keep_io_types=True,
        # By name, because the tool adds casts of its own, and with all of that kind blocked it
        # would never end.
        node_block_list=_staying_float32(ready),
    )
    return cleared(converted)


def _staying_float32(model: ModelProto) -> list[str]:
    """Name the nodes that must not become half precision.

    A Cast to float32 must stay one.  What stands before the first layer with weights works on
    the user's own numbers, which may be larger than half precision holds.
    """
    weighted = {node.name for node in weighted_nodes(model)}
    behind: set[str] = set()
    names = []
    for node in model.graph.node:  # in topological order, as ONNX demands
        if node.name in weighted or behind.intersection(node.input):
            behind.update(node.output)
            if node.op_type != "Cast":
                continue
        names.append(node.name)
    return names


def _finished(quantizer: Any) -> ModelProto:
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    return cleared(quantizer.model.model)
