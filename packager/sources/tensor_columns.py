"""How the columns of a table become the inputs of a graph of bare tensors."""

from __future__ import annotations

from collections.abc import Mapping

from edge_runtime.contract.table import Column
from edge_runtime.contract.tensors import TensorSpec
from packager.errors import DataUnusable
from packager.graph import legal_names

_KINDS = {"string": "text", "float16": "float", "float32": "float", "float64": "float"}


def tensor_columns(
    inputs: tuple[TensorSpec, ...], kinds: Mapping[str, str]
) -> tuple[Column, ...]:
    """Decide how columns enter tensors.

    A single ``[?, n]`` input takes the data's n columns in their order. Several ``[?, 1]``
    inputs take the columns of their names, or those whose names become theirs when written as
    identifiers. Other inputs, and data that are no table, are bare tensors without columns.

    Raises:
        DataUnusable: when the data's columns cannot be the graph's inputs.
    """
    if "tensor" in kinds.values():
        return ()
    widths = [spec.shape[1:] for spec in inputs]
    if widths == [(len(kinds),)]:
        return tuple(_column(inputs[0], name, index, kinds) for index, name in enumerate(kinds))
    by_input = dict(zip(legal_names(list(kinds)), kinds, strict=True)) | {n: n for n in kinds}
    if all(spec.name in by_input for spec in inputs):
        if any(width != (1,) for width in widths):
            return ()
        return tuple(_column(spec, by_input[spec.name], None, kinds) for spec in inputs)
    wanted = ", ".join(f"{spec.name} {spec.text()}" for spec in inputs)
    raise DataUnusable(
        f"the graph takes {wanted}; the data have {len(kinds)} columns: {', '.join(kinds)}",
        hint="Give exactly the graph's columns in its order, or name columns as its inputs.",
        expected=[f"{spec.name} {spec.text()}" for spec in inputs],
        found=list(kinds),
    )


def _column(spec: TensorSpec, name: str, index: int | None, kinds: Mapping[str, str]) -> Column:
    kind = _KINDS.get(spec.dtype, "integer")
    if kinds[name] == "text" and kind != "text":
        raise DataUnusable(
            f"column {name!r} is text in the data, the graph's input {spec.name!r} takes "
            f"{spec.dtype}",
            hint="Give this column in the form that the graph takes.",
            column=name,
            expected=spec.dtype,
            found="text",
        )
    return Column(name, kind, spec.name, index, "refuse")
