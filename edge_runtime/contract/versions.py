"""Comparing dotted release numbers such as ``1.20`` and ``1.32.0``; suffixes do not count."""

from __future__ import annotations

import re

_LEADING_NUMBER = re.compile(r"[0-9]+")


def release_numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: ``1.23.2rc1`` → ``(1, 23, 2)``."""
    numbers = []
    for part in version.split("."):
        found = _LEADING_NUMBER.match(part)
        if found is None:
            break
        numbers.append(int(found.group()))
    return tuple(numbers)


def at_least(found: str, wanted: str) -> bool:
    """Tell whether version ``found`` is ``wanted`` or newer; ``1.20`` equals ``1.20.0``."""
    left, right = release_numbers(found), release_numbers(wanted)
    width = max(len(left), len(right))
    return left + (0,) * (width - len(left)) >= right + (0,) * (width - len(right))
