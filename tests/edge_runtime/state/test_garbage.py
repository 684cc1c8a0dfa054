"""Garbage: what serves, may serve again, waits or runs stays; everything else goes."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.bundle.manifest import Manifest
from edge_runtime.contract.bundle.manifest_render import render_manifest
from edge_runtime.state import disk, garbage
from edge_runtime.state.record import (
    State,
    Version,
    activated,
    proven_good,
    rolled_back,
    staged,
)
from edge_runtime.state.store import Store, StoreWriter

Install = Callable[..., str]

VERSIONS = [Version(f"{n}" * 64, f"{n}.0.0", n * 1_000_000, "a" * 64) for n in range(10)]
RELEASES = {version.digest: version.release for version in VERSIONS}


def kept(state: State, running: Iterable[str] = ()) -> str:
    """Return the versions that stay, by their first digits."""
    return "".join(
        sorted(digest[0] for digest in garbage.kept(state, RELEASES, running) if digest)
    )


def after(*versions: int) -> State:
    """Return the record after these versions were activated and proven, the last one not."""
    state = State()
    for number in versions[:-1]:
        state = proven_good(activated(state, VERSIONS[number]))
    return activated(state, VERSIONS[versions[-1]])


def test_what_serves_and_what_it_would_go_back_to_stays() -> None:
    assert kept(after(1, 2, 3)) == "23"
    assert kept(proven_good(after(1, 2, 3))) == "23"


def test_versions_that_never_were_proven_go_when_the_next_is_activated() -> None:
    assert kept(activated(after(1, 2), VERSIONS[3])) == "13"


def test_where_nothing_was_proven_what_served_before_stays() -> None:
    assert kept(activated(after(1), VERSIONS[2])) == "12"
    assert kept(proven_good(activated(after(1), VERSIONS[2]))) == "12"
    assert kept(activated(proven_good(activated(after(1), VERSIONS[2])), VERSIONS[3])) == "23"


def test_what_is_loaded_stays() -> None:
    assert kept(after(1, 2, 3), [VERSIONS[1].digest]) == "123"


def test_what_was_rolled_back_stays_until_another_is_activated() -> None:
    state = rolled_back(after(1, 2), "it crashed")
    assert kept(state) == "12"
    assert kept(activated(state, VERSIONS[3])) == "13"


def test_what_waits_to_be_activated_stays_until_it_is_overtaken() -> None:
    state = staged(after(1, 2), VERSIONS[4])
    assert kept(state) == "124"
    assert kept(activated(state, VERSIONS[3])) == "134"
    assert kept(activated(state, VERSIONS[5])) == "15"
    assert kept(staged(state, VERSIONS[3])) == "123"
    assert kept(activated(state, VERSIONS[4])) == "14"
    assert kept(staged(State(), VERSIONS[4])) == "4"


@given(
    st.lists(st.tuples(st.sampled_from(["stage", "use", "good", "back"]), st.integers(0, 9)))
)
def test_whatever_happens_what_serves_stays_and_the_rest_is_bounded(
    steps: list[tuple[str, int]],
) -> None:
    state = State()
    for step, number in steps:
        state = {
            "stage": lambda s, n: staged(s, VERSIONS[n]),
            "use": lambda s, n: activated(s, VERSIONS[n]),
            "good": lambda s, _: proven_good(s),
            "back": lambda s, _: rolled_back(s, "it crashed"),
        }[step](state, number)
        stay = garbage.kept(state, RELEASES, ())
        assert garbage.serving(state) <= stay
        assert len(stay - {""}) <= 5


# --- on disk -------------------------------------------------------------------------------


def installed(store: Store) -> list[str]:
    return sorted(path.name for path in disk.entries(store.model("fraud").versions))


@pytest.fixture
def three(store: Store, install: Install) -> list[str]:
    """Three versions, the first two proven in turn."""
    digests = []
    with store.writing() as writer:
        for minor in (1, 2, 3):
            digests.append(install(writer, version=f"1.{minor}.0", release=1_000_000 + minor))
            writer.write_local("fraud", digests[-1], "engine-cpu", "trial.json", b"{}")
            if minor < 3:
                writer.mark_good("fraud", "")
    return digests


def test_a_version_goes_with_all_that_was_made_for_it(store: Store, three: list[str]) -> None:
    model = store.model("fraud")
    model.loads.mark_good(three[0])
    with store.writing() as writer:
        assert writer.collect_garbage("fraud") == (three[0],)
        assert writer.collect_garbage("fraud") == ()
    assert installed(store) == sorted(three[1:])
    made = sorted(path.name for path in disk.entries(model.path / "local"))
    assert made == sorted(f"{digest}-engine-cpu" for digest in three[1:])
    assert model.loads.known() == set()
    assert not store.incoming.exists()


def test_what_counts_of_the_version_on_probation_is_not_cleared(
    store: Store, three: list[str]
) -> None:
    loads = store.model("fraud").loads
    loads.add_rows(three[2], 12)
    with store.writing() as writer:
        writer.collect_garbage("fraud")
    assert loads.marks(three[2]).rows == 12


def test_a_lost_record_loses_no_version(store: Store, three: list[str]) -> None:
    for name in ("state-a.json", "state-b.json"):
        (store.model("fraud").path / name).unlink()
    with store.writing() as writer:
        assert writer.collect_garbage("fraud") == ()
    assert installed(store) == sorted(three)


def test_a_version_that_a_process_begins_to_load_meanwhile_is_put_back(
    store: Store, three: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, move, loads = store.model("fraud"), disk.move, []

    def just_then(source: Path, target: Path) -> None:
        if not loads:
            loads.append(model.loads.begin(three[0], durable=False))
        move(source, target)

    monkeypatch.setattr(disk, "move", just_then)
    with store.writing() as writer:
        assert writer.collect_garbage("fraud") == ()
        assert installed(store) == sorted(three)
        loads[0].end()
        assert writer.collect_garbage("fraud") == (three[0],)


def test_what_cannot_be_removed_is_no_failure_and_goes_the_next_time(
    store: Store, three: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.writing() as writer:
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "rmtree", lambda _: store.root.rmdir())
            assert writer.collect_garbage("fraud") == ()
        # It was taken away in one step: no half of it can be met under its own name.
        assert installed(store) == sorted(three[1:])
        assert (store.incoming / f"{three[0]}.gone").is_dir()
    with store.writing():
        assert not store.incoming.exists()


def test_a_damaged_version_goes_like_any_other(store: Store, three: list[str]) -> None:
    (store.model("fraud").version(three[0]) / "manifest.json").unlink()
    with store.writing() as writer:
        assert writer.collect_garbage("fraud") == (three[0],)


def test_what_is_kept_of_many_engines_is_bounded(store: Store, three: list[str]) -> None:
    def made(writer: StoreWriter, number: int) -> list[str]:
        writer.write_local("fraud", three[2], f"engine-{number}", "trial.json", b"{}")
        local = disk.entries(store.model("fraud").path / "local")
        return [path.name for path in local if path.name.startswith(three[2])]

    with store.writing() as writer:
        counts = [len(made(writer, number)) for number in range(20)]
    assert max(counts) <= garbage.MAX_IDENTITIES
    assert (store.model("fraud").local(three[2], "engine-19") / "trial.json").is_file()


def test_a_staged_version_outlives_what_is_installed_meanwhile(
    store: Store, build_manifest: Callable[..., Manifest], install: Install
) -> None:
    waiting = build_manifest(version="2.0.0", release=2_000_000)
    data = render_manifest(waiting)
    digest = hashlib.sha256(data).hexdigest()
    with store.writing() as writer:
        install(writer)
        writer.stage("fraud", digest, lambda path: (path / "manifest.json").write_bytes(data))
        writer.note_staged(waiting, digest)
        for release in (1_005_000, 1_006_000, 3_000_000):
            assert digest in installed(store)
            install(writer, version=f"{release}", release=release)
            writer.mark_good("fraud", "")
            writer.collect_garbage("fraud")
    assert digest not in installed(store)
