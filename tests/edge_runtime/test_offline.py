"""Offline means offline: no connection, nothing written but the store and what was named."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import bundles
import devices
import pytest
import trusts

from edge_runtime.parser import build_parser

STRACE = shutil.which("strace")
NETWORK = "socket,connect,bind,listen,accept,accept4,sendto,sendmsg,sendmmsg"
FILES = (
    "open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,rename,renameat,renameat2,link,linkat,"
    "symlink,symlinkat,unlink,unlinkat,truncate,memfd_create"
)
WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND")
# A path, and the directory that it starts from where one is given by its descriptor.
PATHS = re.compile(r'(?:<(?P<start>/[^>]*)>, )?"(?P<path>(?:[^"\\]|\\.)*)"')
# What a process tells the kernel of itself, or of its child, is written to no disk.
KERNEL = re.compile(r"/proc/\d+/oom_score_adj")

pytestmark = pytest.mark.skipif(STRACE is None, reason="strace is not installed")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("device")
    for name in ("home", "work", "temporary", "answers", "stick", "usb"):
        (directory / name).mkdir()
    devices.trust_file(directory)
    releases(directory)
    (directory / "stick/._loan-1.6.0.oci.tar").write_bytes(b"\0\5\x16\7")
    (directory / "root.pub").write_bytes(trusts.ROOT.public_key.pem)
    (directory / "trust.json").write_bytes(trusts.sound())
    rows = "income (k€),visits,plan\n" + "1,1,gold\n" * 3000
    (directory / "rows.csv").write_text(rows)
    return directory


def releases(directory: Path) -> None:
    """Write loan 1.4.0 to 1.7.0, of which one lies on a stick."""
    for minor, name in enumerate(("loan", "loan-1.5.0", "stick/loan-1.6.0", "loan-1.7.0"), 4):
        devices.packed(
            directory / f"{name}.oci.tar",
            devices.loan(),
            name="loan",
            version=f"1.{minor}.0",
            release=1_000_000 + 1000 * minor,
        )


def watched(
    place: Path, checkout: Path, *arguments: Path | str, program: str = sys.executable
) -> list[str]:
    """Run Python or another program, with all its children; return the calls that matter."""
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
    strace = [str(STRACE), "-f", "-y", "-qq", "-s", "4096", "-o", str(log)]
    done = subprocess.run(
        [*strace, "-e", f"trace={NETWORK},{FILES}", program, *map(str, arguments)],
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
            for path in PATHS.finditer(call):
                start = path["start"] or place / "work"
                found.add(str(Path(start, path["path"]).resolve()))
    return {
        path
        for path in found
        if path != os.devnull
        and not KERNEL.fullmatch(path)
        and not any(Path(path).is_relative_to(root) for root in allowed)
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


# Every command, in an order in which each does its work; $E is the program with its store.
SCRIPT = """
$E trust add $P/release.pub
$E trust add $P/root.pub --root
$E trust update $P/trust.json
$E trust list
$E probe
$E verify $P/loan.oci.tar
$E install $P/loan.oci.tar
$E install $P/loan.oci.tar
$E mark-good loan
$E install - < $P/loan-1.5.0.oci.tar
$E predict --input $P/rows.csv --output $P/answers/a.csv
$E predict --input $P/rows.csv --output $P/answers/b.csv --timeout-ms 60000
$E predict --input $P/rows.csv --output $P/answers/c.csv --isolate
$E metrics
$E status
$E status loan --history
$E health loan
$E set loan threads=1
$E trial loan
$E trial loan --kept
$E exec loan -- /bin/true
$E path loan
$E mark-good loan
$E install $P/stick
$E rollback loan
$E install --stage-only $P/loan-1.7.0.oci.tar
$E activate loan@1.7.0
$E rollback loan
$E remove loan@1.7.0
$E verify
$E verify --repair $P/loan-1.5.0.oci.tar
$E support --out $P/usb
$E trust remove $(cut -c1-16 $P/fingerprint)
"""


def commands() -> set[str]:
    """Return every command of the device, those of groups included."""
    found = set()
    open_parsers = [("", build_parser())]
    while open_parsers:
        prefix, parser = open_parsers.pop()
        groups = [action.choices for action in parser._actions if _holds_commands(action)]
        inner = {f"{prefix}{name}": one for choices in groups for name, one in choices.items()}
        open_parsers += [(f"{name} ", one) for name, one in inner.items()]
        found |= inner.keys() if inner else {prefix.strip()}
    return {name for name in found if name and name != "trust"}


def _holds_commands(action: argparse.Action) -> bool:
    return isinstance(action, argparse._SubParsersAction)


def test_the_script_below_names_every_command() -> None:
    assert {name for name in commands() if f"$E {name}" not in SCRIPT} == set()


def test_no_command_connects_or_writes_outside_what_was_named(
    place: Path, checkout: Path
) -> None:
    store = place / "all"
    (place / "fingerprint").write_text(bundles.SIGNER.public_key.fingerprint)
    script = place / "script"
    program = f"{sys.executable} -m edge_runtime --store {store}"
    script.write_text(f"set -eux\nE='{program}'\nP={place}\n{SCRIPT}")
    calls = watched(place, checkout, script, program="/bin/sh")
    assert stray(calls, place, store, place / "answers", place / "usb") == set()
    for name in ("home", "work", "temporary"):
        assert list((place / name).iterdir()) == []
    assert sorted(path.name for path in (place / "answers").iterdir()) == [
        "a.csv",
        "b.csv",
        "c.csv",
    ]
    assert len(list((place / "usb").iterdir())) == 1


LOOPS = {
    "plain": "edge_runtime.load('loan', store=store)",
    "with a deadline": "edge_runtime.load('loan', store=store, timeout_ms=60_000)",
    "in a worker": "edge_runtime.load('loan', store=store, isolate=True)",
    "that follows": "edge_runtime.load('loan', store=store, follow=True)",
}


@pytest.mark.parametrize("load", LOOPS.values(), ids=LOOPS)
def test_a_service_that_predicts_in_a_loop_stays_offline(
    place: Path, checkout: Path, load: str
) -> None:
    flags = ("--store", place / "store")
    assert devices.run(*flags, "trust", "add", place / "release.pub").code == 0
    assert devices.run(*flags, "install", place / "loan.oci.tar").code == 0
    code = (
        "import sys, edge_runtime\n"
        "store = sys.argv[1]\n"
        "record = {'income (k€)': 30, 'visits': 1, 'plan': 'basic'}\n"
        f"with {load} as model:\n"
        "    for _ in range(500): model.predict_records([record])\n"
    )
    calls = watched(place, checkout, "-c", code, place / "store")
    assert stray(calls, place, place / "store") == set()
    assert stray(calls, place), "nothing was recorded"


def test_a_version_that_is_taken_up_while_it_serves_is_taken_up_offline(
    place: Path, checkout: Path
) -> None:
    store = place / "followed"
    flags = ("--store", store)
    assert devices.run(*flags, "trust", "add", place / "release.pub").code == 0
    assert devices.run(*flags, "install", place / "loan.oci.tar").code == 0
    assert devices.run(*flags, "mark-good", "loan").code == 0
    code = (
        "import subprocess, sys, edge_runtime\n"
        "store, bundle = sys.argv[1:]\n"
        "record = {'income (k€)': 30, 'visits': 1, 'plan': 'basic'}\n"
        "program = [sys.executable, '-m', 'edge_runtime', '--store', store]\n"
        "with edge_runtime.load('loan', store=store, follow=True) as model:\n"
        "    model.predict_records([record])\n"
        "    subprocess.run([*program, 'install', bundle], check=True)\n"
        "    while model.version != '1.5.0': model.predict_records([record])\n"
    )
    calls = watched(place, checkout, "-c", code, store, place / "loan-1.5.0.oci.tar")
    assert stray(calls, place, store) == set()
