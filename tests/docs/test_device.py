"""The device's page: its program runs and prints what it says, and every command is told."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import devices
import trusts

from edge_runtime.parser import build_parser
from edge_runtime.state.store import Store

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "device.md").read_text("utf-8")


def test_its_program_runs(tmp_path: Path) -> None:
    loan = devices.loan()
    names = {"income (k€)": "amount", "visits": "hour", "plan": "country"}
    columns = tuple(replace(c, name=names[c.name]) for c in loan.interface.columns)
    fraud = replace(loan, interface=replace(loan.interface, columns=columns))
    bundle = devices.packed(tmp_path / "fraud-1.4.0.oci.tar", fraud, name="fraud")
    _, store = devices.installed(tmp_path, bundle)
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "EDGE_STORE": store, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "fraud 1.4.0 float32 CPUExecutionProvider",
        "yes ['no', 'yes']",
        "['yes' 'yes']",
        "input-value - row 0 (counted from 0): column 'amount' takes a finite decimal number, "
        "found 'many'",
    ]


def test_every_command_is_in_its_table() -> None:
    section = PAGE.partition("## The commands")[2].partition("### ")[0]
    told = set(
        re.findall(r"`([a-z -]+)`", "".join(re.findall(r"^\| (`.*?) \|", section, re.M)))
    )
    commands = build_parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    assert {name.split()[0] for name in told} == set(commands)


def test_what_the_store_holds_is_told(tmp_path: Path) -> None:
    bundle = devices.packed(tmp_path / "b.oci.tar", devices.loan(), name="loan")
    flag = devices.installed(tmp_path, bundle)
    (tmp_path / "rows.csv").write_text("income (k€),visits,plan\n1,1,gold\n")
    files = ("--input", tmp_path / "rows.csv", "--output", tmp_path / "a.csv")
    assert devices.run(*flag, "predict", *files).code == 0
    assert devices.run(*flag, "set", "loan", "threads=1").code == 0
    with Store(Path(flag[1]), "of this test").writing() as writer:
        writer.pin_root(trusts.ROOT.public_key.pem)
        writer.update_trust(trusts.sound())
    section = PAGE.partition("## The store")[2].partition("## ")[0]
    told = re.findall(r"`([\w./-]+)`", " ".join(re.findall(r"^\| (.*?) \|", section, re.M)))
    told = [f"models/NAME/{name}" if name.startswith("state-") else name for name in told]
    patterns = {
        name: re.escape(name)
        .replace("NAME", "loan")
        .replace("FINGERPRINT", "[0-9a-f]{64}")
        .replace("DIGEST\\-ENGINE\\-CPU", "[0-9a-f]{64}-onnxruntime.*")
        .replace("DIGEST", "[0-9a-f]{64}")
        for name in told
    }
    store = Path(flag[1])
    found = [str(path.relative_to(store)) for path in store.rglob("*") if path.is_file()]
    untold = [name for name in found if not any(re.match(p, name) for p in patterns.values())]
    assert untold == []
    unmet = {name for name, p in patterns.items() if not any(re.match(p, f) for f in found)}
    assert unmet == {"incoming/"}
