"""Telling which CPU models run here, and making emulators where that is possible."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from host import packager

from packager.emulation import emulators
from packager.emulation.emulators import emulators_here, make_emulators
from packager.errors import EmulatorsFailed
from packager.sources.environments.helper_env import CACHE
from packager.target import list_profiles

SCRIPT = Path(emulators.__file__).parent / "make-arm64-root.sh"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def script_that(does: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(does)
    monkeypatch.setattr(emulators, "_SCRIPT", path)


def test_every_promised_cpu_is_told_with_its_target(tmp_path: Path) -> None:
    told = packager("emulators", cwd=tmp_path).out
    lines = [line.split() for line in told.splitlines()]
    for profile in list_profiles():
        for cpu in profile.cpu_models:
            assert [line for line in lines if line[:2] == [profile.name, cpu.qemu]]
    assert told.endswith(f"kept in {tmp_path / 'cache' / 'emulators'}\n")


def test_json_says_of_each_whether_it_runs_and_why_not(tmp_path: Path) -> None:
    found = packager("emulators", "--json", cwd=tmp_path).json
    assert found["schema"] == "edgepack.emulators/1"
    assert found["libraries"] == {}
    assert {"target", "name", "qemu", "missing", "runs"} == set(found["cpus"][0])
    for cpu in found["cpus"]:
        assert cpu["runs"] is (cpu["missing"] == "")
        assert cpu["missing"] == "" or cpu["missing"].startswith(f"{cpu['qemu']}: ")


def test_looking_makes_nothing(tmp_path: Path) -> None:
    emulators_here()
    assert list(tmp_path.iterdir()) == []


def test_the_arm_pythons_libraries_are_told_beside_ours(own_cache: Path) -> None:
    packages = own_cache / "emulators" / "venv" / "lib" / "python3.11" / "site-packages"
    for name, version in (("onnxruntime", "1.20.1"), ("other", "1.0")):
        (packages / f"{name}-{version}.dist-info").mkdir(parents=True)
        (packages / f"{name}-{version}.dist-info" / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
    found = emulators_here()
    assert found.there == {"onnxruntime": "1.20.1"}
    told = packager("emulators", cwd=own_cache).out
    assert "the ARM Python has onnxruntime 1.20.1\n" in told
    assert f"this Python has onnxruntime {found.here['onnxruntime']}\n" in told


# --- making --------------------------------------------------------------------------------


def test_steps_are_told_and_the_script_gets_the_versions_that_stand_here(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    does = 'echo "[ 1s] $PYTHON" >&2; echo "$@" >&2; echo nothing; mkdir -p "$1"'
    script_that(does, tmp_path / "script", monkeypatch)
    told: list[tuple[str, str]] = []
    make_emulators(lambda name, text: told.append((name, text)))
    assert [name for name, _ in told] == ["emulators", "emulators"]
    assert told[0][1].endswith(sys.executable)
    folder, *wanted = told[1][1].split()
    assert folder == str(own_cache / "emulators")
    here = emulators_here().here
    assert wanted == [f"{name}=={here[name]}" for name in emulators.LIBRARIES]


def test_a_library_that_another_wheel_stands_for_is_wanted_in_any_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_that('echo "$@" >&2', tmp_path / "script", monkeypatch)
    monkeypatch.setattr(emulators, "LIBRARIES", ("no-such-wheel",))
    told: list[str] = []
    make_emulators(lambda _, text: told.append(text))
    assert told[0].split()[1:] == ["no-such-wheel"]


def test_a_script_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    does = "echo make-arm64-root: needs the moon >&2; exit 1"
    script_that(does, tmp_path / "script", monkeypatch)
    with pytest.raises(EmulatorsFailed, match="cannot: needs the moon") as caught:
        make_emulators(lambda *_: None)
    assert caught.value.values["found"] == "needs the moon"


def test_a_cache_that_cannot_be_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE, str(tmp_path / "file" / "cache"))
    with pytest.raises(EmulatorsFailed, match="Not a directory"):
        make_emulators(lambda *_: None)


def test_other_systems_are_told_so(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    monkeypatch.setattr(emulators.sys, "platform", "win32")
    with pytest.raises(EmulatorsFailed, match="Debian and Ubuntu only"):
        make_emulators(lambda *_: None)
    assert not own_cache.exists()


def test_who_stops_it_stops_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_that("echo on >&2; sleep 100 & wait", tmp_path / "script", monkeypatch)

    def stop(*_: str) -> None:
        raise KeyboardInterrupt

    others = set(psutil.Process().children(recursive=True))
    with pytest.raises(KeyboardInterrupt):
        make_emulators(stop)
    for _ in range(100):
        left = set(psutil.Process().children(recursive=True)) - others
        if not [one for one in left if one.is_running()]:
            return
        time.sleep(0.05)
    pytest.fail("something still runs")


# --- the script ----------------------------------------------------------------------------


def test_the_script_refuses_before_it_makes_anything(tmp_path: Path) -> None:
    done = subprocess.run(
        ["/bin/bash", SCRIPT, tmp_path / "made", "numpy"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "make-arm64-root: needs apt-get: use a Debian or Ubuntu machine that has it\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_script_tells_how_it_is_called() -> None:
    done = subprocess.run(["bash", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith("  make-arm64-root.sh TARGET REQUIREMENT...")
