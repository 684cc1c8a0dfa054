"""The command line itself: its flags, its helps and their examples, its exit codes."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import devices
import pytest
import trusts

from edge_runtime import __main__ as command_line
from edge_runtime import __version__
from edge_runtime.commands import models
from edge_runtime.parser import build_parser


def parsers(
    parser: argparse.ArgumentParser, name: str = "edge-runtime"
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield every command's parser with its full name."""
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner, child in action.choices.items():
                yield from parsers(child, f"{name} {inner}")


PARSERS = dict(parsers(build_parser()))


def examples(parser: argparse.ArgumentParser) -> list[str]:
    head, *lines = parser.format_help().rstrip().splitlines()[-3:]
    assert head == "examples:"
    return [line.strip() for line in lines]


EXAMPLES = sorted({line for parser in PARSERS.values() for line in examples(parser)})


# --- help ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PARSERS)
def test_every_help_ends_with_two_examples_of_its_command(name: str) -> None:
    lines = examples(PARSERS[name])
    assert len(lines) == 2
    assert all(line == name or line.startswith(f"{name} ") for line in lines)
    assert lines[0] != lines[1]


@pytest.mark.parametrize("name", PARSERS)
def test_every_help_can_be_asked_for(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command_line.main([*name.split()[1:], "--help"])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {name}")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory and a store in which every example of a help makes sense.

    1.3.0 is proven, 1.4.0 serves on probation, and 1.5.0 waits.
    """
    directory = tmp_path_factory.mktemp("examples")
    flag = devices.trusting(directory)
    for version, command in (("1.3.0", ()), ("1.4.0", ()), ("1.5.0", ("--stage-only",))):
        name = f"fraud-{version}.oci.tar"
        release = 1_000_000 + int(version[2]) * 1000
        bundle = devices.packed(
            directory / name, devices.loan(), name="fraud", version=version, release=release
        )
        assert devices.run(*flag, "install", bundle, *command).code == 0
        if version == "1.3.0":
            assert devices.run(*flag, "mark-good").code == 0
    (directory / "usb").mkdir()
    shutil.copy(directory / "fraud-1.4.0.oci.tar", directory / "usb")
    (directory / "rows.csv").write_text("income (k€),visits,plan\n1,2,gold\n")
    (directory / "vision.pub").write_bytes(trusts.STRANGER.pem)
    (directory / "root.pub").write_bytes(trusts.ROOT.public_key.pem)
    (directory / "trust.json").write_bytes(trusts.sound())
    store = ("--store", directory / "store")
    assert devices.run(*store, "trust", "add", "--root", directory / "root.pub").code == 0
    return directory


# What an example names that a test cannot have, and what stands in for it.
STANDS_IN = {
    "/var/lib/edge-runtime": "store",
    "/media/usb/fraud-1.4.0.oci.tar": "fraud-1.4.0.oci.tar",
    "/media/usb/trust.json": "trust.json",
    "/media/usb": "usb",
    "/opt/fraud/server": "true",
}


@pytest.mark.parametrize("line", EXAMPLES)
def test_every_example_works(
    line: str,
    workplace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = tmp_path / "place"
    shutil.copytree(workplace, place)
    monkeypatch.chdir(place)
    monkeypatch.setenv("EDGE_STORE", str(place / "store"))
    line, _, source = line.partition(" <")
    arguments = [STANDS_IN.get(word, word) for word in shlex.split(line)[1:]]
    if "3f2a9c01" in arguments:
        key = devices.run("trust", "list", "--json").json["fingerprints"][0]
        arguments = [key[:8] if word == "3f2a9c01" else word for word in arguments]
    if source:
        monkeypatch.setattr(sys, "stdin", (place / source).open())
    if arguments[0] == "exec":  # becomes the program
        done = program(sys.executable, "-m", "edge_runtime", *arguments)
        assert done.returncode == 0, done.stderr
        return
    assert command_line.main(arguments) == 0, capsys.readouterr().err


# --- flags ---------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["status"], ["metrics"], ["trust", "list"]])
def test_store_and_json_may_stand_before_and_after_the_command(
    arguments: list[str], tmp_path: Path
) -> None:
    flags = ["--store", str(tmp_path / "store"), "--json"]
    answers = []
    for place in range(len(arguments) + 1):
        said = devices.run(*arguments[:place], *flags, *arguments[place:])
        assert said.code == 0, said.err
        answers.append(said.json)
    assert answers == answers[:1] * len(answers)
    if arguments != ["metrics"]:
        assert answers[0]["store"] == str(tmp_path / "store")


def test_the_store_named_last_counts() -> None:
    said = devices.run(
        "--store", "a", "trust", "--store", "b", "list", "--store", "c", "--json"
    )
    assert said.json["store"] == "c"


def test_without_a_flag_the_environment_names_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_STORE", str(tmp_path))
    found = devices.run("status", "--json").json
    assert (found["store"], found["origin"]) == (str(tmp_path), "named by $EDGE_STORE")


def test_flags_are_not_shortened(tmp_path: Path) -> None:
    assert devices.run("status", "--sto", str(tmp_path)).code == 2


# --- usage errors --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["instal"],
        ["install"],
        ["trust"],
        ["trust", "add"],
        ["predict"],
        ["predict", "--input", "a.csv"],
        ["status", "a", "b"],
        ["--store"],
        ["predict", "--input", "a", "--output", "b", "--input-format", "xml"],
    ],
)
def test_what_cannot_be_understood_is_a_usage_error(arguments: list[str]) -> None:
    said = devices.run(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error[usage]: edge-runtime")
    assert said.err.splitlines()[1].startswith("hint: See edge-runtime")
    said = devices.run(*arguments, "--json")
    assert (said.code, said.json["error"]["code"], said.err) == (2, "usage", "")


# --- what is left --------------------------------------------------------------------------


def test_a_defect_is_exit_code_1_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "status", lambda _: 1 / 0)
    said = devices.run("status")
    assert (said.code, "Traceback" in said.err) == (1, False)
    assert said.err.startswith("error[bug]: ZeroDivisionError at test_cli.py:")
    assert devices.run("status", "--json").json["error"]["code"] == "bug"


def test_an_interruption_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: argparse.Namespace) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "status", interrupted)
    assert devices.run("status") == devices.Said(130, "", "")


def program(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(command_line.__file__).parents[1])}
    return subprocess.run(
        arguments, capture_output=True, text=True, check=False, env=environment, **options
    )


def test_the_module_and_the_script_are_the_same_program() -> None:
    script = "import sys; from edge_runtime.__main__ import main; sys.exit(main())"
    for arguments in (["--version"], ["--help"], ["trust", "add"], ["probe", "--json"]):
        left = program(sys.executable, "-m", "edge_runtime", *arguments)
        right = program(sys.executable, "-c", script, *arguments)
        assert (left.returncode, left.stderr) == (right.returncode, right.stderr)
        if arguments[0] != "probe":
            assert left.stdout == right.stdout
    assert program(sys.executable, "-m", "edge_runtime", "--version").stdout == (
        f"edge-runtime {__version__}\n"
    )


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["install", "--help"], {"numpy", "onnxruntime", "cryptography", "psutil"}),
        (["install"], {"numpy", "onnxruntime", "cryptography", "psutil"}),
        (["trust", "list"], {"onnxruntime", "cryptography", "psutil"}),
    ],
)
def test_what_needs_no_engine_imports_none(
    arguments: list[str], heavy: set[str], tmp_path: Path
) -> None:
    code = (
        "import sys\n"
        "from edge_runtime.__main__ import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        f"sys.exit(', '.join({heavy} & set(sys.modules)) or 0)\n"
    )
    done = program(sys.executable, "-c", code, "--store", str(tmp_path), *arguments)
    assert done.returncode == 0, done.stderr


def test_json_is_one_object_with_a_schema_everywhere(workplace: Path, tmp_path: Path) -> None:
    flags = ("--store", workplace / "store", "--json")
    bundle, rows = workplace / "fraud-1.4.0.oci.tar", workplace / "rows.csv"
    for arguments in (
        ["trust", "add", workplace / "release.pub"],
        ["trust", "list"],
        ["probe"],
        ["verify", bundle],
        ["install", bundle],
        ["status"],
        ["status", "fraud"],
        ["predict", "fraud", "--input", rows, "--output", tmp_path / "a.csv"],
        ["metrics"],
        ["metrics", "fraud"],
        ["status", "--history"],
        ["health"],
        ["set", "fraud", "threads=1"],
        ["mark-good"],
        ["remove", "fraud@1.5.0"],
        ["rollback", "fraud"],
        ["activate", "fraud@1.4.0"],
    ):
        said = devices.run(*flags, *arguments)
        assert said.code == 0, said.err
        assert said.json["schema"].startswith("edgepack.")
        assert said.out.count("\n") == 1
        assert json.dumps(said.json, allow_nan=False)
