"""The ``edge-runtime`` command: parse, call one function, render what it returns."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

from edge_runtime import __version__
from edge_runtime.contract.errors import EXIT_CODES, EdgepackError, UsageError
from edge_runtime.contract.terminal import Outcome, abandon, show, show_bug, show_error

Command = Callable[[argparse.Namespace], Outcome]


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are typed errors."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing and exiting."""
        raise UsageError(
            f"{self.prog}: {message}", hint=f"See {self.prog} --help", command=self.prog
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: the arguments without the program's name; by default the process's own.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _leave)
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in arguments  # also for what cannot be parsed
    rows_on_stdout = False
    try:
        options = build_parser().parse_args(arguments)
        rows_on_stdout = getattr(options, "output", None) == "-"
        show(options.run(options), as_json=as_json, rows_on_stdout=rows_on_stdout)
    except EdgepackError as error:
        show_error(error, as_json=as_json, rows_on_stdout=rows_on_stdout)
        return error.exit_code
    except BrokenPipeError:
        abandon(sys.stdout)  # whoever read it has gone, and there is nobody left to tell
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:  # the last line of defence: no traceback reaches a user
        show_bug(error, "edge-runtime", as_json=as_json, rows_on_stdout=rows_on_stdout)
        return EXIT_CODES["bug"]
    return EXIT_CODES["done"]


def _leave(number: int, frame: object) -> NoReturn:
    """Leave in order: what is half written is removed, what was counted is kept."""
    del frame
    raise SystemExit(128 + number)


def build_parser() -> argparse.ArgumentParser:
    """Return the whole command line; imports nothing that a command needs."""
    shared = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    shared.add_argument(
        "--store",
        metavar="DIR",
        help="where models live; else $EDGE_STORE, else /var/lib/edge-runtime if it exists, "
        "else a directory of the user",
    )
    shared.add_argument("--json", action="store_true", help="print one JSON object")
    parser = _Parser(
        prog="edge-runtime",
        parents=[shared],
        description="Verify, install and run signed model bundles on this device, offline.",
        epilog=_examples("trust add release.pub", "install fraud-1.4.0.oci.tar"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"edge-runtime {__version__}")
    adder = _Adder(parser, shared, "COMMAND")
    _add_trust(adder)
    _add_bundle_commands(adder)
    _add_model_commands(adder)
    return parser


class _Adder:
    """Adds commands that share ``--store`` and ``--json`` and end their help with examples."""

    def __init__(
        self, parser: _Parser, shared: _Parser, metavar: str, prefix: str = ""
    ) -> None:
        self._commands = parser.add_subparsers(
            metavar=metavar, required=True, parser_class=_Parser
        )
        self._shared = shared
        self._prefix = prefix

    def add(
        self, name: str, summary: str, function: str, examples: tuple[str, str]
    ) -> argparse.ArgumentParser:
        parser = self._add(name, summary, examples)
        parser.set_defaults(run=_lazily(function))
        return parser

    def group(self, name: str, summary: str, examples: tuple[str, str]) -> _Adder:
        parser = self._add(name, summary, examples)
        return _Adder(parser, self._shared, "ACTION", f"{name} ")

    def _add(self, name: str, summary: str, examples: tuple[str, str]) -> _Parser:
        lines = (f"{self._prefix}{name} {example}".rstrip() for example in examples)
        return self._commands.add_parser(
            name,
            parents=[self._shared],
            help=summary[0].lower() + summary[1:].rstrip("."),
            description=summary,
            epilog=_examples(*lines),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )


def _lazily(function: str) -> Command:
    """Return a command that imports its code when it runs: ``--help`` must not wait for it."""

    def run(options: argparse.Namespace) -> Outcome:
        from edge_runtime import commands

        command: Command = getattr(commands, function)
        return command(options)

    return run


def _examples(*lines: str) -> str:
    return "\n".join(["examples:", *(f"  edge-runtime {line}" for line in lines)])


def _add_trust(adder: _Adder) -> None:
    group = adder.group(
        "trust",
        "Say whose signatures this device believes.",
        ("add release.pub", "list"),
    )
    add = group.add(
        "add",
        "Trust a public key from now on.",
        "trust_add",
        ("release.pub", "release.pub --store /var/lib/edge-runtime"),
    )
    add.add_argument("key", metavar="RELEASE.PUB", help="public key in PEM")
    group.add("list", "List the trusted keys.", "trust_list", ("", "--json"))
    remove = group.add(
        "remove",
        "Trust a key no longer; what it signed is not loaded any more.",
        "trust_remove",
        ("3f2a9c01", "3f2a9c01 --json"),
    )
    remove.add_argument("fingerprint", metavar="FINGERPRINT", help="or the start of it")


def _add_bundle_commands(adder: _Adder) -> None:
    adder.add("probe", "Show what this device is.", "probe", ("", "--json"))
    verify = adder.add(
        "verify",
        "Check a bundle's signatures and every byte in it.",
        "verify",
        ("fraud-1.4.0.oci.tar", "fraud-1.4.0.oci.tar --trust release.pub"),
    )
    _add_bundle(verify)
    verify.add_argument(
        "--trust",
        metavar="PUB",
        action="append",
        help="believe this key instead of the store's; may be repeated",
    )
    install = adder.add(
        "install",
        "Verify a bundle, prove it on this chip, and make it the one that serves.",
        "install",
        ("fraud-1.4.0.oci.tar", "/media/usb/fraud-1.4.0.oci.tar --json"),
    )
    _add_bundle(install)


def _add_model_commands(adder: _Adder) -> None:
    status = adder.add(
        "status",
        "Show what is installed, what serves and whether all is well.",
        "status",
        ("", "fraud --json"),
    )
    _add_name(status)
    predict = adder.add(
        "predict",
        "Predict every row of a table.",
        "predict",
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
    metrics = adder.add(
        "metrics",
        "Show what the models did on this device.",
        "metrics",
        ("fraud", "fraud --json"),
    )
    _add_name(metrics)


def _add_bundle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="a .oci.tar file or layout directory")


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="one model; otherwise all")


if __name__ == "__main__":
    sys.exit(main())
