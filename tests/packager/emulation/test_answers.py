"""Models answer in a process of their own, and what ends that process is their own problem."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import odd_graphs
import psutil
import pytest
from odd_graphs import of

from edge_runtime.contract.tensors import Arrays
from packager.emulation import answers
from packager.emulation.answers import Job, Ran, Setting, answers_on
from packager.emulation.machines import HOST, Machine, find_machines, host_architecture
from packager.graphs.model_files import ModelFiles
from packager.target import CpuModel

((HERE,), _) = find_machines(host_architecture(), [CpuModel("this machine", HOST)])
FEED = {"x": odd_graphs.unit_rows(50)}
ONCE = (Setting(None),)


def job(name: str, model: ModelFiles, *settings: Setting) -> Job:
    return Job(name, model, {}, settings or ONCE)


def expected() -> Arrays:
    return of(odd_graphs.product()).open_mapped().run(FEED)


def problem_of(model: ModelFiles, machine: Machine = HERE) -> str:
    ran = answers_on(machine, [job("odd", model)], FEED)["odd"]
    assert ran.answers == ()
    assert ran.peak_bytes is None
    return ran.problem


# --- answers -------------------------------------------------------------------------------


def test_it_answers_as_a_session_in_this_process_does() -> None:
    ran = answers_on(HERE, [job("one", of(odd_graphs.product()))], FEED)["one"]
    assert ran.problem == ""
    assert list(ran.answers[0]) == ["y"]
    assert np.array_equal(ran.answers[0]["y"], expected()["y"])
    assert ran.answers[0]["y"].dtype == np.float32


def test_every_setting_has_its_answers_in_their_order() -> None:
    settings = [
        Setting(batch, threads, level)
        for batch, threads in ((None, 1), (1, 1), (7, 2))
        for level in ("disabled", "basic", "extended", "all")
    ]
    ran = answers_on(HERE, [job("one", of(odd_graphs.product()), *settings)], FEED)["one"]
    assert len(ran.answers) == len(settings)
    for found in ran.answers:
        assert np.allclose(found["y"], expected()["y"], rtol=1e-6)


def test_a_batch_of_one_is_not_a_batch_of_all() -> None:
    dynamic = odd_graphs.measuring_ranges()
    rows = {"x": np.concatenate([FEED["x"], 100 * FEED["x"]])}
    settings = (Setting(None), Setting(1))
    whole, single = answers_on(HERE, [job("one", of(dynamic), *settings)], rows)["one"].answers
    session = of(dynamic).open_mapped()
    assert np.array_equal(whole["y"], session.run(rows)["y"])
    assert np.array_equal(single["y"][:1], session.run({"x": rows["x"][:1]})["y"])
    assert not np.allclose(whole["y"][:50], single["y"][:50], rtol=1e-3)


def test_text_goes_in_and_comes_out() -> None:
    words = ["", "größe", "a longer text", "日本"]
    feed = {"x": np.array(words * 3, dtype=object)}
    ran = answers_on(HERE, [job("one", of(odd_graphs.translating(words)))], feed)["one"]
    assert ran.answers[0]["number"].tolist() == [0, 1, 2, 3] * 3
    assert ran.answers[0]["turned"].tolist() == [word[::-1] for word in words] * 3
    assert ran.answers[0]["turned"].dtype == object


def test_a_graph_of_fixed_batch_answers_every_row() -> None:
    ran = answers_on(HERE, [job("one", of(odd_graphs.product(rows=16)))], FEED)["one"]
    assert np.array_equal(ran.answers[0]["y"], expected()["y"])


def test_weights_beside_the_graph_are_found(tmp_path: Path) -> None:
    ran = answers_on(HERE, [job("one", odd_graphs.beside(tmp_path))], FEED)["one"]
    assert ran.problem == ""
    assert np.array_equal(ran.answers[0]["y"], expected()["y"])


def test_what_is_asked_and_answered_can_be_sent_to_another_process(tmp_path: Path) -> None:
    def sent(value: Any) -> Any:
        return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own bytes

    question = (HERE, [job("one", odd_graphs.beside(tmp_path))], FEED)
    again = sent(answers_on(*sent(question)))["one"]
    assert np.array_equal(again.answers[0]["y"], expected()["y"])


def test_nothing_of_a_run_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    answers_on(HERE, [job("one", of(odd_graphs.product()))], FEED)
    assert list(tmp_path.iterdir()) == []


# --- memory --------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a peak")
def test_memory_is_told_of_each_model_alone() -> None:
    jobs = [job("large", of(odd_graphs.weighing(80))), job("small", of(odd_graphs.product()))]
    ran = answers_on(HERE, jobs, {"x": odd_graphs.unit_rows(2)})
    large, small = ran["large"].peak_bytes, ran["small"].peak_bytes
    assert large is not None
    assert small is not None
    assert 80_000_000 < large < 400_000_000
    assert 0 <= small < 5_000_000


def test_on_an_emulated_machine_no_memory_is_told() -> None:
    pretended = Machine("Haswell", HERE.python, emulated=True, libraries=HERE.libraries)
    ran = answers_on(pretended, [job("one", of(odd_graphs.product()))], FEED)["one"]
    assert ran.problem == ""
    assert ran.peak_bytes is None


# --- what goes wrong -----------------------------------------------------------------------


def test_a_model_that_the_engine_refuses_is_told_in_its_words() -> None:
    assert "refused the model" in problem_of(ModelFiles(b"no graph"))


def test_rows_that_the_graph_does_not_take_are_told() -> None:
    words = odd_graphs.translating(["a"])
    assert "failed on this input" in problem_of(of(words))


def test_a_model_that_wants_all_memory_gets_a_sentence() -> None:
    assert "memory" in problem_of(of(odd_graphs.greedy())).lower()


def killed(cause: signal.Signals, jobs: list[Job], machine: Machine) -> dict[str, Ran]:
    """Kill the worker while it runs what never ends; the others are asked again."""
    done = threading.Event()

    def kill() -> None:
        while not done.wait(0.05):
            for child in psutil.Process().children():
                words = " ".join(child.cmdline())
                if "worker.zip" in words and child.cpu_times().user > 2:
                    child.send_signal(cause)
                    return

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        return answers_on(machine, jobs, FEED)
    finally:
        done.set()
        killer.join()


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (signal.SIGKILL, "ended by SIGKILL, as happens when memory runs out"),
        (signal.SIGILL, "ended by SIGILL, an instruction that this processor has not"),
        (signal.SIGSEGV, "ended by SIGSEGV"),
    ],
)
def test_a_killed_process_is_blamed_on_its_job_and_the_rest_goes_on(
    cause: signal.Signals, words: str
) -> None:
    together = Machine("one process for all", HERE.python, True, HERE.libraries)
    jobs = [
        job("before", of(odd_graphs.product())),
        job("endless", of(odd_graphs.endless())),
        job("after", of(odd_graphs.product(seed=1))),
    ]
    ran = killed(cause, jobs, together)
    assert words in ran["endless"].problem
    assert ran["before"].problem == ran["after"].problem == ""
    assert not np.array_equal(ran["before"].answers[0]["y"], ran["after"].answers[0]["y"])


def test_what_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "LONGEST_SECONDS", 1.0)
    started = time.monotonic()
    assert problem_of(of(odd_graphs.endless())) == "it did not end within 1 s"
    assert time.monotonic() - started < answers.START_SECONDS
    assert not [one for one in psutil.Process().children() if "worker.zip" in one.cmdline()]


def test_a_python_that_does_not_start_fails_every_job_once(tmp_path: Path) -> None:
    jobs = [job(name, of(odd_graphs.product())) for name in ("one", "two")]
    absent = Machine("gone", (str(tmp_path / "python"),), emulated=True)
    ran = answers_on(absent, jobs, FEED)
    assert set(ran) == {"one", "two"}
    assert all("does not start" in one.problem for one in ran.values())


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("raise SystemExit('no numpy here')", "ended with status 1: no numpy here"),
        ("pass", "ended with status 0: silence"),
        ("print('hello', flush=True); import time; time.sleep(60)", "told what is no answer"),
    ],
)
def test_a_python_without_the_engine_says_what_it_says(
    program: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "_EXIT_SECONDS", 0.5)
    broken = Machine("broken", (sys.executable, "-c", program), emulated=False)
    assert words in problem_of(of(odd_graphs.product()), broken)


def test_a_job_may_take_longer_the_more_it_has_to_do(tmp_path: Path) -> None:
    def seconds(model: ModelFiles, feed: Arrays, *settings: Setting) -> float:
        room = answers._Room(HERE, tmp_path, feed)
        return room._seconds(job("one", model, *settings))

    small = of(odd_graphs.product())
    least = seconds(small, FEED)
    assert seconds(small, FEED, *ONCE, *ONCE) > least
    assert seconds(of(odd_graphs.weighing(10)), FEED) > least
    assert seconds(small, {"x": np.zeros((50, 100_000), np.float32)}) > least
    assert seconds(of(odd_graphs.weighing(10)), {"x": np.zeros(10**6)}) == 7200


# --- what it runs --------------------------------------------------------------------------


def test_the_program_needs_nothing_of_the_host_but_numpy_and_the_engine(tmp_path: Path) -> None:
    program = tmp_path / "worker.zip"
    answers._write_program(program)
    code = (
        "import sys, json; sys.path.insert(0, sys.argv[1]); import packager.emulation.worker;"
        "print(json.dumps([name.partition('.')[0] for name in sys.modules]),"
        "packager.__file__)"
    )
    words = [sys.executable, "-I", "-c", code, str(program)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    modules, _, file = done.stdout.strip().rpartition(" ")
    assert file.startswith(str(program))
    assert {"click", "onnx", "pandas", "psutil", "sklearn"}.isdisjoint(json.loads(modules))


def test_the_environment_leads_no_python_astray(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "QEMU_CPU", "QEMU_STRACE"):
        monkeypatch.setenv(name, "nonsense")
    ran = answers_on(HERE, [job("one", of(odd_graphs.product()))], FEED)["one"]
    assert ran.problem == ""
    foreign = answers._environment(Machine("cortex-a53", ("python",), emulated=True))
    assert not [name for name in foreign if name.startswith(("PYTHONPATH", "QEMU"))]
