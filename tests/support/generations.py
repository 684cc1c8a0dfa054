"""One model in many versions: each has other weights all through, so each answers otherwise."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import devices
import numpy as np
from onnx import helper

from edge_runtime.contract.tensors import Array, TensorSpec
from edge_runtime.engine.session import SessionPlan, open_session
from edge_runtime.runtime import Installation, install
from edge_runtime.state.store import Store

NAME = "generation"
WIDTH = 32
TAKEN = 8  # rows of the table that one answer is made of


def table(number: int, rows: int) -> Array:
    """Return the weights of one version: no two versions share a single one."""
    drawn = np.random.default_rng(number).random((rows, WIDTH), dtype=np.float32)
    return (drawn + np.float32(number)).astype(np.float32)


def feed(seed: int, rows: int, batch: int = 1) -> dict[str, Array]:
    """Return rows to predict."""
    drawn = np.random.default_rng(seed).integers(0, rows, (batch, TAKEN), dtype=np.int64)
    return {"index": drawn}


def subject(number: int, rows: int = 100, **changes: Any) -> devices.Subject:
    """Return one version: it takes rows of its table by their numbers and adds them up.

    Args:
        number: which version.
        rows: of its table, 128 bytes each.
        changes: fields of the interface to change.
    """
    inputs = (TensorSpec("index", "int64", (None, TAKEN)),)
    outputs = (TensorSpec("sum", "float32", (None, WIDTH)),)
    node = helper.make_node
    model = devices.graph(
        [
            node("Gather", ["table", "index"], ["taken"]),
            node("ReduceSum", ["taken", "axis"], ["sum"], keepdims=0),
        ],
        inputs,
        outputs,
        table=table(number, rows),
        axis=np.array([1]),
    )
    described = devices.interface(inputs, outputs, **changes)
    return devices.Subject(model, described, feed(0, rows, batch=3))


def version(number: int) -> str:
    """Return a version as people write it."""
    return f"1.{number}.0"


def packed(directory: Path, number: int, rows: int = 100, **changes: Any) -> Path:
    """Write a signed bundle of one version; fields of the manifest are changed by name."""
    changes = {"name": NAME, "version": version(number), "release": 1000 + number, **changes}
    path = directory / f"{NAME}-{changes['version']}.oci.tar"
    return devices.packed(path, subject(number, rows), **changes)


def installed(directory: Path, store: Store, number: int, **changes: Any) -> Installation:
    """Install one version."""
    return install(packed(directory, number, **changes), store)


@cache
def reference(number: int, seed: int, rows: int = 100) -> bytes:
    """Return the bytes of what a version answers, by a session that nobody swaps."""
    session = open_session(subject(number, rows).model, SessionPlan())
    return bytes(session.run(feed(seed, rows))["sum"].tobytes())


def wrong(number: int) -> dict[str, Any]:
    """Return golden answers that a version does not give, as an argument of ``packed``."""
    answers = devices.answers_of(subject(number))
    return {"answers": {"float32": {"sum": answers["sum"] + 1}}}
