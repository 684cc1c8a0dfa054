"""Writing nodes inside a converter of skl2onnx: constants, operators, and whole parts."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType

from edge_runtime.contract.tensors import Array
from packager.sources.sklearn.parts import exchanged, last_step

FLOAT, DOUBLE = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE
INT64, BOOL = onnx.TensorProto.INT64, onnx.TensorProto.BOOL
ML = "ai.onnx.ml"


@dataclass(frozen=True)
class Answers:
    """What a classifier among the parts gives: the names of its two tensors."""

    label: str
    scores: str


@dataclass(frozen=True)
class Given:
    """A matrix that a part gets instead of the rows: its name and how many columns it has."""

    name: str
    width: int


class Wires:
    """The nodes of one part.

    Args:
        scope: skl2onnx's, which gives names.
        operator: the part.
        container: where nodes go.

    Attributes:
        model: the fitted part.
        double: whether its numbers are float64.
        floats: the element type of its numbers.
    """

    def __init__(self, scope: Any, operator: Any, container: Any) -> None:
        self._scope, self._operator, self._container = scope, operator, container
        self.model = operator.raw_operator
        self.double = isinstance(operator.inputs[0].type, DoubleTensorType)
        self.floats = DOUBLE if self.double else FLOAT

    def output(self, number: int) -> str:
        """Return the name that this output of the part must have."""
        return str(self._operator.outputs[number].full_name)

    def matrix(self) -> str:
        """Return the part's numbers as one matrix of its element type."""
        names = [self.cast(value.full_name, self.floats) for value in self._operator.inputs]
        return names[0] if len(names) == 1 else self.node("Concat", *names, axis=1)

    def node(
        self, kind: str, *inputs: str, out: str = "", domain: str = "", **attributes: Any
    ) -> str:
        """Write a node of one output, called ``out`` where that is given; return its name."""
        name = out or str(self._scope.get_unique_variable_name(kind.lower()))
        self._container.add_node(
            kind,
            list(inputs),
            [name],
            op_domain=domain,
            name=self._scope.get_unique_operator_name(kind),
            **attributes,
        )
        return name

    def second(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Write a node of two outputs and return the name of the second."""
        names = [str(self._scope.get_unique_variable_name(kind.lower())) for _ in range(2)]
        name = self._scope.get_unique_operator_name(kind)
        self._container.add_node(kind, list(inputs), names, name=name, **attributes)
        return names[1]

    def cast(self, name: str, element: int, out: str = "") -> str:
        """Give a tensor this element type."""
        return self.node("Cast", name, out=out, to=element)

    def number(self, value: Any, element: int | None = None) -> str:
        """Write numbers as a constant of this element type, the part's own by default."""
        dtype = onnx.helper.tensor_dtype_to_np_dtype(element or self.floats)
        return self._constant(onnx.numpy_helper.from_array(np.asarray(value, dtype=dtype)))

    def texts(self, values: Sequence[str]) -> str:
        """Write texts as a constant."""
        name = str(self._scope.get_unique_variable_name("texts"))
        encoded = [value.encode("utf-8") for value in values]
        self._container.add_initializer(name, onnx.TensorProto.STRING, [len(values)], encoded)
        return name

    def _constant(self, tensor: onnx.TensorProto) -> str:
        name = str(self._scope.get_unique_variable_name("constant"))
        self._container.add_initializer(name, None, None, tensor)
        return name

    def axis(self, value: int) -> str:
        """Write an axis as operators take it: as a constant of one integer."""
        return self.number([value], INT64)

    def column_shape(self) -> str:
        """Write the shape of one column of any length."""
        return self.number([-1, 1], INT64)

    def columns(self, matrix: str, wanted: Sequence[int]) -> str:
        """Take these columns of a matrix."""
        return self.node("Gather", matrix, self.number(wanted, INT64), axis=1)

    def row_sums(self, matrix: str) -> str:
        """Add up each row, which keeps its axis."""
        return self.node("ReduceSum", matrix, self.axis(1), keepdims=1)

    def interpolated(self, column: str, known: Array, values: Array) -> str:
        """Read a column of float64 off the line through points, flat outside them.

        Args:
            column: ``[rows, 1]``.
            known: where the points are, rising.
            values: what is there.
        """
        known, values = np.asarray(known, np.float64), np.asarray(values, np.float64)
        if len(known) == 1:
            known, values = np.append(known, known + 1), np.append(values, values)
        column = self.node("Max", column, self.number([[known[0]]], DOUBLE))
        column = self.node("Min", column, self.number([[known[-1]]], DOUBLE))
        inner = known[1:-1] if known[2:].size else np.array([np.inf])
        passed = self.node("GreaterOrEqual", column, self.number(inner[None], DOUBLE))
        place = self.row_sums(self.cast(passed, INT64))
        slope, start, base = (
            self.node("Gather", self.number(table, DOUBLE), place)
            for table in (np.diff(values) / np.diff(known), known[:-1], values[:-1])
        )
        rise = self.node("Mul", slope, self.node("Sub", column, start))
        return self.node("Add", base, rise)

    def normal_share(self, column: str) -> str:
        """Return the share of the standard normal distribution below each float64.

        The engine's error function is float32.
        """
        scaled = self.node("Div", column, self.number([[np.sqrt(2)]], DOUBLE))
        curve = self.cast(self.node("Erf", self.cast(scaled, FLOAT)), DOUBLE)
        half = self.number([[0.5]], DOUBLE)
        return self.node("Mul", self.node("Add", curve, self.number([[1]], DOUBLE)), half)

    def best(self, scores: str) -> str:
        """Return the index of each row's largest score, the first of equals."""
        return self.node("ArgMax", scores, axis=1, keepdims=0)

    def labels(self, index: str, classes: Array, out: str) -> None:
        """Turn one index a row into the class there, as the output of this name."""
        if classes.dtype.kind in "UO":
            values = self.texts([str(value) for value in classes])
        else:
            values = self.number(classes.astype(np.int64), INT64)
        self.node("Gather", values, index, out=out, axis=0)

    def classifier(
        self, model: Any, *, raw: bool = False, given: Given | None = None
    ) -> Answers:
        """Write a fitted classifier.

        Args:
            model: the classifier.
            raw: whether its scores are those of ``decision_function``, a column a class, or
                the probabilities.
            given: what it gets; the part's rows by default.
        """
        model = self._own(model, raw=raw)
        label = self._scope.declare_local_variable("label", Int64TensorType())
        scores = self._declared("scores")
        self._declare(model, given, [label, scores])
        return Answers(str(label.full_name), str(scores.full_name))

    def regressor(self, model: Any, given: Given | None = None) -> str:
        """Write a fitted regressor that gets the part's rows, or what is given."""
        value = self._declared("value")
        self._declare(model, given, [value])
        return str(value.full_name)

    def needs(self, domain: str, version: int) -> bool:
        """Ask for at least this version of an operator set; False where the target has less."""
        if self._container.target_opset_any_domain(domain) < version:
            return False
        self._container.node_domain_version_pair_sets.add((domain, version))
        return True

    def aside(self, number: int) -> tuple[Any, str]:
        """Return the operator with this output under another name, and that name.

        Another converter can then write it, and the true output be made of what it gives.
        """
        outputs = list(self._operator.outputs)
        outputs[number] = self._scope.declare_local_variable("aside", outputs[number].type)
        operator = copy.copy(self._operator)
        operator.__dict__["outputs"] = outputs  # its setter would make it a second maker
        return operator, str(outputs[number].full_name)

    def _own(self, model: Any, *, raw: bool) -> Any:
        """Return a classifier whose last step has options of its own, by its own identity."""
        last = last_step(model)
        part = copy.copy(last)
        if raw and hasattr(part, "_probA"):  # with these the operator gives probabilities
            part._probA = part._probB = np.empty(0)
        wanted = {"zipmap": False, "raw_scores": raw}
        known = {name: value for name, value in wanted.items() if self._takes(part, name)}
        for holder in (self._scope, self._container):
            given = (holder.options or {}).get(id(last), {})
            holder.add_options(id(part), {**given, **known})
        return exchanged(model, lambda _, inner: part if inner is last else inner)

    def _takes(self, model: Any, option: str) -> bool:
        known: Mapping[str, Any] = self._container._get_allowed_options(model)
        return option in known

    def _declared(self, name: str) -> Any:
        kind = DoubleTensorType if self.double else FloatTensorType
        return self._scope.declare_local_variable(name, kind())

    def _declare(self, model: Any, given: Given | None, outputs: list[Any]) -> None:
        alias = sklearn_operator_name_map[type(model)]
        operator = self._scope.declare_local_operator(alias, model)
        if given is None:
            operator.inputs = self._operator.inputs
        else:
            kind = DoubleTensorType if self.double else FloatTensorType
            taken = self._scope.declare_local_variable("given", kind([None, given.width]))
            self.node("Identity", given.name, out=taken.full_name)
            operator.inputs.append(taken)
        for output in outputs:
            operator.outputs.append(output)
