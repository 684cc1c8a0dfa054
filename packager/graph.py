"""What a source model is and the graph it becomes: the values that pass between the stages."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx

from edge_runtime.contract.table import Column
from edge_runtime.contract.tensors import DTYPES, Arrays, TensorSpec
from packager.errors import ConversionFailed
from packager.graphs.model_files import ModelFiles, Weights

Label: TypeAlias = str | int | float | bool

# What the outputs of a converted model are called, whatever the converter called them.
OUTPUT_NAMES = {
    "label": "label",
    "probability": "probabilities",
    "score": "scores",
    "value": "value",
}


@dataclass(frozen=True)
class SourceFacts:
    """Where a graph comes from.

    Attributes:
        framework: ``scikit-learn`` or ``onnx``.
        kind: the class of the model, or the producer of the ONNX file.
        sha256: digest of the source file in hex.
        versions: the libraries that took part, by name.
        steps: the parts of a pipeline, outermost first, as ``path: Class``.
        containment: how the source was opened, ``contained: …`` or ``uncontained: …``.
    """

    framework: str
    kind: str
    sha256: str
    versions: Mapping[str, str]
    steps: tuple[str, ...]
    containment: str


@dataclass(frozen=True)
class Description:
    """What a source is and how the user's columns would enter its graph, before converting.

    Attributes:
        source: where it comes from.
        task: one of the manifest's tasks.
        labels: the classes in the order of the probability columns; empty where none.
        columns: the user's columns that the model reads, each with the kind it must have;
            empty for a model of bare tensors.
        inputs: the graph's inputs.
        feature_names: the names learned when the model was fitted; empty where none.
        n_features: how many features the model was fitted on, if it says so.
    """

    source: SourceFacts
    task: str
    labels: tuple[Label, ...]
    columns: tuple[Column, ...]
    inputs: tuple[TensorSpec, ...]
    feature_names: tuple[str, ...]
    n_features: int | None


@dataclass(frozen=True)
class Graph:
    """The ONNX form of a source, and its interface.

    Attributes:
        model: the graph; treat it as read-only. Where its weights are many they lie in files.
        inputs: what goes in; the first axis is None where any batch fits.
        outputs: what comes out.
        columns: how the user's columns become inputs; empty for a model of bare tensors.
        task: one of the manifest's tasks.
        roles: which output is ``label``, ``probability``, ``score`` or ``value``.
        labels: the classes in the order of the probability columns; empty where none.
        source: where it comes from.
        repairs: what was mended so that the graph answers as the source does, as sentences.
        threshold: of two classes the second is answered from this score on; None where the
            greatest score wins.
        beside: the source's directory, where weights outside the graph lie; None where none do.
        weights: the same once they are in a directory of ours, from where they can be mapped.
    """

    model: onnx.ModelProto
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    columns: tuple[Column, ...]
    task: str
    roles: Mapping[str, str]
    labels: tuple[Label, ...]
    source: SourceFacts
    repairs: tuple[str, ...] = ()
    threshold: float | None = None
    beside: Path | None = None
    weights: Weights | None = None

    @property
    def files(self) -> ModelFiles:
        """The graph and its weights, for the engine."""
        return ModelFiles.of(self.model, self.weights)

    def to_bytes(self) -> bytes:
        """Return the graph's bytes, the same for the same graph; not the weights beside it."""
        return bytes(self.model.SerializeToString(deterministic=True))

    def accepting_missing(self, names: Collection[str]) -> Graph:
        """Return the same graph whose columns of these names accept missing values."""
        columns = tuple(
            replace(column, missing="allow") if column.name in names else column
            for column in self.columns
        )
        return replace(self, columns=columns)


@dataclass(frozen=True)
class MissingProbe:
    """What the source says when one column is missing.

    Attributes:
        column: the user's name of the column that is missing in every row.
        rows: the rows, by the user's column names.
        answers: the source's answers by output name; None when it refuses such rows.
    """

    column: str
    rows: Arrays
    answers: Arrays | None


def legal_names(names: Sequence[str]) -> list[str]:
    """Turn any texts into distinct identifiers that no output of ours is called."""
    taken = set(OUTPUT_NAMES.values())
    legal = []
    for name in names:
        stem = re.sub(r"[^A-Za-z0-9_]", "_", name)
        stem = stem if re.match(r"[A-Za-z_]", stem) else f"_{stem}"
        candidate, number = stem, 2
        while candidate in taken:
            candidate, number = f"{stem}_{number}", number + 1
        taken.add(candidate)
        legal.append(candidate)
    return legal


def tensor_specs(values: Iterable[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
    """Read the declared inputs or outputs of a graph.

    Raises:
        ConversionFailed: when one is no tensor of an element type that the device takes.
    """
    return tuple(_tensor_spec(value) for value in values)


def _tensor_spec(value: onnx.ValueInfoProto) -> TensorSpec:
    kind = value.type.WhichOneof("value") or "nothing"
    tensor = value.type.tensor_type
    dtype = _dtype_name(tensor.elem_type) if kind == "tensor_type" else ""
    if dtype not in DTYPES:
        element = dtype or onnx.TensorProto.DataType.Name(tensor.elem_type)
        shown = kind if kind != "tensor_type" else f"a tensor of {element}"
        raise ConversionFailed(
            f"{value.name!r} must be a tensor of {', '.join(sorted(DTYPES))}; it is {shown}",
            hint="Export the model again with plain tensors as inputs and outputs.",
            tensor=value.name,
            expected=sorted(DTYPES),
            found=shown,
        )
    shape = tuple(
        axis.dim_value
        if axis.WhichOneof("value") == "dim_value" and axis.dim_value > 0
        else None
        for axis in tensor.shape.dim
    )
    return TensorSpec(value.name, dtype, shape)


def _dtype_name(element: int) -> str:
    if element == onnx.TensorProto.STRING:
        return "string"
    if element == onnx.TensorProto.UNDEFINED:
        return ""
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(element)).name
