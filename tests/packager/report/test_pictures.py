"""What a target's plot shows: time where it was taken here, else quality, else bytes alone."""

from __future__ import annotations

import math
from dataclasses import replace

import reports

from packager.budgets import Budgets, Drop
from packager.report.pictures import pictures
from packager.variant import Measured


def plots(target, **changes):
    return pictures(reports.rich_facts(targets=[target], **changes), target)


TIMED, UNTIMED = reports.rich_facts().targets


def test_every_candidate_is_a_mark_and_the_shipped_are_marked_as_such():
    for target in (TIMED, UNTIMED):
        for picture in plots(target):
            marks = picture.plot.marks
            assert sorted(mark.point.name for mark in marks) == sorted(
                item.name for item in target.measured
            )
            assert {mark.point.name for mark in marks if mark.point.ships} == {
                variant.name for variant in target.ladder
            }
            assert picture.plot.reference.point.name == "float32"


def test_size_stands_against_time_where_this_machine_is_such_a_device():
    wide, narrow = plots(TIMED)
    assert (wide.kind, narrow.kind) == ("wide", "narrow")
    assert wide.title == "x86-64-cpu: size against time"
    assert wide.plot.y_title == "a call with 1 row on this machine, µs"
    assert wide.plot.x_title == "size as installed, KiB"
    base = wide.plot.reference.point
    assert base.x == 172_400 / 1024
    assert base.y == 21.3
    assert [tick.text for tick in wide.plot.x_limits] == ["--max-size"]
    assert [tick.text for tick in wide.plot.y_limits] == ["--max-latency-ms"]


def test_no_time_is_drawn_of_a_target_that_this_machine_is_not():
    wide, _ = plots(UNTIMED)
    assert wide.title == "arm64-cpu: size against quality"
    assert wide.plot.y_title == "drop of balanced_accuracy against float32, its worst CPU"
    assert "time" not in " ".join(mark.point.told for mark in wide.plot.marks)
    assert [tick.text for tick in wide.plot.y_limits] == ["--max-drop"]


def test_a_drop_is_drawn_with_its_interval_and_a_better_one_higher():
    wide, _ = plots(UNTIMED)
    marks = {mark.point.name: mark for mark in wide.plot.marks}
    better, worse = marks["int8-static"], marks["int8-dynamic"]
    assert better.top < better.y < better.bottom
    assert better.y < worse.y
    assert marks["int8-static-percentile"].y > wide.plot.y_limits[0].at > worse.y


def test_what_gives_no_answer_lies_at_the_foot_and_is_told():
    wide, _ = plots(UNTIMED)
    (ruined,) = (mark for mark in wide.plot.marks if mark.outside)
    assert ruined.point.name == "int4"
    assert ruined.y == wide.plot.frame.bottom
    assert "it crashed on cortex-a72" in ruined.point.told


def test_one_ruined_candidate_does_not_flatten_the_others():
    measured = [
        replace(item, scores=[reports.score(quality=0.1, drop=0.85, low=0.8, high=0.9)])
        if item.name == "int4"
        else item
        for item in UNTIMED.measured
    ]
    wide, _ = plots(replace(UNTIMED, measured=measured))
    marks = {mark.point.name: mark for mark in wide.plot.marks}
    assert marks["int4"].outside
    assert abs(marks["int8-static"].y - marks["int8-dynamic"].y) > 20


def test_a_budget_of_nothing_and_equal_drops_still_have_an_axis():
    measured = [replace(item, scores=[reports.score()]) for item in UNTIMED.measured]
    wide, _ = plots(replace(UNTIMED, measured=measured), budgets=Budgets(Drop(0.0)))
    assert all(math.isfinite(mark.y) for mark in wide.plot.marks)
    assert len(wide.plot.y_ticks) > 1


def test_without_rows_bytes_alone_are_drawn():
    measured = [Measured(name, name, size, size) for name, size in (("float32", 9), ("x", 5))]
    wide, _ = plots(replace(TIMED, measured=measured))
    assert wide.title == "x86-64-cpu: size"
    assert not any(mark.outside for mark in wide.plot.marks)
    assert not any(tick.text for tick in wide.plot.y_ticks)


def test_a_candidate_whose_time_is_missing_is_no_fast_one():
    measured = [replace(TIMED.measured[0]), replace(TIMED.measured[1], latency={})]
    wide, _ = plots(replace(TIMED, measured=measured))
    (mark,) = (one for one in wide.plot.marks if one.point.name == measured[1].name)
    assert mark.outside


def test_float32_alone_needs_no_plot():
    assert plots(replace(TIMED, measured=TIMED.measured[:1])) == []
