"""Root installs; a service without rights predicts, and is recorded or told that it is not."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import devices
import numpy as np
import pytest

from edge_runtime.state.loads import Marks
from edge_runtime.state.store import Store

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
    assert ask(public_directory, "mark-good")["code"] == 0
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
        ["mark-good", "loan"],
        ["rollback", "loan"],
        ["activate", "loan@1.4.0"],
        ["remove", "loan@1.4.0"],
        ["set", "loan", "threads=1"],
    ):
        said = as_nobody(lambda given=arguments: ask(place, *given), group)
        assert said["code"] == 5, said
        assert said["err"].startswith("error[store-unwritable]: ")
        assert f"by user {STRANGER}" in said["err"]
    assert devices.snapshot(place / "store") == before


@pytest.fixture
def probation(place: Path) -> Path:
    """The same with a newer version on probation."""
    newer = devices.packed(
        place / "next.oci.tar", devices.loan(), name="loan", version="1.5.0", release=1_005_000
    )
    assert ask(place, "install", str(newer))["code"] == 0
    return place


def marks(place: Path) -> Marks:
    model = Store(place / "store", "named by the test").model("loan")
    return model.loads.marks(model.read().state.active.digest)


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_a_member_of_the_group_proves_a_version_and_everybody_sees_it(
    probation: Path, as_nobody: AsNobody, umask: int
) -> None:
    place = probation
    (place / "rows.csv").write_text(ROWS + "30,3,basic\n" * 60)

    def under_umask() -> dict[str, Any]:
        os.umask(umask)
        return predict(place, f"{os.getpid()}")

    assert as_nobody(under_umask, GROUP)["err"] == ""
    assert marks(place) == Marks(rows=63)
    assert as_nobody(lambda: ask(place, "status"))["out"].count("63 of 100 rows answered") == 1
    assert as_nobody(under_umask, GROUP)["err"] == ""
    assert marks(place).good
    loads = place / "store/models/loan/loads"
    assert {stat.S_IMODE(path.stat().st_mode) for path in loads.iterdir()} == {0o664}
    assert "1.5.0: passed" in as_nobody(lambda: ask(place, "status"))["out"]
    assert ask(place, "mark-good")["code"] == 0
    assert list(loads.iterdir()) == []


def test_nobody_who_cannot_be_counted_is_served_by_a_version_on_probation(
    probation: Path, as_nobody: AsNobody
) -> None:
    before = devices.snapshot(probation / "store")
    said = as_nobody(lambda: predict(probation, "stranger"))
    assert said["code"] == 0, said["err"]
    assert "answered by loan 1.4.0" in said["out"]
    assert (
        "this load on probation cannot be counted: Permission denied; 1.4.0 serves until the "
        "new version is proven" in said["err"]
    )
    assert devices.snapshot(probation / "store") == before


@pytest.mark.parametrize("planted", ["link", "second name", "pipe", "directory"])
def test_what_a_member_of_the_group_plants_beside_never_harms_the_owner(
    probation: Path, as_nobody: AsNobody, planted: str
) -> None:
    model = Store(probation / "store", "named by the test").model("loan")
    digest = model.read().state.active.digest
    secret = probation / "owner.txt"
    secret.write_text("the owner's")
    secret.chmod(0o666)

    def plant() -> None:
        for name in (
            f"{digest}.rows",
            f"{digest}.0.load",
            f".{digest}.good.{os.getppid()}.tmp",
        ):
            path = model.loads.directory / name
            {
                "link": lambda path=path: path.symlink_to(secret),
                "second name": lambda path=path: os.link(secret, path),
                "pipe": lambda path=path: os.mkfifo(path, 0o666),
                "directory": lambda path=path: path.mkdir(0o777),
            }[planted]()

    if planted == "second name":
        plant()  # the kernel may let nobody link to what is not his
    else:
        as_nobody(plant, GROUP)
    (probation / "rows.csv").write_text(ROWS + "30,3,basic\n" * 200)
    for _ in range(2):
        assert predict(probation, "owner")["code"] == 0
    assert ask(probation, "mark-good", "loan")["code"] == 0
    assert ask(probation, "status")["code"] == 0
    assert secret.read_text() == "the owner's"
    assert model.read().state.candidate is None


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
