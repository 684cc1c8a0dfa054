"""Writing nodes inside a converter of skl2onnx: constants, operators, and parts by their own."""

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
from packager.sources.sklearn_parts import last_step

FLOAT, DOUBLE = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE
INT64, BOOL = onnx.TensorProto.INT64, onnx.TensorProto.BOOL
ML = "ai.onnx.ml"


@dataclass(frozen=True)
class Answers:
    """What a classifier among the parts gives: the names of its two tensors."""

    label: str
    scores: str


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

    def columns(self, matrix: str, wanted: Sequence[int]) -> str:
        """Take these columns of a matrix."""
        return self.node("Gather", matrix, self.number(wanted, INT64), axis=1)

    def row_sums(self, matrix: str) -> str:
        """Add up each row, which keeps its axis."""
        return self.node("ReduceSum", matrix, self.axis(1), keepdims=1)

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
        self, model: Any, *, raw: bool = False, columns: Sequence[int] | None = None
    ) -> Answers:
        """Write a fitted classifier that gets the part's rows.

        Args:
            model: the classifier.
            raw: whether its scores are those of ``decision_function``, a column a class, or
                the probabilities.
            columns: which features it gets; all by default.
        """
        part = last_step(model)
        options = {"zipmap": False, "raw_scores": raw}
        known = {name: options[name] for name in options if self._takes(part, name)}
        for holder in (self._scope, self._container):
            holder.add_options(id(part), dict(known))
        label = self._scope.declare_local_variable("label", Int64TensorType())
        scores = self._declared("scores")
        self._declare(model, columns, [label, scores])
        return Answers(str(label.full_name), str(scores.full_name))

    def regressor(self, model: Any) -> str:
        """Write a fitted regressor that gets the part's rows."""
        value = self._declared("value")
        self._declare(model, None, [value])
        return str(value.full_name)

    def aside(self, number: int) -> tuple[Any, str]:
        """Return the operator with this output under another name, and that name.

        Another converter can then write it, and the true output be made of what it gives.
        """
        outputs = list(self._operator.outputs)
        outputs[number] = self._scope.declare_local_variable("aside", outputs[number].type)
        operator = copy.copy(self._operator)
        operator.__dict__["outputs"] = outputs  # its setter would make it a second maker
        return operator, str(outputs[number].full_name)

    def _takes(self, model: Any, option: str) -> bool:
        known: Mapping[str, Any] = self._container._get_allowed_options(model)
        return option in known

    def _declared(self, name: str) -> Any:
        kind = DoubleTensorType if self.double else FloatTensorType
        return self._scope.declare_local_variable(name, kind())

    def _declare(self, model: Any, columns: Sequence[int] | None, outputs: list[Any]) -> None:
        alias = sklearn_operator_name_map[type(model)]
        operator = self._scope.declare_local_operator(alias, model)
        if columns is None:
            operator.inputs = self._operator.inputs
        else:
            kind = DoubleTensorType if self.double else FloatTensorType
            taken = self._scope.declare_local_variable("columns", kind([None, len(columns)]))
            some = self.columns(self.matrix(), columns)
            self.node("Identity", some, out=taken.full_name)
            operator.inputs.append(taken)
        for output in outputs:
            operator.outputs.append(output)
