"""One bundle, two architectures: the emulated ARM board answers as this x86 machine does."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest


def predicted(python: Any, built: Any, folder: Path) -> list[dict[str, str]]:
    """Trust, install and predict as a device's keeper does; return the answers."""
    device = ("--store", folder / "store")
    python.edge_runtime(*device, "trust", "add", built.public_key)
    python.edge_runtime(*device, "install", built.bundle)
    answers = folder / "answers.csv"
    rows = ("--input", built.rows, "--output", answers)
    python.edge_runtime(*device, "predict", "breast-cancer", *rows)
    with answers.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_arm_and_x86_give_the_same_labels(
    python: Any, aarch64: Any, built: Any, tmp_path: Path
) -> None:
    for name in ("x86", "arm"):
        (tmp_path / name).mkdir()
    here = predicted(python, built, tmp_path / "x86")
    there = predicted(aarch64, built, tmp_path / "arm")
    assert len(here) > 500
    assert {row["label"] for row in here} == {"benign", "malignant"}
    assert [row["label"] for row in there] == [row["label"] for row in here]
    column = "probability_malignant"
    assert [float(row[column]) for row in there] == pytest.approx(
        [float(row[column]) for row in here], abs=1e-5
    )
