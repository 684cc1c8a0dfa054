"""A build replayed under another CPU model is the same file, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("cpu", ["Haswell-noTSX", "Nehalem"])
def test_a_replay_on_an_older_cpu_gives_the_same_bytes(
    cpu: str, emulated: Callable[[str, str], Any], built: Any, tmp_path: Path
) -> None:
    replay = (*built.command, "--replay", built.report, "--out", tmp_path)
    emulated("x86-64", cpu).packager(*replay, cwd=built.rows.parent)
    assert (tmp_path / built.bundle.name).read_bytes() == built.bundle.read_bytes()
