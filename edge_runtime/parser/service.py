"""The commands for programs that serve a model themselves."""

from __future__ import annotations

import argparse

from edge_runtime.parser.adder import Adder


def add_service_commands(adder: Adder) -> None:
    """Add ``exec`` and ``path``."""
    execute = adder.add(
        "exec",
        "Verify what is active wholly, and become a program that serves it.",
        "service:execute",
        ("fraud -- /opt/fraud/server --port 8080", "fraud@1.4.0 -- env"),
    )
    execute.add_argument("ref", metavar="REF", help="NAME or NAME@VERSION")
    execute.add_argument(
        "program",
        metavar="PROGRAM",
        nargs=argparse.REMAINDER,
        help="after --: the program and its arguments; it finds the model in EDGE_MODEL_FILE",
    )
    path = adder.add(
        "path",
        "Print the directory of what is active, once every byte of it is verified.",
        "service:path",
        ("fraud", "fraud@1.4.0 --json"),
    )
    path.add_argument(
        "ref",
        metavar="REF",
        nargs="?",
        help="NAME or NAME@VERSION; may be left out when one model is installed",
    )
