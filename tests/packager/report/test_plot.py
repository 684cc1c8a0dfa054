"""Marks, ticks and labels have places: inside the picture, and no label upon another."""

from __future__ import annotations

import math
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packager.report.plot import Axis, Box, Point, Size, ends_of, lay_out

WIDE = Size(860, 430)


def point(name: str, x: float, y: float, *, ships: bool = False, reference: bool = False):
    return Point(name, "0.9534", name, x, y, y, y, "as-good", ships, reference)


def axis(end: float, **changes) -> Axis:
    return Axis("size", 0.0, end, "{:.4g}".format, **changes)


def plot(points, x_end=100.0, y_end=100.0, size=WIDE):
    return lay_out(points, axis(x_end), axis(y_end), size)


def test_values_have_their_places_and_greater_ones_lie_higher():
    found = plot([point("base", 100, 50, reference=True), point("int8", 50, 100)])
    base, other = found.reference, found.marks[1]
    frame = found.frame
    assert base.point.name == "base"
    assert base.x == frame.right
    assert base.y == pytest.approx((frame.top + frame.bottom) / 2)
    assert other.point.name == "int8"
    assert other.x == pytest.approx((frame.left + frame.right) / 2)
    assert other.y == frame.top


def test_an_axis_may_run_downwards():
    downwards = Axis("drop", 0.03, -0.01, "{:.4g}".format)
    assert downwards.share(0.03) == 0
    assert downwards.share(-0.01) == 1
    assert downwards.ticks() == pytest.approx([-0.01, 0, 0.01, 0.02, 0.03])


@given(st.floats(1e-9, 1e12), st.floats(0, 0.9))
def test_ticks_are_few_round_and_on_the_axis(end, start_share):
    start, hair = end * start_share, end * 1e-6
    found = Axis("x", start, end, str).ticks()
    assert 2 <= len(found) <= 11
    assert all(start - hair <= tick <= end + hair for tick in found)
    steps = [two - one for one, two in pairwise(found)]
    assert all(f"{step:.0e}"[0] in "125" for step in steps)


def test_what_lies_beyond_the_axis_is_drawn_at_its_end_and_told():
    found = plot([point("base", 10, 10, reference=True), point("ruined", 10, 500)])
    assert found.marks[1].outside
    assert found.marks[1].y == found.frame.top
    missing = plot([point("base", 10, 10, reference=True), point("none", 10, math.nan)])
    assert missing.marks[1].outside
    assert missing.marks[1].y == missing.frame.bottom


def test_what_ships_is_drawn_first_so_that_nothing_hides_below_it():
    points = [point("a", 1, 1, reference=True), point("z", 1, 1, ships=True), point("b", 1, 1)]
    assert [mark.point.name for mark in plot(points).marks] == ["z", "a", "b"]


def test_limits_beyond_the_axis_are_left_out():
    x = axis(10, limits=[("--max-size", 5.0), ("far", 50.0)])
    found = lay_out([point("base", 1, 1, reference=True)], x, axis(10), WIDE)
    assert [tick.text for tick in found.x_limits] == ["--max-size"]


def test_an_axis_begins_at_zero_unless_everything_is_far_from_it():
    assert ends_of([2.0, 5.0]) == (0.0, pytest.approx(5.4))
    assert ends_of([4.0, 5.0]) == pytest.approx((3.75, 5.25))
    assert ends_of([5.0, 5.0]) == (0.0, pytest.approx(5.4))
    assert ends_of([0.0]) == (0.0, 1.0)


NAMES = [
    "float32",
    "float32-fused",
    "float32-trees",
    "int8-dynamic",
    "int8-dynamic-sparing",
    "int8-static",
    "int8-static-entropy",
    "int8-static-percentile",
    "int8-static-dense",
    "int8-static-sparing",
    "int4",
    "float16",
]


@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.floats(0, 100), st.booleans()), min_size=12, max_size=12
    )
)
def test_no_label_lies_on_another_or_outside_whatever_the_values(values):
    points = [
        point(name, x, y, ships=ships, reference=name == "float32")
        for name, (x, y, ships) in zip(NAMES, values, strict=True)
    ]
    found = plot(points)
    labels = [mark.label for mark in found.marks]
    assert all(labels)
    assert all(found.frame.holds(label.box) for label in labels)
    assert not any(one.box.touches(other.box) for one, other in combinations(labels, 2))


def test_twelve_candidates_at_one_place_all_have_labels_on_a_phone_too():
    points = [point(name, 30, 60, reference=name == "float32") for name in NAMES]
    found = plot(
        [Point(**{**vars(one), "detail": ""}) for one in points], size=Size(330, 440, 30)
    )
    labels = [mark.label for mark in found.marks]
    assert all(labels)
    assert not any(one.box.touches(other.box) for one, other in combinations(labels, 2))


def test_a_label_that_has_no_room_is_left_out_and_its_mark_stays():
    found = plot([point("x" * 500, 1, 1, reference=True)])
    (mark,) = found.marks
    assert mark.label is None
    assert mark.point.told == "x" * 500


def test_boxes_that_share_an_edge_do_not_touch():
    assert not Box(0, 0, 1, 1).touches(Box(1, 0, 2, 1))
    assert Box(0, 0, 1, 1).touches(Box(0.5, 0.5, 2, 2))
    assert Box(0, 0, 3, 3).holds(Box(1, 1, 3, 3))
    assert not Box(0, 0, 3, 3).holds(Box(1, 1, 3.1, 3))
