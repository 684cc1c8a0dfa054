"""What a trial proved is remembered for one engine and processor, and for no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import devices
import pytest

from edge_runtime.contract.facts import DeviceFacts, EngineFacts
from edge_runtime.engine.trial import Verdict
from edge_runtime.probe import probe
from edge_runtime.proofs import FILE, remember, remembered
from edge_runtime.state.model import ModelStore
from edge_runtime.state.store import Store

PASSED = (Verdict("int8", "golden-mismatch", "row 3"), Verdict("float32", "", "they hold"))


@pytest.fixture
def model(tmp_path: Path) -> ModelStore:
    flag = devices.installed(tmp_path, devices.packed(tmp_path / "b.oci.tar", devices.loan()))
    return Store(Path(flag[1]), "named by the test").model("tiny")


def keep(model: ModelStore, facts: DeviceFacts, verdicts: tuple[Verdict, ...]) -> None:
    with Store(model.path.parents[1], "named by the test").writing() as writer:
        remember(writer, model.name, model.choices()[0], facts, verdicts)


def test_verdicts_come_back_in_their_order(model: ModelStore) -> None:
    facts = probe()
    keep(model, facts, PASSED)
    assert remembered(model, model.choices()[0], facts) == PASSED


def test_nothing_is_known_under_another_engine_processor_or_package(model: ModelStore) -> None:
    facts = probe()
    digest = model.choices()[0]
    others = [
        replace(facts, engine=EngineFacts("onnxruntime", "0.9", ())),
        replace(facts, engine=EngineFacts("onnxruntime-gpu", facts.engine.version, ())),
        replace(facts, engine=None),
        replace(facts, cpu_model="another"),
        replace(facts, cpu_flags=()),
    ]
    assert remembered(model, digest, facts)
    for other in others:
        assert remembered(model, digest, other) == ()
    assert remembered(model, "0" * 64, facts) == ()


def test_the_kernel_s_release_and_the_boot_do_not_matter(model: ModelStore) -> None:
    other = replace(probe(), boot_id="next", kernel="x86_64 99.0", python="cpython 3.99")
    assert remembered(model, model.choices()[0], other)


def test_verdicts_of_which_the_last_failed_prove_nothing(model: ModelStore) -> None:
    facts = probe()
    keep(model, facts, PASSED[:1])
    assert remembered(model, model.choices()[0], facts) == ()
    assert (model.local(model.choices()[0], facts.identity) / FILE).is_file()
