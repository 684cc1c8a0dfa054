"""How much memory models take: in processes of their own, and in a replay as recorded."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import trained
from trained import candidate

from packager.answers import take_rows
from packager.errors import ReplayMismatch
from packager.measuring import memory
from packager.measuring.memory import peaks
from packager.record import Record

linux = pytest.mark.skipif(sys.platform != "linux", reason="no other system tells")


def one_and_part():
    model = trained.cancer_network()
    return candidate(model.graph), take_rows(model.feed, slice(32))


@linux
@pytest.mark.parametrize("large", [1, 1 << 40])
def test_each_model_has_a_peak_whether_opened_alone_or_beside_others(monkeypatch, large):
    monkeypatch.setattr(memory, "LARGE", large)
    one, part = one_and_part()
    found = peaks([one, replace(one, name="int8-static")], part, Record())
    assert set(found) == {"float32", "int8-static"}
    assert all(10_000 < peak < 50_000_000 for peak in found.values())


@linux
def test_a_replay_measures_nothing_and_a_damaged_figure_stops_it(monkeypatch):
    one, part = one_and_part()
    build = Record()
    found = peaks([one], part, build)
    monkeypatch.setattr(memory, "answers_on", None)
    assert peaks([one], part, Record(build.values)) == found
    assert peaks([one], part, Record({})) == {}
    (key,) = build.values
    with pytest.raises(ReplayMismatch, match="does not hold such a value"):
        peaks([one], part, Record({key: "little"}))


def test_of_an_accelerator_and_of_other_systems_nothing_is_known(monkeypatch):
    one, part = one_and_part()
    assert peaks([replace(one, provider="CUDAExecutionProvider")], part, Record()) == {}
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert peaks([one], part, Record()) == {}
