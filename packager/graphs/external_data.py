"""External data of ONNX: tensors that lie in other files, read only where they may be.

Source: the ONNX page "External data": a tensor names a file beside the model, the offset of its
first byte and its length; all but the file may be left out.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from pathlib import Path

import onnx
from onnx import TensorProto

from edge_runtime.contract.bundle.content import CHUNK, Stored, file_chunks
from packager.errors import SourceUnreadable
from packager.graphs.model_files import Weights

# Weights of more bytes than this stand beside their graph, so that they can be mapped.
INLINE_LIMIT = 64 << 20
# A tensor of a page or more starts on a page; smaller ones, which shapes are computed from,
# stay in the graph.
PAGE = 4096

_MAX_DIGITS = 18
_HALF_BYTE = frozenset(
    value for name, value in TensorProto.DataType.items() if name.endswith(("INT4", "4E2M1"))
)
_HINT = "Export the model again, with its external data in the same directory."


@dataclass(frozen=True, order=True)
class Range:
    """Some bytes of a file: where a tensor lies."""

    file: Path
    offset: int
    length: int

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes, a piece at a time.

        Raises:
            SourceUnreadable: when the file has become shorter.
        """
        with self.file.open("rb") as stream:
            stream.seek(self.offset)
            left = self.length
            while left:
                chunk = stream.read(min(CHUNK, left))
                if not chunk:
                    raise _unreadable(self.file.name, f"{left} more bytes", "its end")
                left -= len(chunk)
                yield chunk


# --- looking -------------------------------------------------------------------------------


def tensors_of(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Yield every tensor of a model: initialisers and attributes, in graphs and functions."""
    yield from model.graph.initializer
    yield from _inner_tensors(model)


def _inner_tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Yield every tensor but the initialisers of the graph itself."""
    for sparse in model.graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        yield from _node_tensors(nodes)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[TensorProto]:
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        for graph in (attribute.g, *attribute.graphs):
            if graph.node:
                yield from _graph_tensors(graph)


def is_outside(tensor: TensorProto) -> bool:
    """Tell whether a tensor's bytes lie in another file."""
    return bool(tensor.data_location == TensorProto.EXTERNAL)


def byte_size(tensor: TensorProto) -> int:
    """Return how many bytes a tensor's values take, whatever form they are kept in."""
    count: int = math.prod(tensor.dims)
    if tensor.data_type == TensorProto.STRING:
        return sum(map(len, tensor.string_data))
    if tensor.data_type in _HALF_BYTE:
        return (count + 1) // 2
    itemsize: int = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return count * itemsize


def _movable(tensor: TensorProto) -> bool:
    return tensor.data_type != TensorProto.STRING and byte_size(tensor) >= PAGE


def are_many(size: int) -> bool:
    """Tell whether weights of so many bytes stand beside their graph."""
    return size > INLINE_LIMIT


def weights_size(model: onnx.ModelProto) -> int:
    """Return how many bytes could stand beside a graph."""
    return sum(byte_size(t) for t in model.graph.initializer if _movable(t))


def locate(model: onnx.ModelProto, directory: Path, name: str) -> list[Range]:
    """Find the bytes of every tensor that lies outside, and require that they are there.

    Args:
        model: the graph.
        directory: the model's own; nothing outside it is looked at.
        name: what errors call the model.

    Raises:
        SourceUnreadable: when a tensor points out of the directory, past a file's end, into
            another tensor, or is of another size than its shape says.
    """
    found = [_located(t, directory, name) for t in tensors_of(model) if is_outside(t)]
    for one, other in pairwise(sorted(set(found))):
        if one.file == other.file and other.offset < one.offset + one.length:
            parts = f"bytes {one.offset} and {other.offset} of {one.file.name}"
            raise _unreadable(name, "tensors that do not overlap", f"some that do, at {parts}")
    return found


def _located(tensor: TensorProto, directory: Path, name: str) -> Range:
    told = {entry.key: entry.value for entry in tensor.external_data}
    file = _confined(directory, told.get("location", ""), name)
    try:
        size = byte_size(tensor)
    except (KeyError, TypeError) as error:
        raise _unreadable(
            name, f"elements of a known type in {tensor.name!r}", str(error)
        ) from None
    offset = _count(told.get("offset", "0"), tensor, name)
    length = _count(told.get("length", str(size)), tensor, name)
    if length != size or tensor.data_type == TensorProto.STRING:
        raise _unreadable(name, f"{size} bytes for {tensor.name!r}", f"{length}")
    if offset + length > file.stat().st_size:
        wanted = f"{offset + length} bytes in {file.name} for {tensor.name!r}"
        raise _unreadable(name, wanted, f"{file.stat().st_size}")
    return Range(file, offset, length)


def _count(text: str, tensor: TensorProto, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise _unreadable(name, f"offset and length of {tensor.name!r} in digits", repr(text))
    return int(text)


def _confined(directory: Path, location: str, name: str) -> Path:
    """Return the data file that a location means, if it lies in the model's directory."""
    inside = directory.resolve()
    try:
        file = (inside / location).resolve()
        there = file.is_file()
    except ValueError as error:  # a NUL
        raise _unreadable(name, "external data that a path can name", str(error)) from None
    if not file.is_relative_to(inside):
        raise SourceUnreadable(
            f"the external data of {name} must lie beside it, it names {location!r}",
            hint="Do not use this file unless you know who wrote it; export the model again.",
            expected="a file beside the model",
            found=location,
        )
    if not there:
        raise SourceUnreadable(
            f"the external data of {name} must be there, {location!r} is no file",
            hint=_HINT,
            expected=location,
            found=None,
        )
    return file


def _unreadable(name: str, wanted: str, found: str) -> SourceUnreadable:
    return SourceUnreadable(
        f"{name} is no valid ONNX model: it must have {wanted}, it has {found}",
        hint=_HINT,
        expected=wanted,
        found=found,
    )


# --- moving --------------------------------------------------------------------------------


def take_in(model: onnx.ModelProto, directory: Path, *, weights: bool = True) -> None:
    """Read tensors that lie outside into the graph, whose references were located before.

    Args:
        model: the graph, changed in place.
        directory: where they lie.
        weights: False leaves out what could stand beside the graph.
    """
    own = (t for t in model.graph.initializer if weights or not _movable(t))
    for tensor in filter(is_outside, chain(own, _inner_tensors(model))):
        tensor.raw_data = b"".join(_located(tensor, directory, "the model").chunks())
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")


def moved_out(
    model: onnx.ModelProto, directory: Path | None, target: Path
) -> tuple[onnx.ModelProto, Weights]:
    """Write the weights of a graph into one file; return a graph that names it, and the file.

    Equal graphs give equal files. Bytes that tensors outside share are written once.

    Args:
        model: the graph; it is left as it is.
        directory: where tensors that lie outside already are; None where none do.
        target: the file to write.

    Raises:
        OSError: when it cannot be written.
    """
    bare = _without_initialisers(model)
    places: dict[Range, int] = {}
    with _Writer(target) as writer:
        for tensor in model.graph.initializer:
            if not _movable(tensor):
                bare.graph.initializer.append(tensor)
                continue
            if directory is None or not is_outside(tensor):
                offset = writer.append([_raw(tensor)])
            else:
                source = _located(tensor, directory, "the model")
                if source not in places:
                    places[source] = writer.append(source.chunks())
                offset = places[source]
            placed = referring(tensor, target.name, offset, byte_size(tensor))
            bare.graph.initializer.append(placed)
    return bare, Weights(target, writer.stored())


def _without_initialisers(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a model but for what makes it large."""
    bare = onnx.ModelProto()
    for into, parts, left in ((bare, model, "graph"), (bare.graph, model.graph, "initializer")):
        for field, value in parts.ListFields():
            if field.name == left:
                continue
            if hasattr(value, "extend"):
                getattr(into, field.name).extend(value)
            elif hasattr(value, "CopyFrom"):
                getattr(into, field.name).CopyFrom(value)
            else:
                setattr(into, field.name, value)
    return bare


def hollow(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph without the values of its weights, for who looks at its form alone."""
    bare = _without_initialisers(model)
    for tensor in model.graph.initializer:
        kept = tensor
        if _movable(tensor):
            kept = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=[0])
            kept.raw_data = b""
        bare.graph.initializer.append(kept)
    return bare


class _Writer:
    """A new file of weights, hashed while it is written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = hashlib.sha256()
        self._size = 0

    def __enter__(self) -> _Writer:
        self._stream = self._path.open("xb")
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def append(self, chunks: Iterable[bytes]) -> int:
        """Write bytes from the next page on and return where they begin."""
        self._write(bytes(-self._size % PAGE))
        start = self._size
        for chunk in chunks:
            self._write(chunk)
        return start

    def _write(self, chunk: bytes) -> None:
        self._stream.write(chunk)
        self._digest.update(chunk)
        self._size += len(chunk)

    def stored(self) -> Stored:
        """Return what was written."""
        return Stored(self._size, self._digest.hexdigest(), partial(file_chunks, self._path))


def _raw(tensor: TensorProto) -> bytes:
    """Return a tensor's values in the one form that files of weights know."""
    if not tensor.HasField("raw_data"):
        tensor = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor))
    return bytes(tensor.raw_data)


def referring(tensor: TensorProto, location: str, offset: int, length: int) -> TensorProto:
    """Return a tensor of the same name and shape whose values lie in a file."""
    bare = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    bare.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        bare.external_data.add(key=key, value=str(value))
    return bare


def reads_all(model: onnx.ModelProto, weights: Weights) -> bool:
    """Tell whether a graph reads every page of its weights, or passes some over."""
    told = [{e.key: e.value for e in t.external_data} for t in model.graph.initializer]
    sizes = {place["offset"]: int(place["length"]) for place in told if place}
    return sum(-(-size // PAGE) * PAGE for size in sizes.values()) >= weights.content.size
