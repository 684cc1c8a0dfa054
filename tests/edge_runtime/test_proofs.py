"""What a trial proved is remembered for one engine and processor, and for no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import devices
import pytest

from edge_runtime.contract.bundle.installed import open_installed
from edge_runtime.contract.errors import GoldenMismatch
from edge_runtime.contract.facts import DeviceFacts, EngineFacts
from edge_runtime.engine.benchmark import Timing
from edge_runtime.engine.verdict import Verdict
from edge_runtime.probe import probe
from edge_runtime.proofs import FILE, proven, remember, remembered
from edge_runtime.state.model import ModelStore
from edge_runtime.state.store import Store

PASSED = (
    Verdict("int8", "golden-mismatch", "row 3"),
    Verdict("float32", "", "they hold", ((Timing(1, 12.5), Timing(32, 99.0)),), 1 << 20),
)


@pytest.fixture
def model(tmp_path: Path) -> ModelStore:
    flag = devices.installed(tmp_path, devices.packed(tmp_path / "b.oci.tar", devices.loan()))
    return Store(Path(flag[1]), "named by the test").model("tiny")


def store_of(model: ModelStore) -> Store:
    return Store(model.path.parents[1], "named by the test")


def keep(model: ModelStore, facts: DeviceFacts, verdicts: tuple[Verdict, ...]) -> None:
    with store_of(model).writing() as writer:
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
    on_cuda = replace(
        facts, engine=EngineFacts("onnxruntime-gpu", "1.32.0", ("CUDAExecutionProvider",))
    )
    others += [on_cuda, replace(on_cuda, accelerator="nvidia 550.54 NVIDIA L4")]
    assert remembered(model, digest, facts)
    for other in others:
        assert remembered(model, digest, other) == ()
    assert remembered(model, "0" * 64, facts) == ()


def test_the_kernel_s_release_and_the_boot_do_not_matter(model: ModelStore) -> None:
    other = replace(probe(), boot_id="next", kernel="x86_64 99.0", python="cpython 3.99")
    assert remembered(model, model.choices()[0], other)


def test_a_new_driver_repeats_the_trial(model: ModelStore) -> None:
    engine = EngineFacts("onnxruntime-gpu", "1.32.0", ("CUDAExecutionProvider",))
    facts = replace(probe(), engine=engine, accelerator="nvidia 535.1")
    keep(model, facts, PASSED)
    digest = model.choices()[0]
    assert remembered(model, digest, facts) == PASSED
    assert remembered(model, digest, replace(facts, accelerator="nvidia 550.1")) == ()


def test_verdicts_of_which_all_failed_prove_nothing(model: ModelStore) -> None:
    facts = probe()
    keep(model, facts, PASSED[:1])
    assert remembered(model, model.choices()[0], facts) == ()
    assert (model.local(model.choices()[0], facts.identity) / FILE).is_file()


# --- what serves by them -------------------------------------------------------------------


@pytest.fixture
def ladder(tmp_path: Path) -> ModelStore:
    """A model of two variants, ``first`` and ``second``, both of which hold."""
    flag = devices.installed(tmp_path, devices.ladder(tmp_path / "b.oci.tar", sound=True))
    return Store(Path(flag[1]), "named by the test").model("tiny")


def served(model: ModelStore, *names: str) -> tuple[str, str]:
    digest = model.choices()[0]
    package = open_installed(model.version(digest), digest)
    found = [package.manifest.variant(name) for name in names or ("first", "second")]
    variants = [variant for variant in found if variant]
    return proven(store_of(model), package, variants, probe(), keep=False)


def test_what_serves_goes_by_what_was_measured_then(ladder: ModelStore) -> None:
    def timed(first: float, second: float) -> tuple[Verdict, ...]:
        return tuple(
            Verdict(name, "", "golden vectors hold", ((Timing(1, taken),),))
            for name, taken in (("first", first), ("second", second))
        )

    keep(ladder, probe(), timed(11.0, 10.0))
    assert served(ladder) == (
        "first",
        f"golden vectors held in its trial on {probe().identity}",
    )
    keep(ladder, probe(), timed(30.0, 10.0))
    name, proof = served(ladder)
    assert name == "second"
    assert proof.endswith("; first left aside: it takes 3.00 times as long as second")
    assert served(ladder, "first")[0] == "first"  # whoever asks for it may have it


def test_what_is_known_to_have_failed_is_not_tried_again(
    ladder: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_runtime.proofs.run_trial", None)
    failed = Verdict("first", "golden-mismatch", "row 3")
    keep(ladder, probe(), (failed, Verdict("second", "", "golden vectors hold")))
    name, proof = served(ladder)
    assert (name, proof.endswith("; first left aside: row 3")) == ("second", True)
    with pytest.raises(GoldenMismatch, match="of 1 none did: first: row 3"):
        served(ladder, "first")


def test_a_variant_that_was_never_tried_repeats_the_trial_of_all(ladder: ModelStore) -> None:
    keep(ladder, probe(), (Verdict("second", "", "golden vectors hold"),))
    name, proof = served(ladder)
    assert (name, "in a trial at this load" in proof) == ("first", True)
