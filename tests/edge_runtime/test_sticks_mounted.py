"""Sticks as file systems: FAT, one that dies, one that is full; and a store too small."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundles
import devices
import onnx
import pytest
import sticks
from sticks import mounted, release, traced

from edge_runtime.state.store import Store

PART = "edge-support-001.tar.gz.part"


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name != "lost+found")


def large(path: Path, mebibytes: int, **changes: Any) -> Path:
    """Write a bundle of a graph of so many MiB, which do not pack well."""
    model = onnx.load_model_from_string(sticks.LOAN.model)
    model.doc_string = os.urandom(mebibytes << 19).hex()
    subject = replace(sticks.LOAN, model=model.SerializeToString(deterministic=True))
    return devices.packed(path, subject, name="loan", **changes)


# --- FAT -----------------------------------------------------------------------------------


def test_a_fat_stick_brings_a_release_and_takes_the_support_file(
    tmp_path: Path, empty: Store
) -> None:
    with mounted(tmp_path, "vfat") as stick:
        release(tmp_path / "b.tar", "1.5.0")
        (stick / "Models").mkdir()
        shutil.copyfile(tmp_path / "b.tar", stick / "Models/loan-1.5.0.oci.tar")
        (stick / "._loan-1.5.0.oci.tar").write_bytes(bytes(4096))
        said = devices.run("--store", empty.root, "install", stick, "--json")
        assert said.code == 0, said.out
        assert said.json["source"] == str(stick / "Models/loan-1.5.0.oci.tar")
        assert [item["word"] for item in said.json["skipped"]] == ["appledouble"]
        for number in (1, 2):
            support = devices.run("--store", empty.root, "support", "--out", stick)
            assert support.code == 0, support.err
            assert support.out.startswith(f"written: {stick}/edge-support-00{number}.tar.gz\n")
        assert [name for name in names(stick) if name.endswith(".part")] == []
        assert devices.run("--store", empty.root, "verify", "--repair", stick).code == 0


def test_a_layout_directory_on_fat_is_installed(tmp_path: Path, empty: Store) -> None:
    with mounted(tmp_path, "vfat") as stick:
        release(tmp_path / "b.tar", "1.5.0")
        for name, data in bundles.entries(tmp_path / "b.tar").items():
            (stick / "layout" / name).parent.mkdir(parents=True, exist_ok=True)
            (stick / "layout" / name).write_bytes(data)
        said = devices.run("--store", empty.root, "install", stick, "--json")
        assert said.code == 0, said.out
        assert said.json["source"] == str(stick / "layout")


# --- reading that fails --------------------------------------------------------------------


@pytest.mark.parametrize("when", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("whole_stick", [True, False], ids=["stick", "file"])
def test_a_read_that_fails_is_typed_and_leaves_nothing(
    tmp_path: Path, empty: Store, when: int, whole_stick: bool
) -> None:
    stick = tmp_path / "usb"
    path = release(stick / "loan.oci.tar", "1.5.0")
    before = devices.snapshot(empty.root)
    done = traced(
        [f"read:error=EIO:when={when}+"],
        path,
        *("--store", empty.root, "install", stick if whole_stick else path),
    )
    assert done.returncode == 4, done.stderr
    head, hint = done.stderr.splitlines()
    assert head.startswith("error[bundle-unreadable]: ")
    assert head.endswith("Input/output error")
    assert hint == "hint: Check the path and the medium, then try again."
    assert devices.snapshot(empty.root) == before
    assert devices.run("--store", empty.root, "install", stick).code == 0


def test_a_stick_pulled_midway_is_typed_and_the_next_one_works(
    tmp_path: Path, empty: Store
) -> None:
    """The medium ends under the mounted file system, and the kernel itself says EIO."""
    large(tmp_path / "b.tar", 16)
    with mounted(tmp_path, "ext4", 32) as stick:
        shutil.copyfile(tmp_path / "b.tar", stick / "loan-1.4.0.oci.tar")
        before = devices.snapshot(empty.root)
        sticks.forgotten(stick, tmp_path / "ext4.img")
        whole = (tmp_path / "ext4.img").stat().st_size
        os.truncate(tmp_path / "ext4.img", 5 << 20)
        try:
            said = devices.run("--store", empty.root, "install", stick / "loan-1.4.0.oci.tar")
        finally:
            os.truncate(tmp_path / "ext4.img", whole)
    assert said.code == 4, said.err
    assert said.err.startswith("error[bundle-unreadable]: ")
    assert "Input/output error" in said.err
    assert devices.snapshot(empty.root) == before
    assert devices.run("--store", empty.root, "install", tmp_path / "b.tar").code == 0


def test_a_directory_that_cannot_be_listed_is_skipped_with_a_word(
    tmp_path: Path, empty: Store
) -> None:
    stick = tmp_path / "usb"
    release(stick / "loan.oci.tar", "1.5.0")
    (stick / "worn").mkdir()
    done = traced(
        ["getdents64:error=EIO"],
        stick / "worn",
        *("--store", empty.root, "install", stick),
    )
    assert done.returncode == 0, done.stderr
    assert "  skipped unreadable  worn: " in done.stdout


# --- writing that fails --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("injection", "reason"),
    [
        ("write:error=ENOSPC:when=1", "No space left on device"),
        ("write:error=EIO:when=1", "Input/output error"),
        ("fsync:error=EIO:when=1", "Input/output error"),
    ],
)
def test_a_support_file_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, store: Store, injection: str, reason: str
) -> None:
    stick = tmp_path / "usb"
    stick.mkdir()
    done = traced(
        [injection], stick / PART, *("--store", store.root, "support", "--out", stick)
    )
    assert done.returncode == 3, done.stderr
    assert done.stderr.splitlines()[-2].startswith(f"error[output-unwritable]: {stick} ")
    assert done.stderr.splitlines()[-2].endswith(reason)
    assert names(stick) == []


@pytest.mark.parametrize("kind", ["vfat", "ext4"])
def test_a_full_stick_gets_no_support_file_and_is_told_with_numbers(
    tmp_path: Path, store: Store, kind: str
) -> None:
    with mounted(tmp_path, kind, 1 if kind == "vfat" else 8) as stick:
        subprocess.run(
            ["dd", "if=/dev/zero", f"of={stick}/films", "bs=1024"],
            capture_output=True,
            check=False,
        )
        said = devices.run("--store", store.root, "support", "--out", stick)
        assert said.code == 3
        assert "error[output-unwritable]: " in said.err
        assert " free" in said.err
        assert names(stick) == ["films"]


# --- a store too small ---------------------------------------------------------------------


def test_a_store_too_small_is_told_with_numbers_before_anything_is_written(
    tmp_path: Path,
) -> None:
    first = large(tmp_path / "a.tar", 2)
    second = large(tmp_path / "b.tar", 6, version="1.5.0", release=1_005_000)
    with mounted(tmp_path, "ext4", 8) as disk:
        (flag, root) = devices.trusting(disk)
        assert devices.run(flag, root, "install", first).code == 0
        before = devices.snapshot(Path(root))
        said = devices.run(flag, root, "install", second)
        assert said.code == 5
        assert said.err.startswith(
            "error[no-space]: the package needs 6.3 MiB beside the 2.0 MiB"
        )
        assert devices.snapshot(Path(root)) == before


def test_a_stream_larger_than_the_disk_is_given_up_and_leaves_no_byte(tmp_path: Path) -> None:
    with mounted(tmp_path, "ext4", 8) as disk:
        (flag, root) = devices.trusting(disk)
        free, before = os.statvfs(disk).f_bavail, devices.snapshot(Path(root))
        with Path("/dev/zero").open("rb") as zeros:
            done = subprocess.run(
                [sys.executable, "-m", "edge_runtime", flag, root, "install", "-"],
                stdin=zeros,
                env={**os.environ, "PYTHONPATH": str(sticks.CHECKOUT)},
                capture_output=True,
                text=True,
                check=False,
            )
        assert done.returncode == 5, done.stderr
        assert done.stderr.startswith("error[no-space]: at least ")
        assert devices.snapshot(Path(root)) == before
        assert os.statvfs(disk).f_bavail == free
