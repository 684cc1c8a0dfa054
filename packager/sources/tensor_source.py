"""A saved model of bare tensors: PyTorch's, Keras's and TensorFlow's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edge_runtime.contract.columns import assemble
from edge_runtime.contract.strictjson import Fields
from edge_runtime.contract.tensors import DTYPES, Array, Arrays, TensorSpec, check_feed
from packager.errors import SourceFailed
from packager.graph import MissingProbe
from packager.sources.child_source import ChildSource, Planned, Saved, one_of, require
from packager.sources.sandbox import Sandbox
from packager.sources.tensor_columns import tensor_columns


class TensorSource(ChildSource):
    """A model whose inputs say what a table's columns can be."""

    def __init__(self, sandbox: Sandbox, saved: Saved, told: Fields) -> None:
        super().__init__(sandbox, saved, told)
        self._inputs = tuple(map(_spec, told.list("inputs")))

    def _plan(self, kinds: Mapping[str, str] | None) -> Planned:
        return (() if kinds is None else tensor_columns(self._inputs, kinds)), self._inputs

    def _rows(self, columns: Mapping[str, Array]) -> Arrays:
        planned = self.described().columns
        if not planned:
            return check_feed(self._inputs, dict(columns))
        permissive = [replace(column, missing="allow") for column in planned]
        return assemble(permissive, self._inputs, columns)

    def missing_probe(self, _columns: Mapping[str, Array]) -> tuple[MissingProbe, ...]:
        """Return nothing: tensors have no missing values of their own."""
        return ()


def _spec(told: Any) -> TensorSpec:
    fields = Fields(told, "the model's input", SourceFailed)
    axes = fields.list("shape")
    fits = all(axis is None or (type(axis) is int and axis > 0) for axis in axes)
    require(fits, "a shape", axes)
    dtype = one_of(fields.text("dtype"), tuple(DTYPES))
    return TensorSpec(fields.text("name"), dtype, tuple(axes))
