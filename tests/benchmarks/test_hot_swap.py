"""The benchmark of hot swaps, on few small versions: nothing fails, and it would be noticed."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def calls(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(checkout / "benchmarks")
    return importlib.import_module("hot_swap_calls")


def test_no_answer_is_lost_or_wrong_while_versions_come_and_go(checkout: Path) -> None:
    script = checkout / "benchmarks" / "hot_swap.py"
    flags = ("--versions", "1", "--control", "0", "--megabytes", "1", "--seconds", "0.5")
    done = subprocess.run(
        [sys.executable, script, *flags, "--kinds", "layer"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for row in ("**calls failed** | **0**", "bit for bit** | **0**", "swaps | 3"):
        assert row in done.stdout


class Answer(dict[str, object]):
    version = "1.1.0"


class Liar:
    """Answers as one version and says that it was another, or fails."""

    def __init__(self, value: object) -> None:
        self.value = value

    def predict(self, feed: object) -> Answer:
        del feed
        if isinstance(self.value, Exception):
            raise self.value
        return Answer(answer=self.value)


@pytest.mark.parametrize(
    ("value", "failed", "wrong"),
    [(b"\x01", False, False), (b"\x02", False, True), (OSError("gone"), True, False)],
)
def test_a_wrong_answer_and_a_failed_call_are_noticed(
    calls: ModuleType, value: bytes | Exception, failed: bool, wrong: bool
) -> None:
    told = memoryview(value) if isinstance(value, bytes) else value
    callers = calls.Callers(Liar(told), [{}, {}], {"1.1.0": [b"\x01", b"\x01"]}, threads=2)
    with callers:
        time.sleep(0.05)
    assert bool(callers.failed) == failed
    assert bool(callers.wrong) == wrong
