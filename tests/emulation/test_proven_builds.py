"""A build proven on promised CPUs, and its replay where none of them can be asked."""

from __future__ import annotations

import json
from pathlib import Path

import host
import pytest

from packager.sources.environments.helper_env import CACHE

COMMAND = (
    *(
        "build",
        "network.skops",
        "--data",
        "rows.csv",
        "--label",
        host.LABEL,
        "--name",
        "cancer",
    ),
    *("--target", "arm64-cpu", "--effort", "quick"),
)
PROMISED = ["cortex-a53", "cortex-a72", "cortex-a76"]


@pytest.mark.usefixtures("emulators")
def test_a_replay_without_emulators_makes_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.furnish(tmp_path)
    said = host.packager(*COMMAND, "--out", "built", cwd=tmp_path).err
    built = tmp_path / "built" / "cancer-1.0.0.oci.tar"
    report = tmp_path / "built" / "cancer-1.0.0.report.json"
    document = json.loads(report.read_bytes())
    (target,) = document["targets"]
    assert "scoring on cortex-a53, cortex-a72, cortex-a76" in " ".join(said.split())
    for one in target["measured"]:
        if one["name"] in {variant["name"] for variant in target["ladder"]}:
            assert [score["cpu"] for score in one["scores"]] == ["host", *PROMISED]
        assert one["latency"] == {}

    monkeypatch.setenv(CACHE, str(tmp_path / "no emulators"))
    host.packager(*COMMAND, "--replay", report, "--out", "again", cwd=tmp_path)
    again = tmp_path / "again" / "cancer-1.0.0.oci.tar"
    assert again.read_bytes() == built.read_bytes()
    replayed = json.loads((tmp_path / "again" / "cancer-1.0.0.report.json").read_bytes())
    assert replayed == document
