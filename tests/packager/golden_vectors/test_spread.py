"""How far answers are apart: measured once, in every way a device might open a model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import trained
from trained import candidate

from edge_runtime.contract.tensors import Arrays
from packager.emulation.answers import Setting
from packager.errors import ReplayMismatch
from packager.golden_vectors.spread import ALONE, OTHERWISE, _job, distance, measure_spread
from packager.record import Record


def feed() -> Arrays:
    return {name: array[:8] for name, array in trained.cancer_network().feed.items()}


def asked(answers: dict[str, Arrays], record: Record) -> list[Any]:
    return measure_spread(
        [candidate(trained.cancer_network().graph)], feed(), answers, (), record, "m"
    )


def honest() -> dict[str, Arrays]:
    one = candidate(trained.cancer_network().graph)
    return {"float32": one.open_here().run(feed())}


def test_this_machine_is_asked_in_every_way_and_its_answers_are_near() -> None:
    record = Record()
    (here,) = asked(honest(), record)
    assert here.cpu == "host"
    assert here.problems == {}
    assert here.apart["float32"]["label"] == 0.0
    assert 0 <= here.apart["float32"]["probabilities"] < 1e-5
    assert {one.threads for one in OTHERWISE} == {1, 2, 4}
    assert {one.optimisation for one in OTHERWISE} == {"all", "disabled", "basic", "extended"}


def test_answers_that_are_others_are_told() -> None:
    answers = honest()
    answers["float32"]["label"] = 1 - answers["float32"]["label"]
    answers["float32"]["probabilities"] = answers["float32"]["probabilities"] + np.float32(0.25)
    (here,) = asked(answers, Record())
    assert here.apart["float32"]["label"] == math.inf
    assert here.apart["float32"]["probabilities"] == pytest.approx(0.25, abs=1e-4)


def test_a_replay_goes_by_the_record_and_runs_nothing() -> None:
    record = Record()
    first = asked(honest(), record)
    wrong = {"float32": {name: array * 0 for name, array in honest()["float32"].items()}}
    assert asked(wrong, Record(record.values)) == first


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"host": {}},
        {"host": {"apart": {}, "problems": {}}},
        {"host": {"apart": {"float32": {"label": 0.0}}, "problems": {}}},
        {
            "host": {
                "apart": {"float32": {"label": -1.0, "probabilities": 0.0}},
                "problems": {},
            }
        },
        {
            "host": {
                "apart": {"float32": {"label": "0", "probabilities": 0.0}},
                "problems": {},
            }
        },
    ],
)
def test_a_recorded_value_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(ReplayMismatch):
        asked(honest(), Record({"golden/apart/m": value}))


def test_rows_are_not_asked_alone_where_ranges_are_measured_at_each_call() -> None:
    one = candidate(trained.cancer_network().graph)
    assert ALONE in _job(one, here=True).settings
    assert _job(one, here=False).settings == (Setting(None),)


def test_distances_are_infinite_where_only_one_is_a_number() -> None:
    nan = np.nan
    found = distance(np.array([1.0, nan, nan, np.inf]), np.array([3.0, nan, 1.0, np.inf]))
    assert found.tolist() == [2.0, 0.0, math.inf, 0.0]
    words = distance(np.array(["a", "b"], object), np.array(["a", "c"], object))
    assert words.tolist() == [0.0, math.inf]
