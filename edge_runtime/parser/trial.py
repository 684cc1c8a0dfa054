"""The command about the trial."""

from __future__ import annotations

from edge_runtime.parser.adder import Adder


def add_trial(adder: Adder) -> None:
    """Add ``trial``."""
    trial = adder.add(
        "trial",
        "Try every variant of an installed version anew, each in a child of its own.",
        "trial:trial",
        ("fraud", "fraud@1.4.0 --kept --json"),
    )
    trial.add_argument(
        "ref",
        metavar="REF",
        nargs="?",
        help="NAME or NAME@VERSION; may be left out when one model is installed",
    )
    trial.add_argument(
        "--kept", action="store_true", help="only tell what the last trial found here"
    )
