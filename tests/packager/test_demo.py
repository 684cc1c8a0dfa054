"""The demonstration runs as the README says, fits a terminal and ends with working commands."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from host import packager

from packager import demo
from packager.errors import DeviceFailed


@dataclass(frozen=True)
class Shown:
    directory: Path
    out: str
    err: str

    @property
    def commands(self) -> list[str]:
        _, _, tail = self.out.partition("next: three commands to type\n")
        return tail.splitlines()


@pytest.fixture(scope="module")
def shown(python, tmp_path_factory) -> Shown:
    directory = tmp_path_factory.mktemp("demo")
    done = python.packager("demo", "--dir", directory)
    return Shown(directory, done.stdout, done.stderr)


def test_it_fits_a_terminal(shown):
    lines = shown.out.splitlines()
    assert len(lines) <= 90
    before = lines[: -len(shown.commands)]  # paths may be long
    assert [line for line in before if len(line) > 100] == []
    assert shown.err == ""


def test_it_tells_every_step_in_order(shown):
    heads = [line.split()[:2] for line in shown.out.splitlines() if line[:1].isdigit()]
    words = ["train", "keys", "build", "install", "predict", "metrics"]
    assert heads == [[str(number), word] for number, word in enumerate(words, 1)]


def test_it_says_what_it_did_to_the_data(shown):
    assert "569 rows of 30 columns" in shown.out
    assert "mean radius and mean texture became names" in " ".join(shown.out.split())


def test_the_installed_bundle_answers_well(shown):
    (told,) = (line for line in shown.out.splitlines() if "as diagnosed" in line)
    right, total = (int(word) for word in told.split() if word.isdigit())
    assert total == 285
    assert right >= 0.93 * total


def test_it_ends_with_three_commands_that_work_when_typed(shown):
    assert len(shown.commands) == 3
    for command in shown.commands:
        done = subprocess.run(
            ["sh", "-c", command],
            capture_output=True,
            text=True,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(demo.__file__).parents[1])},
            cwd="/",
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    assert (shown.directory / "dist" / "breast-cancer-1.1.0.oci.tar").is_file()


def test_it_works_in_an_empty_directory_only(shown, tmp_path):
    done = packager("demo", "--dir", shown.directory, "--json", cwd=tmp_path, expect=3)
    error = done.json["error"]
    assert error["code"] == "output-unwritable"
    assert "it holds breast-cancer.skops" in error["message"]


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / "file").touch()
    done = packager("demo", "--dir", "file", cwd=tmp_path, expect=3)
    assert "error[output-unwritable]: the demo works in an empty directory" in done.err


def test_for_machines_the_account_goes_to_stderr(tmp_path, monkeypatch):
    for name in ("train", "make_keys", "install", "predict", "metrics"):
        monkeypatch.setattr(demo._Demo, name, lambda self, *_: self.tell("told"))
    built = demo.Built(*(tmp_path / name for name in "brp"), None, None)
    monkeypatch.setattr(demo._Demo, "build", lambda _self: built)
    done = packager("demo", "--dir", tmp_path / "d", "--json", cwd=tmp_path)
    assert done.json["schema"] == "edgepack.demo/1"
    assert done.json["bundle"] == str(built.bundle)
    assert len(done.json["next"]) == 3
    assert done.err == "told\n" * 5


def test_a_device_that_fails_ends_it_with_what_it_said(tmp_path):
    told = []
    with pytest.raises(
        DeviceFailed, match="edge-runtime install must succeed, it ended with 4"
    ):
        demo._Demo(tmp_path, told.append)._device("install", tmp_path / "absent.oci.tar")
    assert told[0] == "  $ edge-runtime --store store install absent.oci.tar"
    assert "error[" in told[1]


# --- how programs are called ---------------------------------------------------------------


def test_a_program_on_the_path_is_called_by_its_name(tmp_path, monkeypatch):
    program = tmp_path / "packager"
    program.touch()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin")
    assert demo._program("packager") == "packager"
    monkeypatch.setenv("PATH", "/usr/bin")
    assert demo._program("packager") == shlex.quote(str(program))
    program.unlink()
    assert demo._program("packager") == f"{tmp_path}/python3 -m packager"


def test_the_report_is_there_to_be_read(shown):
    report = json.loads(
        (shown.directory / "dist" / "breast-cancer-1.0.0.report.json").read_bytes()
    )
    assert report["metric"]["name"] == "balanced_accuracy"
    assert (shown.directory / "dist" / "breast-cancer-1.0.0.report.html").is_file()
