"""The door to the engine: quiet, exactly as planned, and never another provider instead."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import devices
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_runtime.contract.errors import (
    EngineConflict,
    EngineMissing,
    ExecutionProviderMissing,
    ModelLoadFailed,
    PredictionFailed,
)
from edge_runtime.contract.tensors import TensorSpec
from edge_runtime.engine import session
from edge_runtime.engine.session import SessionPlan, engine_facts, open_session


def run_python(code: str, path: Path | None = None, **environment: str) -> str:
    """Run code in a fresh Python that finds the checkout, and ``path`` before everything."""
    places = [str(Path(session.__file__).parents[2]), *([str(path)] if path else [])]
    inherited = {key: value for key, value in os.environ.items() if key != "CI"}
    inherited.pop("ORT_DISABLE_TELEMETRY", None)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, "PYTHONPATH": os.pathsep.join(reversed(places)), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- telemetry -----------------------------------------------------------------------------


def test_telemetry_is_off_before_the_engine_is_imported() -> None:
    told = run_python(
        "import os, sys\n"
        "from edge_runtime.engine import session\n"
        "assert 'onnxruntime' not in sys.modules\n"
        "print(os.environ['ORT_DISABLE_TELEMETRY'], session.telemetry_state())\n"
    )
    assert told == "1 off"


def test_telemetry_that_was_on_at_the_engine_s_import_is_not_called_off(tmp_path: Path) -> None:
    code = (
        "import onnxruntime\n"
        "from edge_runtime.engine.session import telemetry_state\n"
        "print(telemetry_state())\n"
    )
    told = run_python(code, HOME=str(tmp_path))
    assert told.startswith("unknown: onnxruntime was imported before")
    assert run_python(code, ORT_DISABLE_TELEMETRY="1") == "off"


# --- which engine --------------------------------------------------------------------------


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Look for the engine's distribution anew, and once more afterwards."""
    session._distribution.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    session._distribution.cache_clear()


def distribution(directory: Path, name: str, version: str, module: str = "") -> Path:
    """Write what an installed distribution leaves beside its modules."""
    facts = directory / f"{name.replace('-', '_')}-{version}.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    )
    (facts / "top_level.txt").write_text(module)
    return directory


def test_the_engine_s_facts_are_its_distribution_version_and_providers() -> None:
    facts = engine_facts()
    assert facts.name.startswith("onnxruntime")
    assert facts.text == f"{facts.name} {facts.version}"
    assert session.CPU in facts.providers


def test_two_engines_at_once_are_refused_by_name(
    fresh: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fresh.syspath_prepend(distribution(tmp_path, "onnxruntime-gpu", "1.20.0"))
    with pytest.raises(
        EngineConflict, match=r"found onnxruntime \S+ and onnxruntime-gpu 1.20.0"
    ):
        engine_facts()


def test_no_engine_at_all_is_an_error_that_says_what_to_install(
    fresh: pytest.MonkeyPatch,
) -> None:
    fresh.setattr(sys, "path", [])
    with pytest.raises(EngineMissing, match="found no distribution of it") as caught:
        engine_facts()
    assert "edgepack[cpu]" in caught.value.hint


def test_a_vendor_s_wheel_is_found_under_its_own_name(
    fresh: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = distribution(tmp_path, "acme-inference", "1.22.0", module="onnxruntime")
    fresh.setattr(sys, "path", [str(place)])
    facts = engine_facts()
    assert facts.text == "acme-inference 1.22.0"


def test_an_engine_that_cannot_be_imported_says_why(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime/__init__.py").write_text(
        "raise ImportError('GLIBC_2.99 not found')"
    )
    told = run_python(
        "from edge_runtime.contract.errors import EngineMissing\n"
        "from edge_runtime.engine.session import engine_facts\n"
        "try: engine_facts()\n"
        "except EngineMissing as error: print(error.message)\n",
        tmp_path,
    )
    assert told.endswith("is installed, but it cannot be imported: GLIBC_2.99 not found")


# --- sessions ------------------------------------------------------------------------------


def test_a_session_runs_on_the_provider_of_its_plan_with_its_threads() -> None:
    subject = devices.loan()
    opened = open_session(subject.model, SessionPlan(threads=2))
    options = opened._raw.get_session_options()
    assert opened.provider == session.CPU
    assert opened._raw.get_providers() == [session.CPU]
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert opened.inputs == subject.interface.inputs
    assert opened.outputs == subject.interface.outputs


@pytest.mark.parametrize(
    ("optimisation", "level"),
    [("disabled", "DISABLE_ALL"), ("basic", "ENABLE_BASIC"), ("extended", "ENABLE_EXTENDED")],
)
def test_a_graph_is_rewritten_as_far_as_planned(optimisation: str, level: str) -> None:
    subject = devices.loan()
    found = [
        open_session(subject.model, plan)._raw.get_session_options().graph_optimization_level
        for plan in (SessionPlan(optimisation=optimisation), SessionPlan())
    ]
    assert [one.name for one in found] == [f"ORT_{level}", "ORT_ENABLE_ALL"]


def test_a_provider_that_is_not_there_is_never_replaced() -> None:
    plan = SessionPlan(provider="NoSuchExecutionProvider")
    with pytest.raises(ExecutionProviderMissing) as caught:
        open_session(devices.loan().model, plan)
    assert caught.value.values["expected"] == "NoSuchExecutionProvider"
    assert session.CPU in caught.value.values["found"]


def test_a_model_may_be_opened_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(devices.lookup().model)
    answers = open_session(path, SessionPlan()).run({"index": np.array([1])})
    assert answers["value"].tolist() == [2.0]


@pytest.mark.parametrize("data", [b"", b"no model", devices.lookup().model[:-20]])
def test_bytes_that_are_no_model_are_a_typed_error(data: bytes) -> None:
    with pytest.raises(ModelLoadFailed, match="refused the model: "):
        open_session(data, SessionPlan())


def test_an_option_that_the_engine_refuses_is_a_typed_error() -> None:
    plan = SessionPlan(session_options={"session.intra_op.allow_spinning": "x" * 20_000})
    with pytest.raises(ModelLoadFailed):
        open_session(devices.lookup().model, plan)


def test_only_tensors_are_served() -> None:
    value = helper.make_sequence_type_proto(
        helper.make_tensor_type_proto(TensorProto.FLOAT, [None])
    )
    body = helper.make_graph(
        [helper.make_node("SequenceConstruct", ["x"], ["y"])],
        "sequence",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])],
        [helper.make_value_info("y", value)],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    with pytest.raises(ModelLoadFailed, match="'y' is a seq"):
        open_session(model.SerializeToString(), SessionPlan())


def test_a_failing_run_is_a_typed_error_and_the_session_goes_on() -> None:
    opened = open_session(devices.lookup().model, SessionPlan())
    with pytest.raises(PredictionFailed, match="the engine failed on this input"):
        opened.run({"index": np.array([7])})
    with pytest.raises(PredictionFailed):
        opened.run({"index": np.zeros((2, 2), np.float32)})
    assert opened.run({"index": np.array([2])})["value"].tolist() == [3.0]


def test_an_axis_without_a_length_is_any_length() -> None:
    assert open_session(devices.loan().model, SessionPlan()).inputs[0] == TensorSpec(
        "income", "float32", (None, 1)
    )
