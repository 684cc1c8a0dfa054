"""The command line of ``edge-runtime``; imports nothing that a command needs."""

from __future__ import annotations

import argparse

from edge_runtime import __version__
from edge_runtime.parser.adder import Adder, Parser, examples_text
from edge_runtime.parser.bundles import add_bundle_commands
from edge_runtime.parser.lifecycle import add_lifecycle_commands
from edge_runtime.parser.models import add_model_commands
from edge_runtime.parser.service import add_service_commands
from edge_runtime.parser.support import add_support
from edge_runtime.parser.trial import add_trial
from edge_runtime.parser.trust import add_trust


def build_parser() -> argparse.ArgumentParser:
    """Return the whole command line; imports nothing that a command needs."""
    shared = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    shared.add_argument(
        "--store",
        metavar="DIR",
        help="where models live; else $EDGE_STORE, else /var/lib/edge-runtime if it exists, "
        "else a directory of the user",
    )
    shared.add_argument("--json", action="store_true", help="print one JSON object")
    parser = Parser(
        prog="edge-runtime",
        parents=[shared],
        description="Verify, install and run signed model bundles on this device, offline.",
        epilog=examples_text("trust add release.pub", "install fraud-1.4.0.oci.tar"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"edge-runtime {__version__}")
    adder = Adder(parser, shared, "COMMAND")
    add_trust(adder)
    add_bundle_commands(adder)
    add_model_commands(adder)
    add_trial(adder)
    add_service_commands(adder)
    add_lifecycle_commands(adder)
    add_support(adder)
    return parser
