"""Models in many versions for ``hot_swap.py``: no two versions share a single weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import devices
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper

from edge_runtime.contract.tensors import TensorSpec

Feed = dict[str, NDArray[np.generic]]

FEEDS = 64
WIDTH = 32
TAKEN = 8


@dataclass(frozen=True)
class Kind:
    """What the versions of one model are.

    Attributes:
        name: the model's.
        what: it does, for people.
        subject: returns a version, given its number and how many megabytes it has.
        feed: returns one row, given its number and how many megabytes the model has.
    """

    name: str
    what: str
    subject: Callable[[int, float], devices.Subject]
    feed: Callable[[int, float], Feed]

    def packed(self, directory: Path, number: int, megabytes: float) -> Path:
        """Write a signed bundle of one version."""
        return devices.packed(
            directory / f"{self.name}-{number}.oci.tar",
            self.subject(number, megabytes),
            name=self.name,
            version=version(number),
            release=1000 + number,
        )

    def references(self, number: int, megabytes: float) -> list[bytes]:
        """Return the bytes of every answer of a version, by a plain session of the engine."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(
            self.subject(number, megabytes).model, options, ["CPUExecutionProvider"]
        )
        feeds = (self.feed(seed, megabytes) for seed in range(FEEDS))
        return [session.run(["answer"], feed)[0].tobytes() for feed in feeds]


def version(number: int) -> str:
    """Return a version as people write it."""
    return f"1.{number}.0"


def weights(number: int, rows: int, columns: int) -> NDArray[np.float32]:
    """Return numbers between one version's number and the next: they are in no other."""
    drawn = np.random.default_rng(number).random((rows, columns), dtype=np.float32)
    return np.asarray(drawn * np.float32(0.99) + np.float32(number), np.float32)


def _rows(megabytes: float) -> int:
    return int(megabytes * 1e6 / 4 / WIDTH)


def _side(megabytes: float) -> int:
    return int((megabytes * 1e6 / 4) ** 0.5) + 1


def _lookup(number: int, megabytes: float) -> devices.Subject:
    inputs = (TensorSpec("index", "int64", (None, TAKEN)),)
    outputs = (TensorSpec("answer", "float32", (None, WIDTH)),)
    nodes = [
        helper.make_node("Gather", ["table", "index"], ["taken"]),
        helper.make_node("ReduceSum", ["taken", "axis"], ["answer"], keepdims=0),
    ]
    table = weights(number, _rows(megabytes), WIDTH)
    model = devices.graph(nodes, inputs, outputs, table=table, axis=np.array([1]))
    return devices.Subject(model, devices.interface(inputs, outputs), _row(0, megabytes))


def _row(seed: int, megabytes: float) -> Feed:
    drawn = np.random.default_rng(seed).integers(0, _rows(megabytes), (1, TAKEN))
    return {"index": drawn.astype(np.int64)}


def _layer(number: int, megabytes: float) -> devices.Subject:
    side = _side(megabytes)
    inputs = (TensorSpec("x", "float32", (None, side)),)
    outputs = (TensorSpec("answer", "float32", (None, side)),)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["answer"])]
    model = devices.graph(nodes, inputs, outputs, w=weights(number, side, side))
    return devices.Subject(model, devices.interface(inputs, outputs), _vector(0, megabytes))


def _vector(seed: int, megabytes: float) -> Feed:
    drawn = np.random.default_rng(seed).random((1, _side(megabytes)), dtype=np.float32)
    return {"x": drawn}


KINDS = (
    Kind("lookup", f"{TAKEN} rows of a large table, added up", _lookup, _row),
    Kind("layer", "one full layer: every weight is in every answer", _layer, _vector),
)
