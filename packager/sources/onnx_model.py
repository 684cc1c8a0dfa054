"""An ONNX file as a source: checked, its external data confined, read as it stands."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import load_external_data_for_tensor

from edge_runtime.contract.tensors import TensorSpec
from packager.errors import ConversionFailed, SourceUnreadable
from packager.graph import Label, tensor_specs

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
MAX_MODEL_BYTES = (2 << 30) - 1  # what protobuf can hold, with external data once loaded

_LABEL_TYPES = ("int64", "string")
_HINT = "Export the model again, with its external data in the same directory."


def load(path: Path) -> tuple[onnx.ModelProto, str]:
    """Read and check an ONNX file with its external data.

    Returns:
        The model holding all its tensors, and the sha256 of the file, followed by that of its
        data files if it has any, in the order of their names.

    Raises:
        SourceUnreadable: when it is damaged, no valid ONNX, or points outside its directory.
        ConversionFailed: when it is too large or needs operators that no engine of ours has.
    """
    _check_size(path.name, path.stat().st_size)
    data = path.read_bytes()
    digest = hashlib.sha256(data)
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise _invalid(path, str(error)) from None
    for file in _load_external_data(model, path, len(data)):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise _invalid(path, str(error).splitlines()[0]) from None
    foreign = sorted({entry.domain for entry in model.opset_import} - DOMAINS)
    if foreign:
        raise ConversionFailed(
            f"the model must use the operators of {', '.join(sorted(DOMAINS - {''}))}, "
            f"it needs {', '.join(foreign)}",
            hint="Export the model with the standard operators only.",
            expected=sorted(DOMAINS - {""}),
            found=foreign,
        )
    return model, digest.hexdigest()


def _load_external_data(model: onnx.ModelProto, path: Path, size: int) -> list[Path]:
    """Load tensors that lie in other files, and return these files in the order of names."""
    directory = path.resolve().parent
    files = {}
    outside = [t for t in tensors_of(model) if t.data_location == onnx.TensorProto.EXTERNAL]
    for tensor in outside:
        try:
            told = {entry.key: entry.value for entry in tensor.external_data}
            location = told.get("location", "")
            files[location] = file = _confined(directory, location, path)
            size += int(told.get("length", file.stat().st_size))
            _check_size(path.name, size)
            load_external_data_for_tensor(tensor, str(directory))
        except (ValueError, OSError, onnx.checker.ValidationError) as error:
            raise _invalid(path, f"tensor {tensor.name!r}: {error}") from None
    return [files[location] for location in sorted(files)]


def _confined(directory: Path, location: str, path: Path) -> Path:
    """Return the data file that a location means, if it lies in the model's directory."""
    file = (directory / location).resolve()
    if not file.is_relative_to(directory):
        raise SourceUnreadable(
            f"the external data of {path.name} must lie beside it, it names {location!r}",
            hint="Do not use this file unless you know who wrote it; export the model again.",
            expected="a file beside the model",
            found=location,
        )
    if not file.is_file():
        raise SourceUnreadable(
            f"the external data of {path.name} must be there, {location!r} is no file",
            hint=_HINT,
            expected=location,
            found=None,
        )
    return file


def _check_size(name: str, size: int) -> None:
    if size > MAX_MODEL_BYTES:
        raise ConversionFailed(
            f"{name} may have {MAX_MODEL_BYTES} bytes with its external data, it has {size}",
            hint="Export a smaller model, or one of lower precision.",
            expected=MAX_MODEL_BYTES,
            found=size,
        )


def _invalid(path: Path, reason: str) -> SourceUnreadable:
    return SourceUnreadable(
        f"{path.name} is no valid ONNX model: {reason}",
        hint=_HINT,
        expected="a valid ONNX model",
        found=reason,
    )


def tensors_of(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor of a model: initialisers and attributes, in graphs and functions."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        for graph in (attribute.g, *attribute.graphs):
            if graph.node:
                yield from _graph_tensors(graph)


def check_opset(model: onnx.ModelProto, opset: Mapping[str, int]) -> None:
    """Refuse a model that is newer than what it has to run on.

    Raises:
        ConversionFailed: naming both versions. Downgrading a graph is mostly broken, so nobody
            tries.
    """
    for entry in model.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        if domain in opset and entry.version > opset[domain]:
            name = domain or "ai.onnx"
            raise ConversionFailed(
                f"the target takes {name} up to opset {opset[domain]}, "
                f"the model uses {entry.version}",
                hint=f"Export the model with opset {opset[domain]} or lower.",
                expected=opset[domain],
                found=entry.version,
            )


def without_zipmap(model: onnx.ModelProto) -> None:
    """Let probabilities leave as the tensor they are, where a converter made maps of them."""
    outputs = {value.name: value for value in model.graph.output}
    for node in model.graph.node:
        if node.op_type == "ZipMap" and node.output[0] in outputs:
            count = len(_class_labels(node))
            tensor = onnx.TensorProto.FLOAT
            value = onnx.helper.make_tensor_value_info(node.output[0], tensor, ["N", count])
            outputs[node.output[0]].CopyFrom(value)
            node.op_type, node.domain = "Identity", ""
            del node.attribute[:]


def class_labels(model: onnx.ModelProto) -> tuple[Label, ...]:
    """Return the classes that the model's only classifier, or its map of classes, names."""
    named = {_class_labels(node) for node in model.graph.node} - {()}
    return next(iter(named)) if len(named) == 1 else ()


def _class_labels(node: onnx.NodeProto) -> tuple[Label, ...]:
    for attribute in node.attribute:
        if attribute.name in {"classlabels_int64s", "classlabels_ints"}:
            return tuple(attribute.ints)
        if attribute.name == "classlabels_strings" and attribute.strings:
            return tuple(text.decode("utf-8", "replace") for text in attribute.strings)
    return ()


def inputs_of(model: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """Return what has to be fed: an initialiser that is also an input has its value."""
    given = {tensor.name for tensor in model.graph.initializer}
    return tensor_specs(value for value in model.graph.input if value.name not in given)


def task_of(
    outputs: Sequence[TensorSpec], labels: Sequence[Label]
) -> tuple[str, dict[str, str]]:
    """Read the task and the outputs' roles off their types, where these leave no doubt."""
    names = [spec.name for spec in outputs]
    forms = [(spec.dtype in _LABEL_TYPES, spec.shape[1:]) for spec in outputs]
    if labels and forms in ([(True, ())], [(True, ()), (False, (len(labels),))]):
        second = "probability" if "prob" in names[-1] else "score"
        return "classification", dict(zip(("label", second), names, strict=False))
    if forms == [(False, (1,))] and outputs[0].dtype.startswith("float"):
        return "regression", {"value": names[0]}
    return "tensors", {}
