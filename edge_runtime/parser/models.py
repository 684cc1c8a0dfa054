"""The commands about installed models."""

from __future__ import annotations

from edge_runtime.parser.adder import Adder, add_name


def add_model_commands(adder: Adder) -> None:
    """Add ``status``, ``predict`` and ``metrics``."""
    status = adder.add(
        "status",
        "Show what is installed, what serves and whether all is well.",
        "models:status",
        ("", "fraud --json"),
    )
    add_name(status)
    status.add_argument(
        "--history", action="store_true", help="also tell what happened to its versions"
    )
    predict = adder.add(
        "predict",
        "Predict every row of a table.",
        "models:predict",
        ("fraud --input rows.csv --output answers.csv", "fraud --input - --output - <rows.csv"),
    )
    predict.add_argument(
        "ref",
        metavar="REF",
        nargs="?",
        help="NAME or NAME@VERSION, or the path of a bundle; may be left out when one model is "
        "installed",
    )
    predict.add_argument("--input", required=True, metavar="FILE", help="rows, or - for stdin")
    predict.add_argument(
        "--output",
        required=True,
        metavar="FILE",
        help="answers, or - for stdout; a file appears whole or not at all",
    )
    for side in ("input", "output"):
        predict.add_argument(
            f"--{side}-format",
            choices=("csv", "jsonl", "npz"),
            help="default: by the suffix; csv for a stream",
        )
    predict.add_argument(
        "--timeout-ms",
        type=float,
        metavar="N",
        help="give up when one portion of the rows, 1024 at most, takes longer; default: never",
    )
    predict.add_argument(
        "--isolate",
        action="store_true",
        help="let a process of its own compute, which a deadline ends whatever it does",
    )
    metrics = adder.add(
        "metrics",
        "Show what the models did on this device.",
        "models:metrics",
        ("fraud", "fraud --json"),
    )
    add_name(metrics)
