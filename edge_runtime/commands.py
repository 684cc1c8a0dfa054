"""What each command of ``edge-runtime`` does: one function a command, an ``Outcome`` each."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from edge_runtime.console import heading, progress, table
from edge_runtime.contract.terminal import Outcome, note
from edge_runtime.contract.units import size
from edge_runtime.state.store import Store, locate_store


def _store(options: argparse.Namespace) -> Store:
    return locate_store(getattr(options, "store", None), os.environ)


# --- trust ---------------------------------------------------------------------------------


def trust_add(options: argparse.Namespace) -> Outcome:
    """Trust a public key."""
    from edge_runtime.keys import read_key

    store = _store(options)
    pem = read_key(Path(options.key))
    with store.writing() as writer:
        key, changed = writer.add_key(pem)
    said = "trusted from now on" if changed else "trusted already"
    return _trust_outcome(
        store,
        {"fingerprint": key.fingerprint, "changed": changed},
        f"{said}: {key.fingerprint}\ncompare it with the one that packager keygen printed",
    )


def trust_list(options: argparse.Namespace) -> Outcome:
    """List the trusted keys."""
    store = _store(options)
    found = store.trust.fingerprints()
    text = "\n".join(found) or f"no key is trusted in {store.root} ({store.origin})"
    return _trust_outcome(store, {"fingerprints": found}, text)


def trust_remove(options: argparse.Namespace) -> Outcome:
    """Trust a key no longer."""
    store = _store(options)
    with store.writing() as writer:
        fingerprint = writer.remove_key(options.fingerprint)
    return _trust_outcome(
        store,
        {"fingerprint": fingerprint, "changed": True},
        f"trusted no longer: {fingerprint}\nwhat it signed is not loaded any more",
    )


def _trust_outcome(store: Store, document: dict[str, Any], text: str) -> Outcome:
    place = {"store": str(store.root), "origin": store.origin}
    return Outcome("edgepack.trust/1", {**document, **place}, text)


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
        ("memory", size(facts.usable_memory_bytes)),
        ("python", f"{facts.python}, {facts.libc or 'unknown libc'}"),
        ("engine", engine.text if engine else facts.engine_problem),
        ("providers", ", ".join(engine.providers) if engine else "none"),
        ("telemetry", telemetry_state()),
        ("runtime", f"edge-runtime {facts.runtime}"),
    ]
    document = {**facts.to_json(), "telemetry": telemetry_state()}
    return Outcome(document.pop("schema"), document, table(rows, indent=""))


def verify(options: argparse.Namespace) -> Outcome:
    """Check signatures and every byte of a bundle."""
    from edge_runtime.contract.bundle.verify import verify_bundle
    from edge_runtime.keys import read_keys

    keys = read_keys(options.trust) if options.trust else _store(options).trust.keys()
    with verify_bundle(Path(options.bundle), keys) as bundle:
        bundle.check()
        packages = bundle.packages
    manifest = packages[0].manifest
    targets: list[dict[str, Any]] = [
        {
            "target": package.manifest.target.name,
            "digest": package.digest,
            "signer": package.signer,
            "files": len(package.manifest.files),
            "bytes": sum(entry.size for entry in package.manifest.files),
            "variants": [variant.name for variant in package.manifest.variants],
        }
        for package in packages
    ]
    lines = [heading(f"verified: {manifest.name} {manifest.version} ({manifest.release})")]
    lines += [
        f"  {item['target']}: {item['files']} files, {size(item['bytes'])}, "
        f"{', '.join(item['variants'])}, signed by {item['signer']}"
        for item in targets
    ]
    document = {
        "name": manifest.name,
        "version": manifest.version,
        "release": manifest.release,
        "targets": targets,
    }
    return Outcome("edgepack.verify/1", document, "\n".join(lines))


def install(options: argparse.Namespace) -> Outcome:
    """Verify, prove and activate a bundle."""
    from edge_runtime.runtime import install as install_bundle

    store = _store(options)
    done = install_bundle(Path(options.bundle), store)
    manifest, variant = done.manifest, done.variant
    title = f"{manifest.name} {manifest.version}"
    lines = [
        heading(f"installed: {title}" if done.changed else f"already active: {title}"),
        table(
            [
                ("target", manifest.target.name),
                ("variant", f"{variant.name} on {variant.provider}"),
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
            "variant": variant.name,
            "provider": variant.provider,
            "signer": done.signer,
            "changed": done.changed,
            "store": str(store.root),
            "origin": store.origin,
            "verdicts": [verdict.to_json() for verdict in done.verdicts],
            "refusals": [refusal.reason for refusal in done.refusals],
        },
        "\n".join(lines),
    )


# --- models --------------------------------------------------------------------------------


def _names(store: Store, options: argparse.Namespace) -> tuple[str, ...]:
    return store.models() if options.name is None else (options.name,)


def status(options: argparse.Namespace) -> Outcome:
    """Show what is installed, what serves and whether all is well."""
    from edge_runtime.engine.session import telemetry_state
    from edge_runtime.probe import probe as probe_device
    from edge_runtime.status import model_status

    store = _store(options)
    facts = probe_device()
    models = [model_status(store.model(name), facts) for name in _names(store, options)]
    fingerprints = store.trust.fingerprints()
    engine = facts.engine.text if facts.engine else None
    rows = [
        ("store", f"{store.root} ({store.origin})"),
        ("keys", f"{len(fingerprints)} trusted"),
        ("engine", engine or facts.engine_problem),
        ("telemetry", telemetry_state()),
    ]
    texts = [_status_text(item) for item in models] or ["no model is installed"]
    return Outcome(
        "edgepack.status/1",
        {
            "store": str(store.root),
            "origin": store.origin,
            "trusted_keys": fingerprints,
            "engine": engine,
            "engine_problem": facts.engine_problem,
            "telemetry": telemetry_state(),
            "models": models,
        },
        "\n".join([table(rows, indent=""), *texts]),
    )


def _status_text(item: dict[str, Any]) -> str:
    active = item["active"]
    rows = [("state", item["degraded"] or "sound")]
    if active:
        how = f"{active['variant']} on {active['provider']}"
        rows += [
            (
                "serves",
                how if active["variant"] else "by what its trial finds at the next load",
            ),
            ("target", active["target"] or "unknown"),
            ("proven", active["proof"]),
        ]
    rows += [
        ("metrics", item["metrics"]),
        ("installed", ", ".join(item["versions"]) or "nothing"),
    ]
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
            rows = predict_table(model, source, sink, lambda n: progress(f"{n} rows"))
        finally:
            progress("")
        facts = model.status()
    for what in ("degraded", "metrics"):
        if facts[what] not in ("", "recorded"):
            note(f"warning: {what}: {facts[what]}")
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
    directories = [store.model(name).metrics for name in _names(store, options)]
    summary = summarize(directories)
    document = summary.to_json()
    text = summary.text() if directories else "no model is installed"
    return Outcome(document.pop("schema"), document, text)
