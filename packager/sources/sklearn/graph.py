"""From a fitted scikit-learn model to ONNX, in the child: the options that make it faithful."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np
import onnx
from skl2onnx import convert_sklearn
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common._registration import _converter_pool
from skl2onnx.common.data_types import (
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)
from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator

from packager.errors import ConversionFailed
from packager.graphs.nested_graphs import every_graph
from packager.sources.opened import Converted
from packager.sources.sklearn import forms
from packager.sources.sklearn.causes import euclidean
from packager.sources.sklearn.columns import Plan
from packager.sources.sklearn.model import SklearnModel
from packager.sources.sklearn.parts import every_part, last_step
from packager.sources.sklearn.repairs import prepare
from packager.sources.sklearn.text import is_vectorizer, text_options
from packager.sources.sklearn.wires import ML

_BATCH = "N"
_GRAPH_NAME = "model"
_TYPES = {
    "float32": FloatTensorType,
    "float64": DoubleTensorType,
    "int64": Int64TensorType,
    "string": StringTensorType,
}

# The operators whose labels have one axis by definition.
_FLAT_LABELS = frozenset({"LinearClassifier", "SVMClassifier", "TreeEnsembleClassifier"})

# The converters know trees as they were before operator set 5, and write them at no newer one.
_NEWEST_ML = 3

_CLASS_NAME = re.compile("<class '([^']+)'>")


def convert(model: SklearnModel, opset: Mapping[str, int]) -> Converted:
    """Return the model's ONNX file, with our names and the same bytes for the same model.

    Raises:
        ConversionFailed: when it has something that no graph does exactly, or the converter
            gives fewer outputs than the model has. What the converter itself raises ends the
            child, and the parent tells it.
    """
    plan = model.planned()
    forms.register()
    prepared = prepare(model.estimator)
    raw_scores = model.task == "classification" and "score" in model.roles
    options = _options(prepared.model, raw_scores=raw_scores)
    types = _initial_types(plan)
    asked = {**opset, ML: min(opset[ML], _NEWEST_ML)}
    try:
        converted = cast(
            onnx.ModelProto,
            convert_sklearn(
                prepared.model, _GRAPH_NAME, types, target_opset=asked, options=options
            ),
        )
    except (MissingShapeCalculator, MissingConverter) as missing:
        raise _without_form(str(missing)) from None
    _keep_outputs(converted.graph, list(model.roles.values()), model.estimator)
    _keep_inputs(converted.graph, plan)
    _flatten_outputs(converted.graph, model)
    _narrow_outputs(converted.graph)
    names = [spec.name for spec in plan.inputs] + list(model.roles.values())
    values = (*converted.graph.input, *converted.graph.output)
    _rename(converted.graph, {v.name: name for v, name in zip(values, names, strict=True)})
    _tidy_shapes(converted.graph, model)
    _merge_imports(converted)
    data = bytes(converted.SerializeToString(deterministic=True))
    return Converted(data, prepared.repairs)


def _without_form(told: str) -> ConversionFailed:
    found = _CLASS_NAME.search(told)
    part = found.group(1) if found else told
    return ConversionFailed(
        f"every part of the model must have a form in ONNX, {part} has none",
        hint="Replace this part, or register a converter for it: --converter FILE",
        expected="a form in ONNX",
        found=part,
    )


def _options(model: Any, *, raw_scores: bool) -> dict[int, dict[str, Any]]:
    """Return the converter's options for each part, those that its class knows."""
    last = last_step(model)
    options = {}
    for _, part in every_part(model):
        wanted: dict[str, Any] = text_options(part) if is_vectorizer(part) else {}
        if euclidean(part):
            wanted["optim"] = "cdist"
        if part is last:
            wanted |= {"zipmap": False} | ({"raw_scores": True} if raw_scores else {})
        known = _known_options(part)
        if taken := {name: value for name, value in wanted.items() if name in known}:
            options[id(part)] = taken
    return options


def _known_options(part: Any) -> Iterable[str]:
    converter = _converter_pool.get(sklearn_operator_name_map.get(type(part), ""))
    return (converter.get_allowed_options() or ()) if converter else ()


def _initial_types(plan: Plan) -> list[tuple[str, Any]]:
    """Type every column that the model saw, by its own name: the converter looks them up."""
    first = plan.inputs[0]
    if plan.columns[0].index is not None:
        return [(first.name, _TYPES[first.dtype]([None, first.shape[1]]))]
    dtypes = {
        column.name: spec.dtype for column, spec in zip(plan.columns, plan.inputs, strict=True)
    }
    return [(name, _TYPES[dtypes.get(name, "float32")]([None, 1])) for name in plan.names]


def _keep_outputs(graph: onnx.GraphProto, wanted: list[str], estimator: Any) -> None:
    if len(graph.output) < len(wanted):
        found = [output.name for output in graph.output]
        raise ConversionFailed(
            f"the {type(estimator).__name__} answers {', '.join(wanted)}, "
            f"its ONNX form only {', '.join(found)}",
            hint="Export the model to ONNX yourself, or use a class whose form is complete.",
            expected=wanted,
            found=found,
        )
    del graph.output[len(wanted) :]


def _flatten_outputs(graph: onnx.GraphProto, model: SklearnModel) -> None:
    """Give every model's labels one axis and outlier scores two; converters differ in it."""
    if "label" in model.roles:
        makers = {name: node.op_type for node in graph.node for name in node.output}
        if makers[graph.output[0].name] not in _FLAT_LABELS:
            _reshape(graph, graph.output[0], [-1])
    if model.task == "outliers":
        _reshape(graph, graph.output[1], [-1, 1])


def _reshape(graph: onnx.GraphProto, output: onnx.ValueInfoProto, shape: list[int]) -> None:
    """Let an output leave in this shape, whose first axis is the batch."""
    given, target = output.name, f"{output.name}_shape"
    output.name = f"{given}_shaped"
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(shape), target))
    graph.node.append(onnx.helper.make_node("Reshape", [given, target], [output.name]))
    axes = output.type.tensor_type.shape.dim
    del axes[:]
    for length in shape:
        axes.add(dim_value=length) if length > 0 else axes.add()


def _narrow_outputs(graph: onnx.GraphProto) -> None:
    """Let numbers leave as float32, whatever they were computed in."""
    for output in graph.output:
        if output.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE:
            given, output.name = output.name, f"{output.name}_narrow"
            output.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
            graph.node.append(
                onnx.helper.make_node("Cast", [given], [output.name], to=onnx.TensorProto.FLOAT)
            )


def _merge_imports(model: onnx.ModelProto) -> None:
    """Keep one import a domain, the newest; the converter may write the default one twice."""
    newest: dict[str, int] = {}
    for item in model.opset_import:
        newest[item.domain] = max(item.version, newest.get(item.domain, 0))
    del model.opset_import[:]
    for domain, version in newest.items():
        model.opset_import.add(domain=domain, version=version)


def _keep_inputs(graph: onnx.GraphProto, plan: Plan) -> None:
    """Drop the inputs of columns that the model drops; the others stay in the plan's order."""
    if plan.columns[0].index is not None:
        return
    read = {column.name for column in plan.columns}
    kept = [value for value, name in zip(graph.input, plan.names, strict=True) if name in read]
    del graph.input[:]
    graph.input.extend(kept)


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Rename inputs and outputs everywhere, and move inner values out of their way."""
    taken = set(names.values())

    def renamed(name: str) -> str:
        return names.get(name, f"{name}_inner" if name in taken else name)

    for part in every_graph(graph):
        for value in (*part.input, *part.output, *part.value_info, *part.initializer):
            value.name = renamed(value.name)
        for node in part.node:
            node.input[:] = map(renamed, node.input)
            node.output[:] = map(renamed, node.output)


def _tidy_shapes(graph: onnx.GraphProto, model: SklearnModel) -> None:
    """Name the batch axis, and correct the width that the converter gets wrong."""
    for value in (*graph.input, *graph.output):
        axes = value.type.tensor_type.shape.dim
        if axes:
            axes[0].dim_param = _BATCH
    if model.task == "regression":
        width = getattr(last_step(model.estimator), "n_outputs_", None)
    else:
        width = len(model.labels) if len(model.roles) > 1 else None
    if width:
        graph.output[-1].type.tensor_type.shape.dim[1].dim_value = width
