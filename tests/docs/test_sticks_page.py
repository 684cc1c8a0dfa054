"""The page for whoever stands at a device: its commands parse, its words are the program's."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import devices
from sticks import release

from edge_runtime import sticks as installing_from_sticks
from edge_runtime.parser import build_parser

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "sticks.md").read_text("utf-8")
# Said where a stick is searched, and of what is older than what serves.
BESIDE = {"appledouble", "damaged", "foreign", "half-copied", "link", "older", "unreadable"}


def commands() -> list[str]:
    quoted = re.findall(r"`edge-runtime ([^`]+)`", PAGE)
    return quoted + re.findall(r"^    edge-runtime (.+)$", PAGE, re.MULTILINE)


def test_every_command_of_the_page_parses() -> None:
    assert len(commands()) > 10
    for command in commands():
        build_parser().parse_args(shlex.split(command))


def test_every_word_of_the_program_is_explained_and_no_other() -> None:
    table = PAGE.partition("| word |")[2].partition("\n\n")[0]
    told = set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE))
    assert told == BESIDE | set(installing_from_sticks._WORDS.values())


def test_the_way_through_the_page_works(tmp_path: Path) -> None:
    stick = tmp_path / "usb"
    release(stick / "loan-1.4.0.oci.tar", "1.4.0")
    devices.trust_file(stick)
    store = ("--store", tmp_path / "store")
    said = []
    for line in (
        "trust add {stick}/release.pub",
        "install {stick}",
        "verify",
        "verify --repair {stick}",
        "install {stick} --name loan",
        "support --out {stick}",
    ):
        words = [word.format(stick=stick) for word in line.split()]
        said.append(devices.run(*store, *words))
        assert said[-1].code == 0, said[-1].err
    assert said[1].out.startswith("installed: loan 1.4.0\n")
    assert said[4].out.startswith("already active: loan 1.4.0\n")
    assert (stick / "edge-support-001.tar.gz").is_file()
