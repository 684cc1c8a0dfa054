"""A real disk without room: what does not fit is refused, and what serves goes on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from power_checks import Cut, fault_of
from power_cuts import Yard
from power_disks import Disk
from power_operations import INSTALL_OVER
from power_world import World

from edge_runtime.state.writer import StoreWriter


def test_wherever_a_disk_gets_full_an_installation_leaves_what_serves(
    yard: Yard, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where somebody else fills the disk once the space was found to suffice.
    monkeypatch.setattr(StoreWriter, "_require_space", lambda *_: None)
    reasons: set[str] = set()
    for free_kib in range(0, 120, 3):
        disk = yard.made(INSTALL_OVER).copied(tmp_path / "full.img")
        with disk.mounted() as point:
            root, ballast = point / "store", point / "ballast"
            _fill(ballast, disk, free_kib << 10)
            said = world.run(root, INSTALL_OVER.command)
            assert said.code in (0, 5), said.err
            if said.code:
                assert said.err.startswith("error[no-space]"), said.err
                assert not (root / "incoming").exists()
            reasons.add(said.err.partition("\n")[0].rpartition("/")[2] or "it fits")
            ballast.unlink()
            cut = Cut(told=int(not said.code), floor=0)
            assert fault_of(world, INSTALL_OVER, root, cut) == "", free_kib
    assert "it fits" in reasons
    assert len(reasons) > 2, reasons  # it stopped at different steps


def _fill(path: Path, disk: Disk, left: int) -> None:
    """Write a file that leaves so many bytes on a disk, as its user sees it."""
    facts = os.statvfs(disk.point)
    with path.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, facts.f_bavail * facts.f_frsize - left - 8192)
        facts = os.statvfs(disk.point)
        rest = facts.f_bavail * facts.f_frsize - left
        if rest > 0:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size + rest)
