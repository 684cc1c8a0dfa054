"""A saved model as the pipeline sees it; the model itself stays in the child."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from edge_runtime.contract.bundle.manifest import TASKS
from edge_runtime.contract.strictjson import Fields
from edge_runtime.contract.table import Column
from edge_runtime.contract.tensors import Array, Arrays, TensorSpec
from packager.errors import (
    ConversionFailed,
    DataUnusable,
    SourceFailed,
)
from packager.graph import Description, Graph, MissingProbe, SourceFacts, tensor_specs
from packager.graphs.external_data import tensors_of
from packager.sources import wire
from packager.sources.sandbox import CrashError, Sandbox, clean
from packager.sources.wire import Message, WireBrokenError

_CHUNK_BYTES = 64 << 20
_CHUNK_ROWS = 16_384

_BOOSTERS = ("xgboost", "lightgbm", "catboost")
FRAMEWORKS = ("scikit-learn", *_BOOSTERS, "pytorch", "keras", "tensorflow")


Planned: TypeAlias = tuple[tuple[Column, ...], tuple[TensorSpec, ...]]


@dataclass(frozen=True)
class Saved:
    """A saved model as it is handed over.

    Attributes:
        name: how errors name it.
        path: its file or directory.
        form: how it is opened, as ``loaders.open_model`` knows it.
        sha256: digest of all that is handed over, in hex.
        options: what the loader is told beside.
    """

    name: str
    path: Path
    form: str
    sha256: str
    options: Mapping[str, Any] = field(default_factory=dict)


class ChildSource(ABC):
    """A model in the child behind ``sandbox``; see ``open_saved``.

    Args:
        sandbox: the child, which has opened it.
        saved: where it came from.
        told: how the child describes it.
    """

    def __init__(self, sandbox: Sandbox, saved: Saved, told: Fields) -> None:
        self._sandbox = sandbox
        self._task = one_of(told.text("task"), TASKS)
        self._roles = told.text_map("roles")
        self._labels = tuple(told.list("labels"))
        self._feature_names = told.texts("feature_names")
        self._n_features = told.integer("n_features") if told.has("n_features") else None
        self._facts = SourceFacts(
            one_of(told.text("framework"), FRAMEWORKS),
            clean(told.text("kind")),
            saved.sha256,
            told.text_map("versions"),
            tuple(map(clean, told.texts("steps"))),
            sandbox.containment,
        )
        self._described: Description | None = None

    def describe(self, kinds: Mapping[str, str] | None = None) -> Description:
        """Say what the model is, and plan its columns; the plan holds for what follows.

        Args:
            kinds: the columns of the user's data and their kinds, in order; None without data.

        Raises:
            ColumnMissing: when the data lack a column that the model reads.
            DataUnusable: when the data's columns cannot be the model's.
            ConversionFailed: when the model does not say what it reads.
        """
        columns, inputs = self._plan(kinds)
        self._described = Description(
            source=self._facts,
            task=self._task,
            labels=self._labels,
            columns=columns,
            inputs=inputs,
            feature_names=self._feature_names,
            n_features=self._n_features,
        )
        return self._described

    @abstractmethod
    def _plan(self, kinds: Mapping[str, str] | None) -> Planned:
        """Decide columns and inputs."""

    @abstractmethod
    def _rows(self, columns: Mapping[str, Array]) -> Arrays:
        """Return the rows as the child takes them."""

    def graph(self, opset: Mapping[str, int]) -> Graph:
        """Convert the model for these operator sets, by domain.

        Raises:
            ConversionFailed: when it has no form in ONNX.
        """
        described = self.described()
        try:
            answer = self._sandbox.ask({"do": "graph", "opset": dict(opset)})
        except CrashError as crash:
            raise ConversionFailed(
                f"the {self._facts.kind} does not convert to ONNX: {crash}",
                hint="Replace the step that it names, or export the model to ONNX yourself.",
                expected="a form in ONNX",
                found=str(crash),
            ) from None
        model = _parsed(answer.payload)
        inputs, outputs = tensor_specs(model.graph.input), tensor_specs(model.graph.output)
        names = [spec.name for spec in outputs]
        require(inputs == described.inputs, "the inputs planned", [i.text() for i in inputs])
        require(set(self._roles.values()) <= set(names), "the outputs planned", names)
        repairs = Fields(answer.head, "the graph", SourceFailed).texts("repairs")
        return Graph(
            model=model,
            inputs=inputs,
            outputs=outputs,
            columns=described.columns,
            task=self._task,
            roles=self._roles,
            labels=self._labels,
            source=self._facts,
            repairs=tuple(map(clean, repairs)),
        )

    def reference(self, columns: Mapping[str, Array]) -> Arrays:
        """Return the model's own answers, by output name, for raw rows by column name.

        Floats are float64, as the model computed them; other columns are ignored. A model of
        bare tensors takes rows by input name.

        Raises:
            ColumnMissing: when a column of the plan is not there.
            DataUnusable: when the model refuses the rows.
        """
        rows = self._rows(columns)
        try:
            parts = [wire.unpack(self._ask_rows("reference", chunk)) for chunk in _chunks(rows)]
        except CrashError as crash:
            raise DataUnusable(
                f"the {self._facts.kind} refuses the rows: {crash}",
                hint="Give rows that the model's own predict takes.",
                expected="rows that the model answers",
                found=str(crash),
            ) from None
        except WireBrokenError as broken:
            raise unexpected("arrays", broken) from None
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    @abstractmethod
    def missing_probe(self, columns: Mapping[str, Array]) -> tuple[MissingProbe, ...]:
        """Ask the model for a few of these rows with one column missing, column by column.

        Raises:
            ColumnMissing: when a column of the plan is not there.
        """

    def attempt(
        self, columns: Mapping[str, Array], blocks: Sequence[int]
    ) -> tuple[NDArray[np.bool_], Arrays]:
        """Ask the model for rows that it may refuse.

        Args:
            columns: raw rows by column name, as ``reference`` takes them.
            blocks: how many rows belong together, block by block.

        Returns:
            Which rows it answered, and these answers; no arrays where it refused all.

        Raises:
            ColumnMissing: when a column of the plan is not there.
            SourceFailed: when the child died or broke the protocol.
        """
        packed = wire.pack(self._rows(columns))
        head = {"do": "attempt", "blocks": list(blocks), **packed.head}
        try:
            answer = self._sandbox.ask(head, packed.payload)
            answers = wire.unpack(answer)
        except (CrashError, WireBrokenError) as broken:
            raise unexpected("answers or a refusal", broken) from None
        answered = np.ones(sum(blocks), dtype=bool)
        refused = Fields(answer.head, "the attempt", SourceFailed).list("refused")
        known = all(type(row) is int and 0 <= row < len(answered) for row in refused)
        require(known, "numbers of rows", refused)
        answered[refused] = False
        fits = all(len(array) == answered.sum() for array in answers.values())
        require(fits and bool(answers) == bool(answered.any()), "an answer a row", refused)
        return answered, answers

    def diagnose(self) -> tuple[Mapping[str, str], ...]:
        """Return what would become of each step; see ``OpenedModel.diagnose``.

        Raises:
            ConversionFailed: when the model cannot be looked into.
        """
        try:
            answer = self._sandbox.ask({"do": "diagnose"})
        except CrashError as crash:
            raise ConversionFailed(
                f"the steps of the {self._facts.kind} cannot be told: {crash}",
                hint="Save the fitted pipeline itself, without wrappers of your own.",
                expected="steps",
                found=str(crash),
            ) from None
        steps = Fields(answer.head, "the diagnosis", SourceFailed).list("steps")
        require(all(isinstance(step, dict) for step in steps), "steps", steps)
        return tuple({str(k): clean(v) for k, v in step.items()} for step in steps)

    def example(self) -> Arrays | None:
        """Return nothing: a model's own file holds no rows."""
        return None

    def _ask_rows(self, what: str, rows: Mapping[str, Array]) -> Message:
        packed = wire.pack(rows)
        return self._sandbox.ask({"do": what, **packed.head}, packed.payload)

    def described(self) -> Description:
        """Return the description that holds; one without data where nobody asked."""
        return self._described or self.describe()


def _parsed(data: bytes) -> onnx.ModelProto:
    """Parse the child's ONNX file, which must stand alone: no path in it may be followed."""
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise unexpected("an ONNX model", error) from None
    outside = [
        tensor.name
        for tensor in tensors_of(model)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    ]
    require(not outside, "a model that holds its own tensors", outside)
    return model


def require(holds: bool, wanted: str, found: object) -> None:
    """Refuse an answer of the child that is not of the form that our own code gives it.

    Raises:
        SourceFailed: naming both.
    """
    if not holds:
        raise unexpected(wanted, found)


def unexpected(wanted: str, found: object) -> SourceFailed:
    """Return the error for an answer of the child that is not of its form."""
    return SourceFailed(
        f"the child must answer with {wanted}, it answered {clean(found)!r}",
        hint="Build from a file that only holds the model.",
        expected=wanted,
        found=clean(found),
    )


def one_of(value: str, known: tuple[str, ...]) -> str:
    """Return a word of the child that we know.

    Raises:
        SourceFailed: when it is another.
    """
    require(value in known, f"one of {', '.join(known)}", value)
    return value


def _chunks(rows: Mapping[str, Array]) -> Iterator[Arrays]:
    """Cut rows into requests that neither side has to hold twice in a large table."""
    count = len(next(iter(rows.values())))
    size = sum(
        values.nbytes if values.dtype.kind != "O" else sum(map(len, values))
        for values in rows.values()
    )
    step = max(1, min(_CHUNK_ROWS, count * _CHUNK_BYTES // max(1, size)))
    for start in range(0, max(1, count), step):
        yield {name: values[start : start + step] for name, values in rows.items()}
