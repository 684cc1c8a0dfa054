"""What must hold of a store whatever happened to the one who wrote it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from power_operations import Operation, last_state, record_of
from power_world import FEED, NAME, World, answers, as_bytes

from edge_runtime import runtime
from edge_runtime.contract.bundle.installed import open_installed
from edge_runtime.contract.errors import EdgepackError
from edge_runtime.state.store import Store


@dataclass(frozen=True)
class Cut:
    """What is known of a moment at which a writer was interrupted.

    Attributes:
        told: how many times it had told that something is done.
        floor: the lowest release that might be installed before.
    """

    told: int
    floor: int


class Broken(Exception):
    """A store is not as it must be; the text says how."""


def fault_of(world: World, operation: Operation, root: Path, cut: Cut) -> str:
    """Return what is wrong with a store after a cut; empty when nothing is.

    It is looked at as its users do: the version that serves is verified byte for byte and
    predicts, what was acknowledged is there, and the next command does its work.
    """
    store = Store(root, "named by the test")
    try:
        _require_kept(store, operation, cut)
        _require_goes_on(world, store, operation, cut)
        _require_tidy(store)
    except (Broken, EdgepackError, OSError) as error:
        return str(error)
    return ""


def _require_kept(store: Store, operation: Operation, cut: Cut) -> None:
    """Require that it serves, and that what was acknowledged is there."""
    if cut.told or not operation.damaged:
        _require_served(store, (operation.serves, operation.then), cut.floor)
    if cut.told and (lost := operation.lost(store, cut.told)):
        raise Broken(f"acknowledged and lost: {lost}")


def _require_goes_on(world: World, store: Store, operation: Operation, cut: Cut) -> None:
    """Require that the next command does its work."""
    said = world.run(store.root, operation.next_command)
    if said.code:
        raise Broken(f"the next command failed: {said.err.strip()}")
    _require_served(store, (operation.last_version,), cut.floor)
    if lost := last_state(operation)(store, 1):
        raise Broken(f"the next command did not do its work: {lost}")


def _require_served(store: Store, allowed: tuple[str, ...], floor: int) -> None:
    state = record_of(store)
    if state.floor < floor:
        raise Broken(f"the floor was {floor}, it is {state.floor}")
    served = _served(store)
    if served not in allowed:
        raise Broken(f"{' or '.join(filter(None, allowed))} must serve, {served} does")


def _served(store: Store) -> str:
    """Return the version that serves, once every byte of it and its answers are found right."""
    if NAME not in store.models():
        return ""
    model = store.model(NAME)
    reading = model.read()
    if reading.degraded:
        raise Broken(f"the record is damaged: {reading.degraded}")
    state = reading.state
    for version in filter(None, (state.active, state.previous_good)):
        open_installed(model.version(version.digest), version.digest).check()
    if state.active is None:
        return ""
    with runtime.load(NAME, store=store) as loaded:
        given = loaded.predict(FEED)
        if loaded.status()["degraded"]:
            raise Broken(f"it serves degraded: {loaded.status()['degraded']}")
    if as_bytes(given) != answers(given.version):
        raise Broken(f"{given.version} gives other answers than it must")
    return given.version


def _require_tidy(store: Store) -> None:
    """Require that writers that come after it clear up behind the one interrupted."""
    with store.writing():
        pass
    left = [path.name for path in store.root.rglob(".*.tmp")]
    if store.incoming.exists() or left:
        raise Broken(f"leftovers stay behind: {left or 'incoming'}")
