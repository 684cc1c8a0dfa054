"""A PyTorch program as ``torch.export`` makes it: its tensors, running it, its ONNX form."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

import onnx
import torch
from torch.utils import _pytree as pytree

from edge_runtime.contract.tensors import Arrays, TensorSpec
from packager.errors import ConversionFailed, SourceUnsupported
from packager.graphs.nested_graphs import every_graph
from packager.sources.onnx_model import MAX_MODEL_BYTES
from packager.sources.opened import Converted
from packager.sources.tensors.model import (
    PROVED_ROWS,
    TensorFacts,
    TensorModel,
    check_dtype,
    check_inputs,
    is_value,
    output_names,
    prove_rows,
    told,
)

OPSET = (
    18  # what the exporter's operators are written in; it reaches others by rewriting graphs
)
_LIBRARIES = ("torch", "onnxscript", "onnx")
_OPERATOR = re.compile(r"aten[.:]+\w+(?:\.\w+)?|[\w.]+::\w+")


class TorchModel(TensorModel):
    """A program, and the module whose answers it must give.

    Args:
        program: what is converted.
        module: what answers, called as the program would be.
        facts: what it is, see ``facts_of``.
    """

    def __init__(
        self,
        program: torch.export.ExportedProgram,
        module: Callable[..., Any],
        facts: TensorFacts,
    ) -> None:
        super().__init__(facts)
        self._program = program
        self._module = module
        self._converted: Converted | None = None

    def proved(self) -> TorchModel:
        """Require answers that are rows, see ``prove_rows``, and return itself."""
        fixed = self.facts.inputs[0].shape[0] is not None
        prove_rows(self.run, example_rows(self._program, self.facts), fixed=fixed)
        return self

    def run(self, feed: Arrays) -> Arrays:
        """Return the module's own answers for one batch."""
        return run_module(self._module, self._program, self.facts, feed)

    def graph(self, opset: Mapping[str, int]) -> Converted:
        """Convert the program.

        Raises:
            ConversionFailed: when an operator has no form in ONNX, or not in so old an opset.
        """
        if opset.get("", OPSET) < OPSET:
            raise ConversionFailed(
                f"the target takes opset {opset['']}, PyTorch exports from {OPSET} on",
                hint=f"Build for a target whose engine takes opset {OPSET}.",
                expected=opset[""],
                found=OPSET,
            )
        if self._converted is None:
            data = _exported(self._program, self.facts)
            self._converted = Converted(data, tuple(_frozen(self.facts)))
        return self._converted


def _frozen(facts: TensorFacts) -> Iterator[str]:
    batch = facts.inputs[0].shape[0]
    if batch is not None:
        name = facts.inputs[0].name
        yield (
            f"kept the {batch} rows that the export is frozen at; for any number of rows "
            f"export with dynamic_shapes={{{name!r}: {{0: torch.export.Dim('batch')}}}}"
        )


def facts_of(
    program: torch.export.ExportedProgram,
    names: Sequence[str] = (),
    *,
    framework: str = "pytorch",
    kind: str = "",
    steps: Mapping[str, str] | None = None,
) -> TensorFacts:
    """Read what a program takes and answers off its nodes.

    Args:
        program: the program.
        names: what its inputs are called; else as it calls them.
        framework: as the parent knows it.
        kind: the class of the model; else as the program names it.
        steps: the class of each part by its path; else as the program names them.

    Raises:
        SourceUnsupported: when an input or output is no tensor, or its first axis no rows.
        ConversionFailed: when a tensor is of a type that devices do not take.
    """
    nodes: dict[str, Any] = {node.name: node.meta.get("val") for node in program.graph.nodes}
    own = _tensor_inputs(program)
    names = names or own
    inputs = tuple(_spec(name, nodes[node]) for name, node in zip(names, own, strict=True))
    check_inputs(inputs)
    outputs = _outputs(program, nodes, names)
    for name, tensor in program.state_dict.items():
        if tensor.is_floating_point():
            check_dtype(name, _dtype(tensor))
    parts = _modules(program)
    root = parts.pop("", "ExportedProgram")
    versions = {name: metadata.version(name) for name in _LIBRARIES}
    return TensorFacts(framework, kind or root, inputs, outputs, versions, steps or parts)


def _tensor_inputs(program: torch.export.ExportedProgram) -> list[str]:
    """Return the names of inputs that are tensors; others are constants of the export.

    Raises:
        SourceUnsupported: when one is a number that varies.
    """
    names = []
    for spec in program.graph_signature.input_specs:
        if spec.kind.name != "USER_INPUT":
            continue
        kind = type(spec.arg).__name__
        if kind == "TensorArgument":
            names.append(spec.arg.name)
        elif kind != "ConstantArgument":
            raise SourceUnsupported(
                f"every input must be a tensor, {spec.arg.name!r} is a {kind}",
                hint="Export with numbers as constants, or as tensors with a row each.",
                expected="TensorArgument",
                found=kind,
            )
    return names


def _outputs(
    program: torch.export.ExportedProgram, nodes: Mapping[str, Any], inputs: Sequence[str]
) -> tuple[TensorSpec, ...]:
    values: list[Any] = [nodes.get(str(name)) for name in program.graph_signature.user_outputs]
    strange = [type(value).__name__ for value in values if not isinstance(value, torch.Tensor)]
    if strange or not values:
        found = strange[0] if strange else "nothing"
        raise SourceUnsupported(
            f"the model must return tensors only, it also returns {found}",
            hint="Return tensors whose first axis is the batch: one, a tuple or a dictionary.",
            expected="tensors",
            found=found,
        )
    paths = pytree.tree_flatten_with_path(
        pytree.tree_unflatten(list(range(len(values))), program.call_spec.out_spec)
    )[0]
    names = output_names([_path_name(path) for path, _ in paths], inputs)
    specs = tuple(_spec(name, value) for name, value in zip(names, values, strict=True))
    if is_value(specs) and "value" not in inputs:
        return (TensorSpec("value", specs[0].dtype, specs[0].shape),)
    return specs


def _path_name(path: Sequence[Any]) -> str:
    text = re.sub(r"\W+", "_", pytree.keystr(tuple(path)), flags=re.ASCII).strip("_")
    return text if text[:1].isalpha() else f"output_{text}".strip("_")


def _spec(name: str, value: torch.Tensor) -> TensorSpec:
    shape = tuple(axis if type(axis) is int else None for axis in value.shape)
    return TensorSpec(name, check_dtype(name, _dtype(value)), shape)


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _modules(program: torch.export.ExportedProgram) -> dict[str, str]:
    """Return the classes of the model ("") and of its direct children, by path."""
    found: dict[str, str] = {}
    for node in program.graph.nodes:
        for path, kind in (node.meta.get("nn_module_stack") or {}).values():
            name = kind if isinstance(kind, str) else kind.__qualname__
            if "." not in path and not path.startswith("_empty_nn_module_stack"):
                found.setdefault(path, name.rpartition(".")[2])
    return found


def example_rows(program: torch.export.ExportedProgram, facts: TensorFacts) -> Arrays:
    """Return a few rows like those that the program was exported with.

    Rows are shifted against each other, so that they differ and stay values of the examples.

    Raises:
        SourceUnsupported: when the file does not hold them.
    """
    if not program.example_inputs:
        raise SourceUnsupported(
            "an exported program must hold its example inputs, it has none",
            hint="Save what torch.export.export returned, as it is.",
            expected="example inputs",
            found=None,
        )
    tensors = [
        leaf
        for leaf in pytree.tree_leaves(program.example_inputs)
        if isinstance(leaf, torch.Tensor)
    ]
    rows = facts.inputs[0].shape[0] or PROVED_ROWS
    return {
        spec.name: torch.stack(
            [torch.roll(tensor[i % len(tensor)], i // len(tensor)) for i in range(rows)]
        )
        .detach()
        .numpy()
        for spec, tensor in zip(facts.inputs, tensors, strict=True)
    }


def run_module(
    module: Callable[..., Any],
    program: torch.export.ExportedProgram,
    facts: TensorFacts,
    feed: Arrays,
) -> Arrays:
    """Call a module as the program was called, and return its tensors by output name."""
    waiting = [torch.from_numpy(feed[spec.name].copy()) for spec in facts.inputs]
    flat = [
        waiting.pop(0) if type(spec.arg).__name__ == "TensorArgument" else spec.arg.value
        for spec in program.graph_signature.input_specs
        if spec.kind.name == "USER_INPUT"
    ]
    args, kwargs = pytree.tree_unflatten(flat, program.call_spec.in_spec)
    with torch.no_grad():
        answers = pytree.tree_leaves(module(*args, **kwargs))
    return {
        spec.name: tensor.detach().numpy()
        for spec, tensor in zip(facts.outputs, answers, strict=True)
    }


def _exported(program: torch.export.ExportedProgram, facts: TensorFacts) -> bytes:
    """Return the program as an ONNX file.

    Raises:
        ConversionFailed: when it has no such form, or a larger one than a file can be.
    """
    size = sum(tensor.nbytes for tensor in program.state_dict.values())
    if size > MAX_MODEL_BYTES:
        raise ConversionFailed(
            f"a converted model may have {MAX_MODEL_BYTES} bytes, its weights have {size}",
            hint="Export it to ONNX with external data yourself, and build from that file.",
            expected=MAX_MODEL_BYTES,
            found=size,
        )
    try:
        made: Any = torch.onnx.export(
            program,
            dynamo=True,
            external_data=False,
            input_names=[spec.name for spec in facts.inputs],
            output_names=[spec.name for spec in facts.outputs],
            opset_version=OPSET,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        raise _no_form(error) from None
    model = made.model_proto
    _clear(model.graph)
    return bytes(model.SerializeToString(deterministic=True))


def _no_form(error: Exception) -> ConversionFailed:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    reason = told(cause)
    operators = sorted(set(_OPERATOR.findall(reason)))
    named = f"the operator {', '.join(operators)}" if operators else "the program"
    return ConversionFailed(
        f"{named} has no form in ONNX: {reason}",
        hint="Replace the operator that it names, or export the model to ONNX yourself.",
        expected="a form in ONNX",
        found=operators or reason,
    )


def _clear(graph: onnx.GraphProto) -> None:
    """Take out what the exporter tells of sources: paths, lines and names of the author's."""
    for one in every_graph(graph):
        values = (*one.input, *one.output, *one.value_info, *one.initializer)
        for part in (one, *values, *one.node):
            del part.metadata_props[:]
        for node in one.node:
            node.doc_string = ""
