"""Which version a load takes: what cannot serve leaves it to what was proven, and says so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bundles
import devices
import pytest

import edge_runtime
from edge_runtime import lifecycle, loading
from edge_runtime.contract.bundle.verify import VerifiedPackage
from edge_runtime.contract.errors import (
    DigestMismatch,
    EngineMissing,
    ModelLoadFailed,
    NotInstalled,
    NoTrustedKey,
    SignatureInvalid,
    SignerUntrusted,
    StoreCorrupt,
)
from edge_runtime.runtime import install
from edge_runtime.state.loads import Loads
from edge_runtime.state.store import Store

LOAN = devices.loan()


def packed(directory: Path, minor: int, **changes: object) -> Path:
    """Write a bundle of the loan with this minor version."""
    version, release = f"1.{minor}.0", 1_000_000 + minor * 1000
    path = directory / f"loan-{version}.oci.tar"
    return devices.packed(path, LOAN, name="loan", version=version, release=release, **changes)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which 1.4.0 is proven and 1.5.0 is on probation."""
    directory = tmp_path_factory.mktemp("device")
    devices.installed(directory, packed(directory, 4))
    store = Store(directory / "store", "named by the test")
    lifecycle.mark_good(store, "loan")
    install(packed(directory, 5), store)
    return directory


@pytest.fixture
def proven(store: Store) -> Store:
    """The same with both versions proven."""
    lifecycle.mark_good(store, "loan")
    return store


def served(store: Store, ref: str = "loan") -> tuple[str, str]:
    """Return the version that a load takes, and why it is degraded."""
    with edge_runtime.load(ref, store=store) as model:
        assert model.predict(LOAN.feed)["label"].tolist() == ["no", "yes", "yes"]
        return model.version, model.status()["degraded"]


def active(store: Store) -> Path:
    """Return the directory of the version that was activated last."""
    state = store.model("loan").read().state
    assert state.active is not None
    return store.model("loan").version(state.active.digest)


def overwrite(file: Path, data: bytes) -> None:
    file.chmod(0o644)
    file.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a bit of the graph": lambda path: overwrite(
        path / "variants/float32.onnx",
        (path / "variants/float32.onnx").read_bytes()[:-1] + b"\xff",
    ),
    "no graph": lambda path: (path / "variants/float32.onnx").unlink(),
    "another manifest": lambda path: overwrite(path / "manifest.json", b"{}"),
    "one file more": lambda path: (path / "more.onnx").write_bytes(b"x"),
    "no directory": shutil.rmtree,
}


# --- files that changed since they were installed ------------------------------------------


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_version_leaves_it_to_the_one_before_and_says_so(
    proven: Store, damage: str
) -> None:
    DAMAGES[damage](active(proven))
    version, degraded = served(proven)
    assert version == "1.4.0"
    assert degraded.startswith("what was to serve does not: ")
    assert proven.model("loan").loads.running() == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_version_on_probation_is_given_up(store: Store, damage: str) -> None:
    DAMAGES[damage](active(store))
    version, degraded = served(store)
    assert version == "1.4.0"
    assert degraded.startswith("1.5.0 failed on probation: ")
    with store.writing() as writer:
        assert writer.settle("loan").history[-1].action == "rolled back"
    assert served(store) == ("1.4.0", "")


def test_where_nothing_else_was_proven_a_damaged_version_is_refused(
    empty: Store, tmp_path: Path
) -> None:
    install(packed(tmp_path, 4), empty)
    DAMAGES["a bit of the graph"](active(empty))
    with pytest.raises(DigestMismatch, match=r"float32\.onnx"):
        served(empty)


def test_where_both_are_damaged_the_first_damage_is_told(proven: Store) -> None:
    for directory in proven.model("loan").versions.iterdir():
        DAMAGES["one file more"](directory)
    with pytest.raises(StoreCorrupt, match=active(proven).name):
        served(proven)


def test_who_names_a_version_gets_that_or_nothing(proven: Store) -> None:
    DAMAGES["a bit of the graph"](active(proven))
    with pytest.raises(DigestMismatch):
        served(proven, "loan@1.5.0")
    assert served(proven, "loan@1.4.0") == ("1.4.0", "")


# --- signers who are not believed are no damage --------------------------------------------


def trust_only(store: Store, pem: bytes | None) -> None:
    with store.writing() as writer:
        writer.remove_key(bundles.SIGNER.public_key.fingerprint)
        if pem is not None:
            writer.add_key(pem)


def test_a_signer_who_is_not_trusted_any_more_is_no_reason_to_go_back(proven: Store) -> None:
    trust_only(proven, bundles.STRANGER.public_key.pem)
    with pytest.raises(SignerUntrusted):
        served(proven)
    trust = proven.model("loan")
    assert trust.loads.running() == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_nothing_is_gone_back_to_that_nobody_trusted_signed(proven: Store, damage: str) -> None:
    trust_only(proven, None)
    DAMAGES[damage](active(proven))
    with pytest.raises((NoTrustedKey, DigestMismatch, StoreCorrupt)):
        served(proven)


def test_a_signature_that_does_not_hold_is_no_reason_to_go_back(proven: Store) -> None:
    with proven.writing() as writer:
        writer.add_key(bundles.STRANGER.public_key.pem)  # so that signatures are checked again
    file = active(proven) / "model.sig"
    overwrite(file, file.read_bytes().replace(b'"sig":"M', b'"sig":"N'))
    with pytest.raises(SignatureInvalid):
        served(proven)


# --- what happens on probation -------------------------------------------------------------


def refuse_the_active(store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let the engine refuse the version that was activated last."""
    digest, sound = active(store).name, loading.chosen_variant

    def refuse(store: Store, package: VerifiedPackage, *rest: Any) -> loading.Chosen:
        if package.digest == digest:
            raise error
        return sound(store, package, *rest)

    monkeypatch.setattr(loading, "chosen_variant", refuse)


def test_one_that_the_engine_refuses_is_given_up_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ModelLoadFailed("it must open, it did not", hint="Keep the old one.")
    refuse_the_active(store, monkeypatch, error)
    reason = "1.5.0 failed on probation: model-load-failed: it must open, it did not"
    assert served(store) == ("1.4.0", reason)
    assert served(store) == ("1.4.0", reason)


def test_a_proven_one_that_the_engine_refuses_is_an_error_and_no_rollback(
    proven: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ModelLoadFailed("it must open, it did not", hint="Repeat its trial.")
    refuse_the_active(proven, monkeypatch, error)
    with pytest.raises(ModelLoadFailed):
        served(proven)


def test_what_the_device_lacks_is_no_fault_of_the_version(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = EngineMissing("an engine must be there, there is none", hint="Install one.")
    refuse_the_active(store, monkeypatch, error)
    with pytest.raises(EngineMissing):
        served(store)
    monkeypatch.undo()
    assert served(store) == ("1.5.0", "")


def test_a_variant_that_the_caller_chose_decides_nothing(store: Store) -> None:
    with pytest.raises(NotInstalled):
        edge_runtime.load("loan", store=store, variant="int4")
    with edge_runtime.load("loan", store=store, variant="float32") as model:
        for _ in range(60):
            model.predict(LOAN.feed)
    digest = active(store).name
    marks = store.model("loan").loads.marks(digest)
    assert (marks.good, marks.failed, marks.failures, marks.rows) == (False, "", 0, 0)


def test_three_crashes_leave_it_to_what_was_proven(store: Store) -> None:
    code = (
        "import os, sys, edge_runtime\n"
        "model = edge_runtime.load('loan', store=sys.argv[1])\n"
        "print(model.version, flush=True)\n"
        "os.kill(os.getpid(), 11)\n"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", code, str(store.root)],
            env={**os.environ, "PYTHONPATH": str(Path(edge_runtime.__file__).parents[1])},
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
        for _ in range(4)
    ]
    assert said == ["1.5.0", "1.5.0", "1.5.0", "1.4.0"]
    assert served(store) == ("1.4.0", "3 loads of 1.5.0 did not end in order")


def test_a_hundred_rows_prove_a_version_over_several_loads(store: Store) -> None:
    for rounds in (17, 17):
        with edge_runtime.load("loan", store=store) as model:
            assert model.status()["probation"]
            for _ in range(rounds):
                model.predict(LOAN.feed)
    assert not model.status()["probation"]
    with store.writing() as writer:
        state = writer.settle("loan")
    assert (state.candidate, state.floor) == (None, 1_005_000)
    assert state.history[-1].detail == "its first predictions held"


def test_a_load_that_cannot_be_counted_takes_what_was_proven(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Loads, "begin", full)
    version, degraded = served(store)
    assert version == "1.4.0"
    assert degraded == (
        "this load on probation cannot be counted: No space left on device; 1.4.0 serves until "
        "the new version is proven"
    )
    assert served(store, "loan@1.5.0") == (
        "1.5.0",
        "this load on probation cannot be counted: No space left on device",
    )


# --- a writer at the same time -------------------------------------------------------------


def test_a_version_that_goes_while_it_is_entered_is_no_failure(
    proven: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, happened = Loads.begin, []

    def later(loads: Loads, digest: str, **how: object) -> object:
        if not happened:
            happened.append(True)
            for minor in (6, 7):  # after that nothing needs the version that was read
                install(packed(tmp_path, minor), proven)
                lifecycle.mark_good(proven, "loan")
        return begin(loads, digest, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(Loads, "begin", later)
    assert served(proven) == ("1.7.0", "")


LOADER = """
import sys, threading, edge_runtime, numpy as np
feed = {"income (k€)": [4.5, None, 30], "visits": [1, 2, 3], "plan": ["basic", "gold", "basic"]}
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
loads, wrong = 0, []
while not stop.is_set():
    try:
        with edge_runtime.load("loan", store=sys.argv[1]) as model:
            answers = model.predict(feed)
            if answers["label"].tolist() != ["no", "yes", "yes"] or model.status()["degraded"]:
                wrong.append((model.version, model.status()["degraded"]))
        loads += 1
    except Exception as error:
        wrong.append(repr(error))
print(loads, wrong)
"""


def test_loads_never_fail_while_versions_come_and_go(proven: Store, tmp_path: Path) -> None:
    paths = [packed(tmp_path, minor) for minor in range(6, 16)]
    environ = {**os.environ, "PYTHONPATH": str(Path(edge_runtime.__file__).parents[1])}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", LOADER, str(proven.root)],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for number, path in enumerate(paths):
        install(path, proven)
        if number % 3 == 2:
            lifecycle.roll_back(proven, "loan", "by command")
        elif number % 3:
            lifecycle.mark_good(proven, "loan")
    said = [child.communicate()[0].split(" ", 1) for child in children]
    assert [wrong.strip() for _, wrong in said] == ["[]"] * 3
    assert min(int(loads) for loads, _ in said) > 5, said


def test_a_version_stays_installed_as_long_as_a_process_has_it(
    proven: Store, tmp_path: Path
) -> None:
    with edge_runtime.load("loan", store=proven) as model:
        for minor in (6, 7):
            install(packed(tmp_path, minor), proven)
            lifecycle.mark_good(proven, "loan")
        assert served(proven, "loan@1.5.0") == ("1.5.0", "")
        assert model.version == "1.5.0"
    lifecycle.mark_good(proven, "loan")
    with pytest.raises(NotInstalled):
        served(proven, "loan@1.5.0")


def test_the_end_of_a_probation_is_recorded_while_a_process_runs(store: Store) -> None:
    with edge_runtime.load("loan", store=store) as model:
        lifecycle.roll_back(store, "loan", "by command")
        model.predict(LOAN.feed)
        assert served(store) == ("1.4.0", "")
    # What it left counts for nothing in a later probation of the same version.
    lifecycle.activate(store, "loan@1.5.0")
    assert store.model("loan").loads.marks(active(store).name).rows == 0
    assert served(store) == ("1.5.0", "")


def test_a_lost_record_is_served_by_the_newest_version_that_is_whole(store: Store) -> None:
    DAMAGES["a bit of the graph"](active(store))
    for name in ("state-a.json", "state-b.json"):
        (store.model("loan").path / name).unlink()
    version, degraded = served(store)
    assert version == "1.4.0"
    assert "both copies of the record are missing" in degraded
