"""Facts of builds made by hand, so that each report can be looked at without a build."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import bundles

from edge_runtime.contract.bundle.manifest import FileEntry, Packed, Variant
from edge_runtime.contract.tensors import Tolerance
from packager.budgets import Budgets, Drop
from packager.graph import SourceFacts
from packager.report.facts import (
    BuildFacts,
    DataFacts,
    Effect,
    Identity,
    KindFacts,
    PackedFacts,
    ParityFacts,
    TargetFacts,
)
from packager.scoring import Metric
from packager.target import load_profile
from packager.variant import Measured, Score, Skipped, Verdict

NAN = float("nan")
LATENCY = {1: 2000.0, 32: 9000.0}


def score(cpu: str = "host", quality: float = 0.9, drop: float = 0.0, **changes: Any) -> Score:
    """Return a score; without ends its interval is the drop alone."""
    values = {"low": drop, "high": drop, "agreement": 1.0, **changes}
    return Score(cpu=cpu, quality=quality, drop=drop, **values)


def target(name: str = "x86-64-cpu", **changes: Any) -> TargetFacts:
    """Return a small target: float32 ships, int8-static does not."""
    values: dict[str, Any] = {
        "profile": load_profile(name),
        "ladder": bundles.manifest().variants,
        "measured": (
            Measured("float32", "float32", 3000, 2800, (score(),), LATENCY),
            Measured(
                "int8-static",
                "int8",
                900,
                700,
                (score(quality=0.5, drop=0.4, low=0.3, high=0.5, agreement=0.75),),
                {1: 1000.0, 32: 9900.0},
            ),
        ),
        "verdicts": (
            Verdict("float32", True, "ships: every ladder ends on float32", "float32"),
            Verdict("int8-static", False, "does not ship: quality falls", "quality"),
        ),
        "skipped": (
            Skipped("int8-dynamic", "there is nothing to quantize", "nothing-to-quantize"),
        ),
        "notes": ("not measured: quality on Haswell",),
        "golden_rows": 4,
        "golden_synthetic": True,
    }
    return TargetFacts(**{**values, **changes})


def facts(*targets: TargetFacts, **changes: Any) -> BuildFacts:
    """Return a small build."""
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
        "metric": Metric("balanced_accuracy"),
        "budgets": Budgets(),
        "targets": targets or (target(),),
        "unchecked": ["quality: nobody looked"],
        "versions": {"python": "3.11.2", "onnxruntime": "1.32.0+local", "numpy": "2.4.6"},
    }
    return BuildFacts(**{**values, **changes})


def packed(**changes: Any) -> PackedFacts:
    """Return the file that the small build became."""
    values: dict[str, Any] = {
        "bundle": "tiny-1.4.0.oci.tar",
        "size": 4096,
        "sha256": "b" * 64,
        "signer": "f" * 64,
        "packages": {"x86-64-cpu": "a" * 64},
        "contents": {
            "x86-64-cpu": (
                FileEntry("README.md", 1800, "1" * 64),
                FileEntry("variants/float32.onnx", 3000, "2" * 64, Packed(2800, "3" * 64)),
            )
        },
    }
    return PackedFacts(**{**values, **changes})


# --- a build in which everything happens that may happen -----------------------------------

_FLOAT32_BYTES = 172_400
# name, share of the bytes, share of the packed bytes, times at batch 1 and 32, drop on each CPU
_CANDIDATES = (
    ("float32", 1.0, 0.93, (1.0, 1.0), (0.0, 0.0, 0.0)),
    ("float32-fused", 0.99, 0.92, (0.91, 0.95), (0.0, 0.0, 0.0)),
    ("int8-static", 0.299, 0.21, (0.61, 0.47), (-0.0026, -0.0013, -0.0026)),
    ("int8-static-entropy", 0.299, 0.21, (0.62, 0.48), (0.0031, 0.0031, 0.0052)),
    ("int8-static-percentile", 0.299, 0.21, (0.60, 0.47), (0.0210, 0.0247, 0.0210)),
    ("int8-static-dense", 0.299, 0.21, (0.63, 0.48), (-0.0026, -0.0026, -0.0026)),
    ("int8-static-sparing", 0.44, 0.33, (0.72, 0.66), (-0.0009, -0.0009, 0.0)),
    ("int8-dynamic", 0.298, 0.20, (0.58, 0.52), (0.0037, 0.0061, 0.0037)),
    ("int8-dynamic-sparing", 0.43, 0.32, (0.74, 0.70), (0.0012, 0.0012, 0.0012)),
    ("int4", 0.19, 0.15, (1.34, 0.98), (0.0188, 0.0188, NAN)),
)
_CPUS = ("host", "Nehalem", "Haswell")
_NOISE, _REAL = 0.0058, 0.0015
_QUALITY = 0.9534
_SHIP = ("int8-static", "int8-dynamic", "float32-fused")


def _scores(drops: Sequence[float], cpus: Sequence[str]) -> tuple[Score, ...]:
    found = []
    for cpu, drop in zip(cpus, drops, strict=True):
        if math.isnan(drop):
            found.append(
                score(cpu, NAN, NAN, agreement=0.0, problem=f"it crashed on {cpu}: SIGILL")
            )
            continue
        # int8-dynamic is made to differ for certain, the others within noise.
        spread = 0.0 if not drop else _REAL if drop in (0.0037, 0.0061) else _NOISE
        found.append(
            score(
                cpu,
                _QUALITY - drop,
                drop,
                low=drop - spread,
                high=drop + spread,
                agreement=1 - 2 * abs(drop),
            )
        )
    return tuple(found)


def _measured(cpus: Sequence[str], *, timed: bool) -> tuple[Measured, ...]:
    return tuple(
        Measured(
            name,
            name.split("-")[0],
            round(share * _FLOAT32_BYTES),
            round(packed_share * _FLOAT32_BYTES),
            _scores(drops[: len(cpus)], cpus),
            {1: times[0] * 21_300.0, 32: times[1] * 148_000.0} if timed else {},
            round((2.1 + 3 * share) * 2**20) if timed else None,
        )
        for name, share, packed_share, times, drops in _CANDIDATES
    )


def _ladder() -> tuple[Variant, ...]:
    first = bundles.manifest().variants[0]
    tolerances = {"probability": Tolerance(0.0, 3.1e-5), "label": Tolerance(0.0, 0.0)}
    return tuple(
        replace(first, name=name, precision=name.split("-")[0], tolerances=tolerances)
        for name in _SHIP
    )


def _verdicts() -> tuple[Verdict, ...]:
    told = {
        "float32": ("better-ones", "does not ship: float32-fused does the same and is faster"),
        "int8-static-percentile": (
            "quality",
            "does not ship: balanced_accuracy falls from 0.9534 to 0.9287 on Nehalem, "
            "by 0.0247 where 0.01 is allowed",
        ),
        "int4": ("quality", "does not ship: it crashed on Haswell"),
    }
    other = ("better-ones", "does not ship: a better one of its family does")
    return tuple(
        Verdict(name, True, "ships: it is smaller and as good", "gain")
        if name in _SHIP
        else Verdict(name, False, told.get(name, other)[1], told.get(name, other)[0])
        for name, *_ in _CANDIDATES
    )


def _contents() -> tuple[FileEntry, ...]:
    files = [
        FileEntry("README.md", 2611, "1" * 64),
        FileEntry("bom.cdx.json", 9120, "2" * 64, Packed(1803, "3" * 64)),
        FileEntry("golden.npz", 18_204, "4" * 64),
    ]
    files += [
        FileEntry(f"variants/{name}.onnx", 51_700, digit * 64, Packed(36_800, "f" * 64))
        for name, digit in zip(_SHIP, "abc", strict=True)
    ]
    return tuple(files)


CONFUSION = Effect(
    "confusion",
    "int8-static",
    ("benign", "malignant", "unclear"),
    ((132, 1, 0), (4, 72, 1), (0, 2, 1)),
    ((131, 2, 0), (3, 73, 1), (0, 2, 1)),
)
RESIDUALS = Effect(
    "residuals",
    "int8-static",
    ("-3", "-2", "-1", "0", "1", "2", "3"),
    ((1, 12, 96, 88, 14, 2),),
    ((2, 14, 90, 91, 13, 3),),
)


def rich_facts(**changes: Any) -> BuildFacts:
    """Return a build with many candidates, one target timed and one not, and every verdict."""
    skipped = (
        Skipped("float16", "the profile x86-64-cpu does not list float16", "not-in-profile"),
        Skipped("float32-trees", "there are no trees in the graph", "no-trees"),
        Skipped("int4-sparing", "the tool refused it: block size 32 does not divide 30"),
    )
    here = target(
        ladder=_ladder(),
        measured=_measured(_CPUS, timed=True),
        verdicts=_verdicts(),
        skipped=skipped,
        notes=("Haswell had 213 rows where 256 are wanted",),
        golden_rows=32,
        effect=CONFUSION,
    )
    away = replace(
        here,
        profile=load_profile("arm64-cpu"),
        measured=_measured(("host", "cortex-a53", "cortex-a72"), timed=False),
        notes=("not measured: speed, as this host is another chip",),
        effect=RESIDUALS,
    )
    one = KindFacts("held-out", 213, 0, 0, 0, 77, 0.003, "", {"probabilities": 3.1e-7})
    kinds = [
        one,
        replace(one, kind="ties", rows=64, ties=2, worst=5, share=0.002),
        replace(one, kind="extremes", rows=276, worst=11, share=0.41, column="mean radius"),
        replace(one, kind="text", rows=0, refused=12, differences={}),
    ]
    values: dict[str, Any] = {
        "parity": ParityFacts(213, 1, {"probabilities": 3.1e-7}, [], ["mean radius"], kinds),
        "budgets": Budgets(Drop(0.01), 160_000, 0.024, 64 << 20),
        "repairs": ["added the exp that the Poisson loss needs"],
    }
    return facts(here, away, **{**values, **changes})


def rich_packed() -> PackedFacts:
    """Return the file that the rich build became."""
    names = ("x86-64-cpu", "arm64-cpu")
    return packed(
        packages=dict.fromkeys(names, "a" * 64),
        contents=dict.fromkeys(names, _contents()),
    )
