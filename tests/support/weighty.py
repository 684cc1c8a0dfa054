"""Bundles whose graph reads its weights from a file beside it, sound and bent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundles
import devices
import numpy as np
from devices import Subject
from onnx import ModelProto, TensorProto, helper

from edge_runtime.contract.bundle.manifest import EXTERNAL_WEIGHTS, Golden, Manifest
from edge_runtime.contract.bundle.oci import TargetImage
from edge_runtime.contract.npz import write_npz
from edge_runtime.contract.tensors import Array, TensorSpec
from packager.stages.pack import write_bundle

NAME = "float32.weights"
PATH = f"variants/{NAME}"
MATRIX = np.arange(2048, dtype=np.float32).reshape(4, 512) / 512
FEED = {"x": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)}


def graph(**told: str) -> bytes:
    """Return ``y = x @ w`` whose matrix lies elsewhere; external data entries by their keys."""
    entries = {"location": NAME, "offset": "0", "length": str(MATRIX.nbytes), **told}
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=MATRIX.shape)
    weights.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        weights.external_data.add(key=key, value=value)
    return model(weights).SerializeToString(deterministic=True)


def model(weights: TensorProto) -> ModelProto:
    """Return ``y = x @ w``."""
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", axis])
        for name, axis in (("x", 4), ("y", 512))
    ]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    body = helper.make_graph([node], "weighty", ends[:1], ends[1:], [weights])
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def subject(data: bytes | None = None) -> Subject:
    """Return the graph as it is described to a device."""
    interface = devices.interface(
        [TensorSpec("x", "float32", (None, 4))], [TensorSpec("y", "float32", (None, 512))]
    )
    return Subject(graph() if data is None else data, interface, FEED)


def manifest(about: Subject) -> Manifest:
    """Return a manifest whose variant reads its weights."""
    plain = devices.manifest(about, {"float32": about.model})
    rung = replace(plain.variants[0], weights=(PATH,))
    return replace(
        plain,
        variants=(rung,),
        must_understand=(EXTERNAL_WEIGHTS,),
        golden=Golden(bundles.GOLDEN, len(FEED["x"]), synthetic=True),
    )


VECTORS = {"in/x": FEED["x"], "out/float32/y": FEED["x"] @ MATRIX}


def packed(
    path: Path,
    data: bytes | None = None,
    files: Mapping[str, bytes] | None = None,
    vectors: Mapping[str, Array] = VECTORS,
    **changes: Any,
) -> Path:
    """Write a signed bundle for this machine.

    Args:
        path: the file to write.
        data: the graph, where it is not the sound one.
        files: files to add or change.
        vectors: the golden vectors.
        changes: fields of the manifest to change.
    """
    about = subject(data)
    document = replace(manifest(about), **changes)
    payload = {
        bundles.GOLDEN: write_npz(vectors),
        "variants/float32.onnx": about.model,
        PATH: MATRIX.tobytes(),
        **(files or {}),
    }
    target = TargetImage(
        document.target.name,
        document.target.os,
        document.target.architecture,
        document.name,
        document.version,
        bundles.signed(bundles.parts(document, payload)),
    )
    write_bundle(path, [target])
    return path
