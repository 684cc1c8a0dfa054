"""A model in a worker: it answers alike, whatever the graph or the worker does is bounded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import devices
import endless
import numpy as np
import psutil
import pytest
from workers import SUBJECTS, end_idle, gone, unpacked

from edge_runtime.contract.errors import (
    DeadlineExceeded,
    DigestMismatch,
    InputShape,
    PredictionFailed,
    StoreCorrupt,
    WorkerFailed,
)
from edge_runtime.contract.tensors import Arrays
from edge_runtime.engine.isolated import Isolated, Task
from edge_runtime.engine.session import SessionPlan, open_session

LOAN = devices.loan()
ROOT = Path(__file__).resolve().parents[3]
LONG_MS = 60_000.0


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    """Unpacked versions, each with what a worker has to know of it."""
    directory = tmp_path_factory.mktemp("versions")
    return {name: unpacked(directory, name) for name in SUBJECTS}


@pytest.fixture
def told() -> list[str]:
    """Why workers were replaced."""
    return []


@pytest.fixture
def serve(tasks: dict[str, Task], told: list[str]) -> Iterator[Callable[[str], Isolated]]:
    opened: list[Isolated] = []

    def start(name: str) -> Isolated:
        opened.append(Isolated(tasks[name], told.append))
        return opened[-1]

    yield start
    for runner in opened:
        runner.close()


Serve = Callable[[str], Isolated]


def labels(answers: Arrays) -> list[str]:
    found: list[str] = answers["label"].tolist()
    return found


# --- answers -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["loan", "lookup", "loop", "long_node"])
def test_a_worker_answers_bit_for_bit_as_a_session_of_this_process(
    serve: Serve, name: str
) -> None:
    subject = SUBJECTS[name]
    expected = open_session(subject.model, SessionPlan()).run(subject.feed)
    runner = serve(name)
    for timeout_ms in (None, LONG_MS):
        found = runner.run(subject.feed, timeout_ms=timeout_ms)
        assert list(found) == list(expected)
        for output, array in expected.items():
            assert found[output].dtype == array.dtype
            np.testing.assert_array_equal(found[output], array)
    assert runner.provider == "CPUExecutionProvider"
    assert runner.worker["pid"] != os.getpid()


def test_text_passes_both_ways_whatever_it_is(serve: Serve) -> None:
    runner = serve("loan")
    plans = np.array([["gold"], ["a\0b"], ["ö" * 9000]], object)
    assert labels(runner.run(LOAN.feed | {"plan": plans})) == ["yes", "no", "yes"]
    with pytest.raises(PredictionFailed):  # as the engine says of half a pair without a worker
        runner.run(LOAN.feed | {"plan": np.array([["\ud800"]] * 3, object)})
    assert labels(runner.run(LOAN.feed)) == ["no", "yes", "yes"]


def test_a_failing_engine_is_a_typed_error_and_the_worker_goes_on(serve: Serve) -> None:
    runner = serve("lookup")
    with pytest.raises(PredictionFailed, match="the engine failed on this input"):
        runner.run({"index": np.array([99])})
    assert runner.run({"index": np.array([1])})["value"].tolist() == [2.0]
    assert runner.worker["restarts"] == 0


def test_large_tensors_go_in_and_come_out(serve: Serve) -> None:
    runner = serve("lookup")
    index = np.arange(1_000_003) % 3
    np.testing.assert_array_equal(
        runner.run({"index": index})["value"], (index + 1).astype(np.float32)
    )


def test_more_than_the_signed_memory_goes_neither_in_nor_out(
    tasks: dict[str, Task], serve: Serve
) -> None:
    limit = tasks["wide"].limit
    many = np.zeros(limit // 8 + 1, np.int64)
    with pytest.raises(InputShape, match=f"takes {limit} bytes at once"):
        serve("lookup").run({"index": many})
    runner = serve("wide")
    with pytest.raises(PredictionFailed, match=f"may answer {limit} bytes|Failed to allocate"):
        runner.run(endless.asked(limit // 4 + 1))
    with pytest.raises(PredictionFailed, match="Failed to allocate"):
        runner.run(endless.asked(1 << 40))
    assert runner.run(endless.asked(3))["zeros"].tolist() == [0, 0, 0]
    assert runner.worker["restarts"] == 0


# --- deadlines -----------------------------------------------------------------------------


def test_a_graph_that_never_ends_is_stopped_without_a_new_worker(serve: Serve) -> None:
    runner = serve("loop")
    runner.run(endless.asked(3))
    with pytest.raises(DeadlineExceeded, match="within 200 ms"):
        runner.run({"count": endless.FOR_EVER}, timeout_ms=200)
    assert runner.run(endless.asked(3), timeout_ms=LONG_MS)["value"].shape == (1,)


def test_a_single_long_node_is_bounded_by_ending_its_worker(
    serve: Serve, told: list[str]
) -> None:
    runner = serve("long_node")
    first = runner.worker["pid"]
    with pytest.raises(DeadlineExceeded, match="its worker was ended") as caught:
        runner.run(endless.asked(400_000), timeout_ms=500)  # more than a minute
    assert caught.value.values["elapsed_ms"] < LONG_MS
    assert "isolate" not in caught.value.hint
    assert not psutil.pid_exists(first)
    assert runner.run(endless.asked(7), timeout_ms=LONG_MS)["kept"].tolist() == [7]
    assert runner.worker["restarts"] == len(told) == 1
    assert runner.worker["reason"] == told[0]
    assert "did not stop in time" in told[0]


def test_a_worker_that_still_starts_is_not_ended_by_a_deadline(serve: Serve) -> None:
    runner = serve("lookup")
    end_idle(runner)
    for _ in range(2):
        with pytest.raises(DeadlineExceeded, match="still being started"):
            runner.run({"index": np.array([0])}, timeout_ms=0.01)
    assert runner.run({"index": np.array([0])})["value"].tolist() == [1.0]
    assert runner.worker["restarts"] == 1


def test_a_call_that_waits_its_turn_gives_up_without_harm_to_the_other(serve: Serve) -> None:
    runner = serve("long_node")
    found: list[list[int]] = []
    other = threading.Thread(
        target=lambda: found.append(runner.run(endless.asked(25_000))["kept"].tolist())
    )
    other.start()
    while not runner._turn.locked():
        time.sleep(0.001)
    with pytest.raises(DeadlineExceeded, match="others had their turn"):
        runner.run(endless.asked(7), timeout_ms=1)
    other.join()
    assert found == [[25_000]]
    assert runner.worker["restarts"] == 0


def test_several_threads_get_each_their_own_answers(serve: Serve, told: list[str]) -> None:
    runner = serve("lookup")
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(40):
                index = np.full(number + turn % 5 + 1, (number + turn) % 3)
                answer = runner.run({"index": index}, timeout_ms=LONG_MS)["value"]
                assert answer.tolist() == (index + 1).tolist()
                if turn % 10 == number:
                    with pytest.raises(PredictionFailed):
                        runner.run({"index": np.array([9])})
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (failures, told) == ([], [])


# --- workers that end ----------------------------------------------------------------------


def test_a_worker_that_ended_while_nobody_asked_is_replaced_in_silence(
    serve: Serve, told: list[str]
) -> None:
    runner = serve("loan")
    end_idle(runner, signal.SIGSEGV)
    assert labels(runner.run(LOAN.feed)) == ["no", "yes", "yes"]
    assert told == ["between two predictions it was ended by SIGSEGV"]


def test_a_worker_that_dies_in_the_middle_is_a_typed_error_once(
    serve: Serve, told: list[str]
) -> None:
    runner = serve("loop")
    victim = runner.worker["pid"]
    threading.Timer(0.2, os.kill, (victim, signal.SIGKILL)).start()
    with pytest.raises(WorkerFailed, match="ended by SIGKILL, as happens when memory runs out"):
        runner.run({"count": endless.FOR_EVER})
    assert runner.run(endless.asked(3))["value"].shape == (1,)
    assert len(told) == 1


def test_a_worker_outlives_the_thread_that_replaced_it(serve: Serve) -> None:
    runner = serve("loan")
    end_idle(runner)
    thread = threading.Thread(target=runner.run, args=(LOAN.feed,))
    thread.start()
    thread.join()
    for _ in range(3):
        assert labels(runner.run(LOAN.feed)) == ["no", "yes", "yes"]
        time.sleep(0.05)
    assert runner.worker["restarts"] == 1


def test_an_interrupted_call_leaves_no_answer_for_the_next(serve: Serve) -> None:
    runner = serve("lookup")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    os.kill(runner.worker["pid"], signal.SIGSTOP)  # the answer comes after the interruption
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            runner.run({"index": np.array([0])})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert runner.run({"index": np.array([2])})["value"].tolist() == [3.0]


def test_a_closed_model_has_no_worker_and_says_so(serve: Serve) -> None:
    runner = serve("loop")
    worker = runner.worker["pid"]
    failed: list[WorkerFailed] = []

    def ask() -> None:
        try:
            runner.run({"count": endless.FOR_EVER})
        except WorkerFailed as error:
            failed.append(error)

    caller = threading.Thread(target=ask)
    caller.start()
    while not runner._turn.locked():
        time.sleep(0.001)
    runner.close()
    caller.join()
    assert not psutil.pid_exists(worker)
    with pytest.raises(WorkerFailed, match="the model was closed"):
        runner.run(endless.asked(3))
    assert [error.values["reason"] for error in failed] == ["the model was closed"]
    runner.close()
    assert runner.worker["pid"] is None


PARENT = """
import subprocess, sys, threading
sys.path.insert(0, sys.argv[1])
import endless, workers
from pathlib import Path
from edge_runtime.engine.isolated import Isolated

runner = Isolated(workers.unpacked(Path(sys.argv[2]), "loop"), print)
pids = [runner.worker["pid"]]
if sys.argv[3] == "copied":
    pipes = [runner._process._to, runner._process._from]
    pids.append(subprocess.Popen(["sleep", "600"], pass_fds=pipes).pid)
threading.Timer(0.3, print, pids, {"flush": True}).start()
runner.run({"count": endless.FOR_EVER})
"""


@pytest.mark.parametrize("pipes", ["its own", "copied"])
def test_a_worker_ends_with_its_parent_in_the_middle_of_a_graph(
    tmp_path: Path, pipes: str
) -> None:
    """Also where another process holds copies of the pipes, as one that was forked does."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, ROOT / "tests/support", tmp_path, pipes],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    with parent:
        assert parent.stdout is not None
        worker, *others = map(int, parent.stdout.readline().split())
        assert psutil.Process(worker).ppid() == parent.pid
        parent.kill()
    gone(worker)
    for other in others:
        os.kill(other, signal.SIGKILL)


def test_a_forked_child_has_a_worker_of_its_own(serve: Serve) -> None:
    runner = serve("loan")
    own = runner.worker["pid"]
    child = os.fork()
    if not child:
        code = 1
        try:
            if labels(runner.run(LOAN.feed)) == ["no", "yes", "yes"]:
                code = 42 if runner.worker["pid"] != own else 2
            runner.close()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    assert labels(runner.run(LOAN.feed)) == ["no", "yes", "yes"]
    assert (runner.worker["pid"], runner.worker["restarts"]) == (own, 0)


# --- workers that cannot start -------------------------------------------------------------


def test_a_worker_that_cannot_be_started_is_a_typed_error(
    tasks: dict[str, Task], monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(WorkerFailed, match=r"'/nowhere/python', .* No such file"):
        Isolated(tasks["loan"], told.append)


@pytest.mark.parametrize(
    ("damage", "error"),
    [(lambda path: path.write_bytes(b"x"), DigestMismatch), (Path.unlink, StoreCorrupt)],
)
def test_what_is_wrong_with_a_version_is_said_as_without_a_worker(
    tmp_path: Path, damage: Callable[[Path], None], error: type[Exception]
) -> None:
    task = unpacked(tmp_path, "loan")
    damage(task.directory / "variants/float32.onnx")
    with pytest.raises(error):
        Isolated(task, print)


def test_a_version_damaged_meanwhile_is_said_when_its_worker_has_to_be_replaced(
    tmp_path: Path,
) -> None:
    task = unpacked(tmp_path, "loan")
    with closing(Isolated(task, print)) as runner:
        (task.directory / "variants/float32.onnx").unlink()
        assert labels(runner.run(LOAN.feed)) == ["no", "yes", "yes"]
        end_idle(runner)
        for _ in range(2):
            with pytest.raises(StoreCorrupt):
                runner.run(LOAN.feed)
