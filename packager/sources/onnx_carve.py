"""A large ONNX file seen as its graph and a file of weights, which it is both of.

Parsing holds all of a file, twice.  But its weights lie in it as they are, so what is parsed
here is the rest, and each tensor of a page or more becomes external data in the file itself.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import cast

from onnx import GraphProto, ModelProto, TensorProto

from edge_runtime.contract.bundle.onnxwire import blocks
from packager.graphs.external_data import PAGE, referring

_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9


def carved(path: Path) -> ModelProto:
    """Read an ONNX file without its weights, which then refer to the file.

    Raises:
        GraphRefused: when its parts are not whole.
        DecodeError: when one of them is none.
        OSError: when it cannot be read.
    """
    with (
        path.open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        return _Carver(cast(bytes, data), path.name).model()


class _Carver:
    """One file, of which ranges are read as they are needed."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self._name = name

    def model(self) -> ModelProto:
        """Return the model; its graph may come in several parts, which then count as one."""
        rest, graphs = self._without("model", 0, len(self._data), _GRAPH)
        model: ModelProto = ModelProto.FromString(rest)
        for start, end in graphs:
            body, tensors = self._without("graph", start, end, _INITIALIZER)
            model.graph.MergeFrom(GraphProto.FromString(body))
            model.graph.initializer.extend(self._tensor(*place) for place in tensors)
        return model

    def _tensor(self, start: int, end: int) -> TensorProto:
        rest, values = self._without("tensor", start, end, _RAW_DATA)
        tensor: TensorProto = TensorProto.FromString(rest)
        if not values:
            return tensor
        first, last = values[-1]  # a parser would take the last as well
        if last - first >= PAGE and tensor.data_location == TensorProto.DEFAULT:
            return referring(tensor, self._name, first, last - first)
        tensor.raw_data = self._data[first:last]
        return tensor

    def _without(
        self, message: str, start: int, end: int, number: int
    ) -> tuple[bytes, list[tuple[int, int]]]:
        """Return a message's bytes but for those of one field, and where that field's lie."""
        kept, places, at = bytearray(), [], start
        for found, field, first, last in blocks(self._data, start, end, message, self._name):
            if found == number:
                kept += self._data[at:field]
                places.append((first, last))
                at = last
        return bytes(kept + self._data[at:end]), places
