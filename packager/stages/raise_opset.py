"""Raise a graph of an old operator set to one that our tools know, where no answer changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx
from onnx import ModelProto, version_converter

from edge_runtime.contract.errors import ModelLoadFailed, PredictionFailed
from edge_runtime.contract.tensors import Arrays
from packager.answers import open_graph, run_rows
from packager.errors import NoGoldenRows
from packager.graph import Graph
from packager.graphs.external_data import are_many, weights_size
from packager.synthetic import draw_rows, learned_values

# Below this, int8 weights per channel cannot be said, and the engine runs some of it by guess.
OLD = 13
# Where the converters are at their best; a target may allow more or less.
MODERN, MODERN_IR = 18, 8
ROWS = 32

# What the converter raises where it has no rule for an operator.
_BEYOND = (version_converter.ConvertError, RuntimeError, ValueError)


def raise_opset(graph: Graph, ceiling: Mapping[str, int]) -> Graph:
    """Return the graph at a newer operator set, or as it is where that may not be trusted.

    Raising is the converter's word against the graph's: it counts where the engine answers to
    the last bit as before, on rows that are drawn.

    Args:
        graph: an ONNX file's own; others are exported at the set that is wanted.
        ceiling: the newest operator sets that every target loads, by domain.
    """
    version = _version(graph.model)
    wanted = min(MODERN, ceiling[""])
    large = graph.beside is not None or are_many(weights_size(graph.model))
    if graph.source.framework != "onnx" or not version < OLD <= wanted or large:
        return graph
    try:
        model = version_converter.convert_version(graph.model, wanted)
        onnx.checker.check_model(model)
    except (*_BEYOND, onnx.checker.ValidationError):
        return graph
    model.ir_version = max(model.ir_version, MODERN_IR)
    note = f"raised from opset {version} to {wanted}"
    raised = replace(graph, model=model, repairs=(*graph.repairs, note))
    return raised if _answer_alike(graph, raised) else graph


def _version(model: ModelProto) -> int:
    found = [item.version for item in model.opset_import if item.domain in ("", "ai.onnx")]
    return max(found, default=MODERN)


def _answer_alike(one: Graph, other: Graph) -> bool:
    try:
        rows = draw_rows(one.inputs, ROWS, learned=learned_values(one.model))
        before, after = (run_rows(open_graph(graph), rows) for graph in (one, other))
    except (ModelLoadFailed, PredictionFailed, NoGoldenRows):
        return False
    return before.keys() == after.keys() and all(_equal(before, after, name) for name in before)


def _equal(before: Arrays, after: Arrays, name: str) -> bool:
    one, other = before[name], after[name]
    nan_too = one.dtype.kind == "f"
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=nan_too)
