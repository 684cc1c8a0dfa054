"""Attacks from inside a worker: what a graph could make of the process that computes it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from workers import unpacked

from edge_runtime.contract.errors import DeadlineExceeded, WorkerFailed
from edge_runtime.engine import isolated, worker_pipes
from edge_runtime.engine.child import command
from edge_runtime.engine.isolated import Isolated, Task

ROOT = Path(__file__).resolve().parents[2]
LONG_MS = 60_000.0


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """A version that looks numbers up."""
    return unpacked(tmp_path_factory.mktemp("versions"), "lookup")


@pytest.fixture
def told() -> list[str]:
    """Why workers were replaced."""
    return []


@pytest.fixture
def serve(task: Task, told: list[str]) -> Iterator[Callable[[], Isolated]]:
    opened: list[Isolated] = []

    def start() -> Isolated:
        opened.append(Isolated(task, told.append))
        return opened[-1]

    yield start
    for runner in opened:
        runner.close()


Serve = Callable[[], Isolated]

FAKE = """
import json, os, sys, time
sys.path.insert(0, {root!r})
import numpy as np
from edge_runtime.engine import frames
from edge_runtime.engine.frames import Frame

def send(frame):
    raw(b"".join(frames.parts(frame)))

def raw(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()

def ask():
    head, body = frames.lengths(sys.stdin.buffer.read(12), limit=1 << 40)
    facts = json.loads(sys.stdin.buffer.read(head))["facts"]
    return facts["number"], sys.stdin.buffer.read(body)

def value(number, array, name="value"):
    return Frame("answers", {{"number": number}}, {{name: array}})

one = np.ones(1, np.float32)
{what}
"""
READY = 'send(Frame("ready")); number, _ = ask(); '
# What a worker does, and what is said of it.
LIES = {
    "garbage": (READY + "raw(os.urandom(4096)); time.sleep(60)", "did not answer as a worker"),
    "too much": (
        READY + "raw(frames.LENGTHS.pack(2, 1 << 62)); time.sleep(60)",
        "its lengths are 2 and 4611686018427387904",
    ),
    "too long a head": (
        READY + "raw(frames.LENGTHS.pack((1 << 32) - 1, 0)); time.sleep(60)",
        "its lengths are",
    ),
    "no json": (READY + "raw(frames.LENGTHS.pack(2, 0) + b'[}'); time.sleep(60)", "JSON"),
    "half an answer": (
        READY + "raw(b''.join(frames.parts(value(number, one)))[:-3]); sys.exit(3)",
        "it ended with exit status 3",
    ),
    "nothing": (READY + "os._exit(0)", "it ended with exit status 0"),
    "an abort": (READY + "os.abort()", "it was ended by SIGABRT"),
    "a closed pipe": (READY + "os.close(1); time.sleep(60)", "it hung up"),
    "another number": (READY + "send(value(number + 1, one))", "what it was asked"),
    "no number": (READY + "send(Frame('answers', {}, {'value': one}))", "what it was asked"),
    "another name": (READY + "send(value(number, one, 'more'))", "what the model does not"),
    "another type": (READY + "send(value(number, one > 0))", "what the model does not"),
    "no arrays": (READY + "send(Frame('answers', {'number': number}))", "what the model does"),
    "another kind": (READY + "send(Frame('ready', {'number': number}))", "what the model does"),
    "an unknown error": (
        READY + "send(Frame('refused', {'number': number, 'code': 'x', 'message': 'm', "
        "'hint': 'h', 'values': {}}))",
        "'x' is no error",
    ),
    "another error": (
        READY + "send(Frame('refused', {'number': number, 'code': 'no-space', 'message': 'm', "
        "'hint': 'h', 'values': {}}))",
        "what the model does not",
    ),
    "a deadline that there was not": (
        READY + "send(Frame('refused', {'number': number, 'code': 'deadline-exceeded', "
        "'message': 'm', 'hint': 'h', 'values': {}}))",
        "had all the time",
    ),
    "an error without words": (
        READY + "send(Frame('refused', {'number': number}))",
        "did not answer as a worker",
    ),
}


@pytest.fixture
def disguise(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the next worker that is started be something else; those after it are real."""

    def put_on(what: str) -> None:
        code = FAKE.format(root=str(ROOT), what=what)
        fakes = [[sys.executable, "-c", code]]
        monkeypatch.setattr(
            worker_pipes,
            "command",
            lambda module, arguments: fakes.pop() if fakes else command(module, arguments),
        )

    return put_on


Disguise = Callable[[str], None]


@pytest.mark.parametrize("lie", LIES)
def test_a_worker_that_lies_is_replaced_and_the_next_call_answered(
    serve: Serve, disguise: Disguise, told: list[str], lie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pipes, "_END_S", 0.2)
    what, reason = LIES[lie]
    disguise(what)
    runner = serve()
    liar = runner.worker["pid"]
    with pytest.raises(WorkerFailed) as caught:
        runner.run({"index": np.array([0])})
    assert reason in caught.value.message
    assert not psutil.pid_exists(liar)
    assert len(told) == 1
    assert runner.run({"index": np.array([2])})["value"].tolist() == [3.0]


@pytest.mark.parametrize(
    "what",
    [
        'send(Frame("ready")); time.sleep(60)',
        READY + "time.sleep(60)",
        READY + "raw(b''.join(frames.parts(value(number, one)))[:-3]); time.sleep(60)",
        READY + "raw(frames.LENGTHS.pack(100, 1 << 20)); time.sleep(60)",
        READY + "raw(frames.LENGTHS.pack(1 << 19, 0))\nwhile True: raw(b' '); time.sleep(0.01)",
    ],
    ids=["reads nothing", "says nothing", "stops half way", "announces only", "drips"],
)
def test_a_worker_that_never_answers_is_bounded_by_the_deadline(
    serve: Serve, disguise: Disguise, what: str
) -> None:
    disguise(what)
    runner = serve()
    liar = runner.worker["pid"]
    with pytest.raises(DeadlineExceeded, match="its worker was ended"):
        runner.run({"index": np.zeros(400_000, np.int64)}, timeout_ms=200)
    assert not psutil.pid_exists(liar)
    assert runner.run({"index": np.array([2])}, timeout_ms=LONG_MS)["value"].tolist() == [3.0]


def test_an_answer_given_ahead_of_its_question_is_not_taken(
    serve: Serve, disguise: Disguise, told: list[str]
) -> None:
    disguise(READY + "send(value(number, one)); send(value(number + 1, one + 6)); ask()")
    runner = serve()
    assert runner.run({"index": np.array([0])})["value"].tolist() == [1.0]
    time.sleep(0.1)
    assert runner.run({"index": np.array([2])})["value"].tolist() == [3.0]
    assert told == ["between two predictions it spoke unasked"]


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("raise SystemExit('no such library')", "exit status 1: no such library"),
        ("sys.exit(0)", "exit status 0: silence"),
        ("raw(b'x' * 12)", "its lengths are"),
        ("send(Frame('ready', {}, {'a': one})); time.sleep(60)", "its lengths are"),
        ("send(Frame('hello'))", "a refusal.code must be text"),
    ],
)
def test_a_start_that_is_none_is_a_typed_error(
    task: Task, disguise: Disguise, what: str, reason: str
) -> None:
    disguise(what)
    with pytest.raises(WorkerFailed) as caught:
        Isolated(task, print)
    assert reason in caught.value.message


def test_a_worker_that_never_gets_ready_is_ended(
    task: Task, disguise: Disguise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolated, "START_S", 0.5)
    for what in ("time.sleep(60)", "raw(bytes(3)); time.sleep(60)"):
        disguise(what)
        with pytest.raises(WorkerFailed, match=r"not ready within 0\.5 s"):
            Isolated(task, print)
