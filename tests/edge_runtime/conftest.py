"""What the device's tests share: manifests to change by name, other users, loaded models."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import devices
import pytest
import tables

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
from edge_runtime.model import Model
from edge_runtime.state.store import Store

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
            opset={"": 18, "ai.onnx.ml": 3},
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


# --- a device ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with bundles, and a store in which one is installed."""
    directory = tmp_path_factory.mktemp("device")
    path = devices.packed(directory / "loan-1.4.0.oci.tar", devices.loan(), name="loan")
    devices.installed(directory, path)
    return directory


@pytest.fixture
def bundle(prepared: Path) -> Path:
    """The bundle that is installed in ``store``."""
    return prepared / "loan-1.4.0.oci.tar"


@pytest.fixture
def store(prepared: Path, tmp_path: Path) -> Store:
    """A store with one model, to be used up."""
    shutil.copytree(prepared / "store", tmp_path / "store", symlinks=True)
    return Store(tmp_path / "store", "named by the test")


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    """A store that trusts the test key and holds nothing."""
    return Store(Path(devices.trusting(tmp_path)[1]), "named by the test")


# --- somebody else -------------------------------------------------------------------------

NOBODY = 65534


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """A directory that others may enter, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="edge-store-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def as_nobody() -> Callable[..., Any]:
    """Run a function in a child process as an unprivileged user and return what it returns.

    It forks, because the interpreter's own files may lie where others cannot read them.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")

    def run(function: Callable[[], Any], group: int = NOBODY) -> Any:
        incoming, outgoing = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.setgroups([])
                os.setgid(group)
                os.setuid(NOBODY)
                answer = {"value": function()}
            except BaseException:
                answer = {"failure": traceback.format_exc()}
            os.write(outgoing, json.dumps(answer).encode())
            os._exit(0)
        os.close(outgoing)
        with os.fdopen(incoming, "rb") as stream:
            answer = json.loads(stream.read())
        os.waitpid(child, 0)
        assert "failure" not in answer, answer["failure"]
        return answer["value"]

    return run


@pytest.fixture(scope="module")
def loan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with tables.served(tmp_path_factory.mktemp("loan"), devices.loan()) as model:
        yield model


@pytest.fixture(scope="module")
def lookup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with tables.served(tmp_path_factory.mktemp("lookup"), devices.lookup()) as model:
        yield model
