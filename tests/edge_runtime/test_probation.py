"""Probation: rows that were answered speak for a version, its own errors against it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge_runtime import probation as module
from edge_runtime.contract import errors
from edge_runtime.contract.errors import EdgepackError, leaves
from edge_runtime.probation import Probation, is_fault
from edge_runtime.state.loads import Load, Loads, Marks

DIGEST = "2" * 64


@pytest.fixture
def loads(tmp_path: Path) -> Loads:
    (tmp_path / "loads").mkdir()
    return Loads(tmp_path / "loads")


@pytest.fixture
def load(loads: Loads) -> Load:
    return loads.begin(DIGEST, durable=True)


def refused(error: type[EdgepackError]) -> EdgepackError:
    return error("it must be so, it is not", hint="Change it.")


def test_enough_rows_prove_a_version_and_fewer_are_kept(loads: Loads, load: Load) -> None:
    probation = Probation(loads, load, rows=40)
    probation.answered(59)
    assert not probation.over
    probation.answered(1)
    assert probation.over
    assert loads.marks(DIGEST).good
    probation.close()
    assert loads.marks(DIGEST) == Marks(good=True)


def test_rows_of_a_load_that_ended_early_count_in_the_next(loads: Loads, load: Load) -> None:
    probation = Probation(loads, load, rows=0)
    probation.answered(30)
    probation.answered(30)
    probation.close()
    assert loads.marks(DIGEST) == Marks(rows=60)


def test_a_program_that_ends_without_closing_its_model_has_not_crashed(loads: Loads) -> None:
    script = (
        "from pathlib import Path; import os, sys\n"
        "from edge_runtime.probation import Probation\n"
        "from edge_runtime.state.loads import Loads\n"
        "loads = Loads(Path(sys.argv[1]))\n"
        "probation = Probation(loads, loads.begin(sys.argv[2], durable=True), 0)\n"
        "probation.answered(7)\n"
        "if sys.argv[3] == 'forked' and os.fork() == 0:\n"
        "    sys.exit()\n"
        "if sys.argv[3] == 'forked':\n"
        "    os.wait()\n"
        "    assert [one.pid for one in loads.running()] == [os.getpid()]\n"
        "sys.exit('as if nobody caught an error')\n"
    )
    for how, rows in (("alone", 7), ("forked", 14)):
        command = [sys.executable, "-c", script, str(loads.directory), DIGEST, how]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (1, "as if nobody caught an error\n")
        assert loads.marks(DIGEST) == Marks(rows=rows)


def test_the_first_error_of_its_own_gives_a_version_up(loads: Loads, load: Load) -> None:
    probation = Probation(loads, load, rows=0)
    probation.failed(refused(errors.PredictionFailed))
    assert probation.over
    probation.answered(1000)
    probation.failed(refused(errors.WorkerFailed))
    assert loads.marks(DIGEST).failed == "prediction-failed: it must be so, it is not"
    assert not loads.marks(DIGEST).good


def test_of_all_errors_only_the_version_s_own_speak_against_it() -> None:
    faults = {error.code for error in leaves() if is_fault(refused(error))}
    assert faults == {
        *("deadline-exceeded", "digest-mismatch", "execution-provider-missing"),
        *("files-mismatch", "golden-mismatch", "graph-refused", "model-load-failed"),
        *("prediction-failed", "store-corrupt", "trial-failed", "worker-failed"),
    }


@pytest.mark.parametrize("error", [errors.InputValue, errors.EngineMissing, errors.StoreBusy])
def test_what_others_did_is_no_fault_of_the_version(
    loads: Loads, load: Load, error: type[EdgepackError]
) -> None:
    probation = Probation(loads, load, rows=0)
    probation.failed(refused(error))
    assert not probation.over
    assert loads.marks(DIGEST) == Marks()


def test_a_disk_that_takes_nothing_stops_no_prediction(
    loads: Loads, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    probation = Probation(loads, load, rows=0)
    monkeypatch.setattr(Loads, "_write", full)
    probation.answered(module.ROWS)
    assert probation.problem == "the probation cannot be recorded: No space left on device"
    probation.close()
