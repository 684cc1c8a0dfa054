"""What every test may use: the checkout, and programs run as their users run them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

CHECKOUT = Path(__file__).resolve().parents[1]

# What the tests keep between runs, apart from what this user has: with emulators at hand every
# build would score on them, which is for the stage that is about them.
os.environ["EDGEPACK_CACHE"] = str(
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgepack-tests/helpers"
)

# Examples take as long as the machine has time for; a failure prints how to get it again.
settings.register_profile("project", deadline=None, print_blob=True)
settings.load_profile("project")


class Python:
    """One Python, of this machine or emulated, that runs the project's two programs.

    Attributes:
        executable: the interpreter's path.
        environment: what its programs see instead of the test's own environment.
    """

    def __init__(
        self, executable: Path | str, environment: dict[str, str] | None = None
    ) -> None:
        self.executable = str(executable)
        self.environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), **(environment or {})}

    def run(
        self, *arguments: Path | str, cwd: Path | None = None, expect: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run the interpreter with arguments and require the exit code."""
        done = subprocess.run(
            [self.executable, *map(str, arguments)],
            cwd=cwd,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        told = f"{' '.join(map(str, arguments))}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        assert done.returncode == expect, f"exit {done.returncode}, expected {expect}: {told}"
        return done

    def packager(
        self, *arguments: Path | str, cwd: Path | None = None, expect: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run the host's program."""
        return self.run("-m", "packager", *arguments, cwd=cwd, expect=expect)

    def edge_runtime(
        self, *arguments: Path | str, cwd: Path | None = None, expect: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run the device's program."""
        return self.run("-m", "edge_runtime", *arguments, cwd=cwd, expect=expect)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the checkout under test."""
    return CHECKOUT


@pytest.fixture(scope="session")
def python() -> Python:
    """The Python that runs the tests."""
    return Python(sys.executable)


@pytest.fixture(scope="session")
def python_at() -> Callable[[Path], Python]:
    """Make a runner of another interpreter."""
    return Python
