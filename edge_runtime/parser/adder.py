"""How commands are added to the command line: shared flags, and two examples for each."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from typing import NoReturn

from edge_runtime.contract.errors import UsageError
from edge_runtime.contract.terminal import Outcome

Command = Callable[[argparse.Namespace], Outcome]


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are typed errors."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing and exiting."""
        raise UsageError(
            f"{self.prog}: {message}", hint=f"See {self.prog} --help", command=self.prog
        )


class Adder:
    """Adds commands that share ``--store`` and ``--json`` and end their help with examples."""

    def __init__(self, parser: Parser, shared: Parser, metavar: str, prefix: str = "") -> None:
        self._commands = parser.add_subparsers(
            metavar=metavar, required=True, parser_class=Parser
        )
        self._shared = shared
        self._prefix = prefix

    def add(
        self, name: str, summary: str, function: str, examples: tuple[str, str]
    ) -> argparse.ArgumentParser:
        """Add a command.

        Args:
            name: as it is typed.
            summary: one sentence.
            function: ``module:name`` below ``edge_runtime.commands``.
            examples: two sets of arguments that work.
        """
        parser = self._add(name, summary, examples)
        parser.set_defaults(run=_lazily(function))
        return parser

    def group(self, name: str, summary: str, examples: tuple[str, str]) -> Adder:
        """Add a command that has commands below it, and return what adds those."""
        parser = self._add(name, summary, examples)
        return Adder(parser, self._shared, "ACTION", f"{name} ")

    def _add(self, name: str, summary: str, examples: tuple[str, str]) -> Parser:
        lines = (f"{self._prefix}{name} {example}".rstrip() for example in examples)
        return self._commands.add_parser(
            name,
            parents=[self._shared],
            help=summary[0].lower() + summary[1:].rstrip("."),
            description=summary,
            epilog=examples_text(*lines),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )


def _lazily(function: str) -> Command:
    """Return a command that imports its code when it runs: ``--help`` must not wait for it."""

    def run(options: argparse.Namespace) -> Outcome:
        module, _, name = function.partition(":")
        found = import_module(f"edge_runtime.commands.{module}")
        command: Command = getattr(found, name)
        return command(options)

    return run


def examples_text(*lines: str) -> str:
    """Return how a help text shows examples."""
    return "\n".join(["examples:", *(f"  edge-runtime {line}" for line in lines)])


def add_name(parser: argparse.ArgumentParser) -> None:
    """Let a command be about one model, or all."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="one model; otherwise all")
