"""Following: what is installed is taken up between two predictions, or it is said why not."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import devices
import generations
import pytest
from generations import NAME, installed, reference, version

from edge_runtime import following, runtime
from edge_runtime.contract.errors import DeadlineExceeded, ModelLoadFailed, UsageError
from edge_runtime.contract.tensors import Arrays
from edge_runtime.following import Following, Pace
from edge_runtime.loading import How
from edge_runtime.metrics import summarize
from edge_runtime.model import Model
from edge_runtime.serving import Retired
from edge_runtime.state.store import Store

ENOUGH = 1 << 60
PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def _trusting(empty: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_STORE", str(empty.root))


@pytest.fixture
def store(empty: Store, tmp_path: Path) -> Store:
    """A store that serves the first version, proven."""
    installed(tmp_path, empty, 1)
    with runtime.load(NAME, store=empty) as model:
        prove(model)
    return empty


class Room:
    """How much memory there is, by the test's word."""

    def __init__(self) -> None:
        self.bytes: int | None = ENOUGH

    def __call__(self) -> int | None:
        return self.bytes


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def model(store: Store, room: Room) -> Iterator[Model]:
    """A model that follows, quickly."""
    with followed(store, room) as model:
        yield model


def followed(store: Store, room: Room) -> Model:
    model = runtime.load(NAME, store=store)
    pace = Pace(poll_s=0.02, drain_s=0.3, available=room)
    model.follow(Following(model, store, How(), pace))
    return model


def prove(model: Model, seed: int = 1, rows: int = 100) -> None:
    """Let a version answer as many rows as prove it."""
    for _ in range(100):
        answer(model, seed, rows)


def answer(model: Model, seed: int = 1, rows: int = 100) -> str:
    """Predict one row, check every bit against the version that says it answered."""
    answers = model.predict(generations.feed(seed, rows))
    number = int(answers.version.split(".")[1])
    assert answers["sum"].tobytes() == reference(number, seed, rows)
    return answers.version


def until(condition: Callable[[], Any]) -> None:
    """Wait for what has to come, however slow the machine is."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.01)


def told(model: Model) -> dict[str, Any]:
    found: dict[str, Any] = model.status()["following"]
    return found


# --- hot swaps -----------------------------------------------------------------------------


def test_a_new_version_answers_without_a_restart(
    model: Model, store: Store, tmp_path: Path
) -> None:
    assert answer(model) == version(1)
    installed(tmp_path, store, 2)
    until(lambda: answer(model) == version(2))
    assert model.version == version(2)
    assert told(model)["swaps"] == 1
    assert told(model)["last"] == "1.1.0 → 1.2.0, loaded beside it"
    assert "1.2.0 needs up to" in told(model)["memory"]
    until(lambda: told(model)["problem"] == "")


def test_a_version_that_was_rolled_back_answers_no_more(
    model: Model, store: Store, tmp_path: Path
) -> None:
    installed(tmp_path, store, 2)
    until(lambda: answer(model) == version(2))
    assert devices.run("rollback", NAME).code == 0
    until(lambda: answer(model) == version(1))
    assert told(model)["swaps"] == 2


def test_calls_from_many_threads_never_fail_while_versions_come_and_go(
    model: Model, store: Store, tmp_path: Path
) -> None:
    failed: list[BaseException] = []
    seen: set[str] = set()
    done = threading.Event()

    def call(seed: int) -> None:
        try:
            while not done.is_set():
                seen.add(answer(model, seed))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(2, 6):
            installed(tmp_path, store, number)
            until(lambda: model.version == version(number) or failed)  # noqa: B023
            assert devices.run("rollback", NAME).code == 0
            until(lambda: model.version == version(1) or failed)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failed == []
    assert seen == {version(number) for number in range(1, 6)}
    assert told(model)["swaps"] == 8


def test_every_call_is_counted_though_the_version_was_closed(
    store: Store, room: Room, tmp_path: Path
) -> None:
    with followed(store, room) as model:
        before = 37
        for _ in range(before):
            answer(model)
        installed(tmp_path, store, 2)
        until(lambda: model.version == version(2))
        for _ in range(5):
            answer(model)
    summary = summarize([store.model(NAME).metrics])
    # Those that proved the first version, those before the swap, and those after it.
    assert summary.tally.rows == 100 + before + 5
    assert summary.events["swap"] == 1


def test_the_old_version_ends_its_load_only_when_its_last_call_has_ended(
    model: Model, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, leave = threading.Event(), threading.Event()
    runner = model._serving.runner
    run = runner.run

    def slow(feed: Arrays, *, timeout_ms: float | None = None) -> Arrays:
        entered.set()
        leave.wait(PATIENCE_S)
        return run(feed, timeout_ms=timeout_ms)

    monkeypatch.setattr(runner, "run", slow)
    answers: list[str] = []
    caller = threading.Thread(target=lambda: answers.append(answer(model)))
    caller.start()
    assert entered.wait(PATIENCE_S)
    installed(tmp_path, store, 2)
    until(lambda: "a call of 1.1.0 is still under way" in told(model)["problem"])
    assert answer(model) == version(2)
    assert len(store.model(NAME).loads.running()) == 2
    leave.set()
    caller.join()
    assert answers == [version(1)]
    until(lambda: len(store.model(NAME).loads.running()) == 1)


def test_an_isolated_model_is_followed_by_a_worker_of_each_version(
    store: Store, room: Room, tmp_path: Path
) -> None:
    how = How(isolate=True)
    model = runtime.load(NAME, store=store, isolate=True)
    model.follow(Following(model, store, how, Pace(poll_s=0.02, available=room)))
    with model:
        before = model.status()["worker"]
        assert answer(model) == version(1)
        installed(tmp_path, store, 2)
        until(lambda: answer(model) == version(2))
        assert model.status()["worker"] != before
        until(lambda: not Path(f"/proc/{before['pid']}").exists())


def test_a_forked_child_says_that_it_does_not_follow(model: Model) -> None:
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, told(model)["problem"].encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as stream:
        assert "load after the fork" in stream.read()
    os.waitpid(child, 0)


def test_an_error_that_somebody_keeps_does_not_keep_the_version(
    model: Model, store: Store, tmp_path: Path
) -> None:
    with pytest.raises(Exception, match="index") as kept:
        model.predict({"wrong": [1]})
    installed(tmp_path, store, 2)
    until(lambda: model.version == version(2))
    until(lambda: len(store.model(NAME).loads.running()) == 1)
    assert kept.value


def test_a_retired_version_is_in_use_exactly_as_long_as_a_call_holds_it(model: Model) -> None:
    held = model._serving
    retired = Retired(held)
    model.swap(retired.revived())
    gc.collect()
    assert retired.in_use
    del held
    assert not retired.in_use


# --- what is not taken up ------------------------------------------------------------------


def test_another_interface_needs_a_restart(model: Model, store: Store, tmp_path: Path) -> None:
    other = generations.subject(2, labels=("a", "b"), task="classification", roles={})
    path = devices.packed(
        tmp_path / "other.oci.tar", other, name=NAME, version="1.2.0", release=2000
    )
    runtime.install(path, store, new_interface=True)
    until(lambda: "restart" in told(model)["problem"])
    assert "1.2.0" in told(model)["problem"]
    assert answer(model) == version(1)
    with runtime.load(NAME, store=store) as restarted:
        assert restarted.version == "1.2.0"


def test_a_version_that_answers_wrongly_here_is_given_up_and_the_old_one_stays(
    model: Model, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ModelLoadFailed("it must hold, it does not", hint="Nothing.", reason="test")

    monkeypatch.setattr(following, "hold_golden", fails)
    installed(tmp_path, store, 2)
    until(lambda: "1.2.0 failed on probation" in told(model)["problem"])
    assert "it must hold" in told(model)["problem"]
    assert answer(model) == version(1)
    assert store.model(NAME).standing().version.version == version(1)


def test_a_version_whose_predictions_fail_gives_way_to_the_proven_one(
    model: Model, store: Store, tmp_path: Path
) -> None:
    installed(tmp_path, store, 2)
    until(lambda: model.version == version(2))
    model._serving.probation.failed(ModelLoadFailed("it broke", hint="No.", reason="test"))
    until(lambda: answer(model) == version(1))
    until(lambda: "1.2.0 failed on probation" in told(model)["problem"])


def test_a_damaged_version_is_left_and_taken_up_once_it_is_mended(
    model: Model, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = threading.Event()
    whole = following.open_installed

    def opened(directory: Path, digest: str) -> Any:
        if not damaged.is_set() and digest != model.served.digest:
            (directory / "more").write_bytes(b"x")
            damaged.set()
        return whole(directory, digest)

    monkeypatch.setattr(following, "open_installed", opened)
    path = generations.packed(tmp_path, 2)
    digest = runtime.install(path, store).digest
    until(lambda: "1.2.0 cannot be loaded" in told(model)["problem"])
    assert answer(model) == version(1)
    (store.model(NAME).version(digest) / "more").unlink()
    until(lambda: answer(model) == version(2))


def test_whatever_goes_wrong_in_the_thread_is_said_and_it_goes_on(
    model: Model, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Store, "model", lambda *_: 1 // 0)
        until(lambda: "ZeroDivisionError" in told(model)["problem"])
        assert answer(model) == version(1)
    installed(tmp_path, store, 2)
    until(lambda: answer(model) == version(2))


@pytest.mark.parametrize("ref", [f"{NAME}@1.1.0", Path("x.oci.tar"), "dir/x"])
def test_only_a_name_can_be_followed(store: Store, ref: Any) -> None:
    with pytest.raises(UsageError, match="active version"):
        runtime.load(ref, store=store, follow=True)


# --- cold swaps ----------------------------------------------------------------------------


def too_little(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next version not fit, though it did with what serves gone."""
    monkeypatch.setattr(following, "needed_bytes", lambda *_: 1 << 30)
    room.bytes = (1 << 30) - 1000


def test_where_both_do_not_fit_the_old_version_goes_first(
    model: Model, store: Store, room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_little(room, monkeypatch)
    installed(tmp_path, store, 2)
    until(lambda: answer(model) == version(2))
    assert told(model)["last"] == "1.1.0 → 1.2.0, loaded after it was closed"
    assert len(store.model(NAME).loads.running()) == 1


def test_where_not_even_the_new_one_fits_alone_nothing_is_swapped(
    model: Model, store: Store, room: Room, tmp_path: Path
) -> None:
    room.bytes = 1000
    installed(tmp_path, store, 2)
    until(lambda: "more without 1.1.0" in told(model)["problem"])
    assert answer(model) == version(1)
    room.bytes = None  # unknown is no reason
    until(lambda: answer(model) == version(2))


def test_calls_wait_during_a_cold_swap_and_then_get_the_new_version(
    model: Model, store: Store, room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading, go_on = threading.Event(), threading.Event()
    serve = following.serve_installed

    def slow(*arguments: Any) -> Any:
        loading.set()
        go_on.wait(PATIENCE_S)
        return serve(*arguments)

    monkeypatch.setattr(following, "serve_installed", slow)
    too_little(room, monkeypatch)
    installed(tmp_path, store, 2)
    assert loading.wait(PATIENCE_S)
    assert model.held
    assert model.status()["version"] == version(1)
    with pytest.raises(DeadlineExceeded, match="waited for a version"):
        model.predict(generations.feed(1, 100), timeout_ms=20)
    answers: list[str] = []
    caller = threading.Thread(target=lambda: answers.append(answer(model)))
    caller.start()
    go_on.set()
    caller.join()
    assert answers == [version(2)]


def test_a_new_version_that_does_not_load_gives_the_old_one_its_place_back(
    model: Model, store: Store, room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve, attempts = following.serve_installed, []

    def fails(store: Store, ref: str, how: How) -> Any:
        attempts.append(ref)
        if "@" not in ref:
            raise ModelLoadFailed("no memory, it says", hint="Free it.", reason="test")
        return serve(store, ref, how)

    monkeypatch.setattr(following, "serve_installed", fails)
    too_little(room, monkeypatch)
    installed(tmp_path, store, 2)
    until(lambda: "1.1.0 serves again: no memory" in told(model)["problem"])
    assert answer(model) == version(1)
    monkeypatch.setattr(following, "serve_installed", serve)
    until(lambda: answer(model) == version(2))
    assert len(attempts) < 20


def test_where_neither_loads_calls_fail_with_the_reason_until_one_does(
    model: Model, store: Store, room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve = following.serve_installed

    def fails(*_: object) -> Any:
        raise OSError(5, "the disk is gone")

    monkeypatch.setattr(following, "serve_installed", fails)
    too_little(room, monkeypatch)
    installed(tmp_path, store, 2)
    until(lambda: "neither" in told(model)["problem"])
    with pytest.raises(ModelLoadFailed, match="the disk is gone"):
        answer(model)
    monkeypatch.setattr(following, "serve_installed", serve)
    until(lambda: not model.held)
    assert answer(model) == version(2)


def test_a_call_that_does_not_end_keeps_the_old_version_where_it_would_have_to_go_first(
    model: Model, store: Store, room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, leave = threading.Event(), threading.Event()
    runner = model._serving.runner
    run = runner.run

    def slow(feed: Arrays, *, timeout_ms: float | None = None) -> Arrays:
        if not entered.is_set():
            entered.set()
            leave.wait(PATIENCE_S)
        return run(feed, timeout_ms=timeout_ms)

    monkeypatch.setattr(runner, "run", slow)
    caller = threading.Thread(target=answer, args=(model,))
    caller.start()
    assert entered.wait(PATIENCE_S)
    too_little(room, monkeypatch)
    installed(tmp_path, store, 2)
    until(lambda: "did not end within 0.3 s" in told(model)["problem"])
    assert answer(model) == version(1)
    leave.set()
    caller.join()
    until(lambda: answer(model) == version(2))


# --- the end -------------------------------------------------------------------------------


def test_closing_ends_the_thread_and_the_load(store: Store, room: Room) -> None:
    model = followed(store, room)
    thread = model._follower._thread
    model.close()
    model.close()
    assert not thread.is_alive()
    assert store.model(NAME).loads.running() == []
    assert answer(model) == version(1)


def test_a_model_that_nobody_has_any_more_is_not_followed(store: Store, room: Room) -> None:
    model = followed(store, room)
    thread = model._follower._thread
    del model
    gc.collect()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_a_model_that_follows_nothing_says_so(store: Store) -> None:
    with runtime.load(NAME, store=store) as model:
        assert model.status()["following"] is None
    with runtime.load(NAME, store=store, follow=True) as model:
        assert told(model) == {"swaps": 0, "last": "", "memory": "", "problem": ""}
