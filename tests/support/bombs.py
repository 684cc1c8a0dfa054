"""Graphs of some dozen bytes that take gigabytes or never end, and large mapped weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import bundles
import devices
import numpy as np
from onnx import NodeProto, SparseTensorProto, TensorProto, helper, numpy_helper

from edge_runtime.contract.bundle.manifest import (
    EXTERNAL_WEIGHTS,
    MANIFEST_NAME,
    SIGNATURE_NAME,
    FileEntry,
    Golden,
    Variant,
)
from edge_runtime.contract.bundle.manifest_render import render_manifest
from edge_runtime.contract.npz import write_npz
from edge_runtime.contract.tensors import Array, TensorSpec

# Elements of four bytes each: 4 GiB, and what ONNX Runtime still unpacks of a sparse tensor.
MANY = 1 << 30
SPARSE_MANY = (1 << 29) - 1
WORKING_SET = 64 << 20
WEIGHTS = "variants/mapped.weights"
WIDTH = 16_384  # squared, of float32: 1 GiB


def _model(
    nodes: Sequence[NodeProto],
    name: str,
    *,
    sparse: Sequence[SparseTensorProto] = (),
    **constants: Array,
) -> bytes:
    value = helper.make_tensor_value_info
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    outputs = [value("y", TensorProto.FLOAT, None)]
    body = helper.make_graph(nodes, name, [], outputs, tensors, sparse_initializer=list(sparse))
    made = helper.make_model(body, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    return bytes(made.SerializeToString(deterministic=True))


def constant_of_shape() -> bytes:
    """Return 68 bytes that ask for 4 GiB at once."""
    nodes = [helper.make_node("ConstantOfShape", ["s"], ["y"])]
    return _model(nodes, "b", s=np.array([MANY]))


def tile() -> bytes:
    """Return 77 bytes that ask for 4 GiB at once."""
    nodes = [helper.make_node("Tile", ["a", "r"], ["y"])]
    return _model(nodes, "bom", a=np.ones(1, np.float32), r=np.array([MANY]))


def sparse_initializer() -> bytes:
    """Return some 80 bytes that an engine unpacks to 2 GiB when it loads them."""
    values = numpy_helper.from_array(np.ones(1, np.float32), "w")
    places = numpy_helper.from_array(np.zeros(1, np.int64))
    sparse = helper.make_sparse_tensor(values, places, [SPARSE_MANY])
    return _model([helper.make_node("Identity", ["w"], ["y"])], "b", sparse=[sparse])


def endless_loop() -> bytes:
    """Return some 200 bytes that never answer."""
    value = helper.make_tensor_value_info
    nodes = [("Identity", ["c"], ["d"]), ("Add", ["v", "v"], ["w"])]
    body = helper.make_graph(
        [helper.make_node(*node) for node in nodes],
        "b",
        [
            value("i", TensorProto.INT64, []),
            value("c", TensorProto.BOOL, []),
            value("v", TensorProto.FLOAT, None),
        ],
        [value("d", TensorProto.BOOL, []), value("w", TensorProto.FLOAT, None)],
    )
    loop = helper.make_node("Loop", ["", "t", "a"], ["y"], body=body)
    return _model([loop], "b", t=np.array(True), a=np.ones(1, np.float32))


def subject(model: bytes) -> devices.Subject:
    """Return one of these as it is described to a device."""
    outputs = (TensorSpec("y", "float32", (None,)),)
    return devices.Subject(model, devices.interface((), outputs), {})


def packed(path: Path, model: bytes) -> Path:
    """Write a signed bundle of one of these, with a working set of 64 MiB."""
    answers = {"float32": {"y": np.ones(1, np.float32)}}
    golden = Golden(bundles.GOLDEN, 1, synthetic=True)
    about = subject(model)
    plain = devices.manifest(about, {"float32": model})
    target = replace(plain.target, memory_bytes=WORKING_SET)
    return devices.packed(path, about, answers=answers, golden=golden, target=target)


# --- a gigabyte that is only mapped --------------------------------------------------------


def mapped(directory: Path, graphs: Mapping[str, bytes]) -> str:
    """Write a package with 1 GiB of weights, as it is installed, and return its digest.

    The weights are zeros that take no place on the disk, so every answer is zero too.

    Args:
        directory: where to; it must not exist.
        graphs: variants by name, best first; each may read the weights.
    """
    feed = {"x": np.ones((1, WIDTH), np.float32)}
    answers = {f"out/{name}/y": np.zeros((1, WIDTH), np.float32) for name in graphs}
    files = {
        bundles.GOLDEN: write_npz({"in/x": feed["x"], **answers}),
        **{f"variants/{name}.onnx": data for name, data in graphs.items()},
    }
    shape = TensorSpec("x", "float32", (None, WIDTH)), TensorSpec("y", "float32", (None, WIDTH))
    about = devices.Subject(b"", devices.interface(shape[:1], shape[1:]), feed)
    plain = devices.manifest(about, graphs)
    entries = [FileEntry(path, len(data), _sha256(data)) for path, data in files.items()]
    entries.append(FileEntry(WEIGHTS, 4 * WIDTH * WIDTH, _zeros_sha256()))
    manifest = replace(
        plain,
        must_understand=(EXTERNAL_WEIGHTS,),
        target=replace(plain.target, memory_bytes=WORKING_SET),
        variants=tuple(map(_weighty, plain.variants)),
        files=tuple(sorted(entries, key=lambda entry: entry.path)),
    )
    document = render_manifest(manifest)
    for path, data in {**files, MANIFEST_NAME: document, SIGNATURE_NAME: b""}.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(data)
    with (directory / WEIGHTS).open("wb") as stream:
        stream.truncate(4 * WIDTH * WIDTH)
    return _sha256(document)


def product(*, wasted: int = 0) -> bytes:
    """Return ``y = x @ w`` over the mapped weights.

    Args:
        wasted: bytes that it also fills with zeros and adds up.
    """
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=(WIDTH, WIDTH))
    weights.data_location = TensorProto.EXTERNAL
    for key, value in {"location": Path(WEIGHTS).name, "offset": 0}.items():
        weights.external_data.add(key=key, value=str(value))
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    constants: list[TensorProto] = []
    if wasted:
        constants = [numpy_helper.from_array(np.array([wasted // 4]), "s")]
        nodes = [
            helper.make_node("ConstantOfShape", ["s"], ["many"]),
            helper.make_node("ReduceSum", ["many"], ["none"], keepdims=0),
            helper.make_node("MatMul", ["x", "w"], ["m"]),
            helper.make_node("Add", ["m", "none"], ["y"]),
        ]
    body = helper.make_graph(
        nodes,
        "mapped",
        [value("x", TensorProto.FLOAT, ["N", WIDTH])],
        [value("y", TensorProto.FLOAT, ["N", WIDTH])],
        [weights, *constants],
    )
    made = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(made.SerializeToString(deterministic=True))


def _weighty(variant: Variant) -> Variant:
    options = {"session.disable_prepacking": "1"}
    return replace(variant, weights=(WEIGHTS,), session_options=options)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@cache
def _zeros_sha256() -> str:
    digest, piece = hashlib.sha256(), bytes(1 << 20)
    for _ in range(4 * WIDTH * WIDTH >> 20):
        digest.update(piece)
    return digest.hexdigest()
