"""The life of installed versions: proven, gone back from, activated and removed."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import bundles
import devices
import pytest

import edge_runtime
from edge_runtime import lifecycle
from edge_runtime.contract.errors import (
    DigestMismatch,
    GoldenMismatch,
    InterfaceChanged,
    NothingProven,
    NotInstalled,
    ReleaseTooOld,
    SettingInvalid,
    SignerUntrusted,
    StoreBusy,
    VersionServes,
)
from edge_runtime.contract.table import Column
from edge_runtime.probe import probe
from edge_runtime.runtime import Installation, install
from edge_runtime.state.record import State
from edge_runtime.state.settings import Settings
from edge_runtime.state.store import Store

LOAN = devices.loan()
BY_COMMAND = "by command"


def add(
    store: Store, minor: int, subject: devices.Subject = LOAN, **flags: bool
) -> Installation:
    """Install a version with this minor number."""
    path = devices.packed(
        store.root.parent / f"loan-1.{minor}.0.oci.tar",
        subject,
        name="loan",
        version=f"1.{minor}.0",
        release=1_000_000 + minor * 1000,
    )
    return install(path, store, **flags)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which 1.4.0 is proven and 1.5.0 is on probation."""
    directory = tmp_path_factory.mktemp("device")
    devices.trusting(directory)
    store = Store(directory / "store", "named by the test")
    add(store, 4)
    lifecycle.mark_good(store, "loan")
    add(store, 5)
    return directory


def state(store: Store) -> State:
    return store.model("loan").read().state


def installed(store: Store) -> list[str]:
    found = store.model("loan").installed()
    return [item.manifest.version for item in found if item.manifest]


def said(store: Store) -> list[str]:
    """Return the history in short."""
    return [f"{event.action} {event.version}" for event in state(store).history]


# --- marked good ---------------------------------------------------------------------------


def test_what_is_marked_good_is_proven_and_raises_the_floor(store: Store) -> None:
    done = lifecycle.mark_good(store, "loan")
    assert (done.version, done.changed, done.removed) == ("1.5.0", True, ())
    assert (state(store).candidate, state(store).floor) == (None, 1_005_000)
    with pytest.raises(ReleaseTooOld):
        add(store, 3)
    again = lifecycle.mark_good(store, "loan")
    assert (again.version, again.changed) == ("1.5.0", False)


def test_a_version_that_failed_meanwhile_is_not_called_good(store: Store) -> None:
    model = store.model("loan")
    model.loads.mark_failed(model.choices()[0], "prediction-failed: it crashed")
    done = lifecycle.mark_good(store, "loan")
    assert (done.version, done.changed) == ("1.4.0", True)
    assert done.detail == "1.5.0 failed on probation: prediction-failed: it crashed"
    assert state(store).floor == 1_004_000


def test_the_operator_may_call_good_what_failed_where_nothing_else_is_proven(
    empty: Store,
) -> None:
    add(empty, 4)
    model = empty.model("loan")
    model.loads.mark_failed(model.choices()[0], "it was slow")
    assert lifecycle.mark_good(empty, "loan").changed
    assert model.standing().reason == ""


# --- gone back -----------------------------------------------------------------------------


@pytest.mark.parametrize("proven", [False, True])
def test_a_rollback_serves_the_version_before_and_keeps_the_other_to_look_at(
    store: Store, *, proven: bool
) -> None:
    if proven:
        lifecycle.mark_good(store, "loan")
    done = lifecycle.roll_back(store, "loan", BY_COMMAND)
    assert (done.version, done.changed, done.detail) == ("1.4.0", True, BY_COMMAND)
    assert installed(store) == ["1.5.0", "1.4.0"]
    assert state(store).floor == (1_005_000 if proven else 1_004_000)
    with edge_runtime.load("loan", store=store) as model:
        assert (model.version, model.status()["probation"]) == ("1.4.0", False)
    with pytest.raises(NothingProven, match="no other version was proven before it"):
        lifecycle.roll_back(store, "loan", BY_COMMAND)


def test_what_was_rolled_back_goes_with_the_next_activation(store: Store) -> None:
    lifecycle.roll_back(store, "loan", BY_COMMAND)
    add(store, 6)
    assert installed(store) == ["1.6.0", "1.4.0"]


def test_what_was_rolled_back_may_be_installed_again(store: Store) -> None:
    lifecycle.roll_back(store, "loan", BY_COMMAND)
    done = add(store, 5)
    assert done.changed
    assert store.model("loan").standing().probation
    assert said(store)[-2:] == ["rolled back 1.5.0", "activated 1.5.0"]


def test_one_that_fails_where_nothing_was_proven_gets_another_trial_by_installing_it(
    empty: Store,
) -> None:
    add(empty, 4)
    model = empty.model("loan")
    model.loads.mark_failed(model.choices()[0], "it was slow")
    assert add(empty, 4).changed
    assert model.standing().reason == ""
    assert not add(empty, 4).changed


def test_a_rollback_that_a_probation_has_decided_already_is_recorded_once(
    store: Store,
) -> None:
    model = store.model("loan")
    model.loads.mark_failed(model.choices()[0], "it crashed")
    done = lifecycle.roll_back(store, "loan", BY_COMMAND)
    assert (done.version, done.detail) == ("1.4.0", "1.5.0 failed on probation: it crashed")
    assert said(store).count("rolled back 1.5.0") == 1


def test_nothing_is_gone_back_to_that_is_damaged(store: Store) -> None:
    before = state(store)
    assert before.previous_good is not None
    (store.model("loan").version(before.previous_good.digest) / "more.onnx").write_bytes(b"x")
    with pytest.raises(NothingProven, match=r"1\.4\.0 is damaged: .*more\.onnx"):
        lifecycle.roll_back(store, "loan", BY_COMMAND)
    assert state(store) == before


def test_nothing_is_gone_back_to_that_nobody_trusted_signed(store: Store) -> None:
    with store.writing() as writer:
        writer.remove_key(bundles.SIGNER.public_key.fingerprint)
        writer.add_key(bundles.STRANGER.public_key.pem)
    before = state(store)
    with pytest.raises(SignerUntrusted):
        lifecycle.roll_back(store, "loan", BY_COMMAND)
    assert state(store) == before


# --- staged and activated ------------------------------------------------------------------


def test_a_staged_version_waits_until_it_is_activated(store: Store) -> None:
    lifecycle.mark_good(store, "loan")
    assert add(store, 6, stage_only=True).changed
    assert not add(store, 6, stage_only=True).changed
    with edge_runtime.load("loan", store=store) as model:
        assert model.version == "1.5.0"
    done = lifecycle.activate(store, "loan@1.6.0")
    assert (done.version, done.changed, done.removed) == ("1.6.0", True, ("1.4.0",))
    assert not lifecycle.activate(store, "loan@1.6.0").changed
    assert said(store)[-2:] == ["staged 1.6.0", "activated 1.6.0"]


def test_the_proven_version_before_is_activated_without_another_probation(
    store: Store,
) -> None:
    lifecycle.activate(store, "loan@1.4.0")
    found = state(store)
    assert (found.candidate, found.previous_good) == (None, None)


def test_only_the_proven_version_before_may_lie_below_the_floor(store: Store) -> None:
    lifecycle.mark_good(store, "loan")
    with edge_runtime.load("loan@1.4.0", store=store):
        add(store, 6)
        lifecycle.mark_good(store, "loan")
        assert installed(store) == ["1.6.0", "1.5.0", "1.4.0"]
        with pytest.raises(ReleaseTooOld, match=r"1006000 or higher here, 1\.4\.0 has"):
            lifecycle.activate(store, "loan@1.4.0")
        assert lifecycle.activate(store, "loan@1.5.0").changed


def test_a_bundle_below_the_floor_mends_what_serves_and_brings_nothing_else_back(
    store: Store,
) -> None:
    lifecycle.mark_good(store, "loan")
    with pytest.raises(ReleaseTooOld):
        add(store, 4)  # not even the one that a rollback would go back to
    lifecycle.roll_back(store, "loan", BY_COMMAND)
    digest = store.model("loan").choices()[0]
    (store.model("loan").version(digest) / "variants/float32.onnx").unlink()
    assert not add(store, 4).changed
    with edge_runtime.load("loan", store=store) as model:
        assert (model.version, model.status()["degraded"]) == ("1.4.0", "")


def test_a_damaged_version_is_not_activated(store: Store) -> None:
    lifecycle.roll_back(store, "loan", BY_COMMAND)
    (item,) = [v for v in store.model("loan").installed() if v.release == 1_005_000]
    file = item.directory / "variants/float32.onnx"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    with pytest.raises(DigestMismatch):
        lifecycle.activate(store, "loan@1.5.0")


def test_a_version_that_is_not_proven_here_is_tried_before_it_is_activated(
    store: Store, tmp_path: Path
) -> None:
    lifecycle.mark_good(store, "loan")
    path = devices.ladder(
        tmp_path / "b.oci.tar", name="loan", version="1.6.0", release=1_006_000
    )
    staged = install(path, store, stage_only=True)
    model = store.model("loan")
    shutil.rmtree(model.local(staged.digest, probe().identity))
    lifecycle.activate(store, "loan@1.6.0")
    assert model.read_local(staged.digest, probe().identity, "trial.json")


def test_a_version_that_does_not_hold_here_any_more_is_not_activated(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise GoldenMismatch("it must answer 1, it answers 2", hint="Keep the old one.")

    lifecycle.roll_back(store, "loan", BY_COMMAND)
    monkeypatch.setattr(lifecycle, "proven", fail)
    with pytest.raises(GoldenMismatch):
        lifecycle.activate(store, "loan@1.5.0")
    assert store.model("loan").standing().version == state(store).active


@pytest.mark.parametrize("ref", ["loan@9.9.9", "loan@", "loan"])
def test_what_is_not_installed_is_neither_activated_nor_removed(store: Store, ref: str) -> None:
    for act in (lifecycle.activate, lifecycle.remove):
        with pytest.raises(NotInstalled):
            act(store, ref)


# --- another interface ---------------------------------------------------------------------


def other_interface() -> devices.Subject:
    column = Column("visits per year", "integer", "visits", None, "refuse")
    columns = (LOAN.interface.columns[0], column, LOAN.interface.columns[2])
    return replace(LOAN, interface=replace(LOAN.interface, columns=columns))


def test_another_interface_is_refused_in_words_unless_it_is_allowed(store: Store) -> None:
    with pytest.raises(InterfaceChanged) as caught:
        add(store, 6, other_interface())
    assert caught.value.message == (
        "loan 1.5.0 serves with columns visits (integer, never missing, to visits); "
        "1.6.0 has columns visits per year (integer, never missing, to visits)"
    )
    assert add(store, 6, other_interface(), new_interface=True).changed
    with pytest.raises(InterfaceChanged):
        add(store, 7)


def test_another_interface_may_not_be_staged_or_activated_unseen(store: Store) -> None:
    lifecycle.mark_good(store, "loan")
    with pytest.raises(InterfaceChanged):
        add(store, 6, other_interface(), stage_only=True)
    add(store, 6, other_interface(), stage_only=True, new_interface=True)
    with pytest.raises(InterfaceChanged):
        lifecycle.activate(store, "loan@1.6.0")
    assert lifecycle.activate(store, "loan@1.6.0", new_interface=True).changed


# --- removed -------------------------------------------------------------------------------


def test_a_version_that_waits_can_be_removed(store: Store) -> None:
    add(store, 6, stage_only=True)
    done = lifecycle.remove(store, "loan@1.6.0")
    assert (done.version, done.changed) == ("1.5.0", True)
    assert installed(store) == ["1.5.0", "1.4.0"]
    assert said(store)[-1] == "removed 1.6.0"


@pytest.mark.parametrize(
    ("version", "reason"),
    [("1.5.0", "it is the active one"), ("1.4.0", "it is what serving would go back to")],
)
def test_what_serves_or_may_serve_again_is_not_removed(
    store: Store, version: str, reason: str
) -> None:
    before = devices.snapshot(store.root)
    with pytest.raises(VersionServes, match=reason):
        lifecycle.remove(store, f"loan@{version}")
    assert devices.snapshot(store.root) == before


def test_what_a_process_runs_is_not_removed(store: Store) -> None:
    lifecycle.roll_back(store, "loan", BY_COMMAND)
    with (
        edge_runtime.load("loan@1.5.0", store=store),
        pytest.raises(VersionServes, match=r"pid \d+ runs it"),
    ):
        lifecycle.remove(store, "loan@1.5.0")
    lifecycle.remove(store, "loan@1.5.0")
    assert installed(store) == ["1.4.0"]


def test_nothing_is_removed_while_the_record_is_lost(store: Store) -> None:
    for name in ("state-a.json", "state-b.json"):
        (store.model("loan").path / name).unlink()
    for version in installed(store):
        with pytest.raises(VersionServes, match="the record is lost"):
            lifecycle.remove(store, f"loan@{version}")
    with pytest.raises(NothingProven, match="no version is active"):
        lifecycle.mark_good(store, "loan")
    with pytest.raises(ReleaseTooOld):
        lifecycle.activate(store, "loan@1.4.0")
    lifecycle.activate(store, "loan@1.5.0")
    assert store.model("loan").read().degraded == ""


# --- settings ------------------------------------------------------------------------------


def test_a_setting_counts_from_the_next_load_on_and_says_where_it_is_from(
    empty: Store, tmp_path: Path
) -> None:
    install(devices.ladder(tmp_path / "b.oci.tar", sound=True), empty)
    assert lifecycle.set_values(empty, "tiny", ["threads=1", "variant=second"]) == Settings(
        1, "second"
    )
    with edge_runtime.load("tiny", store=empty) as model:
        status = model.status()
    assert (status["variant"], status["threads"]) == ("second", 1)
    assert set(status["origins"].values()) == {"set on this device"}
    assert status["degraded"] == ""
    lifecycle.set_values(empty, "tiny", ["threads=", "variant="])
    with edge_runtime.load("tiny", store=empty) as model:
        assert model.status()["origins"]["variant"] == "chosen by its trial"


def test_a_variant_that_did_not_pass_its_trial_is_not_served_by_a_setting(
    empty: Store, tmp_path: Path
) -> None:
    install(devices.ladder(tmp_path / "b.oci.tar"), empty)
    lifecycle.set_values(empty, "tiny", ["variant=first"])
    with edge_runtime.load("tiny", store=empty) as model:
        assert model.variant == "second"
        degraded = model.status()["degraded"]
    assert degraded.startswith("variant=first is set on this device, and does not count: ")


def test_a_variant_that_a_later_version_does_not_have_is_said_and_stops_nothing(
    empty: Store, tmp_path: Path
) -> None:
    install(devices.ladder(tmp_path / "b.oci.tar", sound=True, name="loan"), empty)
    lifecycle.set_values(empty, "loan", ["variant=second"])
    add(empty, 5)
    with edge_runtime.load("loan", store=empty) as model:
        assert (model.version, model.variant) == ("1.5.0", "float32")
        assert "variant 'second' was asked for" in model.status()["degraded"]


@pytest.mark.parametrize("setting", ["threads=2", "threads=0", "variant=int8", "speed=9"])
def test_a_setting_that_cannot_hold_is_refused(store: Store, setting: str) -> None:
    before = devices.snapshot(store.root)
    with pytest.raises(SettingInvalid):
        lifecycle.set_values(store, "loan", [setting])
    assert devices.snapshot(store.root) == before


# --- one writer ----------------------------------------------------------------------------


def test_none_of_it_happens_while_another_writes(store: Store) -> None:
    lock = store.root / "lock"
    with subprocess.Popen(
        ["flock", lock, "sh", "-c", "echo held; read x"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        for act in (
            lambda: lifecycle.mark_good(store, "loan"),
            lambda: lifecycle.roll_back(store, "loan", BY_COMMAND),
            lambda: lifecycle.activate(store, "loan@1.4.0"),
            lambda: lifecycle.remove(store, "loan@1.4.0"),
            lambda: lifecycle.set_values(store, "loan", ["threads=1"]),
        ):
            with pytest.raises(StoreBusy):
                act()
        other.communicate(b"\n")
