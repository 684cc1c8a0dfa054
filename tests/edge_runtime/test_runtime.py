"""Installing: what is to serve is verified, fits, and is proven before anything changes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import bundles
import devices
import pytest

import edge_runtime
from edge_runtime.contract.errors import (
    DigestMismatch,
    EngineConflict,
    ExecutionProviderMissing,
    GoldenMismatch,
    NoMatchingTarget,
    ReleaseTooOld,
    StoreBusy,
    StoreCorrupt,
    VersionConflict,
)
from edge_runtime.engine import session
from edge_runtime.probe import probe
from edge_runtime.proofs import remembered
from edge_runtime.runtime import install
from edge_runtime.state.store import Store

LOAN = devices.loan()


def answered(model: edge_runtime.Model) -> list[str]:
    labels: list[str] = model.predict(LOAN.feed)["label"].tolist()
    return labels


# --- install -------------------------------------------------------------------------------


def test_a_bundle_is_installed_proven_and_active(empty: Store, bundle: Path) -> None:
    done = install(bundle, empty)
    model = empty.model("loan")
    assert (done.changed, done.variant.name, done.refusals) == (True, "float32", ())
    assert done.signer == bundles.SIGNER.public_key.fingerprint
    assert model.choices() == (done.digest,)
    assert remembered(model, done.digest, probe()) == done.verdicts
    assert list(empty.incoming.parent.glob("incoming/*")) == []


def test_installing_again_changes_nothing(store: Store, bundle: Path) -> None:
    before = devices.snapshot(store.root)
    assert install(bundle, store).changed is False
    assert devices.snapshot(store.root) == before


def test_the_first_variant_that_is_proven_here_serves_and_the_other_is_named(
    empty: Store, tmp_path: Path
) -> None:
    done = install(devices.ladder(tmp_path / "b.oci.tar"), empty)
    assert [(item.variant, item.passed) for item in done.verdicts] == [
        ("first", False),
        ("second", True),
    ]
    assert done.variant.name == "second"
    with edge_runtime.load(store=empty) as model:
        assert model.variant == "second"


@pytest.mark.parametrize("version", ["1.4.0", "1.5.0"])
def test_a_variant_that_fails_leaves_the_old_one_serving(
    store: Store, tmp_path: Path, version: str
) -> None:
    before = devices.snapshot(store.root)
    path = devices.packed(
        tmp_path / "b.oci.tar",
        LOAN,
        answers={"float32": devices.reversed_labels(LOAN)},
        name="loan" if version != "1.4.0" else "other",
        version=version,
    )
    with pytest.raises(GoldenMismatch):
        install(path, store)
    assert devices.snapshot(store.root) == before
    with edge_runtime.load("loan", store=store) as model:
        assert model.version == "1.4.0"


def test_other_content_under_an_installed_version_is_refused(
    store: Store, tmp_path: Path
) -> None:
    before = devices.snapshot(store.root)
    path = devices.packed(tmp_path / "b.oci.tar", LOAN, name="loan", description="Changed.")
    with pytest.raises(VersionConflict, match=r"loan 1\.4\.0 is installed as \w{16}…"):
        install(path, store)
    assert devices.snapshot(store.root) == before


def test_a_lost_record_opens_no_way_back_to_an_older_release(
    store: Store, tmp_path: Path
) -> None:
    for copy in (store.root / "models" / "loan").glob("state-*.json"):
        copy.unlink()
    changes = {"name": "loan", "version": "1.3.0", "release": 1_003_000}
    path = devices.packed(tmp_path / "b.oci.tar", LOAN, **changes)
    before = devices.snapshot(store.root)
    with pytest.raises(
        ReleaseTooOld, match=r"release 1004000 or higher here, 1\.3\.0 has 1003000"
    ):
        install(path, store)
    assert devices.snapshot(store.root) == before


def test_the_same_version_may_be_installed_for_another_target_of_this_machine(
    store: Store, tmp_path: Path
) -> None:
    target = replace(devices.manifest(LOAN, {"float32": b""}).target, name="special")
    path = devices.packed(tmp_path / "b.oci.tar", LOAN, name="loan", target=target)
    done = install(path, store)
    assert done.changed
    assert store.model("loan").choices("1.4.0")[0] == done.digest
    with edge_runtime.load("loan@1.4.0", store=store) as model:
        assert model.status()["target"] == "special"


@pytest.mark.parametrize("damage", ["changed", "gone", "added"])
def test_a_damaged_version_is_mended_by_installing_it_again(
    store: Store, bundle: Path, damage: str
) -> None:
    sound = devices.snapshot(store.model("loan").versions)
    (directory,) = store.model("loan").versions.iterdir()
    file = directory / "variants/float32.onnx"
    if damage == "changed":
        file.chmod(0o644)
        file.write_bytes(b"x" + file.read_bytes()[1:])
    elif damage == "gone":
        file.unlink()
    else:
        (directory / "more.onnx").write_bytes(b"x")
    with pytest.raises((StoreCorrupt, DigestMismatch)):
        edge_runtime.load("loan", store=store)
    install(bundle, store)
    assert devices.snapshot(store.model("loan").versions) == sound
    with edge_runtime.load("loan", store=store) as model:
        assert answered(model) == ["no", "yes", "yes"]


def test_a_forgotten_trial_is_repeated_by_installing_again(store: Store, bundle: Path) -> None:
    shutil.rmtree(store.model("loan").path / "local")
    assert install(bundle, store).changed is False
    assert remembered(store.model("loan"), store.model("loan").choices()[0], probe())


def test_a_bundle_for_other_machines_says_what_they_are(empty: Store, tmp_path: Path) -> None:
    path = bundles.bundle(tmp_path / "b.oci.tar", [devices.ELSEWHERE])
    before = devices.snapshot(empty.root)
    with pytest.raises(NoMatchingTarget, match=devices.ELSEWHERE):
        install(path, empty)
    assert devices.snapshot(empty.root) == before


def test_targets_for_other_machines_are_left_aside_with_a_reason(
    empty: Store, tmp_path: Path
) -> None:
    done = install(bundles.bundle(tmp_path / "b.oci.tar"), empty)
    (refusal,) = done.refusals
    assert refusal.target == devices.ELSEWHERE


def with_cuda_first(path: Path, names: tuple[str, ...]) -> Path:
    variants = tuple(
        devices.variant(name, LOAN, "CUDAExecutionProvider" if name == "cuda" else session.CPU)
        for name in names
    )
    models = dict.fromkeys(names, LOAN.model)
    return devices.packed(path, LOAN, models, variants=variants)


def test_a_variant_of_an_absent_provider_is_left_aside_with_a_reason(
    empty: Store, tmp_path: Path
) -> None:
    done = install(with_cuda_first(tmp_path / "b.oci.tar", ("cuda", "cpu")), empty)
    assert done.variant.name == "cpu"
    (refusal,) = done.refusals
    assert "CUDAExecutionProvider" in refusal.reason


def test_no_other_provider_ever_stands_in(empty: Store, tmp_path: Path) -> None:
    with pytest.raises(ExecutionProviderMissing) as caught:
        install(with_cuda_first(tmp_path / "b.oci.tar", ("cuda",)), empty)
    assert "CUDAExecutionProvider" in caught.value.message
    assert session.CPU in caught.value.message


def test_two_engines_are_called_that_and_not_none(
    store: Store, bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    facts = tmp_path / "onnxruntime_gpu-1.20.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Name: onnxruntime-gpu\nVersion: 1.20.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    session._distribution.cache_clear()
    try:
        for attempt in (lambda: install(bundle, store), lambda: edge_runtime.load(store=store)):
            with pytest.raises(EngineConflict, match=r"onnxruntime-gpu 1\.20\.0"):
                attempt()
    finally:
        monkeypatch.undo()
        session._distribution.cache_clear()


def test_two_installations_at_once_are_one_too_many(store: Store, bundle: Path) -> None:
    with store.writing(), pytest.raises(StoreBusy):
        install(bundle, store)
