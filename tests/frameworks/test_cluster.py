"""A cluster that the user brings makes the candidates, and the bundle has the same bytes."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import host
import pytest

pytest.importorskip("distributed")

# What docs/search.md says, with a cluster on loopback. Its worker loads the engine's tools only
# if it is given a graph to make.
SCRIPT = """
    import sys

    import joblib
    from dask.distributed import Client, LocalCluster

    import packager.cli


    if __name__ == "__main__":
        local = {"processes": True, "n_workers": 1, "threads_per_worker": 2}
        with (
            LocalCluster(host="127.0.0.1", dashboard_address=None, **local) as cluster,
            Client(cluster) as client,
            joblib.parallel_config("dask"),
        ):
            code = packager.cli.main(sys.argv[1:])
            tools = client.run(lambda: "onnxruntime.quantization" in sys.modules)
            print("worked there:", *tools.values())
        sys.exit(code)
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("cluster")
    host.furnish(where)
    (where / "sweep.py").write_text(textwrap.dedent(SCRIPT))
    return where


def test_a_dask_cluster_on_loopback_makes_the_same_bytes(directory: Path, python: Any) -> None:
    command = (*host.BUILD[:-4], "--key", "keys/release.key")
    python.packager(*command, "--out", "alone", cwd=directory)
    report = directory / "alone" / "cancer-1.4.0.report.json"
    done = python.run(
        directory / "sweep.py", *command, "--replay", report, "--out", "there", cwd=directory
    )
    assert "worked there: True" in done.stdout
    name = "cancer-1.4.0.oci.tar"
    alone, there = (directory / place / name for place in ("alone", "there"))
    assert there.read_bytes() == alone.read_bytes()
