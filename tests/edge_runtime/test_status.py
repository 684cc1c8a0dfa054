"""The status of a model: what serves, by what proof, and what is wrong."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import devices
import pytest

from edge_runtime import lifecycle
from edge_runtime.probe import probe
from edge_runtime.runtime import install
from edge_runtime.state.model import ModelStore
from edge_runtime.state.store import Store
from edge_runtime.status import model_status

FACTS = probe()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("device")
    bundle = devices.packed(directory / "b.oci.tar", devices.loan())
    return Path(devices.installed(directory, bundle)[1])


@pytest.fixture
def model(prepared: Path, tmp_path: Path) -> ModelStore:
    shutil.copytree(prepared, tmp_path / "store")
    return Store(tmp_path / "store", "named by the test").model("tiny")


def test_a_sound_model_says_what_serves_and_why(model: ModelStore) -> None:
    status = model_status(model, FACTS)
    assert status["degraded"] == ""
    assert status["metrics"] == "recorded"
    assert (status["versions"], status["previous_good"], status["floor"]) == (
        ["1.4.0"],
        None,
        0,
    )
    assert status["active"] == {
        "version": "1.4.0",
        "release": 1_004_000,
        "digest": model.choices()[0],
        "target": devices.TARGET,
        "variant": "float32",
        "provider": "CPUExecutionProvider",
        "proof": f"on {FACTS.identity}",
    }
    assert [event["action"] for event in status["history"]] == ["activated"]


@pytest.mark.parametrize(
    "facts", [replace(FACTS, engine=None, engine_problem="gone"), replace(FACTS, cpu_model="x")]
)
def test_nothing_is_called_proven_on_another_engine_or_processor(
    model: ModelStore, facts: object
) -> None:
    active = model_status(model, facts)["active"]
    assert (active["variant"], active["provider"]) == (None, None)
    assert active["proof"] == "not on this engine and processor"


def test_a_changed_manifest_is_said(model: ModelStore) -> None:
    file = next(model.versions.iterdir()) / "manifest.json"
    file.chmod(0o644)
    file.write_bytes(b"{}")
    status = model_status(model, FACTS)
    assert "manifest.json was changed" in status["degraded"]
    assert (status["active"]["target"], status["active"]["variant"]) == (None, None)


def test_an_active_version_that_is_gone_is_said(model: ModelStore) -> None:
    directory = next(model.versions.iterdir())
    directory.rename(directory.with_name("0" * 64))
    assert "the active version 1.4.0 is not there" in model_status(model, FACTS)["degraded"]


def test_a_lost_record_is_said(model: ModelStore) -> None:
    for name in ("state-a.json", "state-b.json"):
        (model.path / name).unlink()
    status = model_status(model, FACTS)
    assert status["active"] is None
    assert "both copies of the record are missing" in status["degraded"]
    assert status["floor"] == 1_004_000


def test_metrics_without_a_directory_are_not_called_recorded(model: ModelStore) -> None:
    shutil.rmtree(model.metrics)
    assert model_status(model, FACTS)["metrics"].startswith("not recorded: ")


def test_a_version_that_was_given_up_is_not_called_what_serves(
    model: ModelStore, tmp_path: Path
) -> None:
    store = Store(model.path.parents[1], "named by the test")
    lifecycle.mark_good(store, "tiny")
    bundle = devices.packed(
        tmp_path / "b.oci.tar", devices.loan(), version="1.5.0", release=1_005_000
    )
    install(bundle, store)
    model.loads.mark_failed(model.choices()[0], "it crashed")
    status = model_status(model, FACTS)
    assert status["active"]["version"] == "1.4.0"
    assert status["degraded"] == "1.5.0 failed on probation: it crashed"
    assert status["probation"] == {
        "version": "1.5.0",
        "rows": 0,
        "rows_wanted": 100,
        "good": False,
        "failures": 0,
        "tries": 3,
    }


def test_damaged_settings_are_said(model: ModelStore) -> None:
    (model.path / "settings.json").write_bytes(b"{]")
    assert "the settings do not count" in model_status(model, FACTS)["degraded"]


def test_a_variant_that_was_set_here_is_the_one_that_serves(
    tmp_path: Path, empty: Store
) -> None:
    install(devices.ladder(tmp_path / "b.oci.tar", sound=True), empty)
    lifecycle.set_values(empty, "tiny", ["variant=second"])
    status = model_status(empty.model("tiny"), FACTS)
    assert (status["active"]["variant"], status["settings"]) == (
        "second",
        {"variant": "second"},
    )
