"""Who may ship: a variant that is smaller or faster, never worse, and within the budgets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from packager.budgets import Budgets, Drop
from packager.recipes import FLOAT32
from packager.scoring import Metric
from packager.variant import Measured, Score, Verdict

# A saving below these margins is noise or not worth another file.
SMALLER = 0.95
FASTER = 0.90
# At this share of float32's time a device would pass the rung over.
TOO_SLOW = 1.20

QUALITY, NOT_FINITE = "quality", "not-finite"
BUDGET_RULES = ("size", "latency", "memory")
_MILLISECOND = 1e6


@dataclass(frozen=True)
class Court:
    """What candidates are judged against.

    Attributes:
        base: plain float32, the measure of all.
        metric: what quality is; None without held-out rows.
        budgets: what a variant must keep.
        rows: how many rows judged.
        strangers: by name, how another form of float32 answers otherwise than the plain one.
        unproven: by name, why nobody can know here that its integer sums are right on the
            promised CPUs.
    """

    base: Measured
    metric: Metric | None
    budgets: Budgets
    rows: int = 0
    strangers: Mapping[str, str] = field(default_factory=dict)
    unproven: Mapping[str, str] = field(default_factory=dict)

    @property
    def drop(self) -> Drop:
        """What may be lost, where it is settled whether that is a share."""
        return self.budgets.drop.of(bounded=self.metric is None or self.metric.bounded)


def admit(measured: Sequence[Measured], court: Court) -> tuple[Verdict, ...]:
    """Judge every candidate against plain float32, which needs to keep the budgets only.

    Args:
        measured: the candidates; one that has the base's name is plain float32 itself.
        court: what they are judged against.
    """
    return tuple(_judge(one, court) for one in measured)


def weight(one: Measured, base: Measured) -> float:
    """Return the geometric mean of bytes and times, each as a share of plain float32's."""
    shares = [one.size / base.size, *time_shares(one, base).values()]
    return math.exp(sum(map(math.log, shares)) / len(shares))


def time_shares(one: Measured, base: Measured) -> dict[int, float]:
    """Return by batch size how much of float32's time a call takes; nothing if not timed."""
    return {batch: time / base.latency[batch] for batch, time in one.latency.items()}


def _judge(one: Measured, court: Court) -> Verdict:
    plain = one.name == court.base.name
    for name, rule in (BUDGETS if plain else RULES).items():
        objection = rule(one, court)
        if objection is not None:
            return Verdict(one.name, False, f"does not ship: {objection}", name)
    if plain:
        return Verdict(one.name, True, "ships: every ladder ends on float32", FLOAT32)
    kept = f"{_compared(one, court.base)}; {_quality(one, court)}"
    return Verdict(one.name, True, f"ships: {kept}", "better")


# --- quality -------------------------------------------------------------------------------


def _unknown_quality(one: Measured, court: Court) -> str | None:
    if one.worst is not None and court.base.scores:
        return None
    return "without held-out rows nobody can say what it costs in quality"


def _crashed(one: Measured, _: Court) -> str | None:
    broken = next((score for score in one.scores if score.problem), None)
    return f"{broken.problem}{_place(broken)}" if broken else None


def _not_finite(one: Measured, _: Court) -> str | None:
    broken = next((score for score in one.scores if not math.isfinite(score.quality)), None)
    if broken is None:
        return None
    return f"it answers NaN or infinity{_place(broken)} where float32 answers a number"


def _worse(one: Measured, court: Court) -> str | None:
    worst, drop = one.worst, court.drop
    if worst is None or worst.drop <= drop.amount + 1e-12:
        return None
    told = f"{_both(worst, court)}{_place(worst)}"
    allowed = f"more than the {drop.text()} allowed"
    interval = _interval(worst, court)
    if worst.within_noise:
        return (
            f"{told}: the drop of {_amount(worst.drop, court)} ({interval}) is {allowed}, "
            f"though {court.rows} rows cannot tell it from noise: more held-out rows would"
        )
    return f"{told}: a loss of {_amount(worst.drop, court)} ({interval}), {allowed}"


def _unproven(one: Measured, court: Court) -> str | None:
    return court.unproven.get(one.name)


def _stranger(one: Measured, court: Court) -> str | None:
    """Another form of float32 must answer as the plain one does, whatever the budget."""
    return court.strangers.get(one.name)


def _both(score: Score, court: Court) -> str:
    name = court.metric.name if court.metric else QUALITY
    return f"{name} {score.quality:.4f} against {court.base.scores[0].quality:.4f}"


def _place(score: Score) -> str:
    return "" if score.cpu == "host" else f" on {score.cpu}"


def _amount(value: float, court: Court) -> str:
    return f"{value:.2%}" if court.drop.relative else f"{value:.4f}"


def _interval(score: Score, court: Court) -> str:
    return f"95 % interval {_amount(score.low, court)} to {_amount(score.high, court)}"


def _quality(one: Measured, court: Court) -> str:
    """Say what an admitted candidate costs; a difference within noise is no loss."""
    worst = one.worst
    if worst is None or worst.drop <= 0:
        told = "nothing is lost"
    elif worst.within_noise:
        told = "within noise"
    else:
        told = f"a loss of {_amount(worst.drop, court)}"
    place = _place(worst) if worst else ""
    return f"{_both(worst, court)}{place}, {told}" if worst else told


# --- budgets -------------------------------------------------------------------------------


def _too_large(one: Measured, court: Court) -> str | None:
    allowed = court.budgets.size
    if allowed is None or one.size <= allowed:
        return None
    return f"it has {one.size:,} bytes, --max-size allows {allowed:,}"


def _too_long(one: Measured, court: Court) -> str | None:
    allowed = court.budgets.latency_ms
    if allowed is None or not one.latency:
        return None
    batch, time = min(one.latency.items())
    if time <= allowed * _MILLISECOND:
        return None
    taken = f"a call of {batch} {'row' if batch == 1 else 'rows'} takes {_ms(time)} here"
    return f"{taken}, --max-latency-ms allows {allowed:g} ms"


def _too_hungry(one: Measured, court: Court) -> str | None:
    allowed = court.budgets.memory
    if allowed is None or one.memory is None or one.memory <= allowed:
        return None
    return f"it takes {one.memory:,} bytes of memory, --max-memory allows {allowed:,}"


def overrun(one: Measured, budgets: Budgets) -> float:
    """Return how many times the budget it takes, of the one that it misses most."""
    shares = [one.size / budgets.size] if budgets.size else []
    if budgets.latency_ms and one.latency:
        shares.append(min(one.latency.items())[1] / (budgets.latency_ms * _MILLISECOND))
    if budgets.memory and one.memory is not None:
        shares.append(one.memory / budgets.memory)
    return max(shares, default=0.0)


def _ms(nanoseconds: float) -> str:
    return f"{nanoseconds / _MILLISECOND:.3g} ms"


# --- gain ----------------------------------------------------------------------------------


def _slow(one: Measured, court: Court) -> str | None:
    times = time_shares(one, court.base)
    batch, share = max(times.items(), key=lambda item: item[1], default=(0, 0.0))
    if share < TOO_SLOW:
        return None
    told = f"it takes {share:.2f} of float32's time at batch {batch}"
    return f"{told}, where {TOO_SLOW:.2f} is too much"


def _no_gain(one: Measured, court: Court) -> str | None:
    base = court.base
    smaller = one.size <= SMALLER * base.size
    faster = any(share <= FASTER for share in time_shares(one, base).values())
    if not smaller and not faster:
        return f"it is neither 5 % smaller nor 10 % faster than float32: {_compared(one, base)}"
    if weight(one, base) >= 1:
        return f"what it saves costs as much elsewhere: {_compared(one, base)}"
    return None


def _compared(one: Measured, base: Measured) -> str:
    times = "".join(
        f", {share:.2f} of its time at batch {batch}"
        for batch, share in time_shares(one, base).items()
    )
    return f"{one.size / base.size:.2f} of float32's bytes{times or ', not timed on this chip'}"


Rule = Callable[[Measured, Court], str | None]

BUDGETS: Mapping[str, Rule] = {
    "size": _too_large,
    "latency": _too_long,
    "memory": _too_hungry,
}
RULES: Mapping[str, Rule] = {
    "not-judged": _unknown_quality,
    "crashed": _crashed,
    NOT_FINITE: _not_finite,
    QUALITY: _worse,
    "other-answers": _stranger,
    "not-scored": _unproven,
    **BUDGETS,
    "too-slow": _slow,
    "no-gain": _no_gain,
}
