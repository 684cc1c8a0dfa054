"""Values that come from running a model: measured, told in the report, compared on replay."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

import numpy as np

from edge_runtime.contract.tensors import Array, Arrays, Tolerance, compare
from packager.errors import ReplayMismatch

T = TypeVar("T")

_ARRAY, _FLOAT = "$array", "$float"
_CHUNK_BYTES = 8 << 20


class Record:
    """The one place through which a measured value reaches a bundle.

    Floating point differs between processors, so a value that comes from running a model would
    make bundles differ.  A build writes each such value here; a replay measures it again,
    compares it, and then goes on with the recorded one.  Both hand out what was read back from
    JSON, so that a build and its replay continue with the same bits.

    A value is JSON's scalars, numpy arrays, and lists and dicts (with text keys) of these.

    Args:
        recorded: ``values`` of an earlier build's record; None to measure anew.
    """

    def __init__(self, recorded: Mapping[str, Any] | None = None) -> None:
        self._recorded = recorded
        self.values: dict[str, Any] = {}

    def measured(
        self, key: str, compute: Callable[[], T], agree: Callable[[T, T], str | None]
    ) -> T:
        """Return a value, measured now or, in a replay, the recorded one that agrees with it.

        Args:
            key: names what was measured and, by ``fingerprint``, on what; asked for again, the
                same key gives the same value without measuring.
            compute: measures it.
            agree: given the recorded and the fresh value, says in words how they differ.

        Raises:
            ReplayMismatch: when the report holds no such value or another one.
        """
        if key not in self.values:
            fresh = encode(compute())
            if self._recorded is not None:
                fresh = self._replayed(key, fresh, agree)
            self.values[key] = fresh
        return cast(T, decode(self.values[key]))

    def taken(self, key: str, compute: Callable[[], T], fits: Callable[[Any], bool]) -> T:
        """Return a value that only some machine can tell; a replay takes the recorded one.

        Args:
            key: names what was measured and on what.
            compute: measures it, in a build that is no replay.
            fits: tells whether a recorded value is of the kind that was measured.

        Raises:
            ReplayMismatch: when the report holds no such value, or one that does not fit.
        """
        if key not in self.values:
            replay = self._recorded is not None
            self.values[key] = self._earlier(key) if replay else encode(compute())
        try:
            found = decode(self.values[key])
        except (KeyError, TypeError, ValueError) as error:
            raise _mismatch(key, f"the report is damaged here: {error}") from None
        if not fits(found):
            raise _mismatch(key, f"the report does not hold such a value: {str(found)[:60]}")
        return cast(T, found)

    def durations(self, key: str, compute: Callable[[], dict[str, float]]) -> dict[str, float]:
        """Return durations by name: a replay takes the recorded ones and measures nothing.

        Raises:
            ReplayMismatch: when the report holds no such value.
        """
        return self.taken(key, compute, _are_durations)

    def knows(self, key: str) -> bool:
        """Tell whether this build has a value already, so that nothing need run for it."""
        return key in self.values

    def will_hold(self, key: str, *, fresh: bool) -> bool:
        """Tell whether to ask for an optional value: a replay asks for just what was recorded.

        Args:
            key: the value's key.
            fresh: whether a build that is no replay measures it here.
        """
        return fresh if self._recorded is None else key in self._recorded

    def check_all_used(self) -> None:
        """Refuse a replay that did not need every recorded value, for it built something else.

        Raises:
            ReplayMismatch: naming one value that nothing asked for.
        """
        for key in self._recorded or {}:
            if key not in self.values:
                raise _mismatch(key, "it is in the report, but this build has no use for it")

    def _replayed(self, key: str, fresh: Any, agree: Callable[[T, T], str | None]) -> Any:
        earlier = self._earlier(key)
        try:
            recorded, now = decode(earlier), decode(fresh)
        except (KeyError, TypeError, ValueError) as error:
            raise _mismatch(key, f"the report is damaged here: {error}") from None
        if type(recorded) is not type(now):
            kinds = f"{type(recorded).__name__}, this build {type(now).__name__}"
            raise _mismatch(key, f"the report holds {kinds}")
        reason = agree(recorded, now)
        if reason is not None:
            raise _mismatch(key, reason)
        return earlier

    def _earlier(self, key: str) -> Any:
        recorded = self._recorded or {}
        if key not in recorded:
            raise _mismatch(key, "this build needs it, but the report does not hold it")
        return recorded[key]


def _mismatch(key: str, reason: str) -> ReplayMismatch:
    return ReplayMismatch(
        f"{key} cannot be replayed: {reason}",
        hint="Replay with the model, data, options and versions of the report, or build anew.",
        key=key,
        reason=reason,
    )


def _are_durations(found: Any) -> bool:
    return isinstance(found, dict) and all(type(one) is float for one in found.values())


def fingerprint(*parts: bytes | str | Mapping[str, Array]) -> str:
    """Return 16 hex digits that stand for what a value was measured on."""
    digest = hashlib.sha256()
    for part in parts:
        for name, size, chunks in _pieces(part):
            digest.update(f"{name} {size} ".encode())
            for chunk in chunks:
                digest.update(chunk)
    return digest.hexdigest()[:16]


def _pieces(
    part: bytes | str | Mapping[str, Array],
) -> Iterator[tuple[str, int, Iterable[bytes]]]:
    if isinstance(part, (bytes, str)):
        data = part if isinstance(part, bytes) else part.encode()
        yield ("bytes" if isinstance(part, bytes) else "text"), len(data), [data]
        return
    for name in sorted(part):
        array = part[name]
        if array.dtype.kind in "OU":
            data = json.dumps(encode(array)).encode()
            yield name, len(data), [data]
        else:  # perhaps too large to be written out as text
            yield f"{name} {array.dtype.name}{list(array.shape)}", array.nbytes, _bytes(array)


def _bytes(array: Array) -> Iterator[bytes]:
    rows = np.atleast_1d(array)
    step = max(1, _CHUNK_BYTES * len(rows) // max(1, rows.nbytes))
    for start in range(0, len(rows), step):
        part = np.ascontiguousarray(rows[start : start + step])
        yield part.astype(part.dtype.newbyteorder("<"), copy=False).tobytes()


# --- JSON ----------------------------------------------------------------------------------


def encode(value: Any) -> Any:
    """Return a value as JSON that ``decode`` reads back bit for bit."""
    if isinstance(value, np.ndarray):
        return _encode_array(value)
    if isinstance(value, np.generic):
        return encode(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: repr(value)}
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    message = f"a record holds plain values and arrays, not {type(value).__name__}"
    raise TypeError(message)


def _encode_array(array: Array) -> dict[str, Any]:
    shape = list(array.shape)
    if array.dtype.kind in "OU":
        return {_ARRAY: [str(item) for item in array.ravel()], "dtype": "text", "shape": shape}
    plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    data = base64.b64encode(plain.tobytes()).decode("ascii")
    return {_ARRAY: data, "dtype": array.dtype.name, "shape": shape}


def decode(value: Any) -> Any:
    """Return what ``encode`` was given; text arrays come back as object arrays."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if _FLOAT in value:
        return float(value[_FLOAT])
    if _ARRAY in value:
        return _decode_array(value)
    return {key: decode(item) for key, item in value.items()}


def _decode_array(value: Mapping[str, Any]) -> Array:
    if value["dtype"] == "text":
        flat = np.array(value[_ARRAY], dtype=object)
    else:
        dtype = np.dtype(value["dtype"])
        data = base64.b64decode(value[_ARRAY])
        flat = np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype)
    return flat.reshape(value["shape"])


# --- agreement -----------------------------------------------------------------------------


def within(tolerance: Tolerance) -> Callable[[Any, Any], str | None]:
    """Return an ``agree`` that lets floats differ by a tolerance and nothing else at all."""

    def agree(recorded: Any, fresh: Any) -> str | None:
        return _difference(recorded, fresh, tolerance)

    return agree


def answers_within(
    tolerances: Mapping[str, Tolerance],
) -> Callable[[Arrays, Arrays], str | None]:
    """Return an ``agree`` for a graph's outputs, each by its own tolerance."""

    def agree(recorded: Arrays, fresh: Arrays) -> str | None:
        if recorded.keys() != fresh.keys():
            return f"recorded {sorted(recorded)}, this machine gives {sorted(fresh)}"
        for name, array in recorded.items():
            reason = _difference(array, fresh[name], tolerances[name])
            if reason is not None:
                return f"{name}: {reason}"
        return None

    return agree


def _difference(recorded: Any, fresh: Any, tolerance: Tolerance) -> str | None:
    if isinstance(recorded, dict) and isinstance(fresh, dict):
        return _dict_difference(recorded, fresh, tolerance)
    if isinstance(recorded, np.ndarray) and isinstance(fresh, np.ndarray):
        return _array_difference(recorded, fresh, tolerance)
    if isinstance(recorded, list) and isinstance(fresh, list) and len(recorded) == len(fresh):
        pairs = zip(recorded, fresh, strict=True)
        return next(filter(None, (_difference(a, b, tolerance) for a, b in pairs)), None)
    if isinstance(recorded, float) and isinstance(fresh, float):
        same = bool(
            np.isclose(
                fresh, recorded, rtol=tolerance.rtol, atol=tolerance.atol, equal_nan=True
            )
        )
    else:
        same = type(recorded) is type(fresh) and bool(recorded == fresh)
    return None if same else f"recorded {recorded!r}, this machine gives {fresh!r}"


def _dict_difference(
    recorded: dict[str, Any], fresh: dict[str, Any], tolerance: Tolerance
) -> str | None:
    if recorded.keys() != fresh.keys():
        return f"recorded {sorted(recorded)}, this machine gives {sorted(fresh)}"
    for key, value in recorded.items():
        reason = _difference(value, fresh[key], tolerance)
        if reason is not None:
            return f"{key}: {reason}"
    return None


def _array_difference(recorded: Array, fresh: Array, tolerance: Tolerance) -> str | None:
    found = compare("", recorded, fresh, tolerance)
    if found is None:
        return None
    place = "" if found.row is None else f"row {found.row}, "
    return f"{place}recorded {found.expected}, this machine gives {found.actual}"
