"""The inputs of a model as its user writes them: ``image:float32[N,3,224,224]``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edge_runtime.contract.tensors import DTYPES, TensorSpec
from packager.errors import SourceUnsupported

EXAMPLE = "--input 'image:float32[N,3,224,224]'"
_DTYPES = tuple(name for name in DTYPES if name != "string")
_INPUT = re.compile(r"([A-Za-z_]\w*):([a-z0-9]+)\[([^\[\]]*)\]", re.ASCII)
_LENGTH = re.compile(r"[1-9][0-9]{0,8}")
_AXIS = re.compile(r"[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True)
class InputSpec:
    """One input: a length for each axis, or the name of one that varies."""

    name: str
    dtype: str
    axes: tuple[int | str, ...]

    def tensor(self) -> TensorSpec:
        """Return it as the contract has it."""
        shape = tuple(axis if isinstance(axis, int) else None for axis in self.axes)
        return TensorSpec(self.name, self.dtype, shape)


def parse_inputs(texts: Sequence[str]) -> tuple[InputSpec, ...]:
    """Read inputs written as ``name:dtype[axis,…]``.

    An axis is a length, or a name where it varies; the first one is the rows, and the same name
    means the same length everywhere.

    Raises:
        SourceUnsupported: when there are none, two of one name, or one cannot be read.
    """
    if not texts:
        raise _refusal("a function that makes a model needs its inputs told", None)
    specs = tuple(map(_parsed, texts))
    names = [spec.name for spec in specs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise _refusal(f"every input must have a name of its own, {twice[0]!r} is twice", names)
    return specs


def _parsed(text: str) -> InputSpec:
    found = _INPUT.fullmatch(text.strip())
    if found is None:
        raise _refusal(f"an input must be written name:dtype[axis,…], it is {text!r}", text)
    name, dtype, inside = found.groups()
    if dtype not in _DTYPES:
        known = ", ".join(_DTYPES)
        raise _refusal(
            f"the type of input {name!r} must be one of {known}; it is {dtype}", text
        )
    axes = [axis.strip() for axis in inside.split(",")]
    wrong = [axis for axis in axes if not (_LENGTH.fullmatch(axis) or _AXIS.fullmatch(axis))]
    if wrong:
        message = f"an axis of {name!r} must be a length or a name, it is {wrong[0]!r}"
        raise _refusal(message, text)
    return InputSpec(name, dtype, tuple(int(a) if a.isdigit() else a for a in axes))


def _refusal(message: str, found: object) -> SourceUnsupported:
    return SourceUnsupported(
        message,
        hint=f"Tell each input, with N for its rows: {EXAMPLE}",
        expected="name:dtype[axis,…]",
        found=found,
    )
