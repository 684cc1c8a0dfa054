"""int8 that saturates on a device's chip, and ships all the same, is refused by its trial."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import skops.io
from sklearn import datasets
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from packager import pipeline
from packager.config import resolve
from packager.search.promised import VNNI, processor_flags
from packager.stages.evaluate import host_is

pytestmark = pytest.mark.skipif(
    not host_is("x86-64") or VNNI.isdisjoint(processor_flags()),
    reason="without VNNI the machine that builds saturates too",
)


@pytest.fixture(scope="module")
def folder(checkout: Path, python: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with weights of 8 bits for a target that promises this machine alone."""
    folder = tmp_path_factory.mktemp("saturating")
    rows = datasets.load_iris(as_frame=True)
    network = MLPClassifier((100, 50), max_iter=120, tol=1e-2, random_state=0)
    model = make_pipeline(StandardScaler(), network).fit(rows.data, rows.target)
    skops.io.dump(model, folder / "iris.skops")
    rows.data.assign(kind=rows.target).to_csv(folder / "rows.csv", index=False)
    profile = (checkout / "targets" / "x86-64-cpu.toml").read_text("utf-8")
    for model_name in ("Nehalem", "Haswell"):
        start = profile.index("[[platform.cpus]]")
        end = profile.index("\n", profile.index(f'qemu = "{model_name}"'))
        profile = profile[:start] + profile[end:]
    profile = profile.replace("reduce-range = true", "reduce-range = false")
    (folder / "own.toml").write_text(profile, "utf-8")
    python.packager("keygen", "--out", "keys", cwd=folder)
    paths = {"model": "iris.skops", "data": "rows.csv", "key": "keys/release.key"}
    config = resolve(
        {
            **{flag: folder / name for flag, name in paths.items()},
            **{"targets": (str(folder / "own.toml"),), "label": "kind", "out": folder},
            **{"name": "iris", "version": "1.0.0", "effort": "quick", "max_drop": "0.5"},
        },
        {},
    )
    with pytest.MonkeyPatch.context() as patch:
        # No candidate is to be turned down for a time taken on a busy machine.
        patch.setattr("packager.stages.evaluate.host_is", lambda _: False)
        pipeline.build(config, lambda *_: None, lambda _: b"")
    return folder


def installed(python: Any, folder: Path, store: Path) -> list[dict[str, str]]:
    """Return the verdicts of a device's trial of the bundle, in the order of the ladder."""
    device = ("--store", store)
    python.edge_runtime(*device, "trust", "add", folder / "keys" / "release.pub")
    done = python.edge_runtime(*device, "install", folder / "iris-1.0.0.oci.tar", "--json")
    verdicts: list[dict[str, str]] = json.loads(done.stdout)["verdicts"]
    return verdicts


def test_the_trial_refuses_int8_on_haswell_and_serves_float32(
    haswell: Any, folder: Path, tmp_path: Path
) -> None:
    verdicts = installed(haswell, folder, tmp_path / "store")
    *refused, serving = verdicts
    assert refused
    assert all(one["code"] == "golden-mismatch" for one in refused)
    assert all(one["variant"].startswith("int8") for one in refused)
    assert (serving["variant"], serving["code"]) == ("float32", "")


def test_on_the_chip_that_was_promised_the_same_bundle_serves_int8(
    python: Any, folder: Path, tmp_path: Path
) -> None:
    verdicts = installed(python, folder, tmp_path / "store")
    assert verdicts[0]["variant"].startswith("int8")
    assert verdicts[0]["code"] == ""
