"""What installed models do: ``status``, ``predict`` and ``metrics``."""

from __future__ import annotations

import argparse
from typing import Any

from edge_runtime.commands.common import names_of, store_of
from edge_runtime.console import heading, progress, table
from edge_runtime.contract.terminal import Outcome, note


def status(options: argparse.Namespace) -> Outcome:
    """Show what is installed, what serves and whether all is well."""
    from edge_runtime.engine.session import telemetry_state
    from edge_runtime.probe import probe as probe_device
    from edge_runtime.status import model_status

    store = store_of(options)
    facts = probe_device()
    revoked = store.trust.revocations()
    models = [
        model_status(store.model(name), facts, revoked) for name in names_of(store, options)
    ]
    fingerprints = store.trust.fingerprints()
    engine = facts.engine.text if facts.engine else None
    rows = [
        ("store", f"{store.root} ({store.origin})"),
        ("keys", f"{len(fingerprints)} trusted"),
        ("engine", engine or facts.engine_problem),
        ("telemetry", telemetry_state()),
    ]
    texts = [_status_text(item) for item in models] or ["no model is installed"]
    if options.history:
        texts += [_history_text(item) for item in models]
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
    rows += [("set here", f"{name}={value}") for name, value in item["settings"].items()]
    rows += _probation_rows(item)
    rows += [("running", line) for line in item["restart"]]
    rows += [
        ("metrics", item["metrics"]),
        ("installed", ", ".join(item["versions"]) or "nothing"),
    ]
    title = f"{item['name']} {active['version']}" if active else f"{item['name']}: none active"
    return "\n".join([heading(title), table(rows)])


def _probation_rows(item: dict[str, Any]) -> list[tuple[str, str]]:
    probation, rows = item["probation"], []
    if probation:
        told = f"{probation['rows']} of {probation['rows_wanted']} rows answered"
        failed = f"{probation['failures']} of {probation['tries']} loads failed"
        told = "passed" if probation["good"] else f"{told}, {failed}"
        rows.append(("probation", f"{probation['version']}: {told}"))
    if item["rolled_back"]:
        rows.append(("went back", f"from {item['rolled_back']}"))
    return rows


def _history_text(item: dict[str, Any]) -> str:
    rows = [
        (event["action"], " - ".join(filter(None, (event["version"], event["detail"]))))
        for event in item["history"]
    ]
    title = f"{item['name']}: what happened, oldest first"
    return "\n".join([heading(title), table(rows) or "  nothing"])


def predict(options: argparse.Namespace) -> Outcome:
    """Predict every row of a table."""
    from edge_runtime.batch import format_of, predict_table
    from edge_runtime.runtime import load

    source = (options.input, format_of(options.input, options.input_format))
    sink = (options.output, format_of(options.output, options.output_format))
    with load(
        options.ref,
        store=store_of(options),
        timeout_ms=options.timeout_ms,
        isolate=options.isolate,
    ) as model:
        try:
            rows = predict_table(model, source, sink, lambda n: progress(f"{n} rows"))
        finally:
            progress("")
        facts = model.status()
    for what in ("degraded", "metrics"):
        if facts[what] not in ("", "recorded"):
            note(f"warning: {what}: {facts[what]}")
    worker = facts["worker"]
    if worker and worker["restarts"]:
        note(f"warning: the worker was replaced {worker['restarts']} times: {worker['reason']}")
    return Outcome(
        "edgepack.predict/1",
        {"rows": rows, "output": options.output, **facts},
        f"{rows} rows answered by {facts['name']} {facts['version']} "
        f"({facts['variant']} on {facts['provider']})",
    )


def metrics(options: argparse.Namespace) -> Outcome:
    """Show what the models did here."""
    from edge_runtime.metrics import summarize

    store = store_of(options)
    directories = [store.model(name).metrics for name in names_of(store, options)]
    summary = summarize(directories)
    document = summary.to_json()
    text = summary.text() if directories else "no model is installed"
    return Outcome(document.pop("schema"), document, text)
