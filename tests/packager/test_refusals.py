"""Every error of the host, through its command line: said well, and nothing changed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import host_mishaps_bundles  # noqa: F401 - registers its own
import pytest
from host import packager, tree
from host_mishaps import CASES, Case, Scene, forget_the_engine, words_of

from edge_runtime.contract import errors as shared
from edge_runtime.contract.errors import leaves
from packager import errors as own

# Leaves that no command of the host can bring about, each with the reason.
OUT_OF_REACH = {
    "bug": "it stands for defects; test_cli.py plants one",
    "device-failed": "the demo is sound; test_demo.py hands it a bundle that is not there",
    "input-name": "columns that rows lack are column-missing here",
    "no-trusted-key": "verify demands --trust, so its absence is a usage error",
    "runtime-too-old": "the device holds a bundle against its own version; the host made it",
    "must-understand": "likewise",
    "version-conflict": "versions meet in a store",
    "release-too-old": "the store keeps the floor",
    "trust-too-old": "the store keeps the list in force",
    "release-revoked": "the store keeps what was withdrawn",
    "interface-changed": "versions meet in a store",
    "no-bundle-found": "it is about sticks in a device",
    "no-matching-target": "the host is matched with no target",
    "engine-too-old": "the host's engine is the newest of its range",
    "execution-provider-missing": "the host opens every graph on the CPU",
    "golden-mismatch": "the host makes golden vectors, the device repeats them",
    "trial-failed": "trials run on the device",
    "graph-refused": "devices and onnx_model.py raise it; here it becomes source-unreadable",
    "not-installed": "it is about the store",
    "ref-ambiguous": "it is about the store",
    "store-unwritable": "it is about the store",
    "store-unreadable": "it is about the store",
    "store-newer": "it is about the store",
    "store-corrupt": "it is about the store",
    "store-busy": "it is about the store",
    "nothing-proven": "it is about the store",
    "version-serves": "it is about the store",
    "setting-invalid": "it is about the store",
    "health-alarm": "it is about the store",
    "deadline-exceeded": "the host serves nothing",
    "worker-failed": "the host serves nothing",
    "program-not-started": "the host starts no program of the user's",
    "no-space": "it is about the store; a full disk here is output-unwritable (test_output.py)",
}

CLASSES = {
    leaf.code: leaf
    for leaf in leaves()
    if leaf.__module__.startswith((f"{shared.__name__}.", own.__name__))  # tests have own ones
}
PARAMETERS = [
    pytest.param(code, case, id=f"{code}: {case.act.__name__.replace('_', ' ')}")
    for code, cases in CASES.items()
    for case in cases
]


def test_every_error_is_brought_about_or_out_of_reach_for_a_reason():
    assert set(CLASSES) == set(CASES) | set(OUT_OF_REACH)
    assert not set(CASES) & set(OUT_OF_REACH)


@pytest.fixture
def scene(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(workshop, tmp_path / "scene")
    yield Scene(tmp_path / "scene", monkeypatch)
    forget_the_engine()


@pytest.mark.parametrize(("code", "case"), PARAMETERS)
def test_it_is_said_well_and_nothing_changes(code: str, case: Case, scene: Scene):
    arguments = words_of(case.act(scene))
    exit_code = CLASSES[code].exit_code
    before = tree(scene.path)
    told = packager(*arguments, cwd=scene.path, expect=exit_code)
    assert tree(scene.path) == before
    error, hint = told.err.rstrip("\n").split("\n")[-2:]
    head, message = re.fullmatch(r"error\[(.*?)\]: (.*)", error).groups()
    assert head == code
    assert hint.startswith("hint: ")
    assert told.out == ""

    found = packager(*arguments, "--json", cwd=scene.path, expect=exit_code).json
    assert tree(scene.path) == before
    assert set(found) == {"error"}
    assert found["error"]["code"] == code
    assert found["error"]["message"] == message
    assert found["error"]["hint"] == hint.removeprefix("hint: ")
    assert isinstance(found["error"]["values"], dict)

    for words in case.words:
        assert words in message
    assert "Traceback" not in told.err
    assert 10 < len(message) < 500
    assert re.fullmatch(r"[A-Z].*[^ ]", found["error"]["hint"]), "an imperative sentence"
