"""Which versions of a model stay installed; everything else goes by itself.

What serves stays, what serving would go back to, what a process has loaded, the version that
waits to be activated, and the one that was rolled back, until another is activated: somebody
will want to look at it. Where nothing was proven yet, what served before stays as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from edge_runtime.state import disk
from edge_runtime.state.model import ModelStore
from edge_runtime.state.record import ACTIVATED, REMOVED, ROLLED_BACK, STAGED, State

# Engines and processors under which things are kept for a version; a device has one or two.
MAX_IDENTITIES = 4


def serving(state: State) -> frozenset[str]:
    """Return the digests that serve, or that serving would go back to."""
    versions = (state.active, state.previous_good, state.candidate)
    return frozenset(version.digest for version in versions if version)


def waiting(state: State) -> str:
    """Return the digest that was staged last and not activated since; else nothing."""
    found = ""
    for event in state.history:
        if event.action == STAGED:
            found = event.digest
        elif event.digest == found and event.action in (ACTIVATED, REMOVED):
            found = ""
    return found


def failed(state: State) -> str:
    """Return the digest that was rolled back, if nothing was activated since; else nothing."""
    for event in reversed(state.history):
        if event.action == ACTIVATED:
            break
        if event.action == ROLLED_BACK:
            return event.digest
    return ""


def kept(state: State, releases: Mapping[str, int], running: Iterable[str]) -> frozenset[str]:
    """Return the digests that stay installed.

    Args:
        state: the record.
        releases: of each installed version by its digest; -1 where its manifest is damaged.
        running: what processes have loaded.
    """
    new = waiting(state)
    back = set() if state.previous_good else {_before(state)}
    overtaken = state.active is not None and releases.get(new, -1) <= state.active.release
    return serving(state).union(running, back, {failed(state)}, () if overtaken else {new})


def _before(state: State) -> str:
    """Return the digest that was active before: where nothing is proven, better than none."""
    active = state.active.digest if state.active else ""
    for event in reversed(state.history):
        if event.action == ACTIVATED and event.digest != active:
            return event.digest
    return ""


def collect(model: ModelStore, incoming: Path) -> tuple[str, ...]:
    """Remove what nothing needs any more; return the digests of the versions that went.

    The caller holds the store's lock. What cannot be removed now is no failure: the next writer
    tries it again.

    Args:
        model: the model.
        incoming: where a version is moved in one step, before its files go one by one.
    """
    reading = model.read()
    if reading.lost:
        return ()  # any version may be the one that serves
    releases = {item.digest: item.release for item in model.installed()}
    stay = kept(reading.state, releases, _running(model))
    gone: list[str] = []
    with suppress(OSError):
        for digest in releases:
            if digest not in stay and discard(model, digest, incoming):
                gone.append(digest)
        _tidy(model, set(releases).difference(gone))
    return tuple(gone)


def discard(model: ModelStore, digest: str, incoming: Path) -> bool:
    """Take a version away in one step, unless a process has just begun to load it.

    Raises:
        OSError: when it cannot be removed; what is left of it stands in ``incoming``.
    """
    disk.make_directory(incoming)
    away = incoming / f"{digest}.gone"
    disk.move(model.version(digest), away)
    if digest in _running(model):
        # It was entered between the first look and the move, and is opened after that.
        disk.move(away, model.version(digest))
        return False
    disk.remove_tree(incoming)
    return True


def bound_local(model: ModelStore, digest: str, kept: Path) -> None:
    """Let what was made for a version under many other engines and processors go.

    Raises:
        OSError: when it cannot be removed.
    """
    made = disk.entries(model.path / "local")
    others = [path for path in made if path.name.startswith(f"{digest}-") and path != kept]
    if len(others) >= MAX_IDENTITIES:
        for path in others:
            disk.remove_tree(path)


def _running(model: ModelStore) -> set[str]:
    return {load.digest for load in model.loads.running()}


def _tidy(model: ModelStore, versions: Collection[str]) -> None:
    """Remove what was made or noted for versions that are not installed any more."""
    for path in disk.entries(model.path / "local"):
        if path.name.partition("-")[0] not in versions:
            disk.remove_tree(path)
    candidate = model.read().state.candidate
    for digest in model.loads.known():
        if candidate is None or digest != candidate.digest:
            model.loads.forget(digest)
