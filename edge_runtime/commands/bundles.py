"""What is done with bundles: ``probe`` and ``install``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from edge_runtime.commands.common import store_of
from edge_runtime.console import heading, table
from edge_runtime.contract.bundle.files import is_directory
from edge_runtime.contract.errors import UsageError
from edge_runtime.contract.terminal import Outcome, harmless, is_terminal, note
from edge_runtime.contract.units import size
from edge_runtime.state.store import Store
from edge_runtime.stick_search import UNREAD, Search, is_layout

if TYPE_CHECKING:
    # It brings the engine along.
    from edge_runtime.installing import Installation


def probe(options: argparse.Namespace) -> Outcome:
    """Show what this device is."""
    del options
    from edge_runtime.engine.session import telemetry_state
    from edge_runtime.probe import probe as probe_device

    facts = probe_device()
    engine = facts.engine
    rows = [
        ("device", f"{facts.os} {facts.architecture}, kernel {facts.kernel}"),
        ("processor", facts.cpu_model or "unknown"),
        ("cpus", f"{facts.cpus}, quota {facts.cpu_quota or 'none'}"),
        ("memory", size(facts.usable_memory_bytes)),
        ("python", f"{facts.python}, {facts.libc or 'unknown libc'}"),
        ("engine", engine.text if engine else facts.engine_problem),
        ("providers", ", ".join(engine.providers) if engine else "none"),
        ("accelerator", facts.accelerator or "none known"),
        ("telemetry", telemetry_state()),
        ("runtime", f"edge-runtime {facts.runtime}"),
    ]
    document = {**facts.to_json(), "telemetry": telemetry_state()}
    return Outcome(document.pop("schema"), document, table(rows, indent=""))


def install(options: argparse.Namespace) -> Outcome:
    """Verify, prove and activate a bundle: a file, one of a stick's, or what comes in."""
    store, source = store_of(options), options.bundle
    flags = {"new_interface": options.new_interface, "stage_only": options.stage_only}
    directory = source != "-" and is_directory(Path(source)) and not is_layout(Path(source))
    if options.name and not directory:
        raise UsageError(
            f"--name chooses among the bundles of a directory, {source} is none",
            hint="Leave --name out, or give a directory.",
            expected="a directory",
            found=source,
        )
    if directory:
        from edge_runtime.sticks import install_from

        taken = install_from(Path(source), store, name=options.name, **flags)
        facts = {"source": str(taken.path), **taken.search.to_json()}
        unread = [item.path for item in taken.search.skipped if item.word in UNREAD]
        if unread and not taken.done.changed:
            note(f"warning: nothing newer could be read; copy it again: {', '.join(unread)}")
        return _installed(options, store, taken.done, facts, skipped_lines(taken.search))
    from edge_runtime.runtime import install as install_bundle

    if source != "-":
        done = install_bundle(Path(source), store, **flags)
        return _installed(options, store, done, {"source": source})
    from edge_runtime.spool import spooled

    with spooled(_standard_input(), store) as came:
        done = install_bundle(came.path, store, **flags)
    text = f"the standard input: {size(came.size)}, sha256 {came.sha256}"
    facts = {"source": text, "bytes": came.size, "sha256": came.sha256}
    return _installed(options, store, done, facts)


def _standard_input() -> BinaryIO:
    stream = sys.stdin
    if stream is None or is_terminal(stream):
        raise UsageError(
            "a bundle was to come through the standard input, "
            f"it is {'closed' if stream is None else 'a terminal'}",
            hint="Send one: edge-runtime install - <fraud-1.4.0.oci.tar",
            expected="a bundle",
            found=None,
        )
    return stream.buffer


def _installed(
    options: argparse.Namespace,
    store: Store,
    done: Installation,
    facts: dict[str, Any],
    more: Sequence[str] = (),
) -> Outcome:
    manifest, variant = done.manifest, done.variant
    title = f"{manifest.name} {manifest.version}"
    said = "installed" if done.changed else "already active"
    if options.stage_only:
        said = "staged, and waits" if done.changed else "already there"
    rows = [
        ("from", facts["source"]),
        ("target", manifest.target.name),
        ("variant", f"{variant.name} on {variant.provider}"),
        ("signed by", done.signer),
        ("store", f"{store.root} ({store.origin})"),
    ]
    lines = [heading(f"{said}: {title}"), table(rows)]
    lines += [f"  tried {verdict.variant}: {verdict.text}" for verdict in done.verdicts]
    lines += [f"  {reason}" for reason in done.choice.slow]
    lines += [f"  left aside: {refusal.reason}" for refusal in done.refusals]
    lines += [f"  note: {harmless(text)}" for text in done.notes]
    lines += more
    document = {
        "name": manifest.name,
        "version": manifest.version,
        "release": manifest.release,
        "digest": done.digest,
        "target": manifest.target.name,
        "variant": variant.name,
        "provider": variant.provider,
        "signer": done.signer,
        "changed": done.changed,
        "store": str(store.root),
        "origin": store.origin,
        "verdicts": [verdict.to_json() for verdict in done.verdicts],
        "refusals": [refusal.reason for refusal in done.refusals],
        "notes": list(done.notes),
    }
    return Outcome("edgepack.install/1", {**document, **facts}, "\n".join(lines))


def skipped_lines(search: Search) -> list[str]:
    """Return what a person reads of the other files of a stick."""
    width = max((len(item.word) for item in search.skipped), default=0)
    lines = [
        f"  skipped {item.word.ljust(width)}  {harmless(item.path)}"
        + (f": {harmless(item.reason)}" if item.reason else "")
        for item in search.skipped
    ]
    lines += [f"  files that are no bundles: {search.others}"] * (search.others > 0)
    return lines + [f"  {search.partial}"] * bool(search.partial)
