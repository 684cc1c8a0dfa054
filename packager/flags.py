"""The flags of the command line, made from the options of a build."""

from __future__ import annotations

from collections.abc import Callable, Container
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
