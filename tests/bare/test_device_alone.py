"""The device's wheel alone: no library of the host, no checkout, and the whole journey works.

``./dev test bare`` copies this file out of the checkout, next to the golden bundle, and runs it
in an environment that holds the wheel with ``[cpu]`` and pytest.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "bundles" / "format-1"
BUNDLE = GOLDEN / "breast-cancer-1.0.0.oci.tar"
MODEL = "breast-cancer"
HOST_LIBRARIES = (
    "click",
    "joblib",
    "onnx",
    "pandas",
    "pyarrow",
    "skl2onnx",
    "sklearn",
    "skops",
)


def program(
    name: str, *arguments: Path | str, expect: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run an installed program as a user would and require the exit code."""
    command = [str(Path(sys.prefix) / "bin" / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == expect, f"exit {done.returncode}: {done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The flag of a store in which the golden bundle is installed by its trusted key."""
    flag = ("--store", str(tmp_path_factory.mktemp("device") / "store"))
    program("edge-runtime", *flag, "trust", "add", GOLDEN / "release.pub")
    program("edge-runtime", *flag, "install", BUNDLE)
    return flag


@pytest.mark.parametrize("name", HOST_LIBRARIES)
def test_the_host_s_libraries_are_absent(name: str) -> None:
    assert importlib.util.find_spec(name) is None


def test_the_checkout_is_out_of_reach() -> None:
    checkout = Path(os.environ["EDGEPACK_CHECKOUT"])
    assert checkout not in [Path(entry).resolve() for entry in sys.path]
    for name in ("edge_runtime", "packager"):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        assert Path(spec.origin).is_relative_to(sys.prefix)


def test_the_wheel_carries_the_target_profiles() -> None:
    spec = importlib.util.find_spec("packager")
    assert spec is not None
    assert spec.origin is not None
    profiles = {path.name for path in (Path(spec.origin).parent / "targets").glob("*.toml")}
    assert {"x86-64-cpu.toml", "arm64-cpu.toml"} <= profiles


def test_the_host_s_program_says_what_to_install() -> None:
    told = program("packager", "targets", expect=6).stderr
    assert "error[host-extra-missing]" in told
    assert "edgepack[host]" in told


def test_the_bundle_verifies_by_its_key_alone() -> None:
    program("edge-runtime", "verify", BUNDLE, "--trust", GOLDEN / "release.pub")


def test_without_a_trusted_key_nothing_is_installed(tmp_path: Path) -> None:
    told = program("edge-runtime", "--store", tmp_path / "store", "install", BUNDLE, expect=4)
    assert "error[no-trusted-key]" in told.stderr


def test_the_installed_version_is_active(store: tuple[str, str]) -> None:
    told = json.loads(program("edge-runtime", *store, "status", "--json").stdout)
    assert "1.0.0" in json.dumps(told)


def test_the_answers_are_those_recorded_with_the_bundle(
    store: tuple[str, str], tmp_path: Path
) -> None:
    answers = tmp_path / "answers.csv"
    rows = ("--input", GOLDEN / "rows.csv", "--output", answers)
    program("edge-runtime", *store, "predict", MODEL, *rows)
    found, expected = (_table(path) for path in (answers, GOLDEN / "expected.csv"))
    assert len(found) == len(expected) > 0
    for row, wanted in zip(found, expected, strict=True):
        assert row.keys() == wanted.keys()
        assert row["label"] == wanted["label"]
        for name in row.keys() - {"label"}:
            assert float(row[name]) == pytest.approx(float(wanted[name]), abs=1e-5)


def test_the_predictions_are_counted(store: tuple[str, str], tmp_path: Path) -> None:
    def counted() -> int:
        told = program("edge-runtime", *store, "metrics", MODEL, "--json").stdout
        return int(json.loads(told)["rows"])

    before = counted()
    rows = ("--input", GOLDEN / "rows.csv", "--output", tmp_path / "answers.csv")
    program("edge-runtime", *store, "predict", MODEL, *rows)
    assert counted() - before == len(_table(GOLDEN / "rows.csv"))


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))
