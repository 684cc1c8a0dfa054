"""What is done with installed versions: ``mark-good``, ``rollback``, ``activate`` and so on."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from edge_runtime.commands.common import name_of, names_of, store_of
from edge_runtime.contract.terminal import Outcome

if TYPE_CHECKING:
    # It brings the engine along.
    from edge_runtime.lifecycle import Change


def mark_good(options: argparse.Namespace) -> Outcome:
    """Say that the active version is proven."""
    from edge_runtime.lifecycle import mark_good as mark

    store = store_of(options)
    done = mark(store, name_of(store, options))
    said = "proven" if done.changed else "proven already"
    return _outcome(done, f"{said}: {done.name} {done.version}")


def rollback(options: argparse.Namespace) -> Outcome:
    """Let the last proven version serve again."""
    from edge_runtime.lifecycle import roll_back

    store = store_of(options)
    done = roll_back(store, name_of(store, options), "by command")
    return _outcome(done, f"rolled back: {done.name} {done.version} serves again")


def activate(options: argparse.Namespace) -> Outcome:
    """Let an installed version serve."""
    from edge_runtime.lifecycle import activate as let_serve

    done = let_serve(store_of(options), options.ref, options.new_interface)
    said = "active" if done.changed else "active already"
    return _outcome(done, f"{said}: {done.name} {done.version}")


def remove(options: argparse.Namespace) -> Outcome:
    """Remove an installed version."""
    from edge_runtime.lifecycle import remove as take_away

    done = take_away(store_of(options), options.ref)
    return _outcome(done, f"removed: {options.ref}; {done.version or 'nothing'} serves")


def set_values(options: argparse.Namespace) -> Outcome:
    """Set what holds for a model on this device alone."""
    from edge_runtime.lifecycle import set_values as keep

    store = store_of(options)
    settings = keep(store, options.name, options.settings)
    told = ", ".join(f"{name}={value}" for name, value in settings.items())
    return Outcome(
        "edgepack.set/1",
        {"name": options.name, "settings": dict(settings.items())},
        f"set on this device for {options.name}: {told or 'nothing'}",
    )


def health(options: argparse.Namespace) -> Outcome:
    """Tell in one line whether all serves as it should."""
    from edge_runtime.health import require_health

    store = store_of(options)
    served = require_health(store, names_of(store, options))
    text = ", ".join(f"{item['name']} {item['version']}" for item in served)
    return Outcome("edgepack.health/1", {"healthy": True, "models": served}, f"well: {text}")


def _outcome(done: Change, text: str) -> Outcome:
    document: dict[str, Any] = {
        "name": done.name,
        "version": done.version,
        "digest": done.digest,
        "changed": done.changed,
        "detail": done.detail,
        "removed": list(done.removed),
    }
    lines = [text]
    lines += [f"  {done.detail}"] * bool(done.detail and done.detail != "by command")
    lines += [f"  no longer needed, removed: {', '.join(done.removed)}"] * bool(done.removed)
    return Outcome("edgepack.change/1", document, "\n".join(lines))
