"""What is installed of a model and what serves, read from the store without opening the engine."""

from __future__ import annotations

from typing import Any

from edge_runtime.probe import probe
from edge_runtime.proofs import remembered
from edge_runtime.state.model import ModelStore


def model_status(model: ModelStore) -> dict[str, Any]:
    """Return the facts of one model, for people and machines.

    Raises:
        StoreUnreadable: when the store may not be read.
    """
    reading = model.read()
    state = reading.state
    installed = model.installed()
    problems = [reading.degraded] if reading.degraded else []
    problems += [f"{item.digest[:16]}…: {item.problem}" for item in installed if item.problem]
    return {
        "name": model.name,
        "active": _active(model),
        "previous_good": state.previous_good.version if state.previous_good else None,
        "floor": state.floor,
        "versions": [item.manifest.version for item in installed if item.manifest],
        "degraded": "; ".join(problems),
        "history": [
            {"action": event.action, "version": event.version, "detail": event.detail}
            for event in state.history
        ],
    }


def _active(model: ModelStore) -> dict[str, Any] | None:
    active = model.read().state.active
    if active is None:
        return None
    found = next((item for item in model.installed() if item.digest == active.digest), None)
    manifest = found.manifest if found else None
    facts = probe(engine=True)
    verdicts = remembered(model, active.digest, facts)
    variant = manifest.variant(verdicts[-1].variant) if manifest and verdicts else None
    proven = f"on {facts.identity}" if verdicts else "not on this engine and processor"
    return {
        "version": active.version,
        "release": active.release,
        "digest": active.digest,
        "target": manifest.target.name if manifest else "damaged",
        "variant": variant.name if variant else "chosen at the next load",
        "provider": variant.provider if variant else "chosen at the next load",
        "proof": proven,
    }
