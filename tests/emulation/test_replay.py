"""A build replayed under another CPU model is the same file, byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def test_a_replay_on_haswell_gives_the_same_bytes(
    haswell: Any, built: Any, tmp_path: Path
) -> None:
    replay = (*built.command, "--replay", built.report, "--out", tmp_path)
    haswell.packager(*replay, cwd=built.rows.parent)
    assert (tmp_path / built.bundle.name).read_bytes() == built.bundle.read_bytes()
