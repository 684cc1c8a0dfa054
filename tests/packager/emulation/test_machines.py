"""Which CPU models run here, and why the others do not, as sentences."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from packager.emulation import machines
from packager.emulation.machines import (
    HOST,
    Machine,
    find_machines,
    host_architecture,
    qemu_version,
)
from packager.sources.environments.helper_env import CACHE
from packager.target import CpuModel

HERE = host_architecture()
OTHER = "arm64" if HERE == "x86-64" else "x86-64"
QEMU = {"x86-64": "qemu-x86_64", "arm64": "qemu-aarch64"}[HERE]
# Runs what follows "-0 NAME" by that name, and says what QEMU says.
FAKE = """#!/bin/bash
[ "$1" != --version ] || {{ echo "qemu version {version} (Debian)"; exit; }}
cpu=$2
{says}
while [ "$1" != -0 ]; do shift; done
name=$2
shift 2
exec -a "$name" "$@"
"""
LACKS = (
    'echo "$0: warning: TCG doesn\'t support requested feature: CPUID.07H:EBX.{} [bit 1]" >&2'
)


@pytest.fixture(autouse=True)
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()


def fake_qemu(folder: Path, version: str = "10.0.3", says: str = ":") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / QEMU
    program.write_text(FAKE.format(version=version, says=says))
    program.chmod(0o755)
    return program


def found(*cpus: str, architecture: str = HERE) -> tuple[list[Machine], list[str]]:
    return find_machines(architecture, [CpuModel(f"a {cpu}", cpu) for cpu in cpus])


def test_the_host_runs_natively_where_it_is_the_targets_architecture() -> None:
    (machine,), missing = found(HOST)
    assert (machine.cpu, machine.emulated) == (HOST, False)
    assert machine.python == (sys.executable,)
    assert missing == []
    assert found(HOST, architecture=OTHER) == (
        [],
        [f"host: this machine is {HERE}, the target is {OTHER}"],
    )


def test_a_system_that_is_not_linux_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines.sys, "platform", "darwin")
    assert "emulators run on Linux only" in found("Haswell")[1][0]
    assert found(HOST)[1] == []


def test_without_an_emulator_the_command_that_makes_one_is_told() -> None:
    reason = "no emulator here; packager emulators --make makes one"
    assert found("one", "two") == ([], [f"one: {reason}", f"two: {reason}"])


def test_an_arm_machine_does_not_emulate_x86(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "host_architecture", lambda: "arm64")
    _, (sentence,) = found("Haswell", architecture="x86-64")
    assert sentence == "Haswell: an arm64 machine cannot emulate x86-64"


@pytest.mark.skipif(HERE != "x86-64", reason="ARM needs no ARM Python of its own")
def test_an_emulator_without_an_arm_python_is_not_enough(tmp_path: Path) -> None:
    folder = fake_qemu(tmp_path / "cache" / "emulators").parent
    (folder / "root" / "usr" / "bin").mkdir(parents=True)
    (folder / "root" / "usr" / "bin" / "python3.11").touch()
    assert "no emulator here" in found("cortex-a53", architecture="arm64")[1][0]


@pytest.mark.parametrize("place", ["bin", "cache/emulators"])
def test_this_very_python_runs_under_an_emulator(place: str, tmp_path: Path) -> None:
    program = fake_qemu(tmp_path / place)
    (machine,), _ = found("any")
    assert machine.emulated
    assert machine.python[:3] == (str(program), "-cpu", "any")
    code = "import numpy, onnxruntime, sys; print(sys.version)"
    words = [*machine.python, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == sys.version
    assert sys.executable in machine.python


def test_an_emulator_too_old_is_told_with_both_versions(tmp_path: Path) -> None:
    old = fake_qemu(tmp_path / "bin", "7.2.15")
    assert qemu_version(str(old)) == (7, 2)
    (sentence,) = found("Haswell")[1]
    assert f"Haswell: QEMU 8.1 or newer is needed, {old} is 7.2; packager" in sentence
    new = fake_qemu(tmp_path / "cache" / "emulators", "8.1.0")
    assert found("Haswell")[0][0].python[0] == str(new)


def test_a_program_that_tells_no_version_is_no_emulator(tmp_path: Path) -> None:
    program = fake_qemu(tmp_path / "bin")
    program.write_text("#!/bin/sh\nexit 1\n")
    assert f"{program} is 0;" in found("Haswell")[1][0]


def test_a_model_that_the_emulator_does_not_know_is_told_in_its_words(tmp_path: Path) -> None:
    fake_qemu(tmp_path / "bin", says="echo \"qemu: unable to find CPU model '$cpu'\"; exit 1")
    assert found("i386")[1] == [
        "i386: QEMU cannot run a Python on it: qemu: unable to find CPU model 'i386'"
    ]


@pytest.mark.parametrize("feature", ["avx512f", "avx-vnni", "amx-int8", "fma"])
def test_a_model_with_less_than_its_instructions_is_not_run(
    feature: str, tmp_path: Path
) -> None:
    fake_qemu(tmp_path / "bin", says=LACKS.format(feature))
    assert found("new") == ([], [f"new: QEMU cannot do its instructions {feature}"])


@pytest.mark.parametrize("feature", ["hle", "rtm", "misalignsse", "xsavec"])
def test_what_changes_no_answer_may_be_missing(feature: str, tmp_path: Path) -> None:
    fake_qemu(tmp_path / "bin", says=LACKS.format(feature))
    assert [machine.cpu for machine in found("Haswell")[0]] == ["Haswell"]


def test_machines_stand_in_the_order_of_the_profile(tmp_path: Path) -> None:
    fake_qemu(tmp_path / "bin", says='[ "$cpu" != bad ] || exit 3')
    machines_, missing = found("second", HOST, "bad", "first")
    assert [machine.cpu for machine in machines_] == ["second", HOST, "first"]
    assert missing == ["bad: QEMU cannot run a Python on it: status 3"]
