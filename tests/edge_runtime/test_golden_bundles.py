"""Bundles of every released format still verify, install and answer as they did."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.contract.bundle.manifest import FORMAT
from edge_runtime.contract.bundle.signature import PublicKey
from edge_runtime.contract.bundle.verify import verify_bundle

BUNDLES = Path(__file__).resolve().parents[1] / "data" / "bundles"
FORMATS = sorted(BUNDLES.iterdir())


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def bundle_of(directory: Path) -> Path:
    (found,) = directory.glob("*.oci.tar")
    return found


def test_the_present_format_has_its_bundle() -> None:
    assert f"format-{FORMAT}" in [path.name for path in FORMATS]


def test_one_bundle_has_a_packed_file() -> None:
    found = set()
    for directory in FORMATS:
        keys = [PublicKey.load((directory / "release.pub").read_bytes())]
        with verify_bundle(bundle_of(directory), keys) as bundle:
            manifests = [package.manifest for package in bundle.packages]
        packed = [entry.path for one in manifests for entry in one.files if entry.packed]
        assert bool(packed) == directory.name.endswith("packed")
        found.update(packed)
    assert any(path.endswith(".onnx") for path in found)


@pytest.mark.parametrize("directory", FORMATS, ids=lambda path: path.name)
def test_its_signature_holds_to_the_last_byte(directory: Path) -> None:
    keys = [PublicKey.load((directory / "release.pub").read_bytes())]
    with verify_bundle(bundle_of(directory), keys) as bundle:
        bundle.check()
        assert {package.manifest.target.name for package in bundle.packages} == {
            "arm64-cpu",
            "x86-64-cpu",
        }


@pytest.mark.parametrize("directory", FORMATS, ids=lambda path: path.name)
def test_it_installs_and_answers_as_its_source_did(
    directory: Path, tmp_path: Path, python: Any
) -> None:
    store, answers = ("--store", tmp_path / "store"), tmp_path / "answers.csv"
    python.edge_runtime(*store, "trust", "add", directory / "release.pub")
    python.edge_runtime(*store, "install", bundle_of(directory))
    rows = ("--input", directory / "rows.csv", "--output", answers)
    python.edge_runtime(*store, "predict", *rows)
    found, expected = table(answers), table(directory / "expected.csv")
    assert len(found) == len(expected) > 0
    for row, wanted in zip(found, expected, strict=True):
        assert list(row) == list(wanted)
        assert row["label"] == wanted["label"]
        for name in row.keys() - {"label"}:
            assert float(row[name]) == pytest.approx(float(wanted[name]), abs=1e-5)


@pytest.mark.parametrize("directory", FORMATS, ids=lambda path: path.name)
def test_it_is_small_and_its_private_key_is_gone(directory: Path) -> None:
    assert sum(path.stat().st_size for path in directory.iterdir()) < 60_000
    assert not [path.name for path in directory.iterdir() if b"PRIVATE" in path.read_bytes()]
