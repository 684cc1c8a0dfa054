"""A store with something in it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.contract.bundle.manifest import Manifest
from edge_runtime.contract.bundle.manifest_render import render_manifest
from edge_runtime.state.store import Store, StoreWriter


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
