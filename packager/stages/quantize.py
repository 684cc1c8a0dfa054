"""Smaller and faster forms of a float32 graph: int8, int4, float16.

Weights are rounded by elementwise arithmetic, which is the same on every processor.  Ranges of
activations come from running the graph, so they pass through the record.  The engine's
quantization tools are imported late: the session module must come first, to switch telemetry
off.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import numpy as np
from onnx import ModelProto

from edge_runtime.contract.errors import ModelLoadFailed
from edge_runtime.engine.session import SessionPlan, open_session
from packager.graphs.model_files import Weights
from packager.graphs.prepared import (
    DENSE,
    Ranges,
    cleared,
    fence_pools,
    prepared,
    static_nodes,
    typed,
    weighted_nodes,
    whole,
)
from packager.graphs.weight_only import int4_weights, int8_tables, int8_weights
from packager.recipes import FLOAT16, INT4, INT8_DYNAMIC, INT8_WEIGHTS, Recipe
from packager.variant import Skipped

_LOADING = Lock()

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
    recipe: Recipe,
    model: ModelProto,
    *,
    ranges: Ranges,
    kept: Collection[str] = (),
    reduce_range: bool,
    weights: Weights | None = None,
) -> ModelProto | Skipped:
    """Return the graph as a recipe makes it; a pure function of its arguments.

    Args:
        recipe: any that is not of the family ``float32``.
        model: the optimised float32 graph; it is left as it is.
        ranges: of a static recipe, by tensor; else empty.
        kept: names of nodes, as ``prepared`` gives them, that stay float32.
        reduce_range: weights in 7 bits, for chips whose int8 sums saturate.
        weights: what the graph reads beside it; the result holds its weights.

    Returns:
        The graph, or why the tools cannot make it.
    """
    if recipe.family == FLOAT16:
        return _made(recipe, lambda: _float16(model, weights))
    ready = whole(prepared(model, weights), weights)
    if recipe.family == INT4:
        return _made(recipe, lambda: _int4(ready, kept))
    if recipe.family == INT8_WEIGHTS:
        return _made(recipe, lambda: _int8_weights(ready))
    if recipe.family == INT8_DYNAMIC:
        return _made(recipe, lambda: _int8_dynamic(ready, kept, reduce_range))
    return _made(recipe, lambda: _int8_static(recipe, ready, ranges, (kept, reduce_range)))


def _made(recipe: Recipe, make: Callable[[], ModelProto]) -> ModelProto | Skipped:
    """Make a graph and see that the engine opens it; a graph beyond the tools is an answer."""
    _load_tools()
    try:
        with _quietly():
            result = make()
        open_session(result.SerializeToString(deterministic=True), SessionPlan())
    except (ModelLoadFailed, *_REFUSALS) as error:
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        return Skipped(recipe.name, f"the quantization tools cannot make it: {first_line}")
    return result


def _load_tools() -> None:
    """Import the tools whole: they import each other in circles, which two threads must not."""
    with _LOADING:
        import onnxconverter_common.float16  # noqa: F401
        import onnxruntime.quantization  # noqa: F401


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


# --- rungs ---------------------------------------------------------------------------------


def _int8_static(
    recipe: Recipe, model: ModelProto, ranges: Ranges, how: tuple[Collection[str], bool]
) -> ModelProto:
    """Unsigned activations by known ranges, signed weights per channel, as QDQ pairs."""
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import QuantType

    kept, reduce_range = how
    wanted = static_nodes(model, dense_only=recipe.dense_only, kept=kept)
    fence_pools(model, wanted)
    limits = {name: tuple(map(np.float32, found)) for name, found in ranges.items()}
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=reduce_range,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, limits),
        nodes_to_quantize=wanted,
        nodes_to_exclude=[],
        op_types_to_quantize=sorted({node.op_type for node in model.graph.node}),
        # Sums leave a dense layer as floats: smaller, faster and closer than rounded again.
        extra_options={"OpTypesToExcludeOutputQuantization": list(DENSE)},
    )
    return _finished(quantizer)


def _int8_dynamic(model: ModelProto, kept: Collection[str], reduce_range: bool) -> ModelProto:
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
        # The quantizer names the MatMul that it makes of a Gemm so.
        nodes_to_exclude=[*kept, *(f"{name}_MatMul" for name in kept)],
        op_types_to_quantize=["MatMul"],  # the quantizer turns Gemm into MatMul and Add
        extra_options={"MatMulConstBOnly": True},
    )
    return _finished(quantizer)


def _int8_weights(model: ModelProto) -> ModelProto:
    """Floats all the way, made of int8 weights when the engine loads."""
    int8_weights(model)
    int8_tables(model)
    return cleared(model)


def _int4(model: ModelProto, kept: Collection[str]) -> ModelProto:
    """Dense layers' weights in 4 bits, tables in 8."""
    int4_weights(model, kept)
    int8_tables(model)
    return cleared(model)


def _float16(model: ModelProto, weights: Weights | None) -> ModelProto:
    """Half the bytes; inputs and outputs stay float32."""
    from onnxconverter_common import float16

    ready = whole(typed(prepared(model, weights), weights), weights)
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
    model: ModelProto = quantizer.model.model
    int8_tables(model)
    return cleared(model)
