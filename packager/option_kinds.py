"""The kinds of values that a build's options take: in words, and how each is read."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from edge_runtime.contract.bundle.manifest import is_name, is_version
from edge_runtime.contract.values import parse_float
from packager.budgets import Drop, parse_drop
from packager.recipes import EFFORTS

GOLDEN = ("synthetic", "real")
LAYOUTS = ("nchw", "nhwc")

_METRIC = re.compile("[a-z0-9_]{1,64}")
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?(B?|[kKMG]B)")
_UNITS = {"": 1, "b": 1, "kb": 1_000, "mb": 1_000_000, "gb": 1_000_000_000}
_MAX_RELEASE = (1 << 63) - 1
_IMAGE_AXES = 3


@dataclass(frozen=True)
class Kind:
    """A kind of value: in words, and how a raw value becomes one (None where it cannot)."""

    wanted: str
    read: Callable[[Any, Path], Any]


def _text(value: Any, _: Path) -> str | None:
    return value if isinstance(value, str) and value.strip() and value.isprintable() else None


def _path(value: Any, base: Path) -> Path | None:
    text = _text(str(value) if isinstance(value, Path) else value, base)
    return None if text is None else base / text


def _target(value: Any, base: Path) -> str | None:
    text = _text(value, base)
    own = text is not None and (text.endswith(".toml") or "/" in text)
    return str(base / str(text)) if own else text


def _targets(value: Any, base: Path) -> tuple[str, ...] | None:
    found = [_target(item, base) for item in value] if isinstance(value, (list, tuple)) else []
    names = tuple(name for name in found if name is not None)
    return names if 0 < len(set(names)) == len(found) else None


def _paths(value: Any, base: Path) -> tuple[Path, ...] | None:
    found = [_path(item, base) for item in value] if isinstance(value, (list, tuple)) else []
    paths = tuple(path for path in found if path is not None)
    return paths if 0 < len(paths) == len(found) else None


def _texts(value: Any, base: Path) -> tuple[str, ...] | None:
    """Read a list of texts; on the command line, one text with commas."""
    parts = value.split(",") if isinstance(value, str) else value
    found = [_text(item, base) for item in parts] if isinstance(parts, (list, tuple)) else []
    texts = tuple(text for text in found if text is not None)
    return texts if 0 < len(texts) == len(found) else None


def _distinct(value: Any, base: Path) -> tuple[str, ...] | None:
    texts = _texts(value, base)
    return texts if texts is not None and len(set(texts)) == len(texts) > 1 else None


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        value = parse_float(value.strip())
    finite = type(value) in (int, float) and math.isfinite(value)
    return float(value) if finite else None


def _numbers(value: Any, _: Path) -> tuple[float, ...] | None:
    parts = value.split(",") if isinstance(value, str) else value
    found = [_number(item) for item in parts] if isinstance(parts, (list, tuple)) else []
    numbers = tuple(number for number in found if number is not None)
    return numbers if 0 < len(numbers) == len(found) else None


def _axes(value: Any, _: Path) -> tuple[int, ...] | None:
    """Read ``224x224x3``, or a list of the same."""
    if isinstance(value, str):
        parts = value.lower().split("x")
        value = [int(part) for part in parts if re.fullmatch("[0-9]{1,5}", part)]
        value = value if len(value) == len(parts) else None
    whole = isinstance(value, (list, tuple)) and all(type(n) is int and n > 0 for n in value)
    return tuple(value) if whole and len(value) == _IMAGE_AXES else None


def _golden(value: Any, base: Path) -> str | Path | None:
    return value if value in GOLDEN else _path(value, base)


def _drop(value: Any, _: Path) -> Drop | None:
    text = repr(value) if type(value) in (int, float) else value
    return parse_drop(text) if isinstance(text, str) else None


def _metric(value: Any, _: Path) -> str | None:
    """Read what may be a metric's name; whether it is one takes scikit-learn to say."""
    return value if isinstance(value, str) and _METRIC.fullmatch(value) else None


def _positive(value: Any, _: Path) -> float | None:
    number = _number(value)
    return number if number is not None and number > 0 else None


def _size(value: Any, _: Path) -> int | None:
    """Read ``5000000``, ``800kB``, ``5MB`` or ``1.5GB``: units of 1,000."""
    match = _SIZE.fullmatch(str(value).strip())
    if match is None or isinstance(value, bool):
        return None
    number = Decimal(match[1]) * _UNITS[match[2].lower()]
    return int(number) if number >= 1 and number == int(number) else None


TEXT = Kind("one line of text", _text)
NAME = Kind(
    "lower-case letters, digits, dots, dashes and underscores, at most 64",
    lambda value, _: value if isinstance(value, str) and is_name(value) else None,
)
VERSION = Kind(
    "letters, digits, dots, dashes and underscores, as text",
    lambda value, _: value if isinstance(value, str) and is_version(value) else None,
)
RELEASE = Kind(
    f"an integer from 0 to {_MAX_RELEASE}",
    lambda value, _: value if type(value) is int and 0 <= value <= _MAX_RELEASE else None,
)
COUNT = Kind(
    "a whole number from 1",
    lambda value, _: value if type(value) is int and value > 0 else None,
)
NUMBER = Kind("a number", lambda value, _: _number(value))
NUMBERS = Kind("numbers, one a channel", _numbers)
CLASSES = Kind("different names, at least two", _distinct)
TENSORS = Kind("inputs, each as name:float32[N,3,224,224]", _texts)
IMAGE = Kind("height, width and channels, as 224x224x3", _axes)
LAYOUT = Kind(
    f"one of {', '.join(LAYOUTS)}", lambda value, _: value if value in LAYOUTS else None
)
PATHS = Kind("a list of paths", _paths)
FLAG = Kind("true or false", lambda value, _: value if isinstance(value, bool) else None)
PATH = Kind("a path", _path)
TARGETS = Kind("a list of different names or paths of target profiles", _targets)
ROWS = Kind(f"{', '.join(GOLDEN)}, or the path of a file of rows", _golden)
DROP = Kind("a number from 0 to 1, or a share of what float32 reaches, as 1%", _drop)
SIZE = Kind("bytes, or a size as 5MB", _size)
POSITIVE = Kind("a number above 0", _positive)
EFFORT = Kind(
    f"one of {', '.join(EFFORTS)}", lambda value, _: value if value in EFFORTS else None
)
METRIC = Kind("the name of a metric, as balanced_accuracy", _metric)
