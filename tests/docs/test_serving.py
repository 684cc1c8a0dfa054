"""The page about serving: its program runs, its units start commands that exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from configparser import RawConfigParser
from dataclasses import asdict, replace
from pathlib import Path

import devices

from edge_runtime.following import Progress
from edge_runtime.parser import build_parser

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text("utf-8")


def installed(directory: Path) -> dict[str, str]:
    """Install the model that the page speaks of; return the environment to use it in."""
    loan = devices.loan()
    names = {"income (k€)": "amount", "visits": "hour", "plan": "country"}
    columns = tuple(replace(c, name=names[c.name]) for c in loan.interface.columns)
    fraud = replace(loan, interface=replace(loan.interface, columns=columns))
    bundle = devices.packed(directory / "fraud-1.4.0.oci.tar", fraud, name="fraud")
    _, store = devices.installed(directory, bundle)
    return {**os.environ, "EDGE_STORE": store, "PYTHONPATH": str(ROOT)}


def test_its_program_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=installed(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "['yes'] by 1.4.0"


def test_every_key_of_following_is_told_and_no_other() -> None:
    section = PAGE.partition("| key | says |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(asdict(Progress()))


def test_every_variable_that_a_program_finds_is_told_and_no_other(tmp_path: Path) -> None:
    environment = installed(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "edge_runtime", "exec", "fraud", "--", "env"],
        env={name: environment[name] for name in ("PATH", "EDGE_STORE", "PYTHONPATH")},
        capture_output=True,
        text=True,
        check=True,
    )
    given = {line.partition("=")[0] for line in done.stdout.splitlines()}
    section = PAGE.partition("| variable | holds |")[2].partition("\n\n")[0]
    told = re.findall(r"`([A-Z_]+)`", "".join(re.findall(r"^\|(.*?)\|", section, re.M)))
    assert set(told) <= given
    assert {name for name in given if name.startswith("EDGE_MODEL")} <= set(told)


def test_its_units_start_commands_that_exist() -> None:
    units = re.findall(r"^```ini\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    started = []
    for unit in units:
        # Keys come more than once, which this parser only allows where it is not strict.
        parser = RawConfigParser(strict=False)
        parser.read_string(unit)
        assert parser["Service"]["Restart"] == "on-failure"
        started += re.findall(r"^Exec\w+=\+?edge-runtime (.*)$", unit, re.MULTILINE)
    assert len(started) == 2
    for arguments in started:
        assert callable(build_parser().parse_args(shlex.split(arguments)).run)
