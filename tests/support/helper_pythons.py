"""Environments of other library versions for the tests, made once and kept between runs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from packager.sources.environments.helper_env import CACHE, environment


def kept() -> dict[str, str]:
    """Return the setting that keeps environments where the tests keep other large things."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return {CACHE: str(caches / "edgepack-tests" / "helpers")}


def python_with(requirements: Sequence[str]) -> Path:
    """Return the Python of an environment with these; ``kept`` must be in the environment."""
    return environment(requirements, lambda *_: None)


def run(python: Path, script: str, directory: Path) -> None:
    """Run a script in a directory, apart from the libraries of the tests."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    own |= {"TF_USE_LEGACY_KERAS": "1", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [str(python), "-c", script],
        cwd=directory,
        env=own,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
