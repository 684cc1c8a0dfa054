"""The command ``trial``: repeated on this device, kept, and told."""

from __future__ import annotations

import shutil
from pathlib import Path

import devices
import pytest

from edge_runtime.contract.errors import NotInstalled
from edge_runtime.engine import trial
from edge_runtime.engine.benchmark import Timing
from edge_runtime.engine.verdict import Verdict
from edge_runtime.proofs import FILE
from edge_runtime.state.store import Store
from edge_runtime.trials import kept_trial, repeat_trial


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a ladder of which the first variant answers wrongly."""
    directory = tmp_path_factory.mktemp("ladder")
    devices.installed(directory, devices.ladder(directory / "b.oci.tar"))
    return directory / "store"


@pytest.fixture
def store(prepared: Path, tmp_path: Path) -> Store:
    shutil.copytree(prepared, tmp_path / "store", symlinks=True)
    return Store(tmp_path / "store", "named by the test")


def file_of(store: Store) -> Path:
    (found,) = store.root.rglob(FILE)
    return found


def test_it_is_repeated_for_every_variant_and_kept(store: Store) -> None:
    before = file_of(store).read_bytes()
    said = devices.run("--store", store.root, "trial", "--json")
    assert said.code == 0, said.err
    found = said.json
    assert [(item["variant"], item["code"]) for item in found["verdicts"]] == [
        ("first", "golden-mismatch"),
        ("second", ""),
    ]
    assert (found["variant"], found["kept"]) == ("second", True)
    assert found["reason"].startswith("first left aside: first must answer")
    assert file_of(store).read_bytes() != before  # other times were measured


def test_a_person_reads_what_was_found(store: Store) -> None:
    lines = devices.run("--store", store.root, "trial", "tiny@1.4.0").out.splitlines()
    assert lines[0] == "tiny 1.4.0"
    assert lines[1].startswith("  first   failed: first must answer ")
    assert lines[2].startswith("  second  passed: golden vectors hold, 0.")
    assert lines[2].endswith(" of memory")
    assert lines[3:] == ["  serves  second"]


def test_what_the_last_one_found_is_told_without_another(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_try", None)
    before = devices.snapshot(store.root)
    again = devices.run("--store", store.root, "trial", "tiny", "--kept", "--json")
    assert again.code == 0, again.err
    assert again.json["verdicts"] == [
        verdict.to_json() for verdict in kept_trial(store, None).verdicts
    ]
    assert devices.snapshot(store.root) == before


def test_nothing_that_was_kept_is_an_error_that_says_how_to_get_it(store: Store) -> None:
    shutil.rmtree(file_of(store).parent)
    with pytest.raises(
        NotInstalled, match=r"a passed trial of tiny 1\.4\.0 on onnxruntime"
    ) as found:
        kept_trial(store, None)
    assert found.value.hint == "Repeat it: edge-runtime trial, without --kept."


def verdicts(monkeypatch: pytest.MonkeyPatch, **found: Verdict) -> None:
    """Let every trial of a variant find this."""
    monkeypatch.setattr(trial, "_try", lambda _, name: found[name])


def test_a_slow_variant_is_told_to_be_slow(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = {
        name: Verdict(name, "", "golden vectors hold", ((Timing(1, taken),),))
        for name, taken in (("first", 30.0), ("second", 10.0))
    }
    verdicts(monkeypatch, **timed)
    said = devices.run("--store", store.root, "trial")
    assert said.out.splitlines()[3:] == [
        "  serves  second",
        "  first left aside: it takes 3.00 times as long as second",
    ]
    assert [len(item.rounds) for item in kept_trial(store, None).verdicts] == [3, 3]


def test_a_trial_that_none_passes_any_more_counts(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was proven under this engine is found to be wrong: it is not believed any longer."""
    failed = {name: Verdict(name, "trial-failed", "it died") for name in ("first", "second")}
    verdicts(monkeypatch, **failed)
    said = devices.run("--store", store.root, "trial", "--json")
    assert (said.code, said.json["error"]["code"]) == (5, "trial-failed")
    monkeypatch.undo()
    with pytest.raises(NotInstalled):
        kept_trial(store, None)
    assert repeat_trial(store, None).choice.variant == "second"


def test_who_may_not_write_is_told_and_answered_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = Verdict("second", "", "golden vectors hold")
    verdicts(monkeypatch, first=Verdict("first", "trial-failed", "it died"), second=second)
    with store.writing():
        said = devices.run("--store", store.root, "trial")
    assert said.code == 0
    assert said.err.startswith("warning: not kept: ")
