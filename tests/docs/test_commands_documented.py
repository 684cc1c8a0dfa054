"""Every command and flag of both programs stands in the documentation, and none that is not."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from host import LABEL, furnish, packager

from edge_runtime.parser import build_parser
from packager import cli

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "packager.md").read_text("utf-8")
PAGES = {path.name: path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md")}
EVERYWHERE = {"--help", "--json", "--version", "-h"}


def host_flags(group: click.Group = cli.packager) -> Iterator[tuple[str, str]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from host_flags(command)
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                yield from ((name, flag) for flag in parameter.opts)


def device_flags(
    parser: argparse.ArgumentParser | None = None, command: str = ""
) -> Iterator[tuple[str, str]]:
    for action in (parser or build_parser())._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield name, ""
                yield from device_flags(inner, name)
        flags = set(action.option_strings)
        yield from ((command, flag) for flag in flags - EVERYWHERE)


def told(words: str, text: str) -> bool:
    return re.search(rf"`[^`\n]*(?<![\w-]){re.escape(words)}(?![\w-])", text) is not None


# --- nothing is left out -------------------------------------------------------------------


@pytest.mark.parametrize("command", cli.packager.commands)
def test_every_command_of_the_host_has_its_line(command):
    assert re.search(rf"^\| `{command}` \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("command", "flag"), sorted(set(host_flags())))
def test_every_flag_of_the_host_is_told_on_its_page(command, flag):
    assert told(flag, PAGE), f"packager {command} {flag}"


@pytest.mark.parametrize(("command", "flag"), sorted(set(device_flags())))
def test_every_command_and_flag_of_the_device_is_told(command, flag):
    text = "\n".join(PAGES.values())
    assert told(flag or command, text), f"edge-runtime {command} {flag}"


def test_the_page_tells_no_flag_that_is_not():
    flags = {flag for _, flag in host_flags()} | EVERYWHERE
    found = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", PAGE))
    assert found - flags == set()


def test_the_table_of_build_tells_every_flag_and_key():
    table = PAGE.partition("| flag, key |")[2].partition("\n\n")[0]
    for parameter in cli.packager.commands["build"].params:
        if isinstance(parameter, click.Option) and parameter.opts[0] not in EVERYWHERE:
            assert f"`{parameter.opts[0]}`" in table
    assert "`MODEL`, `model`" in table


# --- the page's commands run ---------------------------------------------------------------


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A directory with the files that the page names, and no keys yet."""
    furnish(tmp_path)
    shutil.rmtree(tmp_path / "keys")
    for suffix in ("skops", "onnx"):
        shutil.move(tmp_path / f"line.{suffix}", tmp_path / f"fraud.{suffix}")
    rows = (tmp_path / "numbers.csv").read_text("utf-8")
    (tmp_path / "rows.csv").write_text(rows.replace(LABEL, "fraud", 1), "utf-8")
    (tmp_path / "pass.txt").write_text("secret\n")
    return tmp_path


def test_every_command_of_the_page_works_in_the_order_it_stands_there(desk):
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for line in "".join(blocks).splitlines():
        program, *arguments = shlex.split(line)
        assert program == "packager"
        packager(*arguments, cwd=desk)
    again = (desk / "again" / "fraud-1.4.0.oci.tar").read_bytes()
    assert again == (desk / "dist" / "fraud-1.4.0.oci.tar").read_bytes()


def test_the_program_of_the_page_saves_a_model_that_builds(desk):
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    fitted = "import joblib\npipeline = joblib.load('line.joblib')\n"
    subprocess.run([sys.executable, "-c", fitted + code], cwd=desk, check=True)
    packager("build", "fraud.skops", "--unsigned", "--target", "arm64-cpu", cwd=desk)
