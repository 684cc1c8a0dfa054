"""Models whose weights stand beside their graph, from the source to the bundle."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from host import packager, tree
from onnx import TensorProto, helper, numpy_helper

from edge_runtime.contract.bundle.manifest import EXTERNAL_WEIGHTS
from packager.bundle_file import PackedTarget, read_bundle
from packager.graphs import external_data
from packager.search import rules
from packager.stages import evaluate

WIDTH = 512
BUILD = ("build", "model.onnx", "--data", "rows.csv", "--unsigned")
CPU, CUDA = ("--target", "x86-64-cpu"), ("--target", "x86-64-cuda")


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a network with its weights beside it, where a few kilobytes count as many."""
    monkeypatch.setattr(external_data, "INLINE_LIMIT", 20_000)
    # Nothing is timed: a busy machine decides nothing here.
    monkeypatch.setattr(evaluate, "host_is", lambda _: False)
    onnx.save(
        network(), tmp_path / "model.onnx", save_as_external_data=True, location="model.data"
    )
    rows = np.random.default_rng(1).standard_normal((60, 16))
    header = ",".join(f"x{number}" for number in range(16))
    np.savetxt(tmp_path / "rows.csv", rows, "%.5g", ",", header=header, comments="")
    return tmp_path


def network() -> onnx.ModelProto:
    generator = np.random.default_rng(0)
    shapes = [(16, WIDTH), (WIDTH, WIDTH), (WIDTH, 3)]
    tensors = [
        numpy_helper.from_array(
            (generator.standard_normal(shape) / 16).astype(np.float32), f"w{number}"
        )
        for number, shape in enumerate(shapes)
    ]
    unused = numpy_helper.from_array(np.ones((64, 64), np.float32), "unused")
    nodes = [
        helper.make_node("MatMul", ["features", "w0"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w1"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "w2"], ["out"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", axis])
        for name, axis in (("features", 16), ("out", 3))
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [*tensors, unused])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def targets(directory: Path) -> dict[str, PackedTarget]:
    found = read_bundle(directory / "dist" / "model-1.0.0.oci.tar")
    return {target.manifest.target.name: target for target in found}


def named(target: PackedTarget, path: str) -> bytes:
    return next(part.data for part in target.parts if part.path == path)


def test_weights_stand_beside_the_graphs_that_share_them(room: Path) -> None:
    packager(*BUILD, *CPU, *CUDA, cwd=room)
    found = targets(room)
    for target in found.values():
        manifest = target.manifest
        assert manifest.must_understand == (EXTERNAL_WEIGHTS,)
        float32 = manifest.variant("float32")
        assert float32.weights == ("variants/float32.weights",)
        assert len(named(target, float32.model_file)) < 2000
    cuda = found["x86-64-cuda"].manifest
    assert cuda.variant("float32-cpu").weights == ("variants/float32.weights",)
    digests = {t.manifest.file("variants/float32.weights").sha256 for t in found.values()}
    assert len(digests) == 1
    left = sorted(path.name for path in (room / "dist").iterdir())
    assert left == [
        f"model-1.0.0.{suffix}" for suffix in ("oci.tar", "report.html", "report.json")
    ]


def test_what_nothing_reads_is_not_shipped(room: Path) -> None:
    packager(*BUILD, *CPU, cwd=room)
    manifest = targets(room)["x86-64-cpu"].manifest
    shapes = ((16, WIDTH), (WIDTH, WIDTH), (WIDTH, 3))
    wanted = sum(-(-4 * a * b // 4096) * 4096 for a, b in shapes)
    assert wanted - 4096 < manifest.file("variants/float32.weights").size <= wanted


def test_a_rung_with_many_weights_of_its_own_has_a_file_of_its_own(room: Path) -> None:
    packager(*BUILD, *CPU, cwd=room)
    target = targets(room)["x86-64-cpu"]
    int8 = [v for v in target.manifest.variants if v.precision == "int8"]
    assert int8
    for variant in int8:
        (path,) = variant.weights
        assert path == f"variants/{variant.name}.weights"
        assert target.manifest.file(path).size < WIDTH * WIDTH * 2


def test_a_build_its_replay_and_the_same_model_in_one_file_make_the_same_graphs(
    room: Path,
) -> None:
    packager(*BUILD, *CPU, cwd=room)
    bundle = room / "dist" / "model-1.0.0.oci.tar"
    first = bundle.read_bytes()
    files = {e.path: e.sha256 for e in targets(room)["x86-64-cpu"].manifest.files}
    report = room / "dist" / "model-1.0.0.report.json"
    packager(*BUILD, *CPU, "--replay", report, cwd=room)
    assert bundle.read_bytes() == first
    onnx.save(network(), room / "model.onnx")
    packager(*BUILD, *CPU, cwd=room)
    again = {e.path: e.sha256 for e in targets(room)["x86-64-cpu"].manifest.files}
    for path, digest in files.items():
        assert again[path] == digest or not path.startswith("variants/")


def test_signing_in_place_keeps_every_byte_of_the_weights(room: Path) -> None:
    packager("keygen", cwd=room)
    packager(*BUILD, *CPU, cwd=room)
    before = targets(room)["x86-64-cpu"]
    bundle = "dist/model-1.0.0.oci.tar"
    packager("sign", bundle, "--key", "keys/release.key", cwd=room)
    after = targets(room)["x86-64-cpu"]
    assert after.signature is not None
    assert after.digest == before.digest
    packager("verify", bundle, "--trust", "keys/release.pub", cwd=room)


def test_weights_too_large_to_copy_stay_mapped(room: Path, checkout: Path) -> None:
    text = (checkout / "targets" / "x86-64-cpu.toml").read_text("utf-8")
    for megabytes, expected in ((2, "1"), (3, None)):
        small = re.sub(r"memory-mb = \d+", f"memory-mb = {megabytes}", text)
        (room / "own.toml").write_text(small)
        packager(*BUILD, "--target", "./own.toml", cwd=room)
        float32 = targets(room)["x86-64-cpu"].manifest.variant("float32")
        assert float32.session_options.get("session.disable_prepacking") == expected


def test_without_memory_for_the_tools_int8_is_left_out_and_a_replay_agrees(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def free(size: int) -> None:
        memory = SimpleNamespace(available=size)
        monkeypatch.setattr(rules.psutil, "virtual_memory", lambda: memory)

    free(1 << 20)
    done = packager(*BUILD, *CPU, cwd=room)
    assert "the tools need about 0.0 GB of memory" in " ".join(done.out.split())
    assert [v.name for v in targets(room)["x86-64-cpu"].manifest.variants] == ["float32"]
    first = (room / "dist" / "model-1.0.0.oci.tar").read_bytes()
    free(1 << 40)
    packager(*BUILD, *CPU, "--replay", "dist/model-1.0.0.report.json", cwd=room)
    assert (room / "dist" / "model-1.0.0.oci.tar").read_bytes() == first


def test_what_the_tools_cannot_write_in_one_piece_is_left_out(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MAX_MESSAGE", 1000)
    done = packager(*BUILD, *CPU, cwd=room)
    assert "more than the 1,000 bytes that the tools can write" in " ".join(done.out.split())


def test_a_refused_build_leaves_nothing_behind(room: Path) -> None:
    before = tree(room)
    done = packager(*BUILD, *CPU, "--metric", "r2", cwd=room, expect=None)
    assert done.code != 0
    assert tree(room) == before


def test_a_disk_without_room_is_a_typed_error(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("packager.workspace.moved_out", full)
    done = packager(*BUILD, *CPU, cwd=room, expect=3)
    assert "error[output-unwritable]" in done.err
    assert "No space left on device" in done.err
    assert not (room / "dist").exists()


def test_the_report_counts_weights(room: Path) -> None:
    packager(*BUILD, *CPU, cwd=room)
    report = json.loads((room / "dist" / "model-1.0.0.report.json").read_bytes())
    (target,) = report["targets"]
    sizes = {one["name"]: one["size"] for one in target["measured"]}
    assert sizes["float32"] > WIDTH * WIDTH * 4
