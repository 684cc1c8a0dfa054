"""Answers for people: a graph's outputs as rows of label, probability, value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from edge_runtime.contract.bundle.manifest import Interface
from edge_runtime.contract.tensors import Array, Arrays

LABEL, PROBABILITY, SCORE, VALUE = "label", "probability", "score", "value"


def answer_rows(interface: Interface, answers: Arrays) -> list[dict[str, Any]]:
    """Return one dictionary a row: label, probability by class, value, scores, or the outputs.

    Args:
        interface: says which output plays which role.
        answers: every output of the graph by name, the first axis being the rows.
    """
    roles = {output: role for role, output in interface.roles.items()}
    columns: dict[str, list[Any]] = {}
    for output, array in answers.items():
        role = roles.get(output, output)
        columns[role] = _plain(interface, role, array)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _plain(interface: Interface, role: str, array: Array) -> list[Any]:
    if role == LABEL and interface.labels:
        names = {_as_output(label): label for label in interface.labels}
        return [names.get(value, value) for value in array.reshape(-1).tolist()]
    rows = _readable(array).tolist()
    if role == PROBABILITY and interface.labels:
        return [dict(zip(interface.labels, row, strict=True)) for row in rows]
    if array.ndim == 2 and array.shape[1] == 1:
        return [row[0] for row in rows]
    return list(rows)


def _readable(array: Array) -> Array:
    """Return floats as the shortest decimals that mean them: 0.1, not 0.10000000149011612."""
    if array.dtype.kind == "f" and array.dtype.itemsize < 8:
        return array.astype(str).astype(np.float64)
    return array


def _as_output(label: str | int | float | bool) -> str | int:
    """Return a class as the graph gives it: text as it is, numbers as integers."""
    return label if isinstance(label, str) else int(label)


def flat_rows(interface: Interface, answers: Arrays) -> Iterator[dict[str, Any]]:
    """Yield each row flat, as a table holds it: ``probability_<class>``, ``<output>_<index>``."""
    for row in answer_rows(interface, answers):
        flat: dict[str, Any] = {}
        for key, value in row.items():
            flat |= _flattened(key, value)
        yield flat


def _flattened(key: str, value: Any) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return {f"{key}_{name}": item for name, item in value.items()}
    if isinstance(value, list):
        found: dict[str, Any] = {}
        for index, item in enumerate(value):
            found |= _flattened(f"{key}_{index}", item)
        return found
    return {key: value}
