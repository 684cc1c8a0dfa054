"""An ONNX file as the pipeline sees it: it is its own graph, so there is nothing to compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_runtime.contract.table import Column
from edge_runtime.contract.tensors import Array, Arrays
from packager.graph import (
    Description,
    Graph,
    MissingProbe,
    SourceFacts,
    tensor_specs,
)
from packager.sources import onnx_model
from packager.sources.tensor_columns import tensor_columns

FRAMEWORK = "onnx"
CONTAINMENT = "contained: an ONNX file runs no code of its own"


class OnnxSource:
    """One ONNX file, read in this process.

    Args:
        path: the file; external data must lie in its directory.

    Raises:
        SourceUnreadable: when it is damaged, no valid ONNX, or points outside its directory.
        ConversionFailed: when it is too large, needs operators that no engine of ours has, or
            has an input or output that is no tensor.
    """

    def __init__(self, path: Path) -> None:
        self._model, digest, self._beside = onnx_model.load(path)
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
        self._columns = () if kinds is None else tensor_columns(self._inputs, kinds)
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
            beside=self._beside,
        )

    def reference(self, _columns: Mapping[str, Array]) -> None:
        """Return nothing: the graph is the source, so nothing else answers."""

    def attempt(
        self, _columns: Mapping[str, Array], blocks: Sequence[int]
    ) -> tuple[NDArray[np.bool_], Arrays]:
        """Answer no row: the graph is the source."""
        return np.zeros(sum(blocks), dtype=bool), {}

    def missing_probe(self, _columns: Mapping[str, Array]) -> tuple[MissingProbe, ...]:
        """Return nothing: nobody but the graph could say which missing values are meant."""
        return ()

    def diagnose(self) -> tuple[Mapping[str, str], ...]:
        """Return nothing: the file is a graph already, it has no steps to convert."""
        return ()

    def example(self) -> None:
        """Return nothing: the file holds no rows."""
