"""One target's rungs: made or skipped with a reason, judged, and proven by golden vectors."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from host import LABEL, NUMBERS, packager
from hunts import OTHER

from edge_runtime.contract.npz import read_npz
from packager.bundle_file import PackedTarget, read_bundle


def built(workshop: Path, out: Path, *flags: str | Path) -> PackedTarget:
    packager("build", *flags, "--name", "x", "--out", out, cwd=workshop)
    return read_bundle(out / "x-1.0.0.oci.tar")[0]


def golden(target: PackedTarget) -> dict[str, np.ndarray]:
    data = next(part.data for part in target.parts if part.path == "golden.npz")
    return read_npz(data, what="golden.npz")


# --- rungs ---------------------------------------------------------------------------------


def test_a_network_ships_its_rungs_best_first(build):
    for target in read_bundle(build.bundle)[:2]:
        assert target.manifest.variants[-1].precision == "float32"
        if target.manifest.target.name == OTHER.name:  # where no time decides
            rungs = [variant.name for variant in target.manifest.variants]
            assert rungs == ["int8-static", "int8-dynamic", "float32"]


def test_beside_the_gpu_stands_the_same_graph_for_the_cpu(build):
    (manifest,) = (
        target.manifest
        for target in read_bundle(build.bundle)
        if target.manifest.target.name == "x86-64-cuda"
    )
    gpu, cpu = manifest.variants[-2:]
    assert (gpu.name, gpu.provider) == ("float32", "CUDAExecutionProvider")
    assert (cpu.name, cpu.provider) == ("float32-cpu", "CPUExecutionProvider")
    assert manifest.file(gpu.model_file).sha256 == manifest.file(cpu.model_file).sha256
    assert dict(cpu.provider_options) == {}


def test_a_rung_that_was_not_made_says_why(workshop, tmp_path):
    done = packager(
        *("build", "line.onnx", "--target", "x86-64-cpu", "--out", tmp_path), cwd=workshop
    )
    said = " ".join(done.out.split())
    assert re.search(r"; int8-static, [^()]*\(nothing-to-quantize\)", said)


@pytest.mark.parametrize(("target", "timed"), [("x86-64-cpu", True), ("x86-64-cuda", False)])
def test_only_this_hosts_own_chip_is_timed(workshop, tmp_path, target, timed, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    rows = ("--data", "numbers.csv", "--label", LABEL, "--target", target)
    done = packager("build", "line.onnx", *rows, "--out", tmp_path, cwd=workshop)
    assert ("time at 1, 32" in done.out) == timed
    assert ("speed was not measured, as this host is another chip" in done.out) != timed


# --- golden vectors ------------------------------------------------------------------------


def test_golden_vectors_hold_every_variants_answers(build):
    for target in read_bundle(build.bundle):
        manifest, arrays = target.manifest, golden(target)
        assert {name for name in arrays if name.startswith("in/")} == {
            f"in/{spec.name}" for spec in manifest.interface.inputs
        }
        for variant in manifest.variants:
            for spec in manifest.interface.outputs:
                assert len(arrays[f"out/{variant.name}/{spec.name}"]) == manifest.golden.rows
                assert spec.name in variant.tolerances


def features(rows: np.ndarray) -> set[bytes]:
    return {row.tobytes() for row in rows.astype(np.float32)}


def table(path: Path) -> np.ndarray:
    lines = path.read_text().splitlines()[1:]
    return np.array([line.split(",")[: len(NUMBERS)] for line in lines], dtype=float)


def test_real_golden_rows_are_rows_of_the_data_and_said_to_be(workshop, tmp_path):
    rows = ("--data", "numbers.csv", "--label", LABEL, "--golden", "real")
    target = built(workshop, tmp_path, "line.onnx", *rows)
    assert features(golden(target)["in/X"]) <= features(table(workshop / "numbers.csv"))
    assert not target.manifest.golden.synthetic
    card = next(part.data for part in target.parts if part.path == "README.md")
    assert b"golden vectors (real rows)" in card


@pytest.mark.parametrize(("data", "label"), [(True, True), (True, False), (False, False)])
def test_golden_rows_of_a_file_may_have_a_label_and_need_not(workshop, tmp_path, data, label):
    shutil.copytree(workshop, tmp_path / "w")
    lines = [line.split(",") for line in (workshop / "numbers.csv").read_text().splitlines()]
    kept = [line if label else line[:-1] for line in lines[:41]]
    (tmp_path / "w" / "own.csv").write_text("\n".join(map(",".join, kept)) + "\n")
    flags = ("--data", "numbers.csv", "--label", LABEL) if data else ()
    target = built(tmp_path / "w", tmp_path / "o", "line.onnx", *flags, "--golden", "own.csv")
    assert features(golden(target)["in/X"]) <= features(table(tmp_path / "w" / "own.csv"))
    assert not target.manifest.golden.synthetic


def test_without_data_golden_rows_are_drawn(workshop, tmp_path):
    target = built(workshop, tmp_path, "line.onnx")
    assert golden(target)["in/X"].shape == (32, len(NUMBERS))
    assert target.manifest.golden.synthetic


def test_golden_vectors_are_an_archive_that_numpy_opens_without_pickle(build):
    for target in read_bundle(build.bundle):
        data = next(part.data for part in target.parts if part.path == "golden.npz")
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            for name in archive.files:
                assert archive[name].dtype.kind in "fiuU", name
