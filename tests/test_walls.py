"""The walls stand: each forbidden import, put where it must not be, is caught by its rule."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(sys.prefix) / "bin"

# contract, a file that somebody might add, what it would import
FORBIDDEN_IMPORTS = [
    ("device-never-knows-host", "edge_runtime/engine/intruder.py", "import packager.errors"),
    ("device-never-knows-host", "edge_runtime/state/intruder.py", "import sklearn"),
    ("device-never-knows-host", "edge_runtime/contract/intruder.py", "import onnx"),
    ("device-is-offline", "edge_runtime/state/intruder.py", "import urllib.request"),
    (
        "host-knows-contract-and-session",
        "packager/report/intruder.py",
        "import edge_runtime.probe",
    ),
    (
        "host-knows-contract-and-session",
        "packager/report/intruder.py",
        "from edge_runtime.engine import trial",
    ),
    ("contract-on-any-system", "edge_runtime/contract/intruder.py", "import fcntl"),
    ("device-floors", "edge_runtime/contract/intruder.py", "import edge_runtime.probe"),
    ("device-floors", "edge_runtime/state/intruder.py", "import edge_runtime.engine.session"),
    ("device-floors", "edge_runtime/intruder.py", "import json"),
    ("host-floors", "packager/sources/intruder.py", "import packager.stages.convert"),
    ("host-floors", "packager/intruder.py", "import json"),
    ("stages-independent", "packager/stages/intruder.py", "import packager.stages.convert"),
]

# file, its text, the rule that must speak
FORBIDDEN_LINES = [
    ("edge_runtime/probe.py", "import onnxruntime", "TID251"),
    ("packager/stages/parity.py", "from onnxruntime import quantization", "TID251"),
    ("edge_runtime/state/trust.py", "from cryptography import x509", "TID251"),
    ("packager/stages/pack.py", "import cryptography", "TID251"),
    ("packager/stages/convert.py", "import pickle", "TID251"),
    ("packager/sources/onnx_model.py", "from joblib import load", "TID251"),
    ("packager/cli.py", "from edge_runtime import load", "TID251"),
    ("packager/stages/pack.py", "from . import sign", "TID252"),
    ("edge_runtime/probe.py", "print()", "T201"),
    (
        "edge_runtime/probe.py",
        "try:\n    pass\nexcept* ValueError:\n    pass",
        "invalid-syntax",
    ),
]

OPEN_DOORS = [
    ("edge_runtime/engine/session.py", "import onnxruntime"),
    ("packager/stages/quantize.py", "import onnxruntime.quantization"),
    ("edge_runtime/contract/bundle/signature.py", "import cryptography"),
    ("edge_runtime/contract/bundle/x509.py", "import cryptography"),
    ("packager/stages/sign.py", "import cryptography"),
    ("packager/sources/sklearn/file.py", "import pickle"),
]


@pytest.fixture(scope="module")
def tree(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources that may be spoilt."""
    copy = tmp_path_factory.mktemp("walls") / "copy"
    copy.mkdir()
    for package in ("packager", "edge_runtime"):
        shutil.copytree(
            checkout / package, copy / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(checkout / "pyproject.toml", copy)
    return copy


def lint_imports(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(TOOLS / "lint-imports"), "--no-cache", *arguments]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)


def ruff(checkout: Path, path: str, text: str) -> str:
    """Return what ruff says of a text, were it the file of that name."""
    command = [
        TOOLS / "ruff",
        "check",
        "--output-format=concise",
        "--stdin-filename",
        path,
        "-",
    ]
    done = subprocess.run(
        command, cwd=checkout, input=text + "\n", capture_output=True, text=True, check=False
    )
    return done.stdout


def test_the_sources_keep_every_contract(tree: Path) -> None:
    done = lint_imports(tree)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("contract", "path", "line"), FORBIDDEN_IMPORTS)
def test_a_forbidden_import_breaks_its_contract(
    tree: Path, contract: str, path: str, line: str
) -> None:
    (tree / path).write_text(line + "\n")
    try:
        done = lint_imports(tree, "--contract", contract)
    finally:
        (tree / path).unlink()
    assert done.returncode == 1, done.stdout
    assert "1 broken" in done.stdout
    assert "intruder" in done.stdout


@pytest.mark.parametrize(("path", "text", "rule"), FORBIDDEN_LINES)
def test_a_forbidden_line_is_named_by_its_rule(
    checkout: Path, path: str, text: str, rule: str
) -> None:
    assert rule in ruff(checkout, path, text)


@pytest.mark.parametrize(("path", "line"), OPEN_DOORS)
def test_each_door_is_open_to_its_keeper(checkout: Path, path: str, line: str) -> None:
    assert "TID251" not in ruff(checkout, path, line)


def test_an_untyped_function_is_refused(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "loose.py").write_text("def loose(anything): return anything\n")
    done = subprocess.run(
        [TOOLS / "mypy", tmp_path / "loose.py"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "no-untyped-def" in done.stdout
