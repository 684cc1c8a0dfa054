"""Who ships: a variant that is smaller or faster and never worse; float32 always."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edge_runtime.contract.bundle.manifest import MAX_VARIANTS
from packager.variant import Measured, Verdict

# A saving below these margins is noise or not worth another file.
SMALLER = 0.95
FASTER = 0.90
# At this share of float32's time a device would pass the rung over.
TOO_SLOW = 1.20


def admit(measured: Sequence[Measured], *, metric: str, max_drop: float) -> tuple[Verdict, ...]:
    """Judge every candidate against float32, in the ladder's order.

    Args:
        measured: the ladder, best first; the last one is float32.
        metric: what quality is, for the sentences.
        max_drop: how much of it a variant may lose.
    """
    base = measured[-1]
    verdicts: list[Verdict] = []
    room = MAX_VARIANTS - sum(one.precision == base.precision for one in measured)
    for one in measured:
        if one.precision == base.precision:
            verdicts.append(Verdict(one.name, True, "ships: every ladder ends on float32"))
            continue
        verdict = _judge(one, base, metric, max_drop)
        if verdict.admitted and room == 0:
            full = f"does not ship: a ladder holds {MAX_VARIANTS} variants, better ones fill it"
            verdict = Verdict(one.name, False, full)
        room -= verdict.admitted
        verdicts.append(verdict)
    return tuple(verdicts)


def _judge(one: Measured, base: Measured, metric: str, max_drop: float) -> Verdict:
    objection = _quality_objection(one, base, metric, max_drop) or _gain_objection(one, base)
    if objection is not None:
        return Verdict(one.name, False, f"does not ship: {objection}")
    return Verdict(
        one.name,
        True,
        f"ships: {_compared(one, base)}; {metric} {one.quality:.4f} "
        f"against {base.quality:.4f}, {max_drop:g} less is allowed",
    )


def _quality_objection(
    one: Measured, base: Measured, metric: str, max_drop: float
) -> str | None:
    if one.quality is None or base.quality is None:
        return "without held-out rows nobody can say what it costs in quality"
    if not math.isfinite(one.quality):
        return "it answers NaN or infinity where float32 answers a number"
    drop = base.quality - one.quality
    if drop > max_drop + 1e-12:
        return (
            f"{metric} falls from {base.quality:.4f} to {one.quality:.4f}, "
            f"by {drop:.4f} where {max_drop:g} is allowed"
        )
    return None


def _gain_objection(one: Measured, base: Measured) -> str | None:
    times = _time_shares(one, base)
    slow = {batch: share for batch, share in times.items() if share >= TOO_SLOW}
    if slow:
        batch, share = max(slow.items(), key=lambda item: item[1])
        told = f"it takes {share:.2f} of float32's time at batch {batch}"
        return f"{told}, where {TOO_SLOW:.2f} is too much"
    smaller = one.size <= SMALLER * base.size
    faster = any(share <= FASTER for share in times.values())
    if not smaller and not faster:
        return f"it is neither 5 % smaller nor 10 % faster than float32: {_compared(one, base)}"
    return None


def _time_shares(one: Measured, base: Measured) -> dict[int, float]:
    return {batch: time / base.latency[batch] for batch, time in one.latency.items()}


def _compared(one: Measured, base: Measured) -> str:
    times = "".join(
        f", {share:.2f} of its time at batch {batch}"
        for batch, share in _time_shares(one, base).items()
    )
    return f"{one.size / base.size:.2f} of float32's bytes{times or ', not timed on this chip'}"
