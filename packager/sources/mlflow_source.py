"""A model out of a directory of MLflow: its own source, held to MLflow's signature."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_runtime.contract.tensors import DTYPES, Array, Arrays, TensorSpec
from packager.errors import ColumnMissing
from packager.graph import Description, Graph, MissingProbe, SourceFacts
from packager.sources.child_source import ChildSource
from packager.sources.mlflow import MlflowModel
from packager.sources.onnx_source import OnnxSource

Inner: TypeAlias = ChildSource | OnnxSource

_MATRIX_AXES = 2


class MlflowSource:
    """A source whose columns the signature names.

    Args:
        inner: the source of the model itself.
        model: what MLflow says of it.
    """

    def __init__(self, inner: Inner, model: MlflowModel) -> None:
        self._inner = inner
        self._model = model
        self._described: Description | None = None

    def describe(self, kinds: Mapping[str, str] | None = None) -> Description:
        """Say what the model is; where nothing else names its columns the signature does.

        Raises:
            ColumnMissing: when the model learned other columns than the signature names, or
                the data lack one of these.
            DataUnusable: when the columns cannot be the model's.
        """
        described = self._inner.describe(self._columns_of(kinds))
        self._described = replace(described, source=self._with_mlflow(described.source))
        return self._described

    def _columns_of(self, kinds: Mapping[str, str] | None) -> Mapping[str, str] | None:
        """Return the columns that the model is asked about."""
        signed = self._model.kinds()
        if signed is None:
            return kinds
        learned = self._inner.describe().feature_names
        if learned:
            _check("the model learned", learned, signed)
            return signed if kinds is None else kinds
        if kinds is None:
            return signed
        _check("MLflow's signature names", list(signed), kinds, "the data have")
        return {name: kinds[name] for name in signed}

    def graph(self, opset: Mapping[str, int]) -> Graph:
        """Convert it for these operator sets, by domain."""
        if self._described is None:
            self.describe()
        graph = self._inner.graph(opset)
        return replace(graph, source=self._with_mlflow(graph.source))

    def reference(self, columns: Mapping[str, Array]) -> Arrays | None:
        """Return the model's own answers by output name."""
        return self._inner.reference(columns)

    def missing_probe(self, columns: Mapping[str, Array]) -> tuple[MissingProbe, ...]:
        """Say what the model answers when a column is missing."""
        return self._inner.missing_probe(columns)

    def attempt(
        self, columns: Mapping[str, Array], blocks: Sequence[int]
    ) -> tuple[NDArray[np.bool_], Arrays]:
        """Ask the model for rows that it may refuse."""
        return self._inner.attempt(columns, blocks)

    def diagnose(self) -> tuple[Mapping[str, str], ...]:
        """Say of each step what would become of it."""
        return self._inner.diagnose()

    def example(self) -> Arrays | None:
        """Return the input example as raw rows by column name, or by input name."""
        held = self._model.example
        if held is None:
            return None
        described = self._described or self.describe()
        if described.columns:
            names = described.feature_names or [c.name for c in described.columns]
            rows = _named(held, names)
            found = {c.name: _of_kind(rows.get(c.name), c.kind) for c in described.columns}
        else:
            rows = _named(held, [spec.name for spec in described.inputs])
            found = {
                spec.name: _of_type(rows.get(spec.name), spec) for spec in described.inputs
            }
        kept = {name: values for name, values in found.items() if values is not None}
        return kept if len(kept) == len(found) else None

    def _with_mlflow(self, facts: SourceFacts) -> SourceFacts:
        known = {"mlflow": version} if (version := self._model.facts.get("mlflow")) else {}
        return replace(facts, versions={**facts.versions, **known})


def _check(
    who: str,
    wanted: Sequence[str],
    found: Mapping[str, str],
    whose: str = "MLflow's signature names",
) -> None:
    """Require the wanted names among the found ones; LightGBM keeps spaces as underscores."""
    written = set(found) | {re.sub(r"\s", "_", name) for name in found}
    if missing := [name for name in wanted if name not in written]:
        raise ColumnMissing(
            f"{who} {', '.join(map(repr, wanted))}; {whose} {', '.join(map(repr, found))}",
            hint="Log the model again with a signature of the rows that it was trained on.",
            expected=list(wanted),
            found=list(found),
            column=missing[0],
        )


def _named(held: Arrays, names: Sequence[str]) -> Arrays:
    """Give an example without names those of the columns, or of the only input."""
    if "" not in held:
        return held
    values = held[""]
    if len(names) == 1:
        return {names[0]: values}
    fits = values.ndim == _MATRIX_AXES and values.shape[1] == len(names)
    return {name: values[:, index] for index, name in enumerate(names)} if fits else {}


def _of_kind(values: Array | None, kind: str) -> Array | None:
    """Return a column's values in the form that its kind has; None where they have another."""
    if values is not None and kind == "text" and np.isnan(_floats(values)).all():
        values = np.full(values.shape, "", dtype=object)
    if values is None or (values.dtype.kind == "O") != (kind == "text"):
        return None
    values = values.reshape(len(values), -1)[:, 0]
    if kind != "integer" or values.dtype.kind == "i":
        return values if kind != "float" else values.astype(np.float64)
    whole = bool(np.isfinite(values).all()) and bool((values == np.floor(values)).all())
    return values.astype(np.int64) if whole else None


def _floats(values: Array) -> Array:
    return values if values.dtype.kind == "f" else np.zeros(1)


def _of_type(values: Array | None, spec: TensorSpec) -> Array | None:
    if values is None or values.dtype.kind == "O" or spec.dtype == "string":
        return None
    fits = values.ndim == len(spec.shape)
    return values.astype(DTYPES[spec.dtype]) if fits else None
