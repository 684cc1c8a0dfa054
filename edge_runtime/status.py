"""What is installed of a model and what serves, read from the store without loading a graph."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from edge_runtime.contract.bundle.keyring import Revocations
from edge_runtime.contract.facts import DeviceFacts
from edge_runtime.engine.verdict import Verdict, choose
from edge_runtime.probation import ROWS
from edge_runtime.proofs import remembered
from edge_runtime.state import disk
from edge_runtime.state.model import Installed, ModelStore
from edge_runtime.state.record import ACTIVATED, ROLLED_BACK, State, Version
from edge_runtime.state.settings import Settings
from edge_runtime.state.trust import withdrawn


def model_status(
    model: ModelStore, facts: DeviceFacts, revocations: Revocations | None = None
) -> dict[str, Any]:
    """Return the facts of one model, for people and machines.

    Args:
        model: its part of the store.
        facts: what this device is.
        revocations: what was withdrawn, to be said of what is installed.

    Raises:
        StoreUnreadable: when the store may not be read.
        StoreNewer: when a newer runtime wrote its record.
    """
    reading = model.read()
    state = reading.state
    installed = model.installed()
    problems = [reading.degraded] if reading.degraded else []
    problems += [f"{item.digest[:16]}…: {item.problem}" for item in installed if item.problem]
    gone = [withdrawn(item, revocations or Revocations()) for item in installed]
    problems += [text for text in gone if text]
    standing = model.standing()
    active = standing.version
    if active and active.digest not in [item.digest for item in installed]:
        problems.append(f"the active version {active.version} is not there")
    problems += [standing.reason] if standing.reason else []
    settings, problem = model.settings()
    problems += [problem] if problem else []
    running = _running(model, installed)
    return {
        "name": model.name,
        "active": _active(model, active, installed, facts) if active else None,
        "probation": _probation(model, state),
        "running": running,
        "restart": [
            f"active {active.version}, running {item['version']} in pid {item['pid']}: "
            "restart it"
            for item in running
            if active and item["digest"] != active.digest
        ],
        "previous_good": state.previous_good.version if state.previous_good else None,
        "floor": state.floor,
        "versions": [item.manifest.version for item in installed if item.manifest],
        "degraded": "; ".join(problems),
        "rolled_back": _rolled_back(state),
        "settings": dict(settings.items()),
        "metrics": _metrics(model),
        "history": [
            {"action": event.action, "version": event.version, "detail": event.detail}
            for event in state.history
        ],
    }


def _probation(model: ModelStore, state: State) -> dict[str, Any] | None:
    """Return how the version on probation does; None where none is."""
    if state.candidate is None:
        return None
    marks = model.loads.marks(state.candidate.digest)
    return {
        "version": state.candidate.version,
        "rows": marks.rows,
        "rows_wanted": ROWS,
        "good": marks.good,
        "failures": marks.failures,
        "tries": state.tries_left,
    }


def _running(model: ModelStore, installed: list[Installed]) -> list[dict[str, Any]]:
    """Return the processes that have a version loaded, as far as they could say so."""
    names = {item.digest: item.manifest.version for item in installed if item.manifest}
    return [
        {
            "pid": load.pid,
            "version": names.get(load.digest, f"{load.digest[:16]}…"),
            "digest": load.digest,
        }
        for load in model.loads.running()
    ]


def _rolled_back(state: State) -> str:
    """Return which version was rolled back and why, until another one is activated."""
    for event in reversed(state.history):
        if event.action == ACTIVATED:
            break
        if event.action == ROLLED_BACK:
            return f"{event.version}: {event.detail}"
    return ""


def _active(
    model: ModelStore, active: Version, installed: list[Installed], facts: DeviceFacts
) -> dict[str, Any]:
    found = next((item for item in installed if item.digest == active.digest), None)
    manifest = found.manifest if found else None
    name = _variant(remembered(model, active.digest, facts), model.settings()[0])
    variant = manifest.variant(name) if manifest and name else None
    return {
        "version": active.version,
        "release": active.release,
        "digest": active.digest,
        "target": manifest.target.name if manifest else None,
        "variant": variant.name if variant else None,
        "provider": variant.provider if variant else None,
        "proof": f"on {facts.identity}" if variant else "not on this engine and processor",
    }


def _variant(verdicts: Sequence[Verdict], settings: Settings) -> str | None:
    """Return the variant that a load takes; None where nothing is known to hold here."""
    if settings.variant in [verdict.variant for verdict in verdicts if verdict.passed]:
        return settings.variant
    choice = choose(verdicts)
    return choice.variant if choice else None


def _metrics(model: ModelStore) -> str:
    """Return whether predictions of this very user are recorded."""
    directory = model.metrics
    with disk.reading(directory):
        if not directory.is_dir():
            return f"not recorded: {directory} is not there"
        if os.access(directory, os.R_OK | os.W_OK | os.X_OK):
            return "recorded"
        return (
            f"not recorded: user {os.geteuid()} may not write to {directory}, "
            f"members of group {directory.stat().st_gid} may"
        )
