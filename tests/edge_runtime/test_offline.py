"""Offline means offline: no connection, nothing written but the store and what was named."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import devices
import pytest

STRACE = shutil.which("strace")
NETWORK = "socket,connect,bind,listen,accept,accept4,sendto,sendmsg,sendmmsg"
FILES = (
    "open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,rename,renameat,renameat2,link,linkat,"
    "symlink,symlinkat,unlink,unlinkat,truncate,memfd_create"
)
WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND")
PATHS = re.compile(r'"((?:[^"\\]|\\.)*)"')

pytestmark = pytest.mark.skipif(STRACE is None, reason="strace is not installed")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("device")
    for name in ("home", "work", "temporary", "answers"):
        (directory / name).mkdir()
    devices.trust_file(directory)
    devices.packed(directory / "loan.oci.tar", devices.loan(), name="loan")
    rows = "income (k€),visits,plan\n" + "1,1,gold\n" * 3000
    (directory / "rows.csv").write_text(rows)
    return directory


def watched(place: Path, checkout: Path, *arguments: Path | str) -> list[str]:
    """Run Python, with all its children, and return the calls that matter."""
    hidden = ("CI", "ORT_DISABLE_TELEMETRY", "EDGE_STORE")
    inherited = {
        key: value
        for key, value in os.environ.items()
        if key not in hidden and not key.startswith("XDG_")
    }
    own = {
        "HOME": str(place / "home"),
        "TMPDIR": str(place / "temporary"),
        "PYTHONPATH": str(checkout),
        # Python's own cache beside the code; an installed wheel has it already.
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    log = place / "trace"
    strace = [str(STRACE), "-f", "-qq", "-s", "4096", "-o", str(log)]
    done = subprocess.run(
        [*strace, "-e", f"trace={NETWORK},{FILES}", sys.executable, *map(str, arguments)],
        cwd=place / "work",
        env={**inherited, **own},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    calls = log.read_text(errors="replace").splitlines()
    assert len(calls) > 100, "strace saw too little"
    return calls


def stray(calls: list[str], place: Path, *allowed: Path) -> set[str]:
    """Return what was written, made, renamed, removed or connected, and was not allowed."""
    found = set()
    for line in calls:
        call = line.split(maxsplit=1)[1]
        name = call.partition("(")[0]
        if name in NETWORK.split(",") or name == "memfd_create":
            found.add(call)
        elif not name.startswith("open") or WRITING.search(call):
            found |= {str((place / "work" / path).resolve()) for path in PATHS.findall(call)}
    return {
        path
        for path in found
        if path != os.devnull and not any(Path(path).is_relative_to(root) for root in allowed)
    }


def test_the_watch_sees_what_it_is_for(place: Path, checkout: Path) -> None:
    code = (
        "import os, pathlib, socket, subprocess, sys\n"
        "pathlib.Path.home().joinpath('a').mkdir()\n"
        "pathlib.Path.home().joinpath('a').rmdir()\n"
        "socket.socket().connect_ex(('127.0.0.1', 9))\n"
        "pathlib.Path('here').write_text('')\n"
        "subprocess.run([sys.executable, '-c', 'import os; os.remove(\"here\")'])\n"
    )
    found = stray(watched(place, checkout, "-c", code), place, place / "store")
    assert {str(place / "home/a"), str(place / "work/here")} <= found
    assert any(call.startswith("connect(") and "127.0.0.1" in call for call in found)


@pytest.mark.parametrize("command", ["install", "predict", "metrics", "status"])
def test_no_connection_and_no_write_outside_what_was_named(
    place: Path, checkout: Path, command: str
) -> None:
    flags = ("--store", place / "store")
    if not (place / "store").exists():
        assert devices.run(*flags, "trust", "add", place / "release.pub").code == 0
    if command != "install":
        assert devices.run(*flags, "install", place / "loan.oci.tar").code == 0
    answers = place / "answers/a.csv"
    arguments = {
        "install": [place / "loan.oci.tar"],
        "predict": ["--input", place / "rows.csv", "--output", answers],
    }.get(command, [])
    program = ("-m", "edge_runtime", *flags, command, *arguments)
    calls = watched(place, checkout, *program)
    assert stray(calls, place, place / "store", answers.parent) == set()
    for name in ("home", "work", "temporary"):
        assert list((place / name).iterdir()) == []
    if command == "predict":
        assert [path.name for path in answers.parent.iterdir()] == ["a.csv"]


def test_a_service_that_predicts_in_a_loop_stays_offline(place: Path, checkout: Path) -> None:
    flags = ("--store", place / "store")
    assert devices.run(*flags, "trust", "add", place / "release.pub").code == 0
    assert devices.run(*flags, "install", place / "loan.oci.tar").code == 0
    code = (
        "import sys, edge_runtime\n"
        "record = {'income (k€)': 30, 'visits': 1, 'plan': 'basic'}\n"
        "with edge_runtime.load('loan', store=sys.argv[1]) as model:\n"
        "    for _ in range(500): model.predict_records([record])\n"
    )
    calls = watched(place, checkout, "-c", code, place / "store")
    assert stray(calls, place, place / "store") == set()
    assert stray(calls, place), "nothing was recorded"
