"""An ONNX file as a source: checked, its external data confined, read as it stands."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from edge_runtime.contract.bundle.archive import MAX_ENTRY_BYTES
from edge_runtime.contract.bundle.content import file_chunks
from edge_runtime.contract.bundle.digests import sha256_file
from edge_runtime.contract.errors import GraphRefused
from edge_runtime.contract.tensors import TensorSpec
from packager.errors import ConversionFailed, SourceUnreadable
from packager.graph import Label, tensor_specs
from packager.graphs.external_data import are_many, hollow, locate, take_in
from packager.sources.onnx_carve import carved

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
MAX_MODEL_BYTES = (2 << 30) - 1  # what protobuf can hold

_LABEL_TYPES = ("int64", "string")
_HINT = "Export the model again, with its external data in the same directory."


def load(path: Path) -> tuple[onnx.ModelProto, str, Path | None]:
    """Read and check an ONNX file with its external data.

    Returns:
        The model; the sha256 of the file, followed by that of its data files if it has any, in
        the order of their names; and the directory of these files where the model does not hold
        its weights because they are many.

    Raises:
        SourceUnreadable: when it is damaged, no valid ONNX, or points outside its directory.
        ConversionFailed: when it is too large or needs operators that no engine of ours has.
    """
    file = path.resolve()
    _check_size(path.name, file.stat().st_size, MAX_MODEL_BYTES, "in one file")
    model = _parsed(file)
    ranges = locate(model, file.parent, path.name)
    size = sum(found.length for found in ranges)
    _check_size(path.name, size, MAX_ENTRY_BYTES, "of external data")
    digest = hashlib.sha256()
    for chunk in file_chunks(file):
        digest.update(chunk)
    for data in sorted({found.file for found in ranges} - {file}):
        digest.update(bytes.fromhex(sha256_file(data)))
    many = are_many(size)
    take_in(model, file.parent, weights=not many)
    _check(model, path)
    return model, digest.hexdigest(), file.parent if many else None


def _parsed(file: Path) -> onnx.ModelProto:
    """Parse a file, but leave many weights where they are."""
    try:
        if are_many(file.stat().st_size):
            return carved(file)
        return onnx.load_model_from_string(file.read_bytes())
    except (DecodeError, GraphRefused) as error:
        raise _invalid(file, str(error)) from None


def _check(model: onnx.ModelProto, path: Path) -> None:
    try:
        onnx.checker.check_model(hollow(model))
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


def _check_size(name: str, size: int, limit: int, what: str) -> None:
    if size > limit:
        raise ConversionFailed(
            f"{name} may have {limit} bytes {what}, it has {size}",
            hint="Export a smaller model, or one of lower precision.",
            expected=limit,
            found=size,
        )


def _invalid(path: Path, reason: str) -> SourceUnreadable:
    return SourceUnreadable(
        f"{path.name} is no valid ONNX model: {reason}",
        hint=_HINT,
        expected="a valid ONNX model",
        found=reason,
    )


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
