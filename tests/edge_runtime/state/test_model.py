"""What is known of a model, also when its record or its versions are damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_runtime.contract.errors import NotInstalled
from edge_runtime.state.model import ModelStore
from edge_runtime.state.record import COPIES
from edge_runtime.state.store import Store

Install = Callable[..., str]


@pytest.fixture
def digests(store: Store, install: Install) -> list[str]:
    """Three versions, oldest first; the last is active."""
    with store.writing() as writer:
        return [
            install(writer, version=f"1.{minor}.0", release=1_000_000 + minor * 1000)
            for minor in (1, 3, 2)
        ]


@pytest.fixture
def model(store: Store, digests: list[str]) -> ModelStore:
    assert len(digests) == 3
    return store.model("fraud")


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def test_installed_versions_come_newest_release_first(
    model: ModelStore, digests: list[str]
) -> None:
    assert [item.digest for item in model.installed()] == [digests[1], digests[2], digests[0]]
    assert [item.release for item in model.installed()] == [1_003_000, 1_002_000, 1_001_000]


def test_the_active_version_serves_and_not_the_newest(
    model: ModelStore, digests: list[str]
) -> None:
    assert model.choices() == (digests[2],)
    state = model.read().state
    assert state.active == state.candidate
    assert state.previous_good is None  # none of them was proven


def test_a_changed_or_missing_manifest_is_said_and_counts_for_nothing(
    model: ModelStore, digests: list[str]
) -> None:
    overwrite(model.version(digests[1]) / "manifest.json", b"{}")
    (model.version(digests[0]) / "manifest.json").unlink()
    found = {item.digest: item for item in model.installed()}
    assert found[digests[1]].manifest is None
    assert "was changed" in found[digests[1]].problem
    assert "No such file" in found[digests[0]].problem
    assert found[digests[2]].problem == ""
    with pytest.raises(NotInstalled, match=r"installed: 1\.2\.0"):
        model.choices("1.3.0")


def test_a_foreign_directory_among_the_versions_is_no_version(model: ModelStore) -> None:
    (model.versions / "backup").mkdir()
    assert len(model.installed()) == 3


@pytest.mark.parametrize("damage", ["garbage", "gone"])
def test_a_lost_record_is_degraded_and_never_a_fresh_device(
    model: ModelStore, digests: list[str], damage: str
) -> None:
    for name in COPIES:
        (model.path / name).unlink()
        if damage == "garbage":
            (model.path / name).write_bytes(b"\0" * 300)
    reading = model.read()
    assert reading.lost
    assert reading.degraded
    assert reading.state.active is None
    assert reading.state.floor == 1_003_000
    assert model.choices() == (digests[1], digests[2], digests[0])


def test_the_next_activation_mends_both_copies_of_a_lost_record(
    store: Store, model: ModelStore, install: Install
) -> None:
    for name in COPIES:
        overwrite(model.path / name, b"garbage")
    with store.writing() as writer:
        digest = install(writer, version="1.4.0", release=1_004_000)
    reading = model.read()
    assert (reading.degraded, reading.lost) == ("", False)
    assert model.choices() == (digest,)
    # The version that is being installed was there already when the record was read.
    assert reading.state.floor == 1_004_000


def test_one_bad_copy_changes_nothing_but_is_said_until_the_next_write(
    store: Store, model: ModelStore, digests: list[str], install: Install
) -> None:
    newest = max(COPIES, key=lambda name: (model.path / name).stat().st_mtime_ns)
    older = next(name for name in COPIES if name != newest)
    overwrite(model.path / older, b"")
    assert model.choices() == (digests[2],)
    assert older in model.read().degraded
    with store.writing() as writer:
        install(writer, version="1.4.0", release=1_004_000)
    assert model.read().degraded == ""


def test_a_model_staged_and_never_activated_serves_nothing(store: Store) -> None:
    with store.writing() as writer:
        writer.stage(
            "churn", "c" * 64, lambda path: (path / "manifest.json").write_bytes(b"{}")
        )
    churn = store.model("churn")
    assert not churn.read().lost
    with pytest.raises(NotInstalled, match="an active version of churn"):
        churn.choices()


def test_a_model_whose_versions_are_gone_says_so(model: ModelStore) -> None:
    shutil.rmtree(model.versions)
    assert model.installed() == []
    assert model.read().state.active is not None
