"""The trial: whatever a variant does to its process becomes a sentence, never an outage."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import bundles
import devices
import numpy as np
import pytest
from onnx import helper

from edge_runtime.contract.bundle.verify import verify_bundle
from edge_runtime.contract.errors import GoldenMismatch, TrialFailed
from edge_runtime.contract.tensors import Arrays, TensorSpec
from edge_runtime.engine import trial
from edge_runtime.engine.benchmark import Timing
from edge_runtime.engine.trial import Trial, run_trial, try_variants
from edge_runtime.engine.verdict import Verdict, choose, verdict_from_json

CHECKOUT = Path(trial.__file__).parents[2]


@pytest.fixture
def unpacked(tmp_path: Path) -> Callable[..., tuple[Path, str]]:
    """Unpack a bundle as an installation would, and return where and its digest."""

    def run(
        subject: devices.Subject,
        models: Mapping[str, bytes] | None = None,
        answers: Mapping[str, Arrays] | None = None,
    ) -> tuple[Path, str]:
        path = devices.packed(tmp_path / "b.oci.tar", subject, models, answers=answers)
        directory = tmp_path / "package"
        directory.mkdir()
        with verify_bundle(path, bundles.KEYS) as verified:
            verified.packages[0].extract(directory)
            return directory, verified.packages[0].digest

    return run


Unpacked = Callable[..., tuple[Path, str]]


def reason(unpacked: tuple[Path, str], timeout_s: float = 60) -> str:
    with pytest.raises(TrialFailed) as caught:
        run_trial(*unpacked, ["float32"], threads=1, timeout_s=timeout_s)
    (verdict,) = caught.value.values["found"]
    return str(verdict["reason"])


def engine(directory: Path, code: str) -> str:
    """Write an engine of our own and return where it stands."""
    place = directory / "engine/onnxruntime"
    (place / "capi").mkdir(parents=True)
    (place / "__init__.py").write_text(f"import sys\n{code}")
    (place / "capi/onnxruntime_pybind11_state.py").touch()
    return str(directory / "engine")


# --- verdicts ------------------------------------------------------------------------------


def test_a_variant_that_holds_passes_with_what_it_took(unpacked: Unpacked) -> None:
    (verdict,) = run_trial(*unpacked(devices.loan()), ["float32"], threads=1)
    assert (verdict.variant, verdict.code) == ("float32", "")
    assert verdict.reason == "golden vectors hold"
    assert [timing.rows for timing in verdict.timings] == [1, 3]
    assert verdict.memory_bytes is not None
    assert 0 <= verdict.memory_bytes < 64 << 20
    assert verdict_from_json(json.loads(json.dumps(verdict.to_json()))) == verdict


def test_every_variant_is_tried_and_the_best_that_holds_serves(unpacked: Unpacked) -> None:
    subject = devices.loan()
    wrong = devices.answers_of(subject)
    wrong["label"] = wrong["label"][::-1]
    truth = devices.answers_of(subject)
    package = unpacked(
        subject,
        {"int8": subject.model, "float16": subject.model, "float32": devices.unopenable()},
        {"int8": wrong, "float16": truth, "float32": truth},
    )
    verdicts = run_trial(*package, ["int8", "float16", "float32"], threads=1)
    assert [(item.variant, item.code) for item in verdicts] == [
        ("int8", "golden-mismatch"),
        ("float16", ""),
        ("float32", "model-load-failed"),
    ]
    choice = choose(verdicts)
    assert choice is not None
    assert choice.variant == "float16"
    assert choice.reason.startswith("int8 left aside: int8 must answer yes in row 0 of label")


def test_wrong_answers_everywhere_are_a_mismatch_with_every_reason(unpacked: Unpacked) -> None:
    subject = devices.loan()
    wrong = devices.answers_of(subject)
    wrong["label"] = wrong["label"][::-1]
    package = unpacked(subject, answers={"float32": wrong})
    with pytest.raises(GoldenMismatch, match=r"of 1 none did: float32: .*in row"):
        run_trial(*package, ["float32"], threads=1)


def test_a_file_that_was_changed_after_it_was_hashed_is_the_reason(unpacked: Unpacked) -> None:
    directory, digest = unpacked(devices.loan())
    model = directory / "variants/float32.onnx"
    model.chmod(0o644)
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    assert "variants/float32.onnx must have" in reason((directory, digest))


def test_a_variant_that_is_not_there_is_the_reason(unpacked: Unpacked) -> None:
    with pytest.raises(TrialFailed, match="the package has no such variant"):
        run_trial(*unpacked(devices.loan()), ["int4"], threads=1)


# --- models and engines that misbehave -----------------------------------------------------


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (
            "import ctypes; ctypes.string_at(0)",
            "it was ended by SIGSEGV: it reached for memory that is not its own",
        ),
        (
            "import os; os.kill(os.getpid(), 4)",
            "it was ended by SIGILL: it met an instruction that this processor does not have",
        ),
        (
            "import os; os.kill(os.getpid(), 9)",
            "it was ended by SIGKILL: memory or its time ran out, or somebody ended it",
        ),
        ("import os; os.kill(os.getpid(), 15)", "it was ended by SIGTERM"),
        ("import os; os.kill(os.getpid(), 40)", "it was ended by signal 40"),
        ("import os; os._exit(3)", "exit status 3 without a verdict: silence"),
        (
            "import os; os.write(int(sys.argv[-1]), b'{}\\n'); os._exit(0)",
            "exit status 0 without a verdict: silence",
        ),
        (
            "import os; os.write(1, bytes(range(256))); os.write(2, b'oh\\nno'); os._exit(0)",
            "exit status 0 without a verdict: no",
        ),
        ("raise SystemError('inner')", "exit status 1 without a verdict: SystemError: inner"),
    ],
)
def test_an_engine_that_dies_is_the_reason(
    unpacked: Unpacked,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    code: str,
    expected: str,
) -> None:
    package = unpacked(devices.loan())
    monkeypatch.syspath_prepend(engine(tmp_path, code))
    assert reason(package) == expected


def test_an_engine_that_prints_is_understood(
    unpacked: Unpacked, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = unpacked(devices.loan())
    code = "import os; os.write(1, b'hello'); raise ImportError('wrong libc')"
    monkeypatch.syspath_prepend(engine(tmp_path, code))
    assert reason(package).endswith("it cannot be imported: wrong libc")


def test_a_python_that_cannot_be_started_is_the_reason(
    unpacked: Unpacked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert reason(unpacked(devices.loan())).startswith("no child could be started from")


# --- what takes too much -------------------------------------------------------------------

# An engine that opens a session of nothing, and misbehaves on the model itself.
BOMB = """
import os, threading, time

class SessionOptions:
    def add_session_config_entry(self, key, value):
        pass

class GraphOptimizationLevel:
    ORT_ENABLE_ALL = 99

def set_default_logger_severity(level):
    pass

def get_available_providers():
    return ["CPUExecutionProvider"]

class InferenceSession:
    def __init__(self, source, options, providers):
        if len(source) > 200:
            explode()
            time.sleep(20)

    def get_inputs(self):
        return []

    def get_outputs(self):
        return []

    def get_providers(self):
        return ["CPUExecutionProvider"]

    def disable_fallback(self):
        pass

def explode():
"""
THREADS = """
    threading.stack_size(1 << 16)
    for _ in range(64):
        threading.Thread(target=time.sleep, args=(20,), daemon=True).start()
"""
FORKS = """
    for _ in range(7):
        os.fork()
"""
PRIVATE = """
    kept = []
    while True:
        kept.append(bytearray(b"x" * (1 << 20)))
"""


def processes_of(digest: str) -> list[str]:
    """Return the processes of a trial that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found += [str(path)] if digest.encode() in path.read_bytes() else []
    return found


@pytest.mark.parametrize(
    ("bomb", "expected"),
    [
        (THREADS, r"it started \d+ threads, it may have \d+"),
        (FORKS, "it started another process"),
        (PRIVATE, "its working set of 256.0 MiB was not enough|took more memory than its"),
    ],
    ids=["threads", "processes", "memory"],
)
def test_an_engine_that_takes_too_much_is_ended_with_all_that_it_started(
    unpacked: Unpacked,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    bomb: str,
    expected: str,
) -> None:
    package = unpacked(devices.loan())
    monkeypatch.syspath_prepend(engine(tmp_path, BOMB + bomb))
    assert re.search(expected, reason(package))
    while processes_of(package[1]):  # they were ended, and are leaving
        time.sleep(0.01)


def test_a_trial_ends_with_the_program_that_asked_for_it(
    unpacked: Unpacked, tmp_path: Path
) -> None:
    directory, digest = unpacked(devices.loan())
    place = engine(tmp_path, BOMB + f"    open({str(tmp_path / 'there')!r}, 'w')\n")
    program = subprocess.Popen(
        [sys.executable, "-c", TRY, str(directory), digest],
        env={**os.environ, "PYTHONPATH": f"{place}:{CHECKOUT}"},
    )
    while not (tmp_path / "there").exists():
        assert program.poll() is None
        time.sleep(0.01)
    program.kill()
    program.wait()
    while processes_of(digest):
        time.sleep(0.01)


# --- which of those that hold serves -------------------------------------------------------


def product(rounds: int) -> devices.Subject:
    """Return ``y = x @ w`` that multiplies so many times more, to no effect."""
    inputs = (TensorSpec("x", "float32", (None, 64)),)
    outputs = (TensorSpec("y", "float32", (None, 64)),)
    node = helper.make_node
    nodes = [node("MatMul", ["x", "w"], ["y0"])]
    for number in range(rounds):
        nodes.append(node("MatMul", [f"y{number}", "one"], [f"y{number + 1}"]))
    nodes.append(node("Identity", [f"y{rounds}"], ["y"]))
    weights = np.arange(4096, dtype=np.float32).reshape(64, 64) / 4096
    one = np.eye(64, dtype=np.float32)
    model = devices.graph(nodes, inputs, outputs, w=weights, one=one)
    feed = {"x": np.ones((32, 64), np.float32)}
    return devices.Subject(model, devices.interface(inputs, outputs), feed)


@pytest.mark.parametrize(
    ("order", "serves", "rounds"), [((50, 0), "second", 3), ((0, 50), "first", 1)]
)
def test_a_variant_that_is_slow_here_is_left_aside_only_after_it_was_so_again_and_again(
    unpacked: Unpacked, order: tuple[int, int], serves: str, rounds: int
) -> None:
    first, second = (product(count) for count in order)
    package = unpacked(first, {"first": first.model, "second": second.model})
    verdicts = run_trial(*package, ["first", "second"], threads=1)
    choice = choose(verdicts)
    assert choice is not None
    assert choice.variant == serves
    assert [len(verdict.rounds) for verdict in verdicts] == [rounds, rounds]
    slow = [text.partition(": it takes ")[0] for text in choice.slow]
    assert slow == (["first left aside"] if serves == "second" else [])


def rounds_of(monkeypatch: pytest.MonkeyPatch, told: dict[str, list[float | str]]) -> list[str]:
    """Let every trial of a variant find the next of these: microseconds, or why it fails."""
    order: list[str] = []
    left = {name: list(found) for name, found in told.items()}

    def tried(_: Trial, name: str) -> Verdict:
        order.append(name)
        found = left[name].pop(0)
        if isinstance(found, str):
            return Verdict(name, "trial-failed", found)
        return Verdict(name, "", "golden vectors hold", ((Timing(1, found),),), len(order))

    monkeypatch.setattr(trial, "_try", tried)
    return order


NOTHING = Trial(Path(), "0" * 64, 1)


def test_a_machine_that_was_busy_once_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    order = rounds_of(monkeypatch, {"int8": [30, 10], "float32": [10, 10]})
    verdicts = try_variants(NOTHING, ["int8", "float32"])
    assert order == ["int8", "float32", "float32", "int8"]
    choice = choose(verdicts)
    assert choice is not None
    assert choice.variant == "int8"
    assert verdicts[0].rounds == ((Timing(1, 30),), (Timing(1, 10),))
    assert verdicts[0].memory_bytes == 4


def test_a_variant_that_fails_when_it_is_tried_again_has_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounds_of(monkeypatch, {"int8": [30, "it was ended"], "float32": [10, 10]})
    first, second = try_variants(NOTHING, ["int8", "float32"])
    assert (first.passed, first.reason) == (False, "it was ended")
    assert second.passed
    rounds_of(monkeypatch, {"int8": [30, 30, 30], "float32": [10, "it was ended"]})
    first, second = try_variants(NOTHING, ["int8", "float32"])
    assert (first.passed, second.passed) == (True, False)


def test_variants_that_all_fail_are_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    order = rounds_of(monkeypatch, {"int8": ["no"], "float32": ["no"]})
    try_variants(NOTHING, ["int8", "float32"])
    assert order == ["int8", "float32"]


# --- where the child imports from ----------------------------------------------------------


TRY = (
    "import json, sys\n"
    "from pathlib import Path\n"
    "from edge_runtime.engine.trial import run_trial\n"
    "(verdict,) = run_trial(Path(sys.argv[1]), sys.argv[2], ['float32'], threads=1)\n"
    "print(json.dumps(verdict.to_json()))\n"
)


def test_the_trial_works_where_the_checkout_is_the_current_directory(
    unpacked: Unpacked,
) -> None:
    directory, digest = unpacked(devices.loan())
    done = subprocess.run(
        [sys.executable, "-c", TRY, str(directory), digest],
        cwd=CHECKOUT,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert verdict_from_json(json.loads(done.stdout)).passed


def test_modules_in_the_current_directory_are_never_imported(
    unpacked: Unpacked, tmp_path: Path
) -> None:
    directory, digest = unpacked(devices.loan())
    stick = tmp_path / "stick"
    stick.mkdir()
    for name in ("json", "resource", "sitecustomize", "numpy", "onnxruntime", "edge_runtime"):
        (stick / f"{name}.py").write_text("raise SystemExit('taken over')")
    # As a program that was started there by hand: its own path begins with that directory.
    code = TRY.replace("(verdict,)", "sys.path[:0] = ['', str(Path.cwd())]\n(verdict,)")
    code = f"import sys; sys.path.append({str(CHECKOUT)!r})\n{code}"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, os.path.relpath(directory, stick), digest],
        cwd=stick,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert verdict_from_json(json.loads(done.stdout)).passed


def test_a_current_directory_that_was_removed_is_no_hindrance(
    unpacked: Unpacked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = unpacked(devices.loan())
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert run_trial(*package, ["float32"], threads=1)[-1].passed
