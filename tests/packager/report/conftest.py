"""The facts of a small build, made by hand, so that each report can be looked at alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bundles
import pytest

from packager.graph import SourceFacts
from packager.report.facts import (
    BuildFacts,
    DataFacts,
    Identity,
    PackedFacts,
    ParityFacts,
    TargetFacts,
)
from packager.target import load_profile
from packager.variant import Measured, Skipped, Verdict

LATENCY = {1: 2000.0, 32: 9000.0}


def _target(name: str = "x86-64-cpu", **changes: Any) -> TargetFacts:
    values: dict[str, Any] = {
        "profile": load_profile(name),
        "ladder": bundles.manifest().variants,
        "measured": (
            Measured("int8-static", "int8", 900, 0.5, 0.75, {1: 1000.0, 32: 9900.0}),
            Measured("float32", "float32", 3000, 0.9, 1.0, LATENCY),
        ),
        "verdicts": (
            Verdict("int8-static", False, "does not ship: quality falls"),
            Verdict("float32", True, "ships: every ladder ends on float32"),
        ),
        "skipped": (Skipped("int8-dynamic", "there is nothing to quantize"),),
        "notes": ("not measured: quality on Haswell",),
        "golden_rows": 4,
        "golden_synthetic": True,
    }
    return TargetFacts(**{**values, **changes})


def _facts(target: TargetFacts | None = None, **changes: Any) -> BuildFacts:
    values: dict[str, Any] = {
        "identity": Identity("tiny", "1.4.0", 1_004_000, "A classifier.", "Apache-2.0"),
        "source": SourceFacts(
            "scikit-learn", "Pipeline", "5" * 64, {"scikit-learn": "1.9.1"}, (), "contained"
        ),
        "interface": bundles.manifest().interface,
        "data": DataFacts(
            file="customers-of-acme.csv",
            sha256="d" * 64,
            rows=100,
            holdout_file="holdout.csv",
            holdout_sha256="e" * 64,
            calibration=90,
            held_out=50,
            dropped=10,
            label="fraud",
        ),
        "parity": ParityFacts(50, 1, {"probability": 2.5e-7}, [], []),
        "metric": "balanced_accuracy",
        "targets": [target or _target()],
        "unchecked": ["quality: nobody looked"],
        "versions": {"python": "3.11.2", "onnxruntime": "1.32.0+local", "numpy": "2.4.6"},
    }
    return BuildFacts(**{**values, **changes})


@pytest.fixture
def make_target() -> Callable[..., TargetFacts]:
    """Make a target's facts; fields are changed by name."""
    return _target


@pytest.fixture
def make_facts() -> Callable[..., BuildFacts]:
    """Make a build's facts; fields are changed by name."""
    return _facts


@pytest.fixture
def packed() -> PackedFacts:
    return PackedFacts("tiny-1.4.0.oci.tar", 4096, "b" * 64, "f" * 64, {"x86-64-cpu": "a" * 64})
