"""Whether every model serves as it should: one line, and nothing else is called well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_runtime.contract.errors import BundleError, HealthAlarm, StoreCorrupt
from edge_runtime.contract.facts import DeviceFacts
from edge_runtime.keys import check_signature
from edge_runtime.probe import probe
from edge_runtime.state.store import Store
from edge_runtime.status import model_status


def require_health(store: Store, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return what serves, if all of it serves as it should.

    Nothing is loaded and nothing is written.

    Args:
        store: where the models are installed.
        names: the models to look at.

    Raises:
        HealthAlarm: when anything is otherwise; its values tell everything that was found.
    """
    facts = probe()
    alarms = [] if facts.engine else [facts.engine_problem]
    if not names:
        alarms.append(f"no model is installed in {store.root} ({store.origin})")
    served = []
    for name in names:
        status = model_status(store.model(name), facts)
        alarms += [f"{name}: {alarm}" for alarm in _alarms(store, status, facts)]
        served.append({"name": name, "version": (status["active"] or {}).get("version")})
    if alarms:
        raise HealthAlarm(
            f"all should serve as installed and proven; {'; '.join(alarms)}",
            hint="Look closer: edge-runtime status --history",
            store=str(store.root),
            alarms=alarms,
        )
    return served


def _alarms(store: Store, status: dict[str, Any], facts: DeviceFacts) -> list[str]:
    active, probation = status["active"], status["probation"]
    alarms = [status["degraded"]] if status["degraded"] else []
    alarms += [f"rolled back: {status['rolled_back']}"] if status["rolled_back"] else []
    alarms += status["restart"]
    if probation and probation["failures"] and not status["degraded"]:
        alarms.append(
            f"{probation['failures']} loads of {probation['version']} on probation did not "
            f"end in order, {probation['tries']} give it up"
        )
    if active is None:
        return [*alarms, "no version is active"]
    if facts.engine and active["variant"] is None:
        alarms.append(f"{active['version']} is not proven on this engine and processor")
    return alarms + _signature_alarms(store, status["name"], active["digest"])


def _signature_alarms(store: Store, name: str, digest: str) -> list[str]:
    """Return why the signature of what serves does not hold any more."""
    try:
        check_signature(store.model(name).version(digest), digest, store.trust.keys())
    except (BundleError, StoreCorrupt) as error:
        return [error.message]
    return []
