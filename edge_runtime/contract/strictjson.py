"""Strict JSON for bytes that nobody vouches for: no duplicates, no NaN, bounded every way."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from edge_runtime.contract.errors import EdgepackError, JsonMalformed

MAX_DEPTH = 32
MAX_BYTES = 8 << 20


def loads(data: bytes, *, what: str, limit: int = MAX_BYTES) -> Any:
    """Parse one JSON document.

    Args:
        data: UTF-8 bytes without a byte-order mark.
        what: how errors name the document.
        limit: the most bytes to look at.

    Raises:
        JsonMalformed: when the document is too large or deep, or is not strict JSON.
    """
    if len(data) > limit:
        raise JsonMalformed(
            f"{what} has {len(data)} bytes, more than the {limit} allowed",
            hint="Fetch the bundle again; this document was never written by the packager.",
            what=what,
            size=len(data),
            limit=limit,
        )
    try:
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        _check_values(value, MAX_DEPTH)
        if "\\u" in text:
            dumps(value)  # refuses half a surrogate pair, which only an escape can write
    except (ValueError, RecursionError) as error:
        reason = "it nests too deeply" if isinstance(error, RecursionError) else str(error)
        raise JsonMalformed(
            f"{what} is not strict JSON: {reason}",
            hint="Fetch the bundle again; if it stays so, build it again.",
            what=what,
            reason=reason,
        ) from None
    return value


def dumps(value: Any) -> bytes:
    """Render compact UTF-8 JSON in insertion order.

    Raises:
        ValueError: for NaN or infinity, which JSON cannot hold.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            message = f"key {key!r} stands twice"
            raise ValueError(message)
        found[key] = value
    return found


def _no_constant(text: str) -> Any:
    message = f"{text} is not a JSON number"
    raise ValueError(message)


def _check_values(value: Any, left: int) -> None:
    if left < 0:
        message = f"it nests deeper than {MAX_DEPTH}"
        raise ValueError(message)
    if isinstance(value, float) and not math.isfinite(value):
        message = "a number is too large"
        raise ValueError(message)
    if isinstance(value, dict):
        children: Iterable[Any] = value.values()
    elif isinstance(value, list):
        children = value
    else:
        return
    for child in children:
        _check_values(child, left - 1)


class Fields:
    """Typed reading of one JSON object: each key is asked for once, and none may be left over.

    Args:
        value: what was parsed; anything but an object is refused.
        where: how errors name the object.
        error: the error class to raise.
    """

    def __init__(self, value: Any, where: str, error: type[EdgepackError]) -> None:
        self._where = where
        self._error = error
        if not isinstance(value, dict):
            raise self._wrong("", "an object", value)
        self._left = dict(value)

    def _wrong(self, key: str, wanted: str, found: Any) -> EdgepackError:
        place = f"{self._where}.{key}" if key else self._where
        shown = "nothing" if found is None else f"{type(found).__name__} {str(found)[:60]!r}"
        return self._error(
            f"{place} must be {wanted}, found {shown}",
            hint="Build or fetch it again with a packager of this format.",
            field=place,
            expected=wanted,
            found=shown,
        )

    def has(self, key: str) -> bool:
        """Tell whether an optional key is there and not yet taken."""
        return key in self._left

    def any(self, key: str) -> Any:
        """Take a key of any type; None when absent."""
        return self._left.pop(key, None)

    def text(self, key: str, *, limit: int = 4096) -> str:
        """Take a string of at most ``limit`` characters."""
        value = self._left.pop(key, None)
        if not isinstance(value, str) or len(value) > limit:
            raise self._wrong(key, f"text of at most {limit} characters", value)
        return value

    def integer(self, key: str, *, low: int = 0, high: int = (1 << 63) - 1) -> int:
        """Take an integer within ``low`` … ``high``, both included."""
        value = self._left.pop(key, None)
        if type(value) is not int or not low <= value <= high:
            raise self._wrong(key, f"an integer within {low}…{high}", value)
        return value

    def number(self, key: str) -> float:
        """Take a finite number."""
        value = self._left.pop(key, None)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._wrong(key, "a number", value)
        return float(value)

    def boolean(self, key: str) -> bool:
        """Take true or false."""
        value = self._left.pop(key, None)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false", value)
        return value

    def list(self, key: str, *, limit: int = 100_000) -> list[Any]:
        """Take a list of at most ``limit`` items."""
        value = self._left.pop(key, None)
        if not isinstance(value, list) or len(value) > limit:
            raise self._wrong(key, f"a list of at most {limit} items", value)
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Take a list of strings."""
        value = self.list(key)
        if not all(isinstance(item, str) for item in value):
            raise self._wrong(key, "a list of texts", value)
        return tuple(value)

    def object(self, key: str) -> dict[str, Any]:
        """Take an object as it is."""
        value = self._left.pop(key, None)
        if not isinstance(value, dict):
            raise self._wrong(key, "an object", value)
        return value

    def fields(self, key: str) -> Fields:
        """Take an object for further typed reading."""
        return Fields(self._left.pop(key, None), f"{self._where}.{key}", self._error)

    def text_map(self, key: str) -> dict[str, str]:
        """Take an object whose values are all strings."""
        value = self.object(key)
        if not all(isinstance(item, str) for item in value.values()):
            raise self._wrong(key, "an object of texts", value)
        return value

    def done(self) -> None:
        """Refuse keys that nobody asked for."""
        if self._left:
            key = sorted(self._left)[0]
            raise self._error(
                f"{self._where} has the unknown key {key!r}",
                hint="Install a newer edge runtime, or build the bundle for this one.",
                field=self._where,
                key=key,
            )
