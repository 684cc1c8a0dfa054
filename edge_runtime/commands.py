"""What each command of ``edge-runtime`` does: one function a command, an ``Outcome`` each."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_runtime import console
from edge_runtime.console import Outcome, heading, table
from edge_runtime.state.store import Store, locate_store


def _store(options: argparse.Namespace) -> Store:
    return locate_store(Path(options.store) if options.store else None, os.environ)


# --- trust ---------------------------------------------------------------------------------


def trust_add(options: argparse.Namespace) -> Outcome:
    """Trust a public key."""
    from edge_runtime.runtime import read_key

    store = _store(options)
    pem = read_key(Path(options.key))
    with store.writing() as writer:
        key, changed = writer.add_key(pem)
    said = "trusted from now on" if changed else "trusted already"
    return Outcome(
        "edgepack.trust/1",
        {"fingerprint": key.fingerprint, "changed": changed, "store": str(store.root)},
        f"{said}: {key.fingerprint}\ncompare it with the one that packager keygen printed",
    )


def trust_list(options: argparse.Namespace) -> Outcome:
    """List the trusted keys."""
    store = _store(options)
    found = store.trust.fingerprints()
    text = "\n".join(found) or f"no key is trusted in {store.root} ({store.origin})"
    return Outcome("edgepack.trust/1", {"fingerprints": found, "store": str(store.root)}, text)


def trust_remove(options: argparse.Namespace) -> Outcome:
    """Trust a key no longer."""
    store = _store(options)
    with store.writing() as writer:
        fingerprint = writer.remove_key(options.fingerprint)
    return Outcome(
        "edgepack.trust/1",
        {"fingerprint": fingerprint, "changed": True, "store": str(store.root)},
        f"trusted no longer: {fingerprint}",
    )


# --- bundles -------------------------------------------------------------------------------


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
        ("memory", console.size(facts.usable_memory_bytes)),
        ("python", f"{facts.python}, {facts.libc or 'unknown libc'}"),
        ("engine", f"{engine.name} {engine.version}" if engine else facts.engine_problem),
        ("providers", ", ".join(engine.providers) if engine else "none"),
        ("telemetry", telemetry_state()),
        ("runtime", f"edge-runtime {facts.runtime}"),
    ]
    document = {**facts.to_json(), "telemetry": telemetry_state()}
    return Outcome(document.pop("schema"), document, table(rows, indent=""))


def verify(options: argparse.Namespace) -> Outcome:
    """Check signatures and every byte of a bundle."""
    from edge_runtime.contract.bundle.verify import verify_bundle
    from edge_runtime.runtime import trusted_keys

    keys = trusted_keys(_store(options), options.trust)
    with verify_bundle(Path(options.bundle), keys) as bundle:
        bundle.check()
        first = bundle.packages[0]
        targets: list[dict[str, Any]] = [
            {
                "target": package.manifest.target.name,
                "digest": package.digest,
                "signer": package.signer,
                "files": len(package.manifest.files),
                "bytes": sum(entry.size for entry in package.manifest.files),
                "variants": [variant.name for variant in package.manifest.variants],
            }
            for package in bundle.packages
        ]
    name, version = first.manifest.name, first.manifest.version
    lines = [heading(f"verified: {name} {version} (release {first.manifest.release})")]
    lines += [
        f"  {item['target']}: {item['files']} files, {console.size(item['bytes'])}, "
        f"{', '.join(item['variants'])}"
        for item in targets
    ]
    lines += [f"  signed by {first.signer}"]
    return Outcome(
        "edgepack.verify/1",
        {
            "name": name,
            "version": version,
            "release": first.manifest.release,
            "targets": targets,
        },
        "\n".join(lines),
    )


def install(options: argparse.Namespace) -> Outcome:
    """Verify, prove and activate a bundle."""
    from edge_runtime.runtime import install as install_bundle

    store = _store(options)
    done = install_bundle(Path(options.bundle), store)
    manifest = done.manifest
    chosen = manifest.variant(done.variant)
    provider = chosen.provider if chosen else ""
    title = f"{manifest.name} {manifest.version}"
    lines = [
        heading(f"installed: {title}" if done.changed else f"already active: {title}"),
        table(
            [
                ("target", manifest.target.name),
                ("variant", f"{done.variant} on {provider}"),
                ("signed by", done.signer),
                ("store", f"{store.root} ({store.origin})"),
            ]
        ),
    ]
    lines += [f"  tried {verdict.variant}: {verdict.reason}" for verdict in done.verdicts]
    lines += [f"  left aside: {refusal.reason}" for refusal in done.refusals]
    return Outcome(
        "edgepack.install/1",
        {
            "name": manifest.name,
            "version": manifest.version,
            "release": manifest.release,
            "digest": done.digest,
            "target": manifest.target.name,
            "variant": done.variant,
            "provider": provider,
            "signer": done.signer,
            "changed": done.changed,
            "store": str(store.root),
            "verdicts": [verdict.to_json() for verdict in done.verdicts],
            "refusals": [refusal.reason for refusal in done.refusals],
        },
        "\n".join(lines),
    )


# --- models --------------------------------------------------------------------------------


def status(options: argparse.Namespace) -> Outcome:
    """Show what is installed, without opening the engine."""
    from edge_runtime.status import model_status

    store = _store(options)
    names = store.models() if options.ref is None else [store.resolve(options.ref)[0].name]
    models = [model_status(store.model(name)) for name in names]
    fingerprints = store.trust.fingerprints()
    lines = [f"store {store.root} ({store.origin}), {len(fingerprints)} trusted keys"]
    lines += [_status_text(item) for item in models] or ["no model is installed"]
    return Outcome(
        "edgepack.status/1",
        {
            "store": str(store.root),
            "origin": store.origin,
            "trusted_keys": fingerprints,
            "models": models,
        },
        "\n".join(lines),
    )


def _status_text(item: dict[str, Any]) -> str:
    active = item["active"]
    rows = [("state", item["degraded"] or "sound")]
    if active:
        rows += [
            ("serves", f"{active['target']}, {active['variant']} on {active['provider']}"),
            ("proven", active["proof"]),
        ]
    rows += [("installed", ", ".join(item["versions"]) or "nothing")]
    title = f"{item['name']} {active['version']}" if active else f"{item['name']}: none active"
    return "\n".join([heading(title), table(rows)])


def predict(options: argparse.Namespace) -> Outcome:
    """Predict every row of a table."""
    from edge_runtime.batch import format_of, predict_table
    from edge_runtime.runtime import load

    source = (options.input, format_of(options.input, options.input_format))
    sink = (options.output, format_of(options.output, options.output_format))
    with load(options.ref, store=_store(options)) as model:
        try:
            rows = predict_table(model, source, sink, lambda n: console.progress(f"{n} rows"))
        finally:
            console.progress_done()
        facts = model.status()
    if facts["metrics"] != "recorded":
        console.note(f"warning: {facts['metrics']}")
    return Outcome(
        "edgepack.predict/1",
        {"rows": rows, "output": options.output, **facts},
        f"{rows} rows answered by {facts['name']} {facts['version']} "
        f"({facts['variant']} on {facts['provider']})",
    )


def metrics(options: argparse.Namespace) -> Outcome:
    """Show what the models did here."""
    from edge_runtime.metrics import summarize

    store = _store(options)
    names = store.models() if options.ref is None else [store.resolve(options.ref)[0].name]
    summaries: Sequence[tuple[str, Any]] = [
        (name, summarize([store.model(name).metrics])) for name in names
    ]
    text = "\n".join(f"{heading(name)}\n{summary.text()}" for name, summary in summaries)
    return Outcome(
        "edgepack.metrics/1",
        {"models": {name: summary.to_json() for name, summary in summaries}},
        text or "no model is installed",
    )
