"""A copy of a graph to which nodes are added in front and behind; its own stay as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

from edge_runtime.contract.tensors import DTYPES, Array, TensorSpec
from packager.errors import ConversionFailed
from packager.graphs.nested_graphs import every_graph

# From here on all operators that are added mean what they mean today.
MIN_OPSET = 9
# Older files list every constant as an input too.
_MIN_IR = 4
_BATCH = "N"


class GraphEdit:
    """A copy of a model under work.

    Args:
        model: the model; it is left as it is.

    Attributes:
        model: the copy.

    Raises:
        ConversionFailed: when it uses an operator set from before ``MIN_OPSET``.
    """

    def __init__(self, model: ModelProto) -> None:
        self.model = ModelProto()
        self.model.CopyFrom(model)
        self.model.ir_version = max(_MIN_IR, self.model.ir_version)
        self._names = set(_names(self.model.graph))
        self._ahead = 0
        opset = self.opset("")
        if opset is None or opset < MIN_OPSET:
            raise ConversionFailed(
                f"what is put around a graph needs opset {MIN_OPSET}, the model uses {opset}",
                hint=f"Export the model with opset {MIN_OPSET} or higher.",
                expected=MIN_OPSET,
                found=opset,
            )

    def opset(self, domain: str) -> int | None:
        """Return which operator set of a domain the model uses; None where it uses none."""
        versions = [
            entry.version
            for entry in self.model.opset_import
            if entry.domain in ((domain,) if domain else ("", "ai.onnx"))
        ]
        return max(versions, default=None)

    def fresh(self, wanted: str) -> str:
        """Return a name that nothing has: the one wanted, or one like it."""
        name, number = wanted, 2
        while name in self._names:
            name, number = f"{wanted}_{number}", number + 1
        self._names.add(name)
        return name

    def free(self, wanted: str) -> None:
        """Move an inner value that has this name out of the way of what shall have it."""
        if wanted in self._names:
            self.rename(wanted, f"{wanted}_inner")
            self._names.discard(wanted)

    def rename(self, old: str, wanted: str) -> str:
        """Call a value otherwise wherever it stands; return what it is called now."""
        new = self.fresh(wanted)

        def renamed(name: str) -> str:
            return new if name == old else name

        for part in every_graph(self.model.graph):
            for value in (*part.input, *part.output, *part.value_info, *part.initializer):
                value.name = renamed(value.name)
            for node in part.node:
                if old in node.input:
                    node.input[:] = map(renamed, node.input)
                if old in node.output:
                    node.output[:] = map(renamed, node.output)
        return new

    def constant(self, value: Array, name: str) -> str:
        """Add a constant and return its name."""
        name = self.fresh(name)
        self.model.graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def ahead(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node before all that were there; return its output's name."""
        node = helper.make_node(kind, inputs, [output], **attributes)
        self.model.graph.node.insert(self._ahead, node)
        self._ahead += 1
        return output

    def behind(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node behind all others; return its output's name."""
        self.model.graph.node.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def set_input(self, old: str, spec: TensorSpec) -> None:
        """Let an input, known by the name it has now, be as declared."""
        for value in self.model.graph.input:
            if value.name == old:
                value.CopyFrom(_value_info(spec))

    def set_outputs(self, specs: Sequence[TensorSpec]) -> None:
        """Let exactly these values leave the graph."""
        del self.model.graph.output[:]
        self.model.graph.output.extend(map(_value_info, specs))


def element_type(dtype: str) -> int:
    """Return ONNX's number of an element type."""
    return TensorProto.STRING if dtype == "string" else _element(DTYPES[dtype])


def _element(dtype: np.dtype[Any]) -> int:
    return int(helper.np_dtype_to_tensor_dtype(dtype))


def _value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    axes: list[str | int | None] = [*spec.shape]
    if axes and axes[0] is None:
        axes[0] = _BATCH
    return helper.make_tensor_value_info(spec.name, element_type(spec.dtype), axes)


def _names(graph: GraphProto) -> Iterator[str]:
    for part in every_graph(graph):
        for value in (*part.input, *part.output, *part.value_info, *part.initializer):
            yield value.name
        for node in part.node:
            yield from (*node.input, *node.output)
