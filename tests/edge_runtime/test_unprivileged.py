"""Root installs; a service without rights predicts, and is recorded or told that it is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import devices
import numpy as np
import pytest

GROUP = 4242
STRANGER = 65534
ROWS = "income (k€),visits,plan\n4.5,1,basic\n,2,gold\n30,3,basic\n"

AsNobody = Callable[..., Any]


@pytest.fixture
def place(public_directory: Path, as_nobody: AsNobody) -> Path:
    """A directory with rows and with a store of root's, whose group is the service's."""
    del as_nobody  # asked for, because it tells whether this is root
    store = public_directory / "store"
    store.mkdir()
    os.chown(store, 0, GROUP)
    bundle = devices.packed(public_directory / "b.oci.tar", devices.loan(), name="loan")
    devices.installed(public_directory, bundle)
    (public_directory / "rows.csv").write_text(ROWS)
    (public_directory / "answers").mkdir()
    (public_directory / "answers").chmod(0o777)
    # What follows happens in forks of this process, which may not be able to import any more.
    assert predict(public_directory, "root")["code"] == 0
    assert ask(public_directory, "status")["code"] == 0
    return public_directory


def ask(place: Path, *arguments: str) -> dict[str, Any]:
    return asdict(devices.run("--store", place / "store", *arguments))


def predict(place: Path, who: str) -> dict[str, Any]:
    answers = place / "answers" / f"{who}.csv"
    rows = ("--input", str(place / "rows.csv"), "--output", str(answers))
    return ask(place, "predict", "loan", *rows)


def recorded(place: Path) -> int:
    rows: int = devices.run("--store", place / "store", "metrics", "--json").json["rows"]
    return rows


def test_a_member_of_the_store_s_group_predicts_and_is_recorded(
    place: Path, as_nobody: AsNobody
) -> None:
    before, rows = devices.snapshot(place / "store", without="metrics"), recorded(place)
    said = as_nobody(lambda: predict(place, "service"), GROUP)
    assert said["code"] == 0, said["err"]
    assert said["err"] == ""
    assert (place / "answers/service.csv").read_text().count("\n") == 4
    assert (place / "answers/service.csv").stat().st_uid == STRANGER
    assert recorded(place) == rows + 3
    assert devices.snapshot(place / "store", without="metrics") == before
    segments = [path.stat() for path in (place / "store/models/loan/metrics").iterdir()]
    assert STRANGER in [segment.st_uid for segment in segments]
    assert {segment.st_gid for segment in segments} == {GROUP}
    assert "metrics    recorded" in as_nobody(lambda: ask(place, "status"), GROUP)["out"]


def test_anybody_else_predicts_and_is_told_that_nothing_is_recorded(
    place: Path, as_nobody: AsNobody
) -> None:
    before, rows = devices.snapshot(place / "store"), recorded(place)
    said = as_nobody(lambda: predict(place, "stranger"))
    assert said["code"] == 0, said["err"]
    assert (place / "answers/stranger.csv").read_text().count("\n") == 4
    assert said["err"].startswith("warning: metrics: metrics are not written to ")
    status = as_nobody(lambda: ask(place, "status"))["out"]
    assert f"not recorded: user {STRANGER} may not write to" in status
    assert f"members of group {GROUP} may" in status
    assert recorded(place) == rows
    assert devices.snapshot(place / "store") == before


@pytest.mark.parametrize("group", [GROUP, STRANGER])
def test_nobody_but_the_owner_changes_what_is_trusted_or_serves(
    place: Path, as_nobody: AsNobody, group: int
) -> None:
    newer = devices.packed(
        place / "next.oci.tar", devices.loan(), name="loan", version="1.5.0", release=1_005_000
    )
    fingerprint = devices.run("--store", place / "store", "trust", "list").out.strip()
    before = devices.snapshot(place / "store")
    for arguments in (
        ["trust", "add", str(place / "release.pub")],
        ["trust", "remove", fingerprint],
        ["install", str(newer)],
    ):
        said = as_nobody(lambda given=arguments: ask(place, *given), group)
        assert said["code"] == 5, said
        assert said["err"].startswith("error[store-unwritable]: ")
        assert f"by user {STRANGER}" in said["err"]
    assert devices.snapshot(place / "store") == before


def interpreter() -> str:
    """Return a Python of this version that users without rights can start."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (
        sys.executable,
        f"/usr/bin/python{version}",
        f"/usr/local/bin/python{version}",
    ):
        try:
            subprocess.run([candidate, "-c", "import zlib"], user=STRANGER, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return candidate
    pytest.skip("no Python of this version can be started by users without rights")


def test_a_service_proves_a_model_for_itself_where_it_may_not_keep_the_proof(
    place: Path, checkout: Path
) -> None:
    python = interpreter()
    shutil.rmtree(place / "store/models/loan/local")
    before = devices.snapshot(place / "store", without="metrics")
    code = (
        "import sys, edge_runtime\n"
        "with edge_runtime.load('loan', store=sys.argv[1]) as model:\n"
        "    record = {'income (k€)': 30, 'visits': 1, 'plan': 'basic'}\n"
        "    print(model.predict_records([record])[0]['label'], model.status()['proof'])\n"
    )
    libraries = str(Path(np.__file__).parents[1])
    done = subprocess.run(
        [python, "-c", code, str(place / "store")],
        user=STRANGER,
        group=GROUP,
        extra_groups=[],
        cwd="/",
        env={"PYTHONPATH": os.pathsep.join([str(checkout), libraries]), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("yes golden vectors held in a trial at this load")
    assert f"it was not kept: {place}/store/lock cannot be written by user {STRANGER}" in (
        done.stdout
    )
    assert devices.snapshot(place / "store", without="metrics") == before
