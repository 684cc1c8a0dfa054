"""From the user's columns to the graph's inputs: names, kinds and missing values checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from edge_runtime.contract.errors import InputDtype, InputName
from edge_runtime.contract.tensors import DTYPES, Array, Arrays, TensorSpec
from edge_runtime.contract.values import (
    Column,
    Where,
    common_length,
    from_array,
    from_json,
    gather,
    listed,
    no_value,
)


def accepts(columns: Sequence[Column], names: Collection[str]) -> bool:
    """Tell whether a feed is named by columns rather than by exactly the graph's inputs."""
    given = set(names)
    by_column = given == {column.name for column in columns}
    return bool(columns) and (by_column or given != {column.input for column in columns})


def row_number(row: int) -> str:
    """Return how errors name a row where nobody knows a better place."""
    return f"row {row} (counted from 0)"


def assemble(
    columns: Sequence[Column],
    inputs: Sequence[TensorSpec],
    raw: Mapping[str, Any],
    where: Where = row_number,
) -> Arrays:
    """Turn values by column name into the graph's feed, with exactly its element types.

    Args:
        columns: how columns become inputs.
        inputs: the graph's inputs.
        raw: for each column a list, a 1-D array of any fitting element type (also ``[rows,
            1]``, also a data frame's series), or a scalar for a single row.
        where: how errors name a row.

    Raises:
        InputName: when a column is missing or unknown.
        InputDtype: when an array's element type is not of its column's kind.
        InputShape: when an array has another shape, or the columns differ in length.
        InputValue: when a value is not of its column's kind, or outside the input's range.
        InputMissing: when a value is missing where the column refuses it.
    """
    _check_names(columns, raw)
    values = {column.name: _values(column, raw[column.name], where) for column in columns}
    rows = common_length("the columns", values)
    feed = {}
    for spec in inputs:
        its = [column for column in columns if column.input == spec.name]
        tensor = np.empty((rows, len(its)), DTYPES[spec.dtype])
        with np.errstate(over="ignore", invalid="ignore"):
            for column in its:
                tensor[:, column.index or 0] = values[column.name]
        _check_tensor(tensor, its, values, where)
        feed[spec.name] = tensor
    return feed


def check_missing(
    columns: Sequence[Column], feed: Mapping[str, Array], where: Where = row_number
) -> None:
    """Check a feed that is named by the graph's inputs for what its columns refuse.

    Raises:
        InputValue: when a number is infinite, or text is none that UTF-8 can hold.
        InputMissing: when a value is missing where the column refuses it.
    """
    sound = {
        name
        for name, array in feed.items()
        if array.dtype.kind in "biu" or (array.dtype.kind == "f" and np.isfinite(array).all())
    }
    for column in columns:
        if column.input not in sound:
            from_array(column, feed[column.input][:, column.index or 0], where)


def records_to_raw(
    columns: Sequence[Column], records: Sequence[Mapping[str, Any]]
) -> dict[str, list[Any]]:
    """Turn rows of names and values into what ``assemble`` takes; other names are ignored.

    Raises:
        InputName: when a row lacks a column, or is no mapping.
    """
    return gather(columns, records, row_number)


def _check_names(columns: Sequence[Column], raw: Mapping[str, Any]) -> None:
    expected = [column.name for column in columns]
    missing = [name for name in expected if name not in raw]
    unknown = sorted(set(raw) - set(expected), key=str)
    if not missing and not unknown:
        return
    parts = [f"missing {listed(missing)}"] if missing else []
    parts += [f"unknown {listed(unknown)}"] if unknown else []
    raise InputName(
        f"the model takes the columns {listed(expected)}; {' and '.join(parts)}",
        hint="Name every column once, or every input of the graph, not mixed.",
        expected=expected,
        found=sorted(map(str, raw)),
    )


def _values(column: Column, value: Any, where: Where) -> Array:
    if value is None or isinstance(value, (str, int, float, np.generic)):
        return from_json(column, [value], where)
    if isinstance(value, (list, tuple)):
        return from_json(column, value, where)
    if not hasattr(value, "__array__"):
        raise InputDtype(
            f"column {column.name!r} takes a list or an array, found a {type(value).__name__}",
            hint="Give one value a row, as a list or a 1-D array.",
            column=column.name,
            expected="list or array",
            found=type(value).__name__,
        )
    array = np.asarray(value)
    if array.shape[1:] in ((), (1,)):
        array = array.reshape(-1)
    if column.kind == "float" and array.ndim == 1 and array.dtype.kind in "fiu":
        return array  # checked with its whole tensor at once
    return from_array(column, array, where)


def _check_tensor(
    tensor: Array, columns: Sequence[Column], values: Arrays, where: Where
) -> None:
    """Refuse what a column does not take, and what did not survive the tensor's own type."""
    floats = tensor.dtype.kind == "f"
    if tensor.dtype.kind == "O" or (floats and np.isfinite(tensor).all()):
        return
    for column in columns:
        given = from_array(column, values[column.name], where)
        place = tensor[:, column.index or 0]
        wrong = np.isinf(place) if floats else place != given
        if wrong.any():
            row = int(wrong.argmax())
            held = f"what {tensor.dtype.name} can hold"
            raise no_value(column, where(row), given[row].item(), held)
