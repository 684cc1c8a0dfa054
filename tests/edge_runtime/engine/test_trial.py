"""The trial: whatever a variant does to its process becomes a sentence, never an outage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import bundles
import devices
import numpy as np
import pytest
from onnx import TensorProto, helper

from edge_runtime.contract.bundle.verify import verify_bundle
from edge_runtime.contract.errors import GoldenMismatch, JsonMalformed, TrialFailed
from edge_runtime.contract.tensors import Arrays, TensorSpec
from edge_runtime.engine import trial
from edge_runtime.engine.trial import Verdict, run_trial, verdict_from_json

CHECKOUT = Path(trial.__file__).parents[2]
Y = {"float32": {"y": np.ones(1, np.float32)}}


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
    (directory / "engine/onnxruntime").mkdir(parents=True)
    (directory / "engine/onnxruntime/__init__.py").write_text(code)
    return str(directory / "engine")


# --- verdicts ------------------------------------------------------------------------------


def test_a_variant_that_holds_passes(unpacked: Unpacked) -> None:
    verdicts = run_trial(*unpacked(devices.loan()), ["float32"], threads=1)
    assert verdicts == (Verdict("float32", "", "golden vectors hold"),)
    assert verdicts[-1].passed


def test_the_first_that_holds_serves_and_what_follows_is_not_tried(unpacked: Unpacked) -> None:
    subject = devices.loan()
    wrong = devices.answers_of(subject)
    wrong["label"] = wrong["label"][::-1]
    truth = devices.answers_of(subject)
    package = unpacked(
        subject,
        {"int8": subject.model, "float16": subject.model, "float32": b"no model"},
        {"int8": wrong, "float16": truth, "float32": truth},
    )
    verdicts = run_trial(*package, ["int8", "float16", "float32"], threads=1)
    assert [(item.variant, item.code) for item in verdicts] == [
        ("int8", "golden-mismatch"),
        ("float16", ""),
    ]


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


def endless() -> devices.Subject:
    """Return a graph that never answers."""
    inputs = (TensorSpec("x", "float32", (None,)),)
    outputs = (TensorSpec("y", "float32", (None,)),)
    nodes = [
        helper.make_node("Identity", ["more"], ["go_on"]),
        helper.make_node("Add", ["sum", "sum"], ["next"]),
    ]
    body = helper.make_graph(
        nodes,
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("more", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, [None]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [None]),
        ],
    )
    loop = helper.make_node("Loop", ["", "true", "x"], ["y"], body=body)
    model = devices.graph([loop], inputs, outputs, true=np.array(True))
    return devices.Subject(
        model, devices.interface(inputs, outputs), {"x": np.ones(1, np.float32)}
    )


def bomb() -> devices.Subject:
    """Return a small graph that asks for 8 GiB when it runs."""
    inputs = (TensorSpec("size", "int64", (1,)),)
    outputs = (TensorSpec("y", "float32", (None,)),)
    nodes = [helper.make_node("ConstantOfShape", ["size"], ["y"])]
    model = devices.graph(nodes, inputs, outputs)
    return devices.Subject(
        model, devices.interface(inputs, outputs), {"size": np.array([1 << 31])}
    )


def test_a_model_that_never_answers_is_ended(unpacked: Unpacked) -> None:
    package = unpacked(endless(), answers=Y)
    assert reason(package, timeout_s=2) == "it did not answer within 2 s"


def test_a_model_that_takes_all_memory_is_refused_by_its_budget(unpacked: Unpacked) -> None:
    found = reason(unpacked(bomb(), answers=Y))
    assert "memory" in found


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import ctypes; ctypes.string_at(0)", "it was ended by SIGSEGV"),
        ("import os; os.kill(os.getpid(), 4)", "it was ended by SIGILL"),
        (
            "import os; os.kill(os.getpid(), 9)",
            "it was ended by SIGKILL, as happens when memory runs out",
        ),
        ("import os; os.kill(os.getpid(), 40)", "it was ended by signal 40"),
        ("import os; os._exit(3)", "exit status 3 without a verdict: silence"),
        (
            "import os; os.write(1, b'{}'); os._exit(0)",
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


# --- reading verdicts ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"variant": "a", "code": ""},
        {"variant": 1, "code": "", "reason": ""},
        {"variant": "a", "code": "", "reason": "", "more": 1},
    ],
)
def test_what_is_no_verdict_is_refused(value: object) -> None:
    with pytest.raises(JsonMalformed):
        verdict_from_json(value)


def test_a_verdict_comes_back_as_it_was_kept() -> None:
    verdict = Verdict("int8", "golden-mismatch", "row 3")
    assert verdict_from_json(verdict.to_json()) == verdict
