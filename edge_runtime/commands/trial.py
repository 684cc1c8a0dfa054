"""What a trial of an installed version finds: ``trial``."""

from __future__ import annotations

import argparse

from edge_runtime.commands.common import store_of
from edge_runtime.console import heading, table
from edge_runtime.contract.terminal import Outcome, note


def trial(options: argparse.Namespace) -> Outcome:
    """Try every variant on this device, or tell what the last trial found."""
    from edge_runtime.trials import kept_trial, repeat_trial

    run = kept_trial if options.kept else repeat_trial
    tried = run(store_of(options), options.ref)
    manifest, choice = tried.package.manifest, tried.choice
    if tried.problem:
        note(f"warning: not kept: {tried.problem}")
    rows = [
        (verdict.variant, f"{'passed' if verdict.passed else 'failed'}: {verdict.text}")
        for verdict in tried.verdicts
    ]
    rows.append(("serves", choice.variant))
    lines = [heading(f"{manifest.name} {manifest.version}"), table(rows)]
    lines += [f"  {reason}" for reason in choice.slow]
    lines += [f"  not tried: {reason}" for reason in tried.refusals]
    document = {
        "name": manifest.name,
        "version": manifest.version,
        "digest": tried.package.digest,
        "identity": tried.identity,
        "variant": choice.variant,
        "reason": choice.reason,
        "verdicts": [verdict.to_json() for verdict in tried.verdicts],
        "refusals": list(tried.refusals),
        "kept": not tried.problem,
    }
    return Outcome("edgepack.tried/1", document, "\n".join(lines))
