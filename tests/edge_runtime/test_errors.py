"""Every error of the device, through its command line: said well, and nothing changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import devices
import mishaps_bundles  # noqa: F401 - registers its own
import mishaps_lifecycle  # noqa: F401 - registers its own
import mishaps_serving  # noqa: F401 - registers its own
import mishaps_trust  # noqa: F401 - registers its own
import pytest
from mishaps import ACTS, CHECKOUT, LOAN, Act, Scene

from edge_runtime.contract import errors
from edge_runtime.contract.errors import EdgepackError, leaves

# Leaves that no command of the device can bring about, each with the reason.
OUT_OF_REACH = {
    "bug": "it stands for defects; test_cli.py plants one",
}

CLASSES = {
    leaf.code: leaf for leaf in leaves() if leaf.__module__.startswith(f"{errors.__name__}.")
}
CASES = [
    pytest.param(CLASSES[code], act, id=f"{code}: {act.__name__.replace('_', ' ')}")
    for code, acts in ACTS.items()
    for act in acts
]


def test_every_error_is_brought_about_or_out_of_reach_for_a_reason() -> None:
    assert set(CLASSES) == set(ACTS) | set(OUT_OF_REACH)
    assert not set(ACTS) & set(OUT_OF_REACH)
    assert all(OUT_OF_REACH.values())


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("device")
    bundle = devices.packed(directory / "loan.oci.tar", LOAN, name="loan")
    flag = devices.installed(directory, bundle)
    assert devices.run(*flag, "mark-good").code == 0
    return directory / "store"


@pytest.fixture
def scene(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    shutil.copytree(prepared, tmp_path / "store")
    monkeypatch.setenv("EDGE_STORE", str(tmp_path / "store"))
    return Scene(tmp_path)


def fail(scene: Scene, arguments: list[str]) -> devices.Said:
    """Run the command in this process, or as a program where the scene needs one."""
    if not scene.before:
        return devices.run(*arguments)
    environment = {"PYTHONPATH": str(CHECKOUT), **scene.environment}
    done = subprocess.run(
        [*scene.before, "-m", "edge_runtime", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return devices.Said(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(("error", "act"), CASES)
def test_an_error_is_typed_says_both_sides_and_changes_nothing(
    error: type[EdgepackError], act: Act, scene: Scene
) -> None:
    arguments = act(scene)
    before = devices.snapshot(scene.path, without="metrics")
    with scene.stack:
        plain, as_json = fail(scene, arguments), fail(scene, [*arguments, "--json"])
    assert devices.snapshot(scene.path, without="metrics") == before

    assert plain.code == as_json.code == error.exit_code
    assert plain.out == ""
    head, hint = plain.err.splitlines()
    assert head.startswith(f"error[{error.code}]: ")
    assert hint.startswith("hint: ")

    (line,) = (as_json.out or as_json.err).splitlines()
    document = json.loads(line)
    assert list(document) == ["error"]
    told = document["error"]
    assert list(told) == ["code", "message", "hint", "values"]
    assert told["code"] == error.code
    assert head == f"error[{error.code}]: {told['message']}"
    assert hint == f"hint: {told['hint']}"
    assert told["values"]
    assert len(told["message"]) > 20
    assert told["hint"][0].isupper()
