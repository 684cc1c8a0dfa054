"""A furnished workshop, and one build of all three kinds of targets that many tests look at."""

from __future__ import annotations

import json
from pathlib import Path

import host
import pytest


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, rows and keys; tests leave it as it is and write elsewhere."""
    directory = tmp_path_factory.mktemp("workshop")
    host.furnish(directory)
    return directory


@pytest.fixture(scope="session")
def build(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> host.Build:
    """A default build of a network for all three kinds of targets."""
    out = tmp_path_factory.mktemp("dist")
    said = host.packager(*host.BUILD, "--out", out, cwd=workshop).err
    report = out / "cancer-1.4.0.report.json"
    return host.Build(
        out / "cancer-1.4.0.oci.tar", report, json.loads(report.read_bytes()), said
    )
