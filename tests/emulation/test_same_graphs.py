"""Every recipe makes, on an older CPU and by the record, the bytes that it makes here."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import trained

# On a graph, rows and recorded values (or null) in files: the digest of each graph, and
# what was recorded.
MAKE = """
import hashlib, json, sys
import numpy as np, onnx
from packager.recipes import FLOAT32, RECIPES
from packager.record import Record
from packager.stages.calibrate import calibrate
from packager.stages.node_errors import spare
from packager.stages.optimise import fused
from packager.stages.quantize import quantize
graph, feed = onnx.load(sys.argv[1]), dict(np.load(sys.argv[2]))
record = Record(json.loads(open(sys.argv[3]).read()))
digests = {}
for recipe in RECIPES:
    if recipe.form == "trees":
        continue
    ranges = {}
    if recipe.ranges:
        ranges = calibrate(recipe, graph, feed, weights=None, record=record).ranges
    def make(kept):
        return quantize(recipe, graph, ranges=ranges, kept=kept, reduce_range=True)
    kept = ()
    if recipe.sparing:
        kept = spare(recipe, graph, feed, make, weights=None, record=record)
    made = fused(graph, None) if recipe.family == FLOAT32 else make(kept)
    data = made.SerializeToString(deterministic=True)
    digests[recipe.name] = hashlib.sha256(data).hexdigest()
print(json.dumps([digests, record.values]))
"""


@pytest.mark.parametrize("cpu", ["Haswell-noTSX", "Nehalem"])
def test_an_older_cpu_makes_the_same_graphs(
    cpu: str,
    emulated: Callable[[str, str], Any],
    python_at: Callable[..., Any],
    tmp_path: Path,
) -> None:
    model = trained.cancer_network()
    onnx.save(model.graph, tmp_path / "graph.onnx")
    np.savez(tmp_path / "rows.npz", **model.calibration)
    values = tmp_path / "values.json"
    values.write_text("null")
    files = (tmp_path / "graph.onnx", tmp_path / "rows.npz", values)
    here, recorded = json.loads(python_at(sys.executable).run("-c", MAKE, *files).stdout)
    values.write_text(json.dumps(recorded))
    there, _ = json.loads(emulated("x86-64", cpu).run("-c", MAKE, *files).stdout)
    assert len(here) > 10
    assert there == here
