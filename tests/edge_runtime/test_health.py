"""Health: well only where everything serves as it was installed and proven."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundles
import devices
import pytest

import edge_runtime
from edge_runtime import health, lifecycle
from edge_runtime.contract.errors import HealthAlarm
from edge_runtime.health import require_health
from edge_runtime.probe import probe
from edge_runtime.runtime import install
from edge_runtime.state.store import Store

LOAN = devices.loan()
FACTS = probe()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which 1.4.0 is proven and 1.5.0 is on probation."""
    directory = tmp_path_factory.mktemp("device")
    devices.installed(directory, devices.packed(directory / "4.oci.tar", LOAN, name="loan"))
    store = Store(directory / "store", "named by the test")
    lifecycle.mark_good(store, "loan")
    newer = devices.packed(
        directory / "5.oci.tar", LOAN, name="loan", version="1.5.0", release=1_005_000
    )
    install(newer, store)
    return directory


def alarms(store: Store) -> str:
    """Return what is not well, and demand that looking changed nothing."""
    before = devices.snapshot(store.root)
    with pytest.raises(HealthAlarm) as caught:
        require_health(store, store.models())
    assert devices.snapshot(store.root) == before
    assert caught.value.exit_code == 8
    found: list[str] = caught.value.values["alarms"]
    assert all(alarm in caught.value.message for alarm in found)
    return "; ".join(found)


def digest(store: Store) -> str:
    found = store.model("loan").read().state.active
    assert found is not None
    return found.digest


def test_what_serves_as_proven_is_well_also_on_probation(store: Store) -> None:
    assert require_health(store, ["loan"]) == [{"name": "loan", "version": "1.5.0"}]
    lifecycle.mark_good(store, "loan")
    assert require_health(store, ["loan"]) == [{"name": "loan", "version": "1.5.0"}]


def test_a_store_without_a_model_is_not_well(tmp_path: Path) -> None:
    store = Store(tmp_path / "typo", "named by the test")
    assert alarms(store) == f"no model is installed in {tmp_path}/typo (named by the test)"


def rolled_back(store: Store) -> None:
    lifecycle.roll_back(store, "loan", "by command")


def failing(store: Store) -> None:
    load = store.model("loan").loads.begin(digest(store), durable=True)
    load.answered()
    # As the kernel does when the process is killed.
    load._descriptor, descriptor = -1, load._descriptor
    os.close(descriptor)


def given_up(store: Store) -> None:
    store.model("loan").loads.mark_failed(digest(store), "it crashed")


def unproven(store: Store) -> None:
    shutil.rmtree(store.model("loan").path / "local")


def untrusted(store: Store) -> None:
    with store.writing() as writer:
        writer.remove_key(bundles.SIGNER.public_key.fingerprint)
        writer.add_key(bundles.STRANGER.public_key.pem)


def half_lost(store: Store) -> None:
    (store.model("loan").path / "state-a.json").unlink()


def lost(store: Store) -> None:
    for name in ("state-a.json", "state-b.json"):
        (store.model("loan").path / name).unlink()


def damaged(store: Store) -> None:
    (store.model("loan").version(digest(store)) / "manifest.json").unlink()


def set_wrongly(store: Store) -> None:
    (store.model("loan").path / "settings.json").write_bytes(b"{]")


CASES: list[tuple[Callable[[Store], None], str]] = [
    (rolled_back, "loan: rolled back: 1.5.0: by command"),
    (failing, "loan: 1 loads of 1.5.0 on probation did not end in order, 3 give it up"),
    (given_up, "loan: 1.5.0 failed on probation: it crashed"),
    (unproven, "loan: 1.5.0 is not proven on this engine and processor"),
    (untrusted, "loan: the bundle is signed by key"),
    (half_lost, "one of state-a.json and state-b.json is missing"),
    (lost, "loan: no version is active"),
    (damaged, "manifest.json: No such file"),
    (set_wrongly, "the settings do not count"),
]


@pytest.mark.parametrize(("bring_about", "told"), CASES, ids=[c[0].__name__ for c in CASES])
def test_what_is_otherwise_is_an_alarm(
    store: Store, bring_about: Callable[[Store], None], told: str
) -> None:
    bring_about(store)
    assert told in alarms(store)


def test_an_engine_that_is_gone_is_an_alarm(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone: Any = replace(FACTS, engine=None, engine_problem="ONNX Runtime is not installed")
    monkeypatch.setattr(health, "probe", lambda: gone)
    assert alarms(store) == "ONNX Runtime is not installed"


def test_a_process_that_runs_another_version_is_to_be_restarted(store: Store) -> None:
    with edge_runtime.load("loan", store=store):
        lifecycle.roll_back(store, "loan", "by command")
        pid = os.getpid()
        assert f"active 1.4.0, running 1.5.0 in pid {pid}: restart it" in alarms(store)
    assert "restart" not in alarms(store)


def test_every_alarm_is_told_and_not_the_first_alone(store: Store) -> None:
    half_lost(store)
    unproven(store)
    found = alarms(store)
    assert "is missing" in found
    assert "not proven" in found
