"""The commands about what is done with installed versions."""

from __future__ import annotations

import argparse

from edge_runtime.parser.adder import Adder, add_name


def add_lifecycle_commands(adder: Adder) -> None:
    """Add ``mark-good``, ``rollback``, ``activate``, ``remove``, ``set`` and ``health``."""
    good = adder.add(
        "mark-good",
        "Say that the active version is proven, and end its probation.",
        "lifecycle:mark_good",
        ("fraud", "fraud --json"),
    )
    _add_one(good)
    rollback = adder.add(
        "rollback",
        "Let the last proven version serve again.",
        "lifecycle:rollback",
        ("fraud", "fraud --json"),
    )
    _add_one(rollback)
    activate = adder.add(
        "activate",
        "Let an installed version serve from now on.",
        "lifecycle:activate",
        ("fraud@1.5.0", "fraud@1.5.0 --new-interface"),
    )
    _add_version(activate)
    activate.add_argument(
        "--new-interface",
        action="store_true",
        help="also if its inputs or outputs are not those of the version that serves",
    )
    remove = adder.add(
        "remove",
        "Remove an installed version that nothing needs.",
        "lifecycle:remove",
        ("fraud@1.5.0", "fraud@1.5.0 --json"),
    )
    _add_version(remove)
    values = adder.add(
        "set",
        "Set what holds for a model on this device alone; the next load goes by it.",
        "lifecycle:set_values",
        ("fraud threads=1 variant=float32", "fraud threads= variant="),
    )
    values.add_argument("name", metavar="NAME", help="the model")
    values.add_argument(
        "settings",
        metavar="SETTING=VALUE",
        nargs="*",
        help="threads=NUMBER or variant=NAME; with nothing after the = it is cleared",
    )
    health = adder.add(
        "health",
        "Tell in one line whether all serves as it should; exit code 8 where it does not.",
        "lifecycle:health",
        ("", "fraud --json"),
    )
    add_name(health)


def _add_one(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help="may be left out when one model is installed"
    )


def _add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ref", metavar="NAME@VERSION", type=_version, help="what is installed")


def _version(text: str) -> str:
    name, _, version = text.partition("@")
    if not name or not version:
        message = f"a version was to be named, NAME@VERSION, found {text!r}"
        raise argparse.ArgumentTypeError(message)
    return text
