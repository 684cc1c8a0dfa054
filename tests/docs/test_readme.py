"""README and guides do what they say: commands and codes exist, and the quick start runs."""

from __future__ import annotations

import csv
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.contract import errors as shared_errors
from edge_runtime.parser import build_parser
from packager import errors as host_errors
from packager.cli import packager

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = (README, ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md")))
PROGRAMS = ("packager", "edge-runtime", "./dev")

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks(text: str, language: str) -> list[str]:
    return [block for found, block in _BLOCK.findall(text) if found == language]


def _quick_start(language: str) -> str:
    section = README.read_text("utf-8").partition("## Quick start")[2].partition("\n## ")[0]
    return "\n".join(_blocks(section, language))


def _commands(page: Path) -> Iterator[str]:
    """Yield the commands of our programs in a page's shell blocks."""
    for block in _blocks(page.read_text("utf-8"), "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            yield from (part.strip() for part in line.split("&&") if part.split()[:1])


def _ours() -> list[Any]:
    return [
        pytest.param(command, id=f"{page.name}: {command}")
        for page in PAGES
        for command in _commands(page)
        if command.split()[0] in PROGRAMS
    ]


# --- the commands exist --------------------------------------------------------------------


@pytest.mark.parametrize("command", _ours())
def test_every_command_is_one_that_the_program_takes(command: str) -> None:
    program, *arguments = [
        word for word in shlex.split(command, comments=True) if not word.startswith(("<", ">"))
    ]
    if program == "packager":
        assert arguments[0] in packager.commands
        packager.commands[arguments[0]].make_context(arguments[0], arguments[1:])
    elif program == "edge-runtime":
        build_parser().parse_args(arguments)
    else:
        assert arguments[0] in _dev_commands()


def _dev_commands() -> set[str]:
    told = subprocess.run(
        [str(ROOT / "dev"), "help"], capture_output=True, text=True, check=True
    ).stdout
    return set(re.findall(r"^ *\./dev (\w+)", told, re.MULTILINE))


def test_the_readme_names_the_two_commands_and_what_they_install() -> None:
    text = README.read_text("utf-8")
    assert {"./dev demo", "./dev test"} <= set(_commands(README))
    tools = re.search(r"for pair in (.*?);", (ROOT / "dev").read_text("utf-8"), re.DOTALL)
    assert tools is not None
    packages = [pair.rpartition(":")[2] for pair in tools[1].split() if ":" in pair]
    assert packages
    assert [package for package in packages if package not in text] == []


def test_the_page_of_errors_tells_every_code_under_its_exit_code() -> None:
    text = (ROOT / "docs" / "errors.md").read_text("utf-8")
    sections = re.split(r"^## Exit code (\d+)", text, flags=re.MULTILINE)[1:]
    told = {
        (int(number), code)
        for number, section in zip(sections[::2], sections[1::2], strict=True)
        for code in re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)
    }
    modules = (f"{shared_errors.__name__}.", host_errors.__name__)  # tests have own leaves
    leaves = [leaf for leaf in shared_errors.leaves() if leaf.__module__.startswith(modules)]
    assert told == {(leaf.exit_code, leaf.code) for leaf in leaves}


# --- the quick start runs ------------------------------------------------------------------


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what the quick start asks for: a fitted pipeline and other rows."""
    import numpy as np
    import pandas as pd
    import skops.io
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    desk = tmp_path_factory.mktemp("desk")
    random = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "amount": random.gamma(2, 40, 400).round(2),
            "hour": random.integers(0, 24, 400),
            "country": random.choice(["DE", "FR", "PL"], 400),
        }
    )
    rows["fraud"] = (rows.amount + 4 * rows.hour > 120).astype(int)
    columns = ColumnTransformer(
        [("n", StandardScaler(), ["amount", "hour"]), ("c", OneHotEncoder(), ["country"])]
    )
    pipeline = make_pipeline(columns, LogisticRegression())
    pipeline.fit(rows[:200].drop(columns="fraud"), rows[:200].fraud)
    skops.io.dump(pipeline, desk / "fraud.skops")
    rows[200:].to_csv(desk / "rows.csv", index=False)
    return desk


@pytest.fixture(scope="module")
def environment(desk: Path, python: Any) -> dict[str, str]:
    """An environment in which the programs are on the PATH and the store is a new one."""
    programs = desk / "programs"
    programs.mkdir()
    for name, module in (("packager", "packager"), ("edge-runtime", "edge_runtime")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        program.chmod(0o755)
    path = f"{programs}:{python.environment['PATH']}"
    return {**python.environment, "PATH": path, "EDGE_STORE": str(desk / "store")}


@pytest.fixture(scope="module")
def told(desk: Path, environment: dict[str, str]) -> str:
    """What the quick start's commands say, run as they stand there."""
    stick = desk / "stick"
    stick.mkdir()
    script = _quick_start("sh").replace("/media/usb", str(stick))
    return _run(["bash", "-euo", "pipefail", "-c", script], desk, environment)


def _run(command: list[str], cwd: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"exit {done.returncode}: {done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_quick_start_installs_and_answers_every_row(desk: Path, told: str) -> None:
    with (desk / "answers.csv").open(newline="") as stream:
        answers = list(csv.DictReader(stream))
    assert len(answers) == 200
    assert {answer["label"] for answer in answers} == {"0", "1"}
    assert "fraud 1.4.0" in told
    assert "200" in told


@pytest.mark.usefixtures("told")
def test_the_program_of_the_quick_start_prints_an_answer(
    desk: Path, environment: dict[str, str]
) -> None:
    printed = _run([sys.executable, "-c", _quick_start("python")], desk, environment)
    assert "'label': 0" in printed
    assert "'probability': {" in printed
