"""Answers for people: a graph's outputs as rows of label, probability, value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edge_runtime.contract.bundle.manifest import Interface
from edge_runtime.contract.errors import PredictionFailed
from edge_runtime.contract.tensors import Array

LABEL, PROBABILITY = "label", "probability"


def answer_rows(
    interface: Interface, answers: Mapping[str, Array], count: int
) -> list[dict[str, Any]]:
    """Return one dictionary a row: label, probability by class, value, scores, or the outputs.

    Args:
        interface: says which output plays which role; without a role it keeps its name.
        answers: every output of the graph by name.
        count: how many rows were asked.

    Raises:
        PredictionFailed: when an output has not one answer a row, or not one value a class.
    """
    check_rows(answers, count)
    roles = {output: role for role, output in interface.roles.items()}
    columns = {
        roles.get(output, output): _plain(interface, roles.get(output, output), array)
        for output, array in answers.items()
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def check_rows(answers: Mapping[str, Array], count: int) -> None:
    """Require that every output has one answer a row.

    Raises:
        PredictionFailed: when one has not.
    """
    for name, array in answers.items():
        if array.shape[:1] != (count,):
            raise PredictionFailed(
                f"output {name!r} must hold {count} answers, one a row; its shape is "
                f"{list(array.shape)}",
                hint="Use predict(), or .npz on both sides: they pass arrays as they are.",
                output=name,
                expected=count,
                found=list(array.shape),
            )


def _plain(interface: Interface, role: str, array: Array) -> list[Any]:
    """Return one plain Python value a row."""
    if role == LABEL and interface.labels:
        names = {_as_output(label): label for label in interface.labels}
        return [names.get(value, value) for value in array.reshape(-1).tolist()]
    rows: list[Any] = _readable(array).tolist()
    if role == PROBABILITY and interface.labels:
        return [_by_class(interface.labels, row) for row in rows]
    return [row[0] for row in rows] if array.shape[1:] == (1,) else rows


def _readable(array: Array) -> Array:
    """Return floats as the shortest decimals that mean them: 0.1, not 0.10000000149011612."""
    if array.dtype in (np.float32, np.float16):
        return array.astype(str).astype(np.float64)
    return array


def _as_output(label: str | int | float | bool) -> str | int:
    """Return a class as the graph gives it: text as it is, numbers as integers."""
    return label if isinstance(label, str) else int(label)


def _by_class(labels: Sequence[Any], row: Any) -> dict[Any, float]:
    if not isinstance(row, list) or len(row) != len(labels):
        raise PredictionFailed(
            f"a row of probabilities must have one for each of {len(labels)} classes, "
            f"found {np.size(row)}",
            hint="Build the bundle again; its labels are not those of its graph.",
            expected=len(labels),
            found=int(np.size(row)),
        )
    return dict(zip(labels, row, strict=True))


def flat_rows(
    interface: Interface, answers: Mapping[str, Array], count: int
) -> Iterator[dict[str, Any]]:
    """Yield each row flat, as a table holds it: ``probability_<class>``, ``<output>_<index>``.

    Raises:
        PredictionFailed: as ``answer_rows`` does.
    """
    for row in answer_rows(interface, answers, count):
        flat: dict[str, Any] = {}
        for key, value in row.items():
            flat |= _flattened(key, value)
        yield flat


def _flattened(key: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {f"{key}_{name}": item for name, item in value.items()}
    if isinstance(value, list):
        found: dict[str, Any] = {}
        for index, item in enumerate(value):
            found |= _flattened(f"{key}_{index}", item)
        return found
    return {key: value}
