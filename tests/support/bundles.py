"""Small real bundles for tests: a tiny graph, a fixed key, and every step open to be bent."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from cryptography.hazmat.primitives.asymmetric import ec
from onnx import TensorProto, helper, numpy_helper

from edge_runtime.contract.bundle.manifest import Golden, Interface, Manifest, Target, Variant
from edge_runtime.contract.bundle.oci import (
    Part,
    TargetImage,
)
from edge_runtime.contract.bundle.verify import VerifiedBundle, verify_bundle
from edge_runtime.contract.npz import write_npz
from edge_runtime.contract.table import Column, TableFormat
from edge_runtime.contract.tensors import TensorSpec, Tolerance
from edge_runtime.engine.session import SessionPlan, open_session
from packager.stages.pack import target_parts, write_bundle
from packager.stages.sign import KeySigner, signature_part

SIGNER = KeySigner(ec.derive_private_key(20_240_229, ec.SECP256R1()))
STRANGER = KeySigner(ec.derive_private_key(31_415_926, ec.SECP256R1()))
KEYS = (SIGNER.public_key,)

TARGETS = ("arm64-cpu", "x86-64-cpu")
GOLDEN = "golden.npz"
README = "README.md"
MODEL = "variants/float32.onnx"


# --- the model -----------------------------------------------------------------------------


@cache
def graph(scale: float = 7.0) -> bytes:
    """Return a classifier of three features and two classes as ONNX."""
    weights = np.arange(6, dtype=np.float32).reshape(3, 2) / np.float32(scale)
    nodes = [
        helper.make_node("Gemm", ["features", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probability"], axis=1),
        helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0),
    ]
    body = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, 3])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None, 2]),
        ],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.zeros(2, np.float32), "bias"),
        ],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


@cache
def golden(model: bytes, variant: str = "float32") -> bytes:
    """Return golden vectors of a graph of ours, its answers being those of the engine."""
    features = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    answers = open_session(model, SessionPlan()).run({"features": features})
    # Rounded, so that every processor gives the same bytes.
    outputs = {f"out/{variant}/{name}": array.round(5) for name, array in answers.items()}
    return write_npz({"in/features": features, **outputs})


def payload(model: bytes | None = None) -> dict[str, bytes]:
    """Return the files of a target, without its manifest and signature."""
    model = graph() if model is None else model
    return {GOLDEN: golden(model), README: b"# tiny\n", MODEL: model}


def manifest(target: str = "x86-64-cpu", **changes: Any) -> Manifest:
    """Return a sound manifest, its table of files still empty; fields are changed by name."""
    plain = Manifest(
        name="tiny",
        version="1.4.0",
        release=1_004_000,
        description="A classifier for tests.",
        min_runtime="0.1.0",
        must_understand=(),
        target=Target(
            name=target,
            os="linux",
            architecture=target.removesuffix("-cpu"),
            priority=10,
            min_engine="1.20",
            opset={"": 18},
            ir=10,
            memory_bytes=256 << 20,
            threads=1,
        ),
        interface=Interface(
            inputs=(TensorSpec("features", "float32", (None, 3)),),
            outputs=(
                TensorSpec("label", "int64", (None,)),
                TensorSpec("probability", "float32", (None, 2)),
            ),
            columns=tuple(
                Column(name, "float", "features", index, "refuse")
                for index, name in enumerate(("amount", "age", "my balance (€)"))
            ),
            table=TableFormat(missing_tokens=("", "NA")),
            task="classification",
            roles={"label": "label", "probability": "probability"},
            labels=(0, 1),
        ),
        variants=(
            Variant(
                name="float32",
                precision="float32",
                provider="CPUExecutionProvider",
                model_file=MODEL,
                session_options={},
                provider_options={},
                tolerances={"label": Tolerance(0.0, 0.0), "probability": Tolerance(1e-4, 1e-6)},
            ),
        ),
        golden=Golden(file=GOLDEN, rows=4, synthetic=True),
        files=(),
        provenance={"license": "Apache-2.0"},
    )
    return replace(plain, **changes)


# --- from files to a bundle, one step each -------------------------------------------------


def parts(document: Manifest, files: dict[str, bytes] | None = None) -> list[Part]:
    """Return a target's parts, unsigned, the manifest's table being that of the files."""
    return target_parts(document, payload() if files is None else files)


def signed(unsigned: Sequence[Part], signer: KeySigner = SIGNER) -> list[Part]:
    """Return the parts with a signature over all of them, behind the manifest."""
    first, *others = unsigned
    return [first, signature_part("tiny", unsigned, signer), *others]


def image(target: str, target_files: Sequence[Part]) -> TargetImage:
    """Return parts as one target of a bundle."""
    architecture = target.removesuffix("-cpu")
    return TargetImage(target, "linux", architecture, "tiny", "1.4.0", target_files)


def images(targets: Sequence[str] = TARGETS, **changes: Any) -> list[TargetImage]:
    """Return sound, signed targets; fields of their manifests are changed by name."""
    return [image(name, signed(parts(manifest(name, **changes)))) for name in targets]


def bundle(path: Path, targets: Sequence[str] = TARGETS, **changes: Any) -> Path:
    """Write a sound, signed bundle; fields of its manifests are changed by name."""
    write_bundle(path, images(targets, **changes))
    return path


def opened(path: Path) -> VerifiedBundle:
    """Verify a bundle with the test key, payloads included."""
    verified = verify_bundle(path, KEYS)
    with ExitStack() as stack:
        stack.enter_context(verified)
        verified.check()
        stack.pop_all()
    return verified


# --- looking at bundles ----------------------------------------------------------------------


def entries(path: Path) -> dict[str, bytes]:
    """Return the files of a tar by name, in its order."""
    with tarfile.open(path) as archive:
        return {
            item.name: stream.read()
            for item in archive
            if (stream := archive.extractfile(item)) is not None
        }


def unpack(path: Path, directory: Path) -> Path:
    """Write a bundle's entries as a directory, which is another form of the same bundle."""
    for name, data in entries(path).items():
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return directory


def tree(directory: Path) -> dict[str, str]:
    """Return the digests of every file below a directory, by path."""
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
