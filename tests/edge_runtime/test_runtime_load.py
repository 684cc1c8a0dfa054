"""Loading: what serves is what was installed, signed by a trusted key, and proven here."""

from __future__ import annotations

import shutil
from pathlib import Path

import bundles
import devices
import numpy as np
import pytest

import edge_runtime
from edge_runtime.contract.errors import (
    GoldenMismatch,
    ModelLoadFailed,
    NotInstalled,
    NoTrustedKey,
    RefAmbiguous,
    SignatureInvalid,
    SignerUntrusted,
    StoreCorrupt,
    TrialFailed,
)
from edge_runtime.runtime import install
from edge_runtime.state.store import Store

LOAN = devices.loan()


def answered(model: edge_runtime.Model) -> list[str]:
    labels: list[str] = model.predict(LOAN.feed)["label"].tolist()
    return labels


# --- load: which version -------------------------------------------------------------------


@pytest.mark.parametrize("ref", [None, "loan", "loan@1.4.0"])
def test_an_installed_model_is_loaded_by_its_name(store: Store, ref: str | None) -> None:
    with edge_runtime.load(ref, store=store) as model:
        assert answered(model) == ["no", "yes", "yes"]


def test_the_store_may_be_a_path_or_stand_in_the_environment(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (store.root, str(store.root)):
        edge_runtime.load("loan", store=place).close()
    monkeypatch.setenv("EDGE_STORE", str(store.root))
    edge_runtime.load("loan").close()


@pytest.mark.parametrize("ref", ["load", "loan@1.3.0", "@1.4.0", "", "lo an"])
def test_what_is_not_installed_is_named_beside_what_is(store: Store, ref: str) -> None:
    with pytest.raises(NotInstalled) as caught:
        edge_runtime.load(ref, store=store)
    assert "loan" in caught.value.message or "1.4.0" in caught.value.message


def test_one_of_several_models_has_to_be_named(store: Store, tmp_path: Path) -> None:
    install(devices.packed(tmp_path / "b.oci.tar", devices.lookup(), name="lookup"), store)
    with pytest.raises(RefAmbiguous, match="loan, lookup"):
        edge_runtime.load(store=store)


def test_an_older_version_stays_within_reach(store: Store, tmp_path: Path) -> None:
    newer = devices.packed(
        tmp_path / "b.oci.tar", LOAN, name="loan", version="1.5.0", release=1_005_000
    )
    install(newer, store)
    for ref, version in (("loan", "1.5.0"), ("loan@1.4.0", "1.4.0")):
        with edge_runtime.load(ref, store=store) as model:
            assert (model.version, answered(model)) == (version, ["no", "yes", "yes"])


def test_a_lost_record_is_served_around_and_said(store: Store) -> None:
    for name in ("state-a.json", "state-b.json"):
        (store.model("loan").path / name).unlink()
    with edge_runtime.load("loan", store=store) as model:
        assert answered(model) == ["no", "yes", "yes"]
        assert "both copies of the record are missing" in model.status()["degraded"]


# --- load: proven here ---------------------------------------------------------------------


def local(store: Store) -> Path:
    (directory,) = (store.model("loan").path / "local").iterdir()
    return directory


def test_a_known_proof_is_not_repeated(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_runtime.proofs.run_trial", None)
    with edge_runtime.load("loan", store=store) as model:
        assert model.status()["proof"].startswith("golden vectors held in its trial on ")


def test_another_engine_or_processor_repeats_the_trial_and_keeps_it(store: Store) -> None:
    proven = local(store)
    elsewhere = proven.with_name(proven.name.replace("onnxruntime-", "onnxruntime-0.9-"))
    proven.rename(elsewhere)
    with edge_runtime.load("loan", store=store) as model:
        assert model.status()["proof"].startswith("golden vectors held in a trial at this load")
    assert proven.is_dir()
    with edge_runtime.load("loan", store=store) as model:
        assert model.status()["proof"].startswith("golden vectors held in its trial on ")


def test_a_version_that_does_not_hold_on_this_device_is_not_served(
    empty: Store, tmp_path: Path
) -> None:
    install(devices.ladder(tmp_path / "b.oci.tar"), empty)
    file = next((empty.model("tiny").path / "local").rglob("trial.json"))
    file.unlink()
    with edge_runtime.load("tiny", store=empty) as model:
        assert model.variant == "second"
    with pytest.raises(GoldenMismatch):
        edge_runtime.load("tiny", store=empty, variant="first")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"schema":"edgepack.trial/3","verdicts":[]}',
        b'{"schema":"edgepack.trial/1","verdicts":[{"variant":"float32","code":"","reason":""}]}',
        b'{"schema":"edgepack.trial/2","verdicts":[]}',
        b'{"schema":"edgepack.trial/2","verdicts":[{"variant":"float32"}]}',
        b'{"schema":"edgepack.trial/2","verdicts":[{"variant":"float32","code":"trial-failed",'
        b'"reason":"x","rounds":[],"memory_bytes":null}]}',
        b'{"schema":"edgepack.trial/2","verdicts":[{"variant":"int4","code":"","reason":"",'
        b'"rounds":[],"memory_bytes":null}]}',
    ],
)
def test_a_proof_that_is_none_is_made_anew(store: Store, data: bytes) -> None:
    file = local(store) / "trial.json"
    file.chmod(0o644)
    file.write_bytes(data)
    with edge_runtime.load("loan", store=store) as model:
        assert "in a trial at this load" in model.status()["proof"]
    with edge_runtime.load("loan", store=store) as model:
        assert "in its trial on" in model.status()["proof"]


def test_a_proof_that_cannot_be_kept_is_no_hindrance_and_said(store: Store) -> None:
    shutil.rmtree(local(store))
    with store.writing(), edge_runtime.load("loan", store=store) as model:
        assert answered(model) == ["no", "yes", "yes"]
        assert "it was not kept: " in model.status()["proof"]


def test_a_variant_that_passed_its_trial_can_be_asked_for(empty: Store, tmp_path: Path) -> None:
    install(devices.ladder(tmp_path / "b.oci.tar", sound=True), empty)
    kept = devices.snapshot(empty.root, without="metrics")
    with edge_runtime.load("tiny", store=empty, variant="second") as model:
        assert (model.variant, answered(model)) == ("second", ["no", "yes", "yes"])
        assert "in its trial on" in model.status()["proof"]
        assert model.status()["origins"]["variant"] == "asked for by this load"
    assert devices.snapshot(empty.root, without="metrics") == kept
    with edge_runtime.load("tiny", store=empty, variant="first") as model:
        assert "in its trial on" in model.status()["proof"]


def test_a_variant_that_is_not_there_is_named_beside_those_that_are(store: Store) -> None:
    with pytest.raises(NotInstalled, match=r"'int4' was asked for, loan 1\.4\.0 has float32"):
        edge_runtime.load("loan", store=store, variant="int4")


# --- load: signatures ----------------------------------------------------------------------


def stranger(directory: Path) -> Path:
    path = directory / "stranger.pub"
    path.write_bytes(bundles.STRANGER.public_key.pem)
    return path


def test_what_a_removed_key_signed_is_loaded_no_longer(store: Store, tmp_path: Path) -> None:
    with store.writing() as writer:
        writer.remove_key(bundles.SIGNER.public_key.fingerprint)
    with pytest.raises(NoTrustedKey):
        edge_runtime.load("loan", store=store)
    with store.writing() as writer:
        writer.add_key(stranger(tmp_path).read_bytes())
    with pytest.raises(SignerUntrusted):
        edge_runtime.load("loan", store=store)


def test_a_changed_set_of_keys_is_checked_once_and_remembered(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.writing() as writer:
        writer.add_key(stranger(tmp_path).read_bytes())
    edge_runtime.load("loan", store=store).close()
    active = store.model("loan").read().state.active
    assert active is not None
    assert active.trust == store.trust.digest()
    monkeypatch.setattr("edge_runtime.keys.verify_signature", None)
    edge_runtime.load("loan", store=store).close()


def test_an_installed_model_can_be_held_against_other_keys(
    store: Store, prepared: Path, tmp_path: Path
) -> None:
    edge_runtime.load("loan", store=store, trust=prepared / "release.pub").close()
    with pytest.raises(SignerUntrusted):
        edge_runtime.load("loan", store=store, trust=[str(stranger(tmp_path))])


@pytest.mark.parametrize("damage", ["gone", "flipped", "of another version"])
def test_a_damaged_signature_is_found_when_it_counts_again(
    store: Store, prepared: Path, tmp_path: Path, damage: str
) -> None:
    (directory,) = store.model("loan").versions.iterdir()
    file = directory / "model.sig"
    data = file.read_bytes()
    file.unlink()
    if damage == "flipped":
        file.write_bytes(data.replace(b'"sig":"M', b'"sig":"N'))
    elif damage == "of another version":
        other = devices.packed(tmp_path / "b.oci.tar", LOAN, name="loan", version="9.9.9")
        made = Store(tmp_path / "other", "named by the test")
        with made.writing() as writer:
            writer.add_key(bundles.SIGNER.public_key.pem)
        done = install(other, made)
        file.write_bytes((made.model("loan").version(done.digest) / "model.sig").read_bytes())
    expected = StoreCorrupt if damage == "gone" else SignatureInvalid
    with pytest.raises(expected):
        edge_runtime.load("loan", store=store, trust=prepared / "release.pub")


# --- load: straight from a bundle ----------------------------------------------------------


@pytest.mark.parametrize("form", ["file", "text", "directory"])
def test_a_bundle_is_served_without_installing_and_nothing_is_written(
    bundle: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("EDGE_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    ref: str | Path = bundle if form == "file" else str(bundle)
    if form == "directory":
        bundles.unpack(bundle, tmp_path / "unpacked")
        ref = Path("unpacked")
    before = devices.snapshot(tmp_path), devices.snapshot(prepared)
    with edge_runtime.load(ref, trust=prepared / "release.pub") as model:
        assert answered(model) == ["no", "yes", "yes"]
        status = model.status()
    assert status["proof"] == "golden vectors held at this load"
    assert status["metrics"] == "not recorded: it is in no store"
    assert (devices.snapshot(tmp_path), devices.snapshot(prepared)) == before


def test_a_bundle_is_believed_by_the_store_s_keys(
    empty: Store, bundle: Path, tmp_path: Path
) -> None:
    edge_runtime.load(bundle, store=empty).close()
    with pytest.raises(NoTrustedKey):
        edge_runtime.load(bundle, store=tmp_path / "nowhere")


def test_a_bundle_says_which_better_variant_does_not_hold_here(
    prepared: Path, tmp_path: Path
) -> None:
    path = devices.ladder(tmp_path / "b.oci.tar")
    with edge_runtime.load(path, trust=prepared / "release.pub") as model:
        assert model.variant == "second"
        assert "first left aside: first must answer" in model.status()["proof"]
    with pytest.raises(GoldenMismatch):
        edge_runtime.load(path, trust=prepared / "release.pub", variant="first")


def test_a_bundle_of_a_broken_model_is_a_typed_error(prepared: Path, tmp_path: Path) -> None:
    answers = {"float32": devices.answers_of(LOAN)}
    path = devices.packed(
        tmp_path / "b.tar", LOAN, {"float32": devices.unopenable()}, answers=answers
    )
    with pytest.raises(ModelLoadFailed):
        edge_runtime.load(path, trust=prepared / "release.pub")
    empty = Store(tmp_path / "store", "named by the test")
    with empty.writing() as writer:
        writer.add_key(bundles.SIGNER.public_key.pem)
    with pytest.raises(TrialFailed, match="refused the model"):
        install(path, empty)


def test_both_doors_give_the_same_answers(store: Store, bundle: Path) -> None:
    with (
        edge_runtime.load("loan", store=store) as installed,
        edge_runtime.load(bundle, store=store) as direct,
    ):
        left, right = installed.predict(LOAN.feed), direct.predict(LOAN.feed)
    for name in left:
        np.testing.assert_array_equal(left[name], right[name])
