"""Emulated machines, and one bundle that this machine built for them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REQUIREMENTS = ("numpy", "psutil", "cryptography", "onnxruntime")
NAME, VERSION = "breast-cancer", "1.0.0"


@dataclass(frozen=True)
class Built:
    """A bundle as its maker has it: the file, its report, and all that went into it."""

    bundle: Path
    report: Path
    command: tuple[str, ...]
    public_key: Path
    rows: Path


def _tool(checkout: Path, name: str, *arguments: Path | str) -> None:
    done = subprocess.run(
        [str(checkout / "tests" / "tools" / name), *map(str, arguments)],
        env={**os.environ, "PYTHON": sys.executable},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.fail(
            f"no emulator, so nothing was shown: {name} ended so:\n{done.stderr[-3000:]}"
        )


@pytest.fixture(scope="session")
def emulators(checkout: Path) -> Path:
    """A folder with the emulators and an ARM Python, kept between runs."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    target = caches / "edgepack-tests" / "emulators"
    constraints = checkout / "constraints.txt"
    _tool(checkout, "make-aarch64-root.sh", target, "-c", constraints, *REQUIREMENTS)
    return target


@pytest.fixture(scope="session")
def emulated(
    checkout: Path,
    emulators: Path,
    python_at: Callable[[Path], Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str, str], Any]:
    """Give a Python by architecture and CPU model, as QEMU calls them."""

    def make(architecture: str, cpu: str) -> Any:
        folder = tmp_path_factory.mktemp("emulated")
        venv = emulators / "venv" if architecture == "aarch64" else Path(sys.prefix)
        _tool(checkout, "emulated-python.sh", emulators, architecture, cpu, venv, folder)
        return python_at(folder / "bin" / "python3")

    return make


@pytest.fixture(scope="session")
def aarch64(emulated: Callable[[str, str], Any]) -> Any:
    """A 64-bit ARM board of the Raspberry Pi 4's kind."""
    return emulated("aarch64", "cortex-a72")


@pytest.fixture(scope="session")
def haswell(emulated: Callable[[str, str], Any]) -> Any:
    """An x86 CPU with AVX2 and neither AVX-512 nor VNNI."""
    return emulated("x86_64", "Haswell-noTSX")


@pytest.fixture(scope="session")
def built(python: Any, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A scikit-learn pipeline over numbers and named categories, built for both CPU targets."""
    folder = tmp_path_factory.mktemp("built")
    _train(folder)
    python.packager("keygen", "--out", "keys", cwd=folder)
    command = (
        *("build", "model.skops", "--name", NAME, "--version", VERSION),
        *("--target", "x86-64-cpu", "--target", "arm64-cpu"),
        *("--data", "rows.csv", "--label", "diagnosis", "--key", "keys/release.key"),
    )
    python.packager(*command, "--out", "dist", cwd=folder)
    return Built(
        bundle=folder / "dist" / f"{NAME}-{VERSION}.oci.tar",
        report=folder / "dist" / f"{NAME}-{VERSION}.report.json",
        command=command,
        public_key=folder / "keys" / "release.pub",
        rows=folder / "rows.csv",
    )


def _train(folder: Path) -> None:
    """Write ``model.skops`` and ``rows.csv``."""
    import pandas as pd
    import skops.io
    from sklearn.compose import ColumnTransformer
    from sklearn.datasets import load_breast_cancer
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    source = load_breast_cancer(as_frame=True)
    rows = source.data
    for column in ("mean area", "worst texture"):
        sizes = pd.qcut(rows[column], 3, labels=["small", "medium", "large"])
        rows[column] = sizes.astype(object)
    labels = source.target.map(lambda index: str(source.target_names[index]))
    text = ["mean area", "worst texture"]
    numbers = [column for column in rows if column not in text]
    columns = ColumnTransformer(
        [("sizes", OneHotEncoder(), text), ("numbers", StandardScaler(), numbers)]
    )
    network = MLPClassifier((32,), max_iter=200, tol=1e-3, random_state=0)
    model = make_pipeline(columns, network).fit(rows, labels)
    skops.io.dump(model, folder / "model.skops")
    rows.assign(diagnosis=labels).to_csv(folder / "rows.csv", index=False)
