"""A store with something in it, and a way to be somebody else."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.contract.bundle.manifest import Manifest
from edge_runtime.contract.bundle.manifest_json import render_manifest
from edge_runtime.state.store import Store, StoreWriter

NOBODY = 65534


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store that is not there yet."""
    return Store(tmp_path / "store", "named by the test")


def fill_with(manifest: Manifest) -> tuple[str, Callable[[Path], None]]:
    """Return a package's digest and what writes its files."""
    data = render_manifest(manifest)

    def fill(directory: Path) -> None:
        (directory / "variants").mkdir()
        (directory / "variants" / "float32.onnx").write_bytes(b"weights" * 1000)
        (directory / "manifest.json").write_bytes(data)

    return hashlib.sha256(data).hexdigest(), fill


@pytest.fixture
def install(build_manifest: Callable[..., Manifest]) -> Callable[..., str]:
    """Stage and activate a version; returns its digest."""

    def run(writer: StoreWriter, **changes: Any) -> str:
        manifest = build_manifest(**changes)
        digest, fill = fill_with(manifest)
        writer.stage(manifest.name, digest, fill)
        writer.activate(manifest, digest)
        return digest

    return run


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
