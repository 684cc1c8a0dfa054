"""Whose signatures count: ``trust add``, ``list``, ``update`` and ``remove``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edge_runtime.commands.common import store_of
from edge_runtime.console import heading, table
from edge_runtime.contract.bundle.keyring import EVERY_NAME, Revocations
from edge_runtime.contract.errors import UsageError
from edge_runtime.contract.terminal import Outcome
from edge_runtime.state.store import Store
from edge_runtime.state.trust import BY_HAND, Counted


def add(options: argparse.Namespace) -> Outcome:
    """Trust a public key, an authority's certificate, or a root key."""
    from edge_runtime.keys import read_key

    patterns = tuple(options.patterns or EVERY_NAME)
    if options.root and options.patterns:
        raise UsageError(
            "trust add takes --root or --for, it was given both",
            hint="Leave --for out: trust.json says which key is for which models.",
            expected=["--root", "--for"],
            found=["--root", "--for"],
        )
    store = store_of(options)
    pem = read_key(Path(options.key))
    with store.writing() as writer:
        key, changed = writer.pin_root(pem) if options.root else writer.add_key(pem, patterns)
    said = "trusted from now on" if changed else "trusted already"
    said = f"{said} as root key" if options.root else said
    names = "" if patterns == EVERY_NAME else f" for {', '.join(key.patterns)}"
    made = "packager trust init" if options.root else "packager keygen"
    return _outcome(
        store,
        {
            "fingerprint": key.fingerprint,
            "for": list(key.patterns),
            "root": options.root,
            "changed": changed,
        },
        f"{said}: {key.fingerprint}{names}\ncompare it with the one that {made} printed",
    )


def update(options: argparse.Namespace) -> Outcome:
    """Put a newer ``trust.json`` in force."""
    from edge_runtime.keys import read_trust

    store = store_of(options)
    data = read_trust(Path(options.file))
    with store.writing() as writer:
        document, changed = writer.update_trust(data)
    said = "in force from now on" if changed else "in force already"
    revoked = document.revocations
    return _outcome(
        store,
        {"serial": document.serial, "changed": changed},
        f"{said}: trust.json serial {document.serial}, {len(document.grants)} keys, "
        f"withdrawn: {len(revoked.keys)} keys, {_releases(revoked)} releases",
    )


def show(options: argparse.Namespace) -> Outcome:
    """List what is trusted and what was withdrawn."""
    store = store_of(options)
    keys = store.trust.counted()
    root, revoked = store.trust.list.root(), store.trust.revocations()
    rows = [(item.fingerprint, _grant_text(item)) for item in keys]
    lines = (
        [table(rows, indent="")]
        if rows
        else [f"no key is trusted in {store.root} ({store.origin})"]
    )
    if root is not None:
        lines += [heading(f"root {root}"), table(_list_rows(revoked))]
    return _outcome(
        store,
        {
            "fingerprints": [item.fingerprint for item in keys],
            "keys": [
                {"fingerprint": one.fingerprint, "for": one.patterns, "origin": one.origin}
                for one in keys
            ],
            "root": root,
            "serial": revoked.serial or None,
            "revoked_keys": sorted(revoked.keys),
            "revoked_releases": [
                {"name": name, "release": release} for name, release in sorted(revoked.releases)
            ],
            "revoked_digests": sorted(revoked.digests),
        },
        "\n".join(lines),
    )


def _grant_text(item: Counted) -> str:
    """Return what there is to say of a key; of one by hand for every model nothing."""
    names = "" if item.patterns == EVERY_NAME else f"for {', '.join(item.patterns)} "
    return names + ("" if item.origin == BY_HAND else f"({item.origin})")


def _list_rows(revoked: Revocations) -> list[tuple[str, str]]:
    if not revoked.serial:
        return [("trust.json", "none yet: edge-runtime trust update trust.json")]
    releases = [f"{name}@{release}" for name, release in sorted(revoked.releases)]
    withdrawn = [*sorted(revoked.keys), *releases, *sorted(revoked.digests)]
    rows = [("trust.json", f"serial {revoked.serial}")]
    return rows + [("withdrawn", item) for item in withdrawn]


def _releases(revoked: Revocations) -> int:
    return len(revoked.releases) + len(revoked.digests)


def remove(options: argparse.Namespace) -> Outcome:
    """Trust a key no longer."""
    store = store_of(options)
    with store.writing() as writer:
        fingerprint = writer.remove_key(options.fingerprint)
    return _outcome(
        store,
        {"fingerprint": fingerprint, "changed": True},
        f"trusted no longer: {fingerprint}\nwhat it signed is not loaded any more",
    )


def _outcome(store: Store, document: dict[str, Any], text: str) -> Outcome:
    place = {"store": str(store.root), "origin": store.origin}
    return Outcome("edgepack.trust/1", {**document, **place}, text)
