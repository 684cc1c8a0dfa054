"""What is installed of a model and what serves, read from the store without loading a graph."""

from __future__ import annotations

import os
from typing import Any

from edge_runtime.contract.facts import DeviceFacts
from edge_runtime.proofs import remembered
from edge_runtime.state import disk
from edge_runtime.state.model import Installed, ModelStore
from edge_runtime.state.record import Version


def model_status(model: ModelStore, facts: DeviceFacts) -> dict[str, Any]:
    """Return the facts of one model, for people and machines.

    Raises:
        StoreUnreadable: when the store may not be read.
        StoreNewer: when a newer runtime wrote its record.
    """
    reading = model.read()
    state = reading.state
    installed = model.installed()
    problems = [reading.degraded] if reading.degraded else []
    problems += [f"{item.digest[:16]}…: {item.problem}" for item in installed if item.problem]
    active = state.active
    if active and active.digest not in [item.digest for item in installed]:
        problems.append(f"the active version {active.version} is not there")
    return {
        "name": model.name,
        "active": _active(model, active, installed, facts) if active else None,
        "previous_good": state.previous_good.version if state.previous_good else None,
        "floor": state.floor,
        "versions": [item.manifest.version for item in installed if item.manifest],
        "degraded": "; ".join(problems),
        "metrics": _metrics(model),
        "history": [
            {"action": event.action, "version": event.version, "detail": event.detail}
            for event in state.history
        ],
    }


def _active(
    model: ModelStore, active: Version, installed: list[Installed], facts: DeviceFacts
) -> dict[str, Any]:
    found = next((item for item in installed if item.digest == active.digest), None)
    manifest = found.manifest if found else None
    verdicts = remembered(model, active.digest, facts)
    variant = manifest.variant(verdicts[-1].variant) if manifest and verdicts else None
    return {
        "version": active.version,
        "release": active.release,
        "digest": active.digest,
        "target": manifest.target.name if manifest else None,
        "variant": variant.name if variant else None,
        "provider": variant.provider if variant else None,
        "proof": f"on {facts.identity}" if variant else "not on this engine and processor",
    }


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
