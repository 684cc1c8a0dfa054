"""What commands are made of: flags, among them those from the options of a build, examples."""

from __future__ import annotations

from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

import click

from packager.option_kinds import (
    CLASSES,
    COUNT,
    DROP,
    FLAG,
    IMAGE,
    NUMBER,
    NUMBERS,
    PATH,
    PATHS,
    POSITIVE,
    RELEASE,
    ROWS,
    SIZE,
    TARGETS,
    TENSORS,
    TEXT,
)
from packager.options import OPTIONS, Option

_METAVARS = {PATH: "PATH", PATHS: "PATH", TEXT: "TEXT", ROWS: "ROWS", IMAGE: "HxWxC"}
_METAVARS |= dict.fromkeys((RELEASE, COUNT, NUMBER, POSITIVE), "NUMBER")
_METAVARS |= {NUMBERS: "NUMBERS", TENSORS: "NAME:DTYPE[AXES]", CLASSES: "NAMES"}
_METAVARS |= {DROP: "NUMBER|N%", SIZE: "SIZE"}
_TYPES = {RELEASE: int, COUNT: int, NUMBER: float, POSITIVE: float}
_REPEATED = (TARGETS, PATHS, TENSORS)

BUILD_FLAGS = frozenset(option.key for option in OPTIONS)
# What decides whether a model converts, and nothing of what becomes of it then.
DOCTOR_FLAGS = frozenset(
    {"model", "target", "data", "label", "holdout", "split-by", "trust-pickle", "path"}
    | {"converter", "from-step", "allow-version-skew", "weights", "input", "show-rows"}
    | {"labels", "threshold", "image", "mean", "std", "layout"}
)


# main() looks for it itself: an error in the command line is an object as well.
json_flag = click.option(
    "--json", is_flag=True, expose_value=False, help="Print one JSON object."
)


def examples(*lines: str) -> str:
    """Return the end of a help text; the mark keeps click from rewrapping it."""
    return "\b\nexamples:\n" + "\n".join(f"  packager {line}" for line in lines)


_SIGNER_FLAGS = (
    click.option("--key", type=Path, metavar="KEY", help="Private key in PEM."),
    click.option(
        "--passphrase-file", type=Path, metavar="FILE", help="Open --key by its first line."
    ),
    click.option(
        "--sign-with",
        metavar="CMD",
        help="Program that reads bytes on stdin and writes a DER signature to stdout.",
    ),
    click.option(
        "--public-key",
        type=Path,
        metavar="PUB",
        help="Of --sign-with: the key that verifies it.",
    ),
    click.option(
        "--certificate",
        "certificates",
        type=Path,
        multiple=True,
        metavar="PEM",
        help="The signer's certificate, then those above it; may be repeated.",
    ),
    click.option(
        "--authority", type=Path, metavar="PEM", help="With --certificate: the one devices pin."
    ),
)


def signer_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags that name who signs."""
    for flag in reversed(_SIGNER_FLAGS):
        command = flag(command)
    return command


def flags_of(
    keys: Container[str],
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the model argument and one flag for each of these keys."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(OPTIONS):
            command = _flag(option)(command) if option.key in keys else command
        return command

    return decorate


def _flag(option: Option) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    if option.field == "model":
        return click.argument("model", required=False)
    help_text = option.help[0].upper() + option.help[1:] + "."
    name = f"--{option.key}"
    if option.kind is FLAG:
        return click.option(name, option.field, is_flag=True, help=help_text)
    return click.option(
        name,
        option.field,
        type=_TYPES.get(option.kind, str),
        multiple=option.kind in _REPEATED,
        help=help_text,
        metavar=_METAVARS.get(option.kind, option.key.upper()),
    )
