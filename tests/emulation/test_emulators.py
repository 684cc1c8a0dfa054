"""The command that makes emulators: once, and what x86 and ARM targets promise runs here."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from packager.sources.environments.helper_env import CACHE


def test_what_is_made_is_found_and_not_made_again(emulators: Path, python_at: Any) -> None:
    before = (emulators / "ready").stat()
    there = python_at(sys.executable, {CACHE: str(emulators.parent)})
    done = there.packager("emulators", "--make", "--json")
    after = (emulators / "ready").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert "emulators" in done.stderr
    found = json.loads(done.stdout)
    assert found["folder"] == str(emulators)
    runs = {cpu["qemu"] for cpu in found["cpus"] if cpu["runs"]}
    assert runs >= {"Nehalem", "Haswell", "cortex-a53", "cortex-a72", "cortex-a76"}
    for library in ("numpy", "onnxruntime"):
        assert found["libraries"][library] == metadata.version(library)
