"""Manifests for the device's tests: sound by default, each field to be changed by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from edge_runtime.contract.bundle.manifest import (
    FileEntry,
    Golden,
    Interface,
    Manifest,
    Target,
    Variant,
)
from edge_runtime.contract.table import TableFormat
from edge_runtime.contract.tensors import TensorSpec, Tolerance

CPU = "CPUExecutionProvider"


def _variant(name: str, provider: str) -> Variant:
    return Variant(
        name=name,
        precision="float32",
        provider=provider,
        model_file=f"variants/{name}.onnx",
        session_options={},
        provider_options={},
        tolerances={"label": Tolerance(rtol=0.0, atol=0.0)},
    )


def build_manifest(
    ladder: tuple[tuple[str, str], ...] = (("float32", CPU),),
    target: dict[str, Any] | None = None,
    **changes: Any,
) -> Manifest:
    """Return a manifest that renders and parses.

    Args:
        ladder: variant names and their execution providers, best first.
        target: fields of the target to change.
        changes: fields of the manifest to change.
    """
    variants = tuple(_variant(name, provider) for name, provider in ladder)
    paths = ["golden.npz", *(variant.model_file for variant in variants)]
    manifest = Manifest(
        name="fraud",
        version="1.4.0",
        release=1_004_000,
        description="",
        min_runtime="0.1.0",
        must_understand=(),
        target=Target(
            name="x86-64-cpu",
            os="linux",
            architecture="x86-64",
            priority=10,
            min_engine="1.20",
            opset={"": 18},
            ir=10,
            memory_bytes=64 << 20,
            threads=1,
        ),
        interface=Interface(
            inputs=(TensorSpec("features", "float32", (None, 3)),),
            outputs=(TensorSpec("label", "int64", (None,)),),
            columns=(),
            table=TableFormat(),
            task="classification",
            roles={"label": "label"},
            labels=(0, 1),
        ),
        variants=variants,
        golden=Golden(file="golden.npz", rows=32, synthetic=True),
        files=tuple(FileEntry(path, 1, "0" * 64) for path in paths),
    )
    return replace(manifest, target=replace(manifest.target, **(target or {})), **changes)


@pytest.fixture(name="build_manifest")
def _build_manifest() -> Callable[..., Manifest]:
    return build_manifest
