"""Encoders of categories: what each category becomes, as the encoder itself tells."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from skl2onnx.common.data_types import Int64TensorType, StringTensorType

from edge_runtime.contract.tensors import Array
from packager.sources.sklearn.exact import ExactWires
from packager.sources.sklearn.wires import INT64, ML

# Stands for a missing text where the empty text is a category of its own; no cell holds it.
_UNREACHABLE = "\0"


def write_encoder(scope: Any, operator: Any, container: Any) -> None:
    """Write a table for each column: a row for each category, and one for all others.

    A missing text is the empty text in the graph; where the encoder learned missing values,
    the empty text is that category.
    """
    wires = ExactWires(scope, operator, container)
    tables = _tables(wires.model)
    blocks = []
    for (column, kind), categories, table in zip(
        _columns(wires, operator), wires.model.categories_, tables, strict=True
    ):
        place = _place(wires, column, kind, list(categories))
        flat = wires.node("Reshape", place, wires.axis(-1))
        blocks.append(wires.node("Gather", wires.number(table), flat, axis=0))
    encoded = wires.node("Concat", *blocks, axis=1)
    if isinstance(operator.outputs[0].type, Int64TensorType):
        wires.cast(encoded, INT64, out=wires.output(0))
    else:
        wires.answer(encoded)


def write_label_columns(scope: Any, operator: Any, container: Any) -> None:
    """Write a column for each class, or one for two classes."""
    wires = ExactWires(scope, operator, container)
    model = wires.model
    kind = type(operator.inputs[0].type)
    place = _place(
        wires, wires.columns(operator.inputs[0].full_name, [0]), kind, list(model.classes_)
    )
    marks = np.asarray(model.transform(model.classes_), dtype=np.float64)
    table = np.vstack([marks, np.full_like(marks[:1], model.neg_label)])
    flat = wires.node("Reshape", place, wires.axis(-1))
    found = wires.node("Gather", wires.number(table), flat, axis=0)
    wires.cast(found, INT64, out=wires.output(0))


def _columns(wires: ExactWires, operator: Any) -> Iterator[tuple[str, type]]:
    """Yield each column and the type of its values."""
    alone = len(operator.inputs) == 1  # then its width need not be known
    for value in operator.inputs:
        width = len(wires.model.categories_) if alone else value.type.shape[1]
        for index in range(width):
            yield wires.columns(value.full_name, [index]), type(value.type)


def _place(wires: ExactWires, column: str, kind: type, categories: list[Any]) -> str:
    """Return the number of each value's category; -1 where it is none."""
    if kind is StringTensorType:
        keys = [_text(category, categories) for category in categories]
        return wires.node(
            "LabelEncoder",
            column,
            domain=ML,
            keys_strings=keys,
            values_int64s=list(range(len(keys))),
            default_int64=-1,
        )
    known = np.asarray(categories, dtype=np.float64)
    exact = wires.cast(column, wires.floats)
    if kind is not Int64TensorType and not wires.given_double:
        known = known.astype(np.float32)  # as the column was rounded
    same = wires.node("Equal", exact, wires.number(known[None]))
    if np.isnan(known).any():
        absent = wires.node(
            "And", wires.node("IsNaN", exact), wires.flags(np.isnan(known)[None])
        )
        same = wires.node("Or", same, absent)
    numbers = wires.number(np.arange(1, len(known) + 1)[None], INT64)
    counted = wires.node("Mul", wires.cast(same, INT64), numbers)
    return wires.node("Sub", wires.row_sums(counted), wires.number([[1]], INT64))


def _text(category: Any, categories: list[Any]) -> str:
    if isinstance(category, str):
        return category
    return _UNREACHABLE if "" in categories else ""


def _tables(model: Any) -> list[Array]:
    """Ask the encoder what each category of each column becomes; the last row is for others."""
    categories = [list(column) for column in model.categories_]
    longest = max(map(len, categories))
    rows = [
        [column[min(number, len(column) - 1)] for column in categories]
        for number in range(longest)
    ]
    known = _encoded(model, rows)
    unknown = _others(model, categories, known)
    edges = np.cumsum([0, *_widths(model, known.shape[1])])
    return [
        np.vstack([known[: len(column), start:end], unknown[:, start:end]])
        for column, start, end in zip(categories, edges[:-1], edges[1:], strict=True)
    ]


def _widths(model: Any, total: int) -> list[int]:
    """Return how many values each column becomes."""
    told = getattr(model, "_n_features_outs", None)
    count = len(model.categories_)
    return list(told) if told is not None else [total // count] * count


def _others(model: Any, categories: list[list[Any]], known: Array) -> Array:
    """Return what values become that are no category; NaN where the encoder refuses them."""
    if getattr(model, "handle_unknown", "ignore") == "error":
        return np.full_like(known[:1], np.nan)
    return _encoded(model, [[_stranger(column) for column in categories]])


def _stranger(categories: list[Any]) -> Any:
    if any(isinstance(category, str) for category in categories):
        return max(filter(lambda one: isinstance(one, str), categories)) + _UNREACHABLE
    numbers = np.asarray(categories, dtype=np.float64)
    return float(np.nan_to_num(np.nanmax(numbers))) + 1


def _encoded(model: Any, rows: list[list[Any]]) -> Array:
    text = any(isinstance(value, str) for row in rows for value in row)
    matrix = np.array(rows, dtype=object if text else np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no names of columns; unknown categories
        found = model.transform(matrix)
    dense = found.toarray() if hasattr(found, "toarray") else np.asarray(found)
    return np.asarray(dense, dtype=np.float64)
