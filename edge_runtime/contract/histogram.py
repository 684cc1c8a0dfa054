"""Latency as a base-2 exponential histogram: integers only, so that merging is exact."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate
from operator import add, sub
from typing import Any, Final

from edge_runtime.contract.errors import JsonMalformed
from edge_runtime.contract.strictjson import Fields

# OpenTelemetry's scale: 2**3 = 8 buckets to each doubling, so a bucket's middle stands within
# 4.5 % of every value in it.
SCALE: Final = 3
_PER_DOUBLING: Final = 1 << SCALE
_DOUBLINGS: Final = 44  # up to 2**44 ns, 4.9 hours; anything slower falls in the last slot


def _bound(index: int) -> int:
    """Return the floor of 2 ** (index / 8) without a float, the same on every machine."""
    root = 1 << index
    for _ in range(SCALE):
        root = math.isqrt(root)
    return root


# A whole number is above 2 ** (index / 8) exactly when it is above the floor of it. So
# ``bisect_left(BOUNDS, value)`` is the value's slot, and its OpenTelemetry bucket index plus 1.
BOUNDS: Final = tuple(_bound(index) for index in range(_PER_DOUBLING * _DOUBLINGS + 1))
SLOTS: Final = len(BOUNDS) + 1


def _empty() -> list[int]:
    return [0] * SLOTS


@dataclass(slots=True)
class Histogram:
    """Counts of durations in nanoseconds.

    Attributes:
        counts: one count a slot; slot 0 holds 1 ns and less, slot k the values above
            2 ** ((k - 1) / 8) and up to 2 ** (k / 8) ns, the last slot everything above.
        sum_ns: the sum of all durations.
    """

    counts: list[int] = field(default_factory=_empty)
    sum_ns: int = 0

    @property
    def count(self) -> int:
        """How many durations were counted."""
        return sum(self.counts)

    def record(self, nanoseconds: int) -> None:
        """Count one duration."""
        self.counts[bisect_left(BOUNDS, nanoseconds)] += 1
        self.sum_ns += nanoseconds

    def add(self, other: Histogram) -> None:
        """Add another histogram's counts to this one."""
        self.counts = list(map(add, self.counts, other.counts))
        self.sum_ns += other.sum_ns

    def minus(self, earlier: Histogram) -> Histogram:
        """Return what came on top of an earlier state of the same counts."""
        return Histogram(
            list(map(sub, self.counts, earlier.counts)), self.sum_ns - earlier.sum_ns
        )

    def quantile(self, share: float) -> float | None:
        """Return the duration in ns that ``share`` of all reach at most, within 4.5 %.

        Args:
            share: for example 0.5 for the median; above 0 and at most 1.

        Returns:
            The geometric middle of the slot in which the value of that rank stands; None when
            nothing was counted. Of the last slot, which has no end, its beginning.
        """
        rank = max(1, math.ceil(share * self.count))
        for slot, reached in enumerate(accumulate(self.counts)):
            if reached >= rank:
                return _middle(slot)
        return None

    def mean(self) -> float | None:
        """Return the mean duration in ns, exact; None when nothing was counted."""
        count = self.count
        return self.sum_ns / count if count else None

    def to_json(self) -> dict[str, Any]:
        """Return the form that logs hold: OpenTelemetry's scale, offset and bucket counts."""
        used = [slot for slot, count in enumerate(self.counts) if count]
        first, end = (used[0], used[-1] + 1) if used else (0, 0)
        return {
            "scale": SCALE,
            "offset": first - 1,
            "counts": self.counts[first:end],
            "sum_ns": self.sum_ns,
        }

    @classmethod
    def from_json(cls, fields: Fields) -> Histogram:
        """Read what ``to_json`` gave.

        Raises:
            JsonMalformed: when it is not of that form or of another scale.
        """
        fields.integer("scale", low=SCALE, high=SCALE)
        first = fields.integer("offset", low=-1, high=SLOTS) + 1
        found = fields.list("counts", limit=SLOTS)
        if first + len(found) > SLOTS or not all(
            type(count) is int and count >= 0 for count in found
        ):
            raise JsonMalformed(
                f"a histogram has {SLOTS} counts of 0 and more, found {str(found)[:60]} "
                f"from slot {first}",
                hint="Collect the log again from the device.",
                slots=SLOTS,
                first=first,
            )
        histogram = cls(sum_ns=fields.integer("sum_ns"))
        histogram.counts[first : first + len(found)] = found
        return histogram


def _middle(slot: int) -> float:
    if slot == 0:
        return 1.0
    if slot == SLOTS - 1:
        return float(BOUNDS[-1])
    return float(2 ** ((slot - 0.5) / _PER_DOUBLING))
