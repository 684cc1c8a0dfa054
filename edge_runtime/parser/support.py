"""The command for whoever helps from afar."""

from __future__ import annotations

from edge_runtime.parser.adder import Adder


def add_support(adder: Adder) -> None:
    """Add ``support``."""
    support = adder.add(
        "support",
        "Write all that helps to find a fault into one file, without rows, keys or names.",
        "support:support",
        ("--out /media/usb", "--out . --json"),
    )
    support.add_argument(
        "--out", required=True, metavar="DIR", help="where to write it: a stick, for example"
    )
