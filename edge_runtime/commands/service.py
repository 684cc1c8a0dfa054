"""What programs need that serve a model themselves: ``exec`` and ``path``."""

from __future__ import annotations

import argparse

from edge_runtime.commands.common import store_of
from edge_runtime.contract.errors import UsageError
from edge_runtime.contract.terminal import Outcome, note


def execute(options: argparse.Namespace) -> Outcome:
    """Verify, prove and count what is active, and become a program."""
    from edge_runtime.executing import execute as become

    # Some versions of argparse leave the separator in, others take it out.
    program = options.program[options.program[:1] == ["--"] :]
    if not program:
        raise UsageError(
            "exec: a program must be named after --, there is none",
            hint="For example: edge-runtime exec NAME -- PROGRAM ARGUMENT…",
            command="exec",
        )
    become(store_of(options), options.ref, program, note)


def path(options: argparse.Namespace) -> Outcome:
    """Print where a version lies, verified."""
    from edge_runtime.executing import verified

    model, package = verified(store_of(options), options.ref)
    directory = str(model.version(package.digest).resolve())
    manifest = package.manifest
    return Outcome(
        "edgepack.path/1",
        {
            "name": manifest.name,
            "version": manifest.version,
            "digest": package.digest,
            "path": directory,
        },
        directory,
    )
