"""The plots of a target: size against time where time was measured, else against quality."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from packager.report.facts import BuildFacts, TargetFacts
from packager.report.plot import Axis, Plot, Point, Size, ends_of, lay_out
from packager.report.words import (
    cpu_words,
    drop_words,
    is_relative,
    quality_figure,
    standing,
    time_shares,
)
from packager.variant import Measured

WIDE, NARROW = Size(860, 430), Size(330, 440, left=30, right=8)
_BYTES = (("bytes", 1.0), ("KiB", 1024.0), ("MiB", 1024.0**2), ("GiB", 1024.0**3))
_TIMES = (("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9))
# How far below the budget a drop is still drawn at its place.
_DEEP = 3.0


@dataclass(frozen=True)
class Picture:
    """A plot at one width, and what it shows in words.

    Attributes:
        kind: ``wide`` or ``narrow``.
        title: in a few words.
        text: in a sentence or two, for whoever cannot see it.
        plot: the plot.
    """

    kind: str
    title: str
    text: str
    plot: Plot


def pictures(facts: BuildFacts, target: TargetFacts) -> list[Picture]:
    """Return a target's plot for a page and for a phone; none with one candidate alone."""
    if len(target.measured) == 1:
        return []
    points, x, y, title = _axes(facts, target)
    text = _told(target, points)
    bare = [replace(point, detail="") for point in points]
    return [
        Picture("wide", title, text, lay_out(points, x, y, WIDE)),
        Picture("narrow", title, text, lay_out(bare, x, y, NARROW)),
    ]


def _axes(facts: BuildFacts, target: TargetFacts) -> tuple[list[Point], Axis, Axis, str]:
    name, measured = target.profile.name, target.measured
    unit, step = _unit([item.size for item in measured], _BYTES)
    points = [_point(facts, target, item, step) for item in measured]
    limit = facts.budgets.size
    limits = [("--max-size", limit / step)] if limit is not None else []
    ends = ends_of(point.x for point in points)
    x = Axis(f"size as installed, {unit}", *ends, "{:.4g}".format, limits)
    if measured[0].latency:
        return *_timed(facts, target, points, x), f"{name}: size against time"
    if any(math.isfinite(point.y) for point in points):
        return points, x, _quality_axis(facts, points), f"{name}: size against quality"
    level = [replace(point, y=1.0, low=1.0, high=1.0) for point in points]
    return level, x, Axis("", 0.0, 2.0, lambda _: ""), f"{name}: size"


def _timed(
    facts: BuildFacts, target: TargetFacts, points: Sequence[Point], x: Axis
) -> tuple[list[Point], Axis, Axis]:
    batch = min(target.measured[0].latency)
    known = [item.latency[batch] for item in target.measured if batch in item.latency]
    unit, step = _unit(known, _TIMES)
    times = [item.latency.get(batch, math.nan) / step for item in target.measured]
    limit = facts.budgets.latency_ms
    limits = [("--max-latency-ms", limit * 1e6 / step)] if limit and batch == 1 else []
    rows = "1 row" if batch == 1 else f"{batch} rows"
    ends = ends_of(time for time in times if math.isfinite(time))
    title = f"a call with {rows} on this machine, {unit}"
    placed = [
        replace(point, y=time, low=time, high=time)
        for point, time in zip(points, times, strict=True)
    ]
    return placed, x, Axis(title, *ends, "{:.4g}".format, limits)


def _quality_axis(facts: BuildFacts, points: Sequence[Point]) -> Axis:
    """Return an axis of drops, none at the top; what is ruined lies at its foot."""
    budget = facts.budgets.drop.amount
    deepest = _DEEP * budget or 0.01
    shown = [
        end
        for point in points
        if math.isfinite(point.y) and point.y <= deepest
        for end in (point.low, point.high)
        if math.isfinite(end)
    ]
    worst = min(max([*shown, 1.2 * budget]), 2 * deepest) or 0.01
    best = min([*shown, 0.0])
    room = 0.1 * (worst - best)
    return Axis(
        f"drop of {facts.metric_name} against float32, its worst CPU",
        worst + room,
        best - room,
        partial(_tick, relative=is_relative(facts)),
        [("--max-drop", budget)],
    )


def _tick(value: float, *, relative: bool) -> str:
    return f"{100 * value:z.3g}%" if relative else f"{value:z.3g}"


def _point(facts: BuildFacts, target: TargetFacts, item: Measured, step: float) -> Point:
    base, worst = target.measured[0], item.worst
    drop = worst.drop if worst and not worst.problem else math.nan
    return Point(
        name=item.name,
        detail=quality_figure(facts, worst) if worst else "",
        told=_sentence(facts, item, base),
        x=item.size / step,
        y=drop,
        low=worst.low if worst and math.isfinite(drop) else drop,
        high=worst.high if worst and math.isfinite(drop) else drop,
        standing=standing(item, facts.budgets.drop),
        ships=item.name in {variant.name for variant in target.ladder},
        reference=item is base,
    )


def _sentence(facts: BuildFacts, item: Measured, base: Measured) -> str:
    parts = [f"{item.name}: {item.size / base.size:.2f} of float32's bytes"]
    parts += [
        f"{share:.2f} of its time at batch {batch}"
        for batch, share in time_shares(item, base).items()
    ]
    worst = item.worst
    if worst is not None:
        lost = drop_words(worst, relative=is_relative(facts))
        reached = f"{facts.metric_name} {quality_figure(facts, worst)}"
        parts.append(f"{reached} on {cpu_words(worst.cpu)}, {lost}")
    return "; ".join(parts)


def _told(target: TargetFacts, points: Sequence[Point]) -> str:
    shipped = ", ".join(variant.name for variant in target.ladder)
    return f"{len(points)} candidates. Shipped: {shipped}. The table below has every figure."


def _unit(values: Sequence[float], units: Sequence[tuple[str, float]]) -> tuple[str, float]:
    """Return the greatest unit that the greatest value has one of, and its size."""
    greatest = max(values)
    return next((one for one in reversed(units) if greatest >= one[1]), units[0])
