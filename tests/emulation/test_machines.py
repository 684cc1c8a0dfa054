"""The emulated machines are what they claim to be, child processes included."""

from __future__ import annotations

import json
from typing import Any

import pytest

WHO = """
import json, platform, subprocess, sys
here = {"machine": platform.machine(), "executable": sys.executable}
if len(sys.argv) < 2:
    command = [sys.executable, "-I", "-c", sys.orig_argv[-1], "child"]
    here["child"] = json.loads(subprocess.run(command, env={}, capture_output=True).stdout)
print(json.dumps(here))
"""
VECTOR = """
import json, numpy
print(json.dumps(numpy._core._multiarray_umath.__cpu_features__))
"""


def test_the_emulated_board_is_arm_and_so_are_its_children(aarch64: Any) -> None:
    here = json.loads(aarch64.run("-c", WHO).stdout)
    assert here["machine"] == here["child"]["machine"] == "aarch64"
    assert here["executable"] == here["child"]["executable"] == aarch64.executable


@pytest.mark.parametrize(("cpu", "dotprod"), [("cortex-a53", False), ("cortex-a76", True)])
def test_an_arm_model_has_the_instructions_of_its_chip(
    emulated: Any, cpu: str, dotprod: bool
) -> None:
    features = json.loads(emulated("arm64", cpu).run("-c", VECTOR).stdout)
    assert features["ASIMDDP"] is dotprod


def test_the_old_x86_is_one_and_so_are_its_children(haswell: Any) -> None:
    here = json.loads(haswell.run("-c", WHO).stdout)
    assert here["executable"] == here["child"]["executable"] == haswell.executable
    features = json.loads(haswell.run("-c", VECTOR).stdout)
    assert features["AVX2"] is True
    assert features["AVX512F"] is False


def test_the_old_x86_shows_its_own_cpuinfo(haswell: Any) -> None:
    told = haswell.run("-c", "print(open('/proc/cpuinfo').read())").stdout
    flags = next(line for line in told.splitlines() if line.startswith("flags")).split()
    assert "Haswell" in told
    assert "avx2" in flags
    assert not [flag for flag in flags if "avx512" in flag]


def test_the_board_finds_no_library_of_the_host(aarch64: Any) -> None:
    for name in ("click", "onnx", "pandas", "sklearn"):
        aarch64.run("-c", f"import {name}", expect=1)


def test_the_board_probes_itself(aarch64: Any) -> None:
    facts = json.loads(aarch64.edge_runtime("probe", "--json").stdout)
    assert "arm64" in json.dumps(facts)
