"""Emulated machines, and one bundle that this machine built for them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from packager.emulation.emulators import make_emulators
from packager.emulation.machines import emulated_python, emulators_folder
from packager.errors import EmulatorsFailed
from packager.sources.environments.helper_env import CACHE
from packager.target import profiles_directory

NAME, VERSION = "breast-cancer", "1.0.0"
TARGETS = ("x86-64-cpu.toml", "arm64-cpu.toml")
CPUINFO = Path(__file__).parents[1] / "tools" / "emulated_cpuinfo.py"


@dataclass(frozen=True)
class Built:
    """A bundle as its maker has it: the file, its report, and all that went into it."""

    bundle: Path
    report: Path
    command: tuple[str, ...]
    public_key: Path
    rows: Path


@pytest.fixture(scope="session")
def emulators() -> Iterator[Path]:
    """The folder of emulators where the tests keep large things, made once."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE, str(caches / "edgepack-tests"))
        try:
            make_emulators(lambda *_: None)
        except EmulatorsFailed as error:
            pytest.fail(f"no emulator, so nothing was shown: {error.message}")
        yield emulators_folder()


@pytest.fixture(scope="session")
def emulated(
    emulators: Path, python_at: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Any]:
    """Give a Python by architecture and CPU model that runs the project's programs."""

    def make(architecture: str, cpu: str) -> Any:
        if architecture == "arm64":
            return python_at(emulators / "venv" / "bin" / "python3", {"QEMU_CPU": cpu})
        return python_at(_own_python(cpu, tmp_path_factory.mktemp("emulated")))

    return make


def _own_python(cpu: str, folder: Path) -> Path:
    """Return this very Python on another x86 CPU, whose child processes run there as well.

    Python takes its executable and its prefix from argv[0] and the pyvenv.cfg beside it, so
    what it starts by ``sys.executable`` goes through this file, whatever its environment.
    """
    root, python = folder / "root", folder / "bin" / "python3"
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", folder)
    (folder / "lib").symlink_to(Path(sys.prefix) / "lib")
    binary = Path("/proc/self/exe").resolve()
    words = shlex.join(emulated_python("x86-64", cpu, python, binary, root))
    python.parent.mkdir()
    python.write_text("#!/bin/sh\nexec " + words.replace(str(python), '"$0"') + ' "$@"\n')
    python.chmod(0o755)
    # QEMU answers /proc/cpuinfo for ARM models by itself, but not for x86.
    told = subprocess.run([python, "-I", CPUINFO], capture_output=True, check=True).stdout
    (root / "proc").mkdir(parents=True)
    (root / "proc" / "cpuinfo").write_bytes(told)
    return python


@pytest.fixture(scope="session")
def aarch64(emulated: Callable[[str, str], Any]) -> Any:
    """A 64-bit ARM board of the Raspberry Pi 4's kind."""
    return emulated("arm64", "cortex-a72")


@pytest.fixture(scope="session")
def haswell(emulated: Callable[[str, str], Any]) -> Any:
    """An x86 CPU with AVX2 and neither AVX-512 nor VNNI."""
    return emulated("x86-64", "Haswell-noTSX")


@pytest.fixture(scope="session")
def built(python: Any, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A scikit-learn pipeline over numbers and named categories, built for both CPU targets.

    Of what a build may try it tries what both targets then ship, so that answers compare.
    """
    folder = tmp_path_factory.mktemp("built")
    _train(folder)
    for name in TARGETS:
        profile = (profiles_directory() / name).read_text("utf-8")
        both = 'precisions = ["int8-static", "float32"]'
        (folder / name).write_text(re.sub(r"(?m)^precisions = .*$", both, profile), "utf-8")
    python.packager("keygen", "--out", "keys", cwd=folder)
    command = (
        *("build", "model.skops", "--name", NAME, "--version", VERSION),
        *(word for name in TARGETS for word in ("--target", name)),
        *("--effort", "quick"),
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
