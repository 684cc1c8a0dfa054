"""Deadlines and workers of a loaded model: by call, by load, by the command line."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import devices
import endless
import numpy as np
import psutil
import pytest
from workers import gone

import edge_runtime
from edge_runtime.contract.errors import (
    DeadlineExceeded,
    InputName,
    NotInstalled,
    PredictionFailed,
    UsageError,
    WorkerFailed,
)
from edge_runtime.contract.npz import write_npz
from edge_runtime.metrics import summarize
from edge_runtime.model import Model
from edge_runtime.probation import is_fault
from edge_runtime.state.store import Store

LONG_MS = 60_000.0
LOAN = devices.loan()
ENDLESS = {"count": endless.FOR_EVER}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with models whose input decides how long they take, all of them proven."""
    directory = tmp_path_factory.mktemp("device")
    subjects = {"loan": LOAN, "loop": endless.loop(), "long": endless.long_node()}
    _, place = devices.trusting(directory)
    store = Store(Path(place), "named by the test")
    for name, subject in subjects.items():
        bundle = devices.packed(directory / f"{name}.oci.tar", subject, name=name)
        assert devices.run("--store", place, "install", bundle).code == 0
    for name in subjects:
        assert devices.run("--store", place, "mark-good", name).code == 0
    return store


def labels(model: Model) -> list[str]:
    found: list[str] = model.predict(LOAN.feed)["label"].tolist()
    return found


def errors_of(store: Store, name: str) -> dict[str, int]:
    return dict(summarize([store.model(name).metrics]).tally.errors)


# --- by call and by load -------------------------------------------------------------------


@pytest.mark.parametrize("isolate", [False, True])
def test_a_deadline_holds_by_call_or_by_load(store: Store, isolate: bool) -> None:
    with edge_runtime.load("loop", store=store, timeout_ms=300, isolate=isolate) as model:
        with pytest.raises(DeadlineExceeded, match="within 300 ms"):
            model.predict(ENDLESS)
        with pytest.raises(DeadlineExceeded, match="within 70 ms"):
            model.predict(ENDLESS, timeout_ms=70)
        answers = model.predict(endless.asked(3), timeout_ms=LONG_MS)
        assert (answers["value"].shape, answers.version) == ((1,), "1.4.0")


def test_without_a_deadline_the_engine_is_not_asked_to_watch_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_runtime.engine.session.WATCHDOG", None)
    with edge_runtime.load("loan", store=store) as model:
        assert labels(model) == ["no", "yes", "yes"]


@pytest.mark.parametrize("timeout", [0, -5, float("nan"), "1"])
def test_a_timeout_that_is_none_is_refused(store: Store, timeout: float) -> None:
    with pytest.raises(UsageError, match="timeout_ms must be above 0"):
        edge_runtime.load("loan", store=store, timeout_ms=timeout)
    with edge_runtime.load("loan", store=store) as model:
        with pytest.raises(UsageError, match="timeout_ms must be above 0"):
            model.predict(LOAN.feed, timeout_ms=timeout)
        assert labels(model) == ["no", "yes", "yes"]


def test_what_was_late_is_counted_by_its_code(store: Store) -> None:
    before = errors_of(store, "loop").get("deadline-exceeded", 0)
    with edge_runtime.load("loop", store=store, timeout_ms=30) as model:
        for _ in range(3):
            with pytest.raises(DeadlineExceeded):
                model.predict(ENDLESS)
    assert errors_of(store, "loop")["deadline-exceeded"] - before == 3


# --- in a worker ---------------------------------------------------------------------------


def test_a_model_in_a_worker_is_used_as_any_other(store: Store) -> None:
    with edge_runtime.load("loan", store=store, isolate=True) as model:
        assert labels(model) == ["no", "yes", "yes"]
        record = {"income (k€)": 30, "visits": 1, "plan": "basic"}
        assert model.predict_records([record])[0]["label"] == "yes"
        with pytest.raises(InputName):
            model.predict({})
        worker = model.status()["worker"]
        assert psutil.Process(worker["pid"]).ppid() == os.getpid()
        assert (worker["restarts"], worker["reason"]) == (0, "")
        assert model.provider == "CPUExecutionProvider"
    assert not psutil.pid_exists(worker["pid"])
    with pytest.raises(WorkerFailed, match="the model was closed"):
        labels(model)


def test_a_model_of_this_process_has_no_worker(store: Store) -> None:
    with edge_runtime.load("loan", store=store) as model:
        assert model.status()["worker"] is None


def test_a_replaced_worker_is_in_the_status_and_in_the_metrics(store: Store) -> None:
    with edge_runtime.load("long", store=store, isolate=True) as model:
        with pytest.raises(DeadlineExceeded, match="its worker was ended"):
            model.predict(endless.asked(400_000), timeout_ms=500)
        assert model.predict(endless.asked(7))["kept"].tolist() == [7]
        worker = model.status()["worker"]
        assert worker["restarts"] == 1
        assert "did not stop in time" in worker["reason"]
    events = summarize([store.model("long").metrics]).to_json()
    assert "worker-replaced" in str(events)


def test_a_bundle_is_served_by_no_worker_and_it_says_why(store: Store, bundle: Path) -> None:
    with pytest.raises(NotInstalled, match="serves what is installed") as caught:
        edge_runtime.load(bundle, store=store, isolate=True)
    assert "install BUNDLE" in caught.value.hint


def test_a_variant_that_was_asked_for_is_what_the_worker_serves(
    empty: Store, tmp_path: Path
) -> None:
    ladder = devices.ladder(tmp_path / "b.oci.tar", sound=True)
    assert devices.run("--store", empty.root, "install", ladder).code == 0
    with edge_runtime.load("tiny", store=empty, variant="second", isolate=True) as model:
        assert (model.variant, labels(model)) == ("second", ["no", "yes", "yes"])


def test_a_followed_model_goes_on_with_the_worker_of_the_next_version(tmp_path: Path) -> None:
    flag = devices.installed(
        tmp_path, devices.packed(tmp_path / "1.oci.tar", LOAN, name="loan")
    )
    newer = {"name": "loan", "version": "1.5.0", "release": 1_005_000}
    bundle = devices.packed(tmp_path / "2.oci.tar", LOAN, **newer)
    with edge_runtime.load("loan", store=flag[1], follow=True, isolate=True) as model:
        first = model.status()["worker"]["pid"]
        assert (model.version, labels(model)) == ("1.4.0", ["no", "yes", "yes"])
        assert devices.run(*flag, "install", bundle).code == 0
        while model.predict(LOAN.feed).version != "1.5.0":
            time.sleep(0.02)
        gone(first)
        assert labels(model) == ["no", "yes", "yes"]
        second = model.status()["worker"]["pid"]
    assert first != second
    assert not psutil.pid_exists(second)


# --- probation -----------------------------------------------------------------------------


def test_a_version_is_not_given_up_for_a_call_that_only_waited(store: Store) -> None:
    with edge_runtime.load("long", store=store, isolate=True) as model:
        worker = psutil.Process(model.status()["worker"]["pid"])
        worker.send_signal(signal.SIGKILL)
        psutil.wait_procs([worker])
        with pytest.raises(DeadlineExceeded) as caught:
            model.predict(endless.asked(3), timeout_ms=0.01)
        assert not is_fault(caught.value)
        with pytest.raises(DeadlineExceeded) as caught:
            model.predict(endless.asked(400_000), timeout_ms=2000)
        assert is_fault(caught.value)


@pytest.mark.parametrize("isolate", [False, True])
def test_a_version_that_is_late_on_probation_is_given_up(tmp_path: Path, isolate: bool) -> None:
    loop = endless.loop()
    flag = devices.installed(
        tmp_path, devices.packed(tmp_path / "1.oci.tar", loop, name="loop")
    )
    assert devices.run(*flag, "mark-good", "loop").code == 0
    newer = {"name": "loop", "version": "1.5.0", "release": 1_005_000}
    assert (
        devices.run(
            *flag, "install", devices.packed(tmp_path / "2.oci.tar", loop, **newer)
        ).code
        == 0
    )
    with (
        edge_runtime.load("loop", store=flag[1], isolate=isolate) as model,
        pytest.raises(DeadlineExceeded),
    ):
        assert model.version == "1.5.0"
        model.predict(ENDLESS, timeout_ms=300)
    with edge_runtime.load("loop", store=flag[1]) as model:
        assert model.version == "1.4.0"
        assert "deadline-exceeded" in model.status()["degraded"]


# --- the command line ----------------------------------------------------------------------


def ask(store: Store, name: str, feed: dict[str, np.ndarray], *flags: str) -> devices.Said:
    rows = store.root.parent / f"{name}.npz"
    rows.write_bytes(write_npz(feed))
    files = ("--input", rows, "--output", rows.with_suffix(".csv"))
    return devices.run("--store", store.root, "predict", name, *files, *flags)


@pytest.mark.parametrize("flags", [(), ("--timeout-ms", "60000"), ("--isolate",)])
def test_predict_answers_alike_whatever_bounds_it(store: Store, flags: tuple[str, ...]) -> None:
    said = ask(store, "loan", LOAN.feed, *flags)
    assert said.code == 0, said.err
    assert said.out.startswith("3 rows answered by loan 1.4.0 ")
    assert (store.root.parent / "loan.csv").read_text().splitlines()[1].startswith("no,")


@pytest.mark.parametrize("flags", [(), ("--isolate",)])
def test_predict_gives_up_at_its_deadline(store: Store, flags: tuple[str, ...]) -> None:
    said = ask(store, "loop", ENDLESS, "--timeout-ms", "300", *flags)
    assert said.code == 5
    assert said.err.startswith("error[deadline-exceeded]: a prediction must end within 300 ms")
    assert not (store.root.parent / "loop.csv").exists()


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "soon"])
def test_predict_refuses_a_timeout_that_is_none(store: Store, timeout: str) -> None:
    said = ask(store, "loan", LOAN.feed, "--timeout-ms", timeout)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error[usage]: ")


def test_the_worker_is_in_what_predict_tells(store: Store) -> None:
    said = ask(store, "loan", LOAN.feed, "--isolate", "--json")
    assert said.json["worker"]["restarts"] == 0
    assert ask(store, "loan", LOAN.feed, "--json").json["worker"] is None


def test_a_failing_engine_in_a_worker_is_a_typed_error(store: Store, tmp_path: Path) -> None:
    bundle = devices.packed(tmp_path / "b.oci.tar", devices.lookup(), name="lookup")
    assert devices.run("--store", store.root, "install", bundle).code == 0
    with (
        edge_runtime.load("lookup", store=store, isolate=True) as model,
        pytest.raises(PredictionFailed),
    ):
        model.predict({"index": np.array([99])})
