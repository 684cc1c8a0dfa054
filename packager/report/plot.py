"""The geometry of a plot: candidates as marks with labels that do not touch one another.

Every length is in the units of the picture's view box; the y axis points down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

# Widths of letters in a wide font; most are narrower, and then labels only have more room.
LETTER, BOLD_LETTER = 7.2, 8.2
LINE = 15.0  # height of a label
REACH = 7.0  # half of a mark's height and width
_TICKS = 5
_STEPS = (1.0, 2.0, 5.0, 10.0)
_AWAY = 6.0  # from a mark to its label
_ROOM = 0.08  # of an axis, beyond the outermost value


@dataclass(frozen=True)
class Point:
    """One candidate.

    Attributes:
        name: its name.
        detail: what its label says beside it; may be empty.
        told: what its mark says to whoever points at it, or has it read aloud.
        x: its value on the first axis.
        y: its value on the second; NaN where it has none.
        low: the lower end of an interval around ``y``; equal to it where there is none.
        high: the upper end.
        standing: one of ``words.STANDINGS``.
        ships: whether it ships.
        reference: whether it is plain float32.
    """

    name: str
    detail: str
    told: str
    x: float
    y: float
    low: float
    high: float
    standing: str
    ships: bool
    reference: bool


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        title: what it counts, with its unit.
        start: the value at the left or at the bottom; may be the greater one.
        end: the value at the right or at the top.
        show: returns a value as its tick says it.
        limits: budgets to draw across it, each with its name.
    """

    title: str
    start: float
    end: float
    show: Callable[[float], str]
    limits: Sequence[tuple[str, float]] = ()

    def share(self, value: float) -> float:
        """Return where a value lies, 0 at the start and 1 at the end; outliers at their end."""
        if math.isnan(value):
            return 0.0
        return min(1.0, max(0.0, (value - self.start) / (self.end - self.start)))

    def holds(self, value: float) -> bool:
        """Tell whether a value lies on the axis."""
        low, high = sorted((self.start, self.end))
        return low <= value <= high

    def ticks(self) -> list[float]:
        """Return about ``_TICKS`` round values on the axis, in steps of 1, 2 or 5."""
        low, high = sorted((self.start, self.end))
        rough = (high - low) / _TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(one * power for one in _STEPS if one * power >= rough * 0.999)
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


@dataclass(frozen=True)
class Size:
    """The picture's measures: its own, and what lies around the frame and the left ticks."""

    width: float
    height: float
    left: float = 40.0
    right: float = 14.0
    top: float = 14.0
    bottom: float = 46.0


@dataclass(frozen=True)
class Tick:
    """A value on an axis: its place and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Box:
    """A rectangle."""

    left: float
    top: float
    right: float
    bottom: float

    def touches(self, other: Box) -> bool:
        """Tell whether two rectangles overlap."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def holds(self, other: Box) -> bool:
        """Tell whether another rectangle lies inside."""
        return (
            self.left <= other.left
            and self.top <= other.top
            and other.right <= self.right
            and other.bottom <= self.bottom
        )


@dataclass(frozen=True)
class Label:
    """Where a mark's text stands.

    Attributes:
        x: its start, or its end where ``anchor`` says so.
        y: its base line.
        anchor: ``start`` or ``end``.
        box: the room it takes.
        leads: whether a line leads from the mark to it.
    """

    x: float
    y: float
    anchor: str
    box: Box
    leads: bool


@dataclass(frozen=True)
class Mark:
    """One candidate in the picture.

    Attributes:
        point: the candidate.
        x: its place.
        y: its place.
        top: the upper end of its interval; equal to ``y`` where there is none.
        bottom: the lower end.
        outside: whether its value lies beyond the axis.
        label: its text's place; None where there was no room left.
    """

    point: Point
    x: float
    y: float
    top: float
    bottom: float
    outside: bool
    label: Label | None = None


@dataclass(frozen=True)
class Plot:
    """A picture, ready to be drawn.

    Attributes:
        size: its measures.
        frame: the rectangle between the axes.
        x_title: what the first axis counts.
        y_title: what the second counts.
        x_ticks: the first axis's values.
        y_ticks: the second's.
        x_limits: budgets on the first axis.
        y_limits: budgets on the second.
        marks: the candidates, those that ship first: they are large, and nothing may hide
            below them.
    """

    size: Size
    frame: Box
    x_title: str
    y_title: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    x_limits: Sequence[Tick]
    y_limits: Sequence[Tick]
    marks: Sequence[Mark]

    @property
    def reference(self) -> Mark:
        """The mark of plain float32."""
        return next(mark for mark in self.marks if mark.point.reference)


def ends_of(values: Iterable[float]) -> tuple[float, float]:
    """Return the ends of an axis: from zero, unless all that is shown is far from it."""
    found = list(values)
    least, greatest = min(found), max(found)
    if greatest > least > greatest / 2:
        room = (greatest - least) / 4
        return least - room, greatest + room
    return 0.0, greatest * (1 + _ROOM) or 1.0


def lay_out(points: Sequence[Point], x: Axis, y: Axis, size: Size) -> Plot:
    """Place marks, ticks and labels.

    Args:
        points: the candidates; one is the reference.
        x: the axis along the bottom.
        y: the axis along the left side.
        size: the picture's measures.
    """
    ticks = max((len(y.show(value)) for value in y.ticks()), default=0)
    left = size.left + LETTER * ticks
    frame = Box(left, size.top, size.width - size.right, size.height - size.bottom)
    across = _scale(x, frame.left, frame.right)
    upward = _scale(y, frame.bottom, frame.top)
    ranked = sorted(points, key=lambda one: (not one.ships, one.name))
    marks = [
        Mark(
            one,
            across(one.x),
            upward(one.y),
            top=min(upward(one.low), upward(one.high)),
            bottom=max(upward(one.low), upward(one.high)),
            outside=not y.holds(one.y),
        )
        for one in ranked
    ]
    return Plot(
        size,
        frame,
        x.title,
        y.title,
        [Tick(across(value), x.show(value)) for value in x.ticks()],
        [Tick(upward(value), y.show(value)) for value in y.ticks()],
        [Tick(across(value), name) for name, value in x.limits if x.holds(value)],
        [Tick(upward(value), name) for name, value in y.limits if y.holds(value)],
        _labelled(marks, frame),
    )


def _scale(axis: Axis, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + axis.share(value) * (end - start)


def _labelled(marks: Sequence[Mark], frame: Box) -> list[Mark]:
    """Give each mark the nearest free place for its label, those that matter most first."""
    taken = [_around(mark) for mark in marks]
    labels: dict[str, Label] = {}
    for mark in sorted(marks, key=lambda one: (not one.point.ships, not one.point.reference)):
        free = (
            place
            for place in _places(mark)
            if frame.holds(place.box) and not any(place.box.touches(box) for box in taken)
        )
        label = next(free, None)
        if label is not None:
            taken.append(label.box)
            labels[mark.point.name] = label
    return [replace(mark, label=labels.get(mark.point.name)) for mark in marks]


def _around(mark: Mark) -> Box:
    return Box(
        mark.x - REACH,
        min(mark.top, mark.y - REACH),
        mark.x + REACH,
        max(mark.bottom, mark.y + REACH),
    )


def _places(mark: Mark) -> Iterator[Label]:
    """Yield places for a mark's label, nearest first: beside it, then higher and lower."""
    point = mark.point
    letter = BOLD_LETTER if point.ships else LETTER
    width = letter * len(point.name) + LETTER * (len(point.detail) + 1) * bool(point.detail)
    gap = REACH + _AWAY
    offsets = sorted(
        ((line * LINE, side * 1.0) for line in range(-30, 31) for side in (1, 2, 4, 8)),
        key=lambda offset: (abs(offset[0]) + 6 * offset[1], offset[0]),
    )
    for down, far in offsets:
        y = mark.y + down
        reach = gap * far
        for left, anchor in ((mark.x + reach, "start"), (mark.x - reach - width, "end")):
            box = Box(left, y - LINE / 2, left + width, y + LINE / 2)
            x = left if anchor == "start" else left + width
            yield Label(x, y + LINE / 4, anchor, box, leads=bool(down) or far > 1)
