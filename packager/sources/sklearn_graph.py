"""From a fitted scikit-learn model to ONNX, in the child: the options that make it faithful."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, cast

import numpy as np
import onnx
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator
from sklearn.ensemble import VotingClassifier, VotingRegressor
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.pipeline import Pipeline

from packager.errors import ConversionFailed
from packager.sources.opened import Converted
from packager.sources.sklearn_columns import Plan, walk
from packager.sources.sklearn_model import SklearnModel

_BATCH = "N"
_GRAPH_NAME = "model"
_TYPES = {"float": FloatTensorType, "integer": Int64TensorType, "text": StringTensorType}

# The operators whose labels have one axis by definition.
_FLAT_LABELS = frozenset({"LinearClassifier", "SVMClassifier", "TreeEnsembleClassifier"})

_CLASS_NAME = re.compile("<class '([^']+)'>")
_TOKENS = r"(?u)\b\w\w+\b"  # the vectorizers' default
# The converter would replace it by ASCII letters; this is the same in the engine's RE2.
_TOKENS_RE2 = r"[\p{L}\p{N}_][\p{L}\p{N}_]+"
# The converter's default is absent on small devices, and fails only there.
_LOCALE = "C.UTF-8"


def convert(model: SklearnModel, opset: Mapping[str, int]) -> Converted:
    """Return the model's ONNX file, with our names and the same bytes for the same model.

    Raises:
        ConversionFailed: when the converter gives fewer outputs than the model has. What the
            converter itself raises ends the child, and the parent tells it.
    """
    plan = model.planned()
    estimator = _convertible(model.estimator)
    raw_scores = model.task == "classification" and "score" in model.roles
    options = _options(estimator, raw_scores=raw_scores)
    try:
        converted = _convert(estimator, _initial_types(plan), dict(opset), options)
    except (MissingShapeCalculator, MissingConverter) as missing:
        raise _without_form(str(missing)) from None
    _keep_outputs(converted.graph, list(model.roles.values()), model.estimator)
    _keep_inputs(converted.graph, plan)
    _flatten_outputs(converted.graph, model)
    names = [spec.name for spec in plan.inputs] + list(model.roles.values())
    values = (*converted.graph.input, *converted.graph.output)
    _rename(converted.graph, {v.name: name for v, name in zip(values, names, strict=True)})
    _tidy_shapes(converted.graph, model)
    return Converted(converted.SerializeToString(deterministic=True))


def _without_form(told: str) -> ConversionFailed:
    found = _CLASS_NAME.search(told)
    part = found.group(1) if found else told
    return ConversionFailed(
        f"every part of the model must have a form in ONNX, {part} has none",
        hint="Replace this part, or export the model to ONNX yourself.",
        expected="a form in ONNX",
        found=part,
    )


def _convertible(estimator: Any) -> Any:
    """Return the part of the estimator that answers, in the form that the converter takes."""
    while hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    last = _last(estimator)
    if isinstance(last, VotingClassifier):
        last.flatten_transform = False  # concerns transform alone; True is not implemented
    if isinstance(last, (VotingClassifier, VotingRegressor)) and last.weights is not None:
        last.weights = np.asarray(last.weights)  # the converter asks a list for its sum()
    return estimator


def _last(estimator: Any) -> Any:
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def _options(estimator: Any, *, raw_scores: bool) -> list[dict[Any, dict[str, Any]]]:
    """Return the converter's options, the most wanted first: not every class knows them all."""
    common: dict[Any, dict[str, Any]] = {}
    for part in (estimator, *(part for _, part in walk(estimator))):
        if isinstance(part, CountVectorizer):
            common[id(part)] = _text_options(part)
        elif getattr(part, "effective_metric_", None) == "euclidean":
            common[id(part)] = {"optim": "cdist"}
    finals: list[dict[str, Any]] = [{"zipmap": False}, {}]
    if raw_scores:
        finals = [{"zipmap": False, "raw_scores": True}, {"raw_scores": True}, *finals]
    last = id(_last(estimator))
    return [{**common, last: {**common.get(last, {}), **final}} for final in finals]


def _text_options(vectorizer: Any) -> dict[str, Any]:
    options = {"locale": _LOCALE}
    if vectorizer.analyzer == "word" and vectorizer.token_pattern == _TOKENS:
        options["tokenexp"] = _TOKENS_RE2
    return options


def _initial_types(plan: Plan) -> list[tuple[str, Any]]:
    """Type every column that the model saw, by its own name: the converter looks them up."""
    kinds = {column.name: column.kind for column in plan.columns}
    first = plan.inputs[0]
    if plan.columns[0].index is not None:
        kind = next(iter(kinds.values()))
        return [(first.name, _TYPES[kind]([None, first.shape[1]]))]
    return [(name, _TYPES[kinds.get(name, "float")]([None, 1])) for name in plan.names]


def _convert(
    estimator: Any,
    types: list[tuple[str, Any]],
    opset: dict[str, int],
    options: list[dict[Any, dict[str, Any]]],
) -> onnx.ModelProto:
    convert_with = partial(convert_sklearn, estimator, _GRAPH_NAME, types, target_opset=opset)
    *first, last = options
    for attempt in first:
        with suppress(NameError):  # the word for an option that this class does not know
            return cast(onnx.ModelProto, convert_with(options=attempt))
    return cast(onnx.ModelProto, convert_with(options=last))


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

    for part in _graphs(graph):
        for value in (*part.input, *part.output, *part.value_info, *part.initializer):
            value.name = renamed(value.name)
        for node in part.node:
            node.input[:] = map(renamed, node.input)
            node.output[:] = map(renamed, node.output)


def _graphs(graph: onnx.GraphProto) -> Iterable[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from _graphs(inner)


def _tidy_shapes(graph: onnx.GraphProto, model: SklearnModel) -> None:
    """Name the batch axis, and correct the width that the converter gets wrong."""
    for value in (*graph.input, *graph.output):
        axes = value.type.tensor_type.shape.dim
        if axes:
            axes[0].dim_param = _BATCH
    if model.task == "regression":
        width = getattr(_last(model.estimator), "n_outputs_", None)
    else:
        width = len(model.labels) if len(model.roles) > 1 else None
    if width:
        graph.output[-1].type.tensor_type.shape.dim[1].dim_value = width
