"""A saved scikit-learn model as the pipeline sees it; the model itself stays in the child."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from edge_runtime.contract.bundle.manifest import TASKS
from edge_runtime.contract.strictjson import Fields
from edge_runtime.contract.table import KINDS, Column
from edge_runtime.contract.tensors import DTYPES, Array, Arrays, TensorSpec
from packager.errors import (
    ColumnMissing,
    ConversionFailed,
    DataUnusable,
    SourceFailed,
    SourceUnreadable,
)
from packager.graph import Description, Graph, MissingProbe, SourceFacts, tensor_specs
from packager.sources import wire
from packager.sources.onnx_model import tensors_of
from packager.sources.sandbox import CrashError, Sandbox, clean
from packager.sources.wire import Message, WireBrokenError

FRAMEWORK = "scikit-learn"
PROBE_ROWS = 8
_CHUNK_BYTES = 64 << 20
_CHUNK_ROWS = 16_384


class SklearnSource:
    """A model in the child behind ``sandbox``.

    Args:
        sandbox: a started child.
        name: how errors name the file.
        data: the file's bytes.
        form: ``skops`` or ``pickle``.

    Raises:
        SourceUnreadable: when the file cannot be opened, whatever the reason.
        SourceUntrustedType: when a skops file names a type outside the allow-list.
        SourceVersionSkew: when another version of scikit-learn wrote it.
        SourceUnsupported: when it holds no fitted estimator.
        SourceFailed: when the child died or broke the protocol.
    """

    def __init__(self, sandbox: Sandbox, name: str, data: bytes, form: str) -> None:
        self._sandbox = sandbox
        self._name = name
        try:
            answer = sandbox.ask({"do": "load", "format": form}, data)
        except CrashError as crash:
            raise _unreadable(name, crash) from None
        told = Fields(answer.head, "the description", SourceFailed)
        self._task = _one_of(told.text("task"), TASKS)
        self._roles = told.text_map("roles")
        self._labels = tuple(told.list("labels"))
        self._feature_names = told.texts("feature_names")
        self._n_features = told.integer("n_features") if told.has("n_features") else None
        self._facts = SourceFacts(
            FRAMEWORK,
            clean(told.text("kind")),
            hashlib.sha256(data).hexdigest(),
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
        planned = self._ask_plan(dict(kinds) if kinds is not None else None)
        told = Fields(planned.head, "the plan", SourceFailed)
        self._described = Description(
            source=self._facts,
            task=self._task,
            labels=self._labels,
            columns=tuple(map(_column, told.list("columns"))),
            inputs=tuple(map(_spec, told.list("inputs"))),
            feature_names=self._feature_names,
            n_features=self._n_features,
        )
        return self._described

    def graph(self, opset: Mapping[str, int]) -> Graph:
        """Convert the model for these operator sets, by domain.

        Raises:
            ConversionFailed: when it has no form in ONNX.
        """
        described = self._description()
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
        _require(inputs == described.inputs, "the inputs planned", [i.text() for i in inputs])
        _require(names == list(self._roles.values()), "the outputs planned", names)
        return Graph(
            model=model,
            inputs=inputs,
            outputs=outputs,
            columns=described.columns,
            task=self._task,
            roles=self._roles,
            labels=self._labels,
            source=self._facts,
        )

    def reference(self, columns: Mapping[str, Array]) -> Arrays:
        """Return the model's own answers, by output name, for raw rows by column name.

        Floats are float64, as the model computed them; other columns are ignored.

        Raises:
            ColumnMissing: when a column of the plan is not there.
            DataUnusable: when the model refuses the rows.
        """
        rows = self._planned_rows(columns)
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
            raise _unexpected("arrays", broken) from None
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def missing_probe(self, columns: Mapping[str, Array]) -> tuple[MissingProbe, ...]:
        """Ask the model for a few of these rows with one column missing, column by column.

        Raises:
            ColumnMissing: when a column of the plan is not there.
        """
        rows = self._planned_rows(columns)
        count = len(next(iter(rows.values())))
        few = np.unique(np.linspace(0, count - 1, PROBE_ROWS).astype(np.int64))
        rows = {name: values[few] for name, values in rows.items()}
        try:
            answer = self._ask_rows("probe", rows)
            accepted = Fields(answer.head, "the probe", SourceFailed).texts("accepted")
            blocks = _blocks(wire.unpack(answer), accepted, len(few))
        except CrashError as crash:
            raise SourceFailed(
                f"the {self._facts.kind} fails on rows with a missing value: {crash}",
                hint="Save a model that answers such rows or refuses them with a ValueError.",
                expected="answers or a refusal",
                found=str(crash),
            ) from None
        except WireBrokenError as broken:
            raise _unexpected("arrays", broken) from None
        return tuple(
            MissingProbe(column.name, _without(rows, column), blocks.get(column.name))
            for column in self._description().columns
            if column.kind != "integer"
        )

    def _ask_plan(self, kinds: dict[str, str] | None) -> Message:
        try:
            return self._sandbox.ask({"do": "plan", "kinds": kinds})
        except CrashError as crash:
            raise ConversionFailed(
                f"the columns of the {self._facts.kind} cannot be told: {crash}",
                hint="Save the fitted pipeline itself, without wrappers of your own.",
                expected="columns",
                found=str(crash),
            ) from None

    def _ask_rows(self, what: str, rows: Mapping[str, Array]) -> Message:
        packed = wire.pack(rows)
        return self._sandbox.ask({"do": what, **packed.head}, packed.payload)

    def _description(self) -> Description:
        return self._described or self.describe()

    def _planned_rows(self, columns: Mapping[str, Array]) -> Arrays:
        wanted = [column.name for column in self._description().columns]
        missing = [name for name in wanted if name not in columns]
        if missing:
            raise ColumnMissing(
                f"the model reads the column {missing[0]!r}, the rows have "
                f"{', '.join(map(repr, columns)) or 'none'}",
                hint="Give the rows every column that the model reads.",
                expected=wanted,
                found=list(columns),
            )
        return {name: columns[name] for name in wanted}


def _unreadable(name: str, crash: CrashError) -> SourceUnreadable:
    hint = "Save the model again with the library versions that are installed here."
    if crash.kind in {"ModuleNotFoundError", "ImportError", "AttributeError"}:
        hint = "Install the library that the model was made with beside the packager."
    return SourceUnreadable(
        f"{name} cannot be opened as a model: {crash}",
        hint=hint,
        expected="a saved model",
        found=str(crash),
    )


def _parsed(data: bytes) -> onnx.ModelProto:
    """Parse the child's ONNX file, which must stand alone: no path in it may be followed."""
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise _unexpected("an ONNX model", error) from None
    outside = [
        tensor.name
        for tensor in tensors_of(model)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    ]
    _require(not outside, "a model that holds its own tensors", outside)
    return model


def _require(holds: bool, wanted: str, found: object) -> None:
    """Refuse an answer of the child that is not of the form that our own code gives it.

    Raises:
        SourceFailed: naming both.
    """
    if not holds:
        raise _unexpected(wanted, found)


def _unexpected(wanted: str, found: object) -> SourceFailed:
    return SourceFailed(
        f"the child must answer with {wanted}, it answered {clean(found)!r}",
        hint="Build from a file that only holds the model.",
        expected=wanted,
        found=clean(found),
    )


def _one_of(value: str, known: tuple[str, ...]) -> str:
    _require(value in known, f"one of {', '.join(known)}", value)
    return value


def _column(told: Any) -> Column:
    fields = Fields(told, "the plan's column", SourceFailed)
    return Column(
        name=fields.text("name"),
        kind=_one_of(fields.text("kind"), KINDS),
        input=fields.text("input"),
        index=fields.integer("index") if fields.has("index") else None,
        missing="refuse",
    )


def _spec(told: Any) -> TensorSpec:
    fields = Fields(told, "the plan's input", SourceFailed)
    dtype = _one_of(fields.text("dtype"), tuple(DTYPES))
    return TensorSpec(fields.text("name"), dtype, (None, fields.integer("width")))


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


def _blocks(answers: Arrays, accepted: tuple[str, ...], rows: int) -> dict[str, Arrays]:
    return {
        name: {output: values[rows * i : rows * (i + 1)] for output, values in answers.items()}
        for i, name in enumerate(accepted)
    }


def _without(rows: Arrays, column: Column) -> Arrays:
    values = rows[column.name]
    absent = (
        np.full(len(values), "", dtype=object)
        if column.kind == "text"
        else np.full(len(values), np.nan)
    )
    return {**rows, column.name: absent}
