"""An ONNX file as the pipeline sees it: it is its own graph, so there is nothing to compare."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx

from edge_runtime.contract.table import Column
from edge_runtime.contract.tensors import Array, TensorSpec
from packager.errors import DataUnusable
from packager.graph import (
    Description,
    Graph,
    MissingProbe,
    SourceFacts,
    legal_names,
    tensor_specs,
)
from packager.sources import onnx_model

FRAMEWORK = "onnx"
CONTAINMENT = "contained: an ONNX file runs no code of its own"

_KINDS = {"string": "text", "float16": "float", "float32": "float", "float64": "float"}


class OnnxSource:
    """One ONNX file, read in this process.

    Columns become inputs in one of three ways. A single ``[?, n]`` input takes the data's n
    columns in their order. Several ``[?, 1]`` inputs take the columns of their names, or those
    whose names become theirs when written as identifiers. Other inputs, and data that are no
    table, are bare tensors without columns.

    Args:
        path: the file; external data must lie in its directory.

    Raises:
        SourceUnreadable: when it is damaged, no valid ONNX, or points outside its directory.
        ConversionFailed: when it is too large, needs operators that no engine of ours has, or
            has an input or output that is no tensor.
    """

    def __init__(self, path: Path) -> None:
        self._model, digest = onnx_model.load(path)
        onnx_model.without_zipmap(self._model)
        self._inputs = onnx_model.inputs_of(self._model)
        self._outputs = tensor_specs(self._model.graph.output)
        labels = onnx_model.class_labels(self._model)
        self._task, self._roles = onnx_model.task_of(self._outputs, labels)
        self._labels = labels if self._task == "classification" else ()
        self._columns: tuple[Column, ...] = ()
        producer = f"{self._model.producer_name} {self._model.producer_version}".strip()
        self._facts = SourceFacts(
            FRAMEWORK,
            producer or "unnamed producer",
            digest,
            {"onnx": onnx.__version__, "ir": str(self._model.ir_version)},
            (),
            CONTAINMENT,
        )

    def describe(self, kinds: Mapping[str, str] | None = None) -> Description:
        """Say what the graph is, and how columns enter it; this holds for what follows.

        Args:
            kinds: the columns of the user's data and their kinds, in order; None without data.

        Raises:
            DataUnusable: when the data's columns cannot be the graph's inputs.
        """
        self._columns = () if kinds is None else _columns(self._inputs, kinds)
        return Description(
            source=self._facts,
            task=self._task,
            labels=self._labels,
            columns=self._columns,
            inputs=self._inputs,
            feature_names=(),
            n_features=None,
        )

    def graph(self, opset: Mapping[str, int]) -> Graph:
        """Return the graph as it is.

        Raises:
            ConversionFailed: when it uses newer operator sets than these.
        """
        onnx_model.check_opset(self._model, opset)
        return Graph(
            model=self._model,
            inputs=self._inputs,
            outputs=self._outputs,
            columns=self._columns,
            task=self._task,
            roles=self._roles,
            labels=self._labels,
            source=self._facts,
        )

    def reference(self, _columns: Mapping[str, Array]) -> None:
        """Return nothing: the graph is the source, so nothing else answers."""

    def missing_probe(self, _columns: Mapping[str, Array]) -> tuple[MissingProbe, ...]:
        """Return nothing: nobody but the graph could say which missing values are meant."""
        return ()


def _columns(inputs: tuple[TensorSpec, ...], kinds: Mapping[str, str]) -> tuple[Column, ...]:
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
