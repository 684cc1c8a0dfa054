"""Budgets: how much a variant may lose, weigh, take and hold."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from edge_runtime.contract.values import parse_float


@dataclass(frozen=True)
class Drop:
    """How much worse than float32 a variant may be.

    Attributes:
        amount: 0.01 for ``0.01`` as well as for ``1%``.
        relative: whether it is a share of what float32 reaches, rather than absolute; None
            where the user did not say: absolute for scores within 0…1, a share of errors.
    """

    amount: float
    relative: bool | None = None

    def of(self, *, bounded: bool) -> Drop:
        """Return the same where it is settled whether it is a share.

        Args:
            bounded: whether the metric ends at 1, so that its own unit means something.
        """
        return Drop(self.amount, not bounded if self.relative is None else self.relative)

    def text(self) -> str:
        """Return it as written on the command line; ``parse_drop`` reads it back."""
        amount = Decimal(repr(self.amount))
        if self.relative:
            return f"{_plain(amount * 100)}%"
        return _plain(amount)


def parse_drop(text: str) -> Drop | None:
    """Read ``0.01`` or ``1%``, each from nothing to all; None where it is neither."""
    number = text.strip()
    share = number.endswith("%")
    number = number.removesuffix("%").strip()
    value = parse_float(number)
    if value is None or not 0 <= value <= (100 if share else 1):
        return None
    # In tenths as they are written: 1.1 % are 0.011 and not a hair more.
    return Drop(float(Decimal(number) / 100), True) if share else Drop(value)


def _plain(number: Decimal) -> str:
    """Return a number without an exponent, and without zeros at its end."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


DEFAULT_DROP = Drop(0.01)


@dataclass(frozen=True)
class Budgets:
    """What every variant that ships must keep.

    Attributes:
        drop: of quality, against float32.
        size: bytes of a variant's files as installed; None for any.
        latency_ms: milliseconds of one call with one row; None for any. It counts only where
            this host is the target's chip.
        memory: bytes that a variant may take beyond an engine without a model; None for any.
    """

    drop: Drop = DEFAULT_DROP
    size: int | None = None
    latency_ms: float | None = None
    memory: int | None = None
