"""The command line: flags over file over defaults, one object for machines, true help."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from host import LABEL, packager, tree

from packager import cli
from packager.bundle_file import read_bundle
from packager.options import OPTIONS


def commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its full name, and what stands below it."""
    for name, command in group.commands.items():
        yield f"{prefix}{name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")


COMMANDS = dict(sorted(commands(cli.packager)))


def named(words: list[str]) -> str:
    """Return the command that these words begin with."""
    return max(
        (name for name in COMMANDS if words[: len(name.split())] == name.split()), key=len
    )


HSM = """#!/bin/sh
exec openssl dgst -sha256 -sign hsm/release.key
"""


def help_of(command: str) -> str:
    return packager(*command.split(), "--help", cwd=Path.cwd()).out


def examples(command: str) -> list[list[str]]:
    """Return the arguments of the examples at the end of a command's help."""
    _, mark, tail = help_of(command).partition("\n  examples:\n")
    assert mark, f"{command or 'packager'} --help has no examples"
    lines = tail.rstrip("\n").split("\n")
    assert all(line.startswith("    packager ") for line in lines), lines
    return [shlex.split(line)[1:] for line in lines]


@pytest.fixture(scope="module")
def field(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with every file that an example of the help names."""
    directory = tmp_path_factory.mktemp("field")
    for name in ("fraud.skops", "fraud.onnx"):
        shutil.copy(workshop / f"line.{name[6:]}", directory / name)
    rows = (workshop / "numbers.csv").read_text("utf-8")
    (directory / "rows.csv").write_text(rows.replace(LABEL, "fraud", 1), "utf-8")
    (directory / "fraud.toml").write_text(
        'model = "fraud.skops"\ndata = "rows.csv"\nlabel = "fraud"\nversion = "1.5.0"\n'
    )
    (directory / "pass.txt").write_text("secret\n")
    for keys in ("keys", "hsm"):
        packager("keygen", "--out", keys, cwd=directory)
    packager("trust", "init", cwd=directory)
    shutil.copy(directory / "hsm" / "release.pub", directory / "hsm.pub")
    for name in ("old.pub", "new.pub"):
        shutil.copy(directory / "keys" / "release.pub", directory / name)
    (directory / "hsm-sign").write_text(HSM)
    (directory / "hsm-sign").chmod(0o755)
    flags = ("--data", "rows.csv", "--label", "fraud", "--version", "1.4.0")
    packager("build", "fraud.skops", *flags, cwd=directory)
    newer = ("--version", "1.5.0", "--target", "arm64-cpu", "--unsigned")
    packager("build", "fraud.onnx", *newer, cwd=directory)
    return directory


@pytest.fixture
def here(field: Path, tmp_path: Path) -> Path:
    """The same as one's own."""
    return shutil.copytree(field, tmp_path / "here")


# --- help ----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_ends_with_two_examples_that_parse(command):
    found = examples(command)
    assert len(found) == 2
    for arguments in found:
        assert arguments[: len(command.split())] == command.split()
        name = named(arguments)
        with COMMANDS[name].make_context(name, arguments[len(name.split()) :]):
            pass


RUNNABLE = [
    pytest.param(arguments, id=" ".join(arguments))
    for name in COMMANDS
    if name != "demo"  # which test_demo.py runs
    for arguments in examples(name)
    if arguments != ["emulators", "--make"]  # which tests/emulation runs
]


@pytest.mark.parametrize("arguments", RUNNABLE)
def test_every_example_works_when_typed(here, arguments):
    if arguments[0] == "keygen" or arguments[:2] == ["trust", "init"]:
        shutil.rmtree(here / "keys")
    packager(*arguments, cwd=here)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_ascii_within_the_terminal_and_in_whole_words(command):
    text = help_of(command)
    assert text.isascii()
    assert all(len(line) <= 100 for line in text.splitlines())
    assert "..." not in text.replace("[OPTIONS]", "").replace("COMMAND [ARGS]...", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_says_what_it_is_for(command):
    for parameter in COMMANDS[command].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert re.fullmatch(r"[A-Z].*\.", parameter.help), parameter.help


def test_without_arguments_the_help_is_shown():
    assert packager(cwd=Path.cwd()).out == help_of("")


def test_help_waits_for_no_library_of_the_host(python):
    program = (
        "import sys; from packager.cli import main; main(['build', '--help'])\n"
        "print({'sklearn', 'onnx', 'onnxruntime', 'pandas'} & set(sys.modules))"
    )
    assert python.run("-c", program).stdout.splitlines()[-1] == "set()"


# --- configuration -------------------------------------------------------------------------


def identity(path: Path) -> tuple[str, str, int, list[str]]:
    targets = read_bundle(path)
    manifest = targets[0].manifest
    names = [target.manifest.target.name for target in targets]
    return manifest.name, manifest.version, manifest.release, names


def test_three_flags_are_enough(field):
    bundle = field / "dist" / "fraud-1.4.0.oci.tar"
    assert identity(bundle) == ("fraud", "1.4.0", 1_004_000, ["arm64-cpu", "x86-64-cpu"])
    assert (field / "dist" / "fraud-1.4.0.report.json").is_file()
    assert read_bundle(bundle)[0].signature is not None


def test_a_directory_with_a_configuration_needs_no_flag(here):
    shutil.copy(here / "fraud.toml", here / "packager.toml")
    packager("build", cwd=here)
    assert identity(here / "dist" / "fraud-1.5.0.oci.tar")[:3] == ("fraud", "1.5.0", 1_005_000)


def test_a_flag_stands_over_the_file(here):
    packager(
        *("build", "--config", "fraud.toml", "--version", "1.6.0", "--target", "arm64-cpu"),
        cwd=here,
    )
    found = identity(here / "dist" / "fraud-1.6.0.oci.tar")
    assert found == ("fraud", "1.6.0", 1_006_000, ["arm64-cpu"])


def test_a_file_that_was_named_must_be_there(tmp_path):
    done = packager("build", "--config", "absent.toml", cwd=tmp_path, expect=3)
    assert "error[input-unreadable]: absent.toml cannot be read" in done.err


def test_init_writes_every_flag_and_what_it_wrote_builds(here):
    done = packager("init", "fraud.onnx", "--target", "arm64-cpu", "--unsigned", cwd=here)
    assert done.out == "wrote packager.toml; next: packager build\n"
    text = (here / "packager.toml").read_text("utf-8")
    keys = re.findall(r"^(?:# )?([a-z-]+) = ", text, re.MULTILINE)
    assert keys == [option.key for option in OPTIONS]
    assert tomllib.loads(text)["unsigned"] is True
    packager("build", cwd=here)
    assert identity(here / "dist" / "fraud-1.0.0.oci.tar")[3] == ["arm64-cpu"]


def test_init_leaves_a_file_that_is_there_alone(here):
    (here / "packager.toml").write_text("# mine\n")
    done = packager("init", "fraud.onnx", cwd=here, expect=3)
    assert "error[output-unwritable]: packager.toml must not be there yet" in done.err
    assert (here / "packager.toml").read_text() == "# mine\n"


# --- machines ------------------------------------------------------------------------------

SCHEMAS = {
    "keygen --out other": "edgepack.keygen/1",
    "init fraud.onnx": "edgepack.init/1",
    "doctor fraud.onnx": "edgepack.doctor/1",
    "build fraud.onnx --target arm64-cpu": "edgepack.build/1",
    "sign dist/fraud-1.4.0.oci.tar --key keys/release.key": "edgepack.sign/1",
    "verify dist/fraud-1.4.0.oci.tar --trust keys/release.pub": "edgepack.verify/1",
    "inspect dist/fraud-1.4.0.oci.tar": "edgepack.inspect/1",
    "inspect dist/fraud-1.4.0.oci.tar dist/fraud-1.5.0.oci.tar": "edgepack.compare/1",
    "targets": "edgepack.targets/1",
    "emulators": "edgepack.emulators/1",
    "trust init --out other": "edgepack.trust-init/1",
    "trust add keys/release.pub --for fraud": "edgepack.trust-list/1",
    "trust revoke --release fraud@1004000": "edgepack.trust-list/1",
    "trust rotate --out next": "edgepack.trust-list/1",
    "trust show": "edgepack.trust-list/1",
    "trust carry dist/fraud-1.4.0.oci.tar": "edgepack.trust-list/1",
}


def test_json_may_be_asked_for_before_the_command(tmp_path):
    before, after = (
        packager(*words, cwd=tmp_path)
        for words in (("--json", "targets"), ("targets", "--json"))
    )
    assert before.json == after.json


def test_every_command_has_its_object():
    leaves = {name for name, one in COMMANDS.items() if not isinstance(one, click.Group)}
    assert {named(line.split()) for line in SCHEMAS} == leaves - {"demo"}


@pytest.mark.parametrize("line", SCHEMAS)
def test_json_is_one_object_with_its_schema_and_progress_stays_on_stderr(here, line):
    done = packager(*line.split(), "--json", cwd=here)
    assert done.out.count("\n") == 1
    assert done.json["schema"] == SCHEMAS[line]
    assert done.json.keys() > {"schema"}
    assert ("graph" in done.err) == line.startswith(("build", "doctor"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("build --nope", "packager build: no such option"),
        ("nope", "packager: no such command 'nope'"),
        ("verify", "packager verify: missing argument 'BUNDLE'"),
        ("verify x", "packager verify: missing option '--trust'"),
        ("build x --release soon", "'soon' is not a valid integer"),
        ("targets more", "packager targets: got unexpected extra argument"),
    ],
)
def test_what_cannot_be_understood_is_a_usage_error(tmp_path, line, message):
    done = packager(*line.split(), "--json", cwd=tmp_path, expect=2)
    error = done.json["error"]
    assert error["code"] == "usage"
    assert message in error["message"]
    assert re.fullmatch(r"See packager( [a-z]+)? --help", error["hint"])
    assert done.err == ""


def test_a_bug_is_told_without_a_traceback(tmp_path, monkeypatch):
    def broken():
        message = "oh"
        raise RuntimeError(message)

    monkeypatch.setattr("packager.target.list_profiles", broken)
    done = packager("targets", cwd=tmp_path, expect=1)
    assert "error[bug]: RuntimeError at test_cli.py:" in done.err
    assert "Traceback" not in done.err


def test_the_version_is_told(tmp_path):
    assert re.fullmatch(r"packager \d+\.\d+\.\d+\n", packager("--version", cwd=tmp_path).out)


# --- keys ----------------------------------------------------------------------------------


def test_keygen_tells_the_fingerprint_and_what_to_do_with_both(tmp_path):
    done = packager("keygen", "--json", cwd=tmp_path)
    assert done.json["encrypted"] is False
    assert (tmp_path / "keys" / "release.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys" / ".gitignore").read_text() == "*.key\n"
    assert len(done.json["fingerprint"]) == 64


def test_an_encrypted_key_signs_with_its_passphrase(here):
    packager("keygen", "--out", "safe", "--passphrase-file", "pass.txt", cwd=here)
    command = ("build", "fraud.onnx", "--target", "arm64-cpu", "--key", "safe/release.key")
    packager(*command, "--passphrase-file", "pass.txt", cwd=here)
    (here / "wrong.txt").write_text("wrong\n")
    done = packager(*command, "--passphrase-file", "wrong.txt", cwd=here, expect=3)
    assert "error[passphrase-wrong]" in done.err


def test_a_passphrase_is_asked_for_where_a_person_can_answer(tmp_path):
    done = packager("keygen", "--passphrase", cwd=tmp_path, expect=3)
    assert "error[passphrase-wrong]: keys/release.key needs a passphrase" in done.err
    assert tree(tmp_path) == {}


# --- the process ---------------------------------------------------------------------------


def started(*arguments: str, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "packager", *arguments]
    checkout = str(Path(cli.__file__).parents[1])
    return subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": checkout, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Whoever runs the tests in the background made them deaf to it, and so their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", ["source", "parity"])
def test_an_interrupted_build_leaves_nothing_behind(here, tmp_path, number, step):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    before = tree(here)
    rows = ("--data", "rows.csv", "--label", "fraud", "--version", "2.0.0")
    child = started("build", "fraud.skops", *rows, cwd=here, TMPDIR=str(temporary))
    assert child.stderr is not None
    while not (line := child.stderr.readline()).startswith(step):
        assert line, "it ended before"
    os.killpg(child.pid, number)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 128 + number
    assert "Traceback" not in err
    assert tree(here) == before
    deadline = time.monotonic() + 10
    while tree(temporary) and time.monotonic() < deadline:
        time.sleep(0.1)  # the child that opened the model ends a moment later
    assert tree(temporary) == {}


def test_a_reader_that_leaves_is_no_bug(tmp_path):
    child = started("targets", cwd=tmp_path)
    assert child.stdout is not None
    child.stdout.close()
    assert child.wait(timeout=60) == 128 + signal.SIGPIPE
    assert child.stderr is not None
    assert child.stderr.read() == ""
    child.stderr.close()


PLAIN = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}


@pytest.mark.parametrize("flag", ["", "--json"])
def test_an_ascii_terminal_reads_errors_about_other_letters(here, flag):
    rows = ("--data", "rows.csv", "--label", "größe", *flag.split())
    child = started("build", "fraud.onnx", *rows, cwd=here, **PLAIN)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 3, err
    assert "label-missing" in out + err
    assert (out + err).isascii()


def test_an_ascii_terminal_reads_a_bundle_in_other_letters(here):
    words = ("--description", "für größere", "--target", "arm64-cpu")
    packager("build", "fraud.onnx", *words, cwd=here)
    child = started("inspect", "dist/fraud-1.0.0.oci.tar", cwd=here, **PLAIN)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert r"f\xfcr gr\xf6\xdfere" in out


def test_a_device_that_has_no_library_of_the_host_is_told_what_to_install(python):
    program = (
        "import sys; sys.modules['click'] = None\n"
        "from packager.__main__ import main; sys.exit(main())"
    )
    done = python.run("-c", program, expect=6)
    assert "error[host-extra-missing]: packager needs the host's libraries, and click" in (
        done.stderr
    )
    assert "edgepack[host]" in done.stderr


def test_the_module_runs_as_a_program(python):
    told = json.loads(python.packager("targets", "--json").stdout)
    assert told["schema"] == "edgepack.targets/1"
