"""Which target fits, which variants run, and the sentence for everything that does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from edge_runtime.contract.bundle.manifest import Manifest
from edge_runtime.contract.errors import (
    EngineMissing,
    EngineTooOld,
    ExecutionProviderMissing,
    NoMatchingTarget,
)
from edge_runtime.contract.facts import DeviceFacts, EngineFacts
from edge_runtime.contract.match import match, require_match

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
CUDA_TARGET = {"name": "x86-64-cuda", "priority": 20}
ARM_TARGET = {"name": "arm64-cpu", "architecture": "arm64"}

BOX = DeviceFacts(
    os="linux",
    architecture="x86-64",
    kernel="x86_64 6.1",
    cpu_model="Zen",
    cpu_flags=("avx2",),
    cpus=2,
    cpu_quota=None,
    memory_bytes=1 << 30,
    memory_limit_bytes=None,
    libc="glibc 2.36",
    python="cpython 3.11.2",
    boot_id="b",
    runtime="0.1.0",
    engine=EngineFacts("onnxruntime", "1.32.0", ("AzureExecutionProvider", CPU)),
    engine_problem="",
)
GPU_BOX = replace(BOX, engine=EngineFacts("onnxruntime-gpu", "1.31.0", (CUDA, CPU)))

Build = Callable[..., Manifest]


def test_the_target_of_this_architecture_is_chosen_and_the_other_says_why_not(
    build_manifest: Build,
) -> None:
    found = match([build_manifest(target=ARM_TARGET), build_manifest()], BOX)
    assert found.index == 1
    assert [refusal.target for refusal in found.refusals] == ["arm64-cpu"]
    assert (
        found.refusals[0].reason == "arm64-cpu is for linux arm64, this device is linux x86-64"
    )


def test_variants_keep_the_order_of_the_ladder(build_manifest: Build) -> None:
    manifest = build_manifest(ladder=(("int8-static", CPU), ("float32", CPU)))
    _, found = require_match([manifest], BOX)
    assert [variant.name for variant in found.variants] == ["int8-static", "float32"]
    assert found.refusals == ()


def test_the_higher_priority_wins_where_both_targets_run_whole(build_manifest: Build) -> None:
    cuda = build_manifest(ladder=(("float16", CUDA), ("float32", CUDA)), target=CUDA_TARGET)
    assert match([build_manifest(), cuda], GPU_BOX).index == 1
    assert match([cuda, build_manifest()], GPU_BOX).index == 0


def test_equal_priorities_are_decided_by_name_whatever_the_order(build_manifest: Build) -> None:
    first, second = build_manifest(target={"name": "a"}), build_manifest(target={"name": "b"})
    assert match([first, second], BOX).index == 0
    assert match([second, first], BOX).index == 1


def test_a_target_that_would_serve_by_a_lower_rung_only_goes_behind_one_that_runs_whole(
    build_manifest: Build,
) -> None:
    cuda = build_manifest(ladder=(("float16", CUDA), ("float32", CPU)), target=CUDA_TARGET)
    assert match([cuda, build_manifest()], BOX).index == 1


def test_a_target_that_fits_and_does_not_serve_says_why(build_manifest: Build) -> None:
    cuda = build_manifest(ladder=(("float16", CUDA), ("float32", CPU)), target=CUDA_TARGET)
    cpu = build_manifest()
    (behind,) = match([cuda, cpu], BOX).refusals
    assert behind.target == cuda.target.name
    assert "by a lower rung only" in behind.reason
    (behind,) = match([cuda, cpu], GPU_BOX).refusals
    assert behind.target == cpu.target.name
    assert f"priority {cpu.target.priority} against {cuda.target.priority}" in behind.reason


def test_a_lower_rung_serves_alone_and_the_rung_above_is_said_to_be_missing(
    build_manifest: Build,
) -> None:
    cuda = build_manifest(ladder=(("float16", CUDA), ("float32", CPU)), target=CUDA_TARGET)
    index, found = require_match([cuda], BOX)
    assert index == 0
    assert [variant.name for variant in found.variants] == ["float32"]
    assert [(item.target, item.variant) for item in found.refusals] == [
        ("x86-64-cuda", "float16")
    ]
    assert CUDA in found.refusals[0].reason
    assert "AzureExecutionProvider" in found.refusals[0].reason


def test_a_bundle_for_other_machines_names_both_sides(build_manifest: Build) -> None:
    with pytest.raises(NoMatchingTarget) as caught:
        require_match([build_manifest(target=ARM_TARGET)], BOX)
    assert "linux arm64" in caught.value.message
    assert "linux x86-64" in caught.value.message
    assert "packager build --target x86-64-cpu" in caught.value.hint
    assert caught.value.values["expected"] == ["arm64-cpu"]


def test_a_32_bit_userland_does_not_get_the_64_bit_target(build_manifest: Build) -> None:
    userland = replace(BOX, architecture="arm", kernel="aarch64 6.1")
    with pytest.raises(NoMatchingTarget, match="linux arm64, this device is linux arm"):
        require_match([build_manifest(target=ARM_TARGET)], userland)


VNNI_TARGET = {
    "name": "x86-64-vnni-cpu",
    "priority": 15,
    "cpu_flags": (("avx2",), ("avx512_vnni", "avx_vnni")),
}


@pytest.mark.parametrize("flag", ["avx512_vnni", "avx_vnni"])
def test_one_of_the_alternatives_is_enough_and_goes_before_the_plain_target(
    build_manifest: Build, flag: str
) -> None:
    able = replace(BOX, cpu_flags=("avx2", flag, "sse4_2"))
    manifests = [build_manifest(), build_manifest(target=VNNI_TARGET)]
    found = match(manifests, able)
    assert found.index == 1
    assert [item.target for item in found.refusals] == ["x86-64-cpu"]
    assert match(manifests, BOX).index == 0


def test_a_processor_without_the_instructions_is_named_beside_them(
    build_manifest: Build,
) -> None:
    with pytest.raises(NoMatchingTarget) as caught:
        require_match([build_manifest(target=VNNI_TARGET)], BOX)
    assert (
        "x86-64-vnni-cpu needs a processor with avx512_vnni or avx_vnni, "
        "this device has one without: Zen"
    ) in caught.value.message
    assert "packager build --target x86-64-cpu" in caught.value.hint


def test_every_group_must_be_met_and_only_those_missing_are_told(build_manifest: Build) -> None:
    bare = replace(BOX, cpu_flags=(), cpu_model="")
    (refusal,) = match([build_manifest(target=VNNI_TARGET)], bare).refusals
    assert "with avx2 and avx512_vnni or avx_vnni, " in refusal.reason
    assert refusal.reason.endswith("without: it has no name")
    able = replace(BOX, cpu_flags=("avx_vnni",))
    (refusal,) = match([build_manifest(target=VNNI_TARGET)], able).refusals
    assert "a processor with avx2, this" in refusal.reason


def test_too_little_memory_is_said_in_both_figures(build_manifest: Build) -> None:
    limited = replace(BOX, memory_limit_bytes=32 << 20)
    with pytest.raises(
        NoMatchingTarget, match=r"needs 64 MiB of memory, this .* may have 32 MiB"
    ):
        require_match([build_manifest()], limited)


def test_no_engine_is_the_error_where_only_that_is_missing(build_manifest: Build) -> None:
    bare = replace(BOX, engine=None, engine_problem="found no distribution of it")
    with pytest.raises(EngineMissing, match="found no distribution of it"):
        require_match([build_manifest(target=ARM_TARGET), build_manifest()], bare)


def test_an_engine_older_than_the_target_needs_is_refused(build_manifest: Build) -> None:
    old = replace(BOX, engine=EngineFacts("onnxruntime", "1.19.2", (CPU,)))
    with pytest.raises(
        EngineTooOld, match=r"1\.20 or newer, this device has onnxruntime 1\.19"
    ):
        require_match([build_manifest()], old)


def test_the_oldest_engine_that_is_promised_is_not_refused(build_manifest: Build) -> None:
    oldest = replace(BOX, engine=EngineFacts("onnxruntime", "1.20", (CPU,)))
    assert match([build_manifest(target={"min_engine": "1.20.0"})], oldest).index == 0


def test_a_missing_provider_is_the_error_nearest_to_running(build_manifest: Build) -> None:
    cuda = build_manifest(ladder=(("float16", CUDA),), target=CUDA_TARGET)
    too_new = build_manifest(target={"min_engine": "9.0"})
    with pytest.raises(ExecutionProviderMissing) as caught:
        require_match([too_new, cuda], BOX)
    assert caught.value.message == (
        f"x86-64-cuda runs on {CUDA}, this device has AzureExecutionProvider, {CPU}"
    )
    assert len(caught.value.values["refusals"]) == 2
