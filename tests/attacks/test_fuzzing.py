"""Inputs bent at random: what is read of them is what was signed, or a typed error."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import fuzz_kinds
import pytest

from edge_runtime.contract.bundle import graph_rules, signature, verify
from edge_runtime.contract.bundle.signature import PublicKey

INPUTS = 4000


@pytest.fixture(scope="module")
def counts(checkout: Path) -> dict[str, Any]:
    """What became of some thousand inputs, each kind within a limit of memory."""
    program = [sys.executable, str(checkout / "benchmarks/fuzz.py"), "--json"]
    done = subprocess.run(
        [*program, "--inputs", str(INPUTS), "--seed", "7"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return {count["name"]: count for count in json.loads(done.stdout)}


@pytest.mark.parametrize("kind", fuzz_kinds.KINDS, ids=lambda kind: kind.name)
def test_nothing_bent_gets_through_and_nothing_stays(
    kind: fuzz_kinds.Kind, counts: dict[str, Any]
) -> None:
    count = counts[kind.name]
    assert count["accepted"] == []
    assert count["tracebacks"] == []
    assert count["left"] == []
    assert count["inputs"] >= INPUTS * kind.share // 1000
    assert count["memory_bytes"] < 256 << 20


# --- the fuzzer finds what it is for ---------------------------------------------------------


@pytest.fixture
def fuzz(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(checkout / "benchmarks"))
    return importlib.import_module("fuzz")


Break = Callable[[pytest.MonkeyPatch], None]


def no_operator_is_native(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(graph_rules, "_NATIVE", frozenset())


def any_weights_will_do(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(graph_rules._Rules, "_room", lambda *_: 1 << 40)


def sparse_tensors_will_do(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(graph_rules._Rules, "_special", lambda *_: None)


def tensors_may_claim(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(graph_rules._Rules, "_tensor", lambda *_: None)


def any_signature_will_do(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PublicKey, "verifies", lambda *_: True)


def any_bytes_will_do(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(verify, "checked", lambda chunks, _: chunks)


def any_form_will_do(patch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a defect")

    patch.setattr(signature, "_require_serialization", broken)


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        ("graph", no_operator_is_native),
        ("graph", any_weights_will_do),
        ("graph", sparse_tensors_will_do),
        ("graph", tensors_may_claim),
        ("signature", any_signature_will_do),
        ("trust", any_signature_will_do),
        ("archive", any_bytes_will_do),
        ("signature", any_form_will_do),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__.replace("_", " "),
)
def test_a_reader_that_is_broken_is_found_out(
    kind: str,
    broken: Break,
    fuzz: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (chosen,) = [item for item in fuzz_kinds.KINDS if item.name == kind]
    once, count = chosen.make(tmp_path), fuzz.Count(kind, "", "", 0)
    broken(monkeypatch)
    for seed in range(3000):
        fuzz._try(once, count, seed)
        if count.bad:
            return
    pytest.fail("nothing was found")


def test_what_is_found_is_found_again_by_its_seed(fuzz: ModuleType) -> None:
    made = []
    for _ in range(2):
        count = fuzz.Count("x", "", "", 0)
        fuzz._try(lambda bender: made.append(bender.bytes(b"0123456789")), count, 5)
    assert made[0] == made[1] != b"0123456789"
