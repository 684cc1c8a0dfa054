"""What a rung does to answers: counts that a replay tells again."""

from __future__ import annotations

import numpy as np
import pytest
import trained
from judged_rows import by_scores, classified, drawn_scores, measured
from sklearn.metrics import confusion_matrix
from trained import candidate

from packager import effect as module
from packager.effect import BINS, OTHERS, effect_of
from packager.errors import ReplayMismatch
from packager.recipes import RECIPES
from packager.record import Record
from packager.stages.quantize import quantize


def rungs(model):
    recipe = next(one for one in RECIPES if one.name == "int8-dynamic")
    made = quantize(recipe, model.graph, ranges={}, reduce_range=False)
    return candidate(model.graph), candidate(made, "int8-dynamic")


def test_answers_of_classes_are_counted_by_the_true_class():
    model = trained.cancer_network()
    rows = model.held_out()
    found = effect_of(*rungs(model), rows, Record())
    expected = confusion_matrix(rows.truth, model.source.predict(model.rows))
    assert (found.kind, found.variant, found.names) == ("confusion", "int8-dynamic", ["0", "1"])
    assert found.before == expected.tolist()
    assert np.sum(found.after) == rows.count


def test_answers_of_numbers_are_counted_by_how_far_they_are_off():
    plain, rung = rungs(trained.diabetes_network())
    rows = trained.diabetes_network().held_out()
    found = effect_of(plain, rung, rows, Record())
    assert found.kind == "residuals"
    assert len(found.names) == BINS + 1
    assert [float(edge) for edge in found.names] == sorted(map(float, found.names))
    assert [len(found.before), len(found.before[0])] == [1, BINS]
    assert np.sum(found.before) == np.sum(found.after) == rows.count


def test_without_truth_or_a_rung_there_is_nothing_to_tell():
    model = trained.cancer_network()
    plain, rung = rungs(model)
    assert effect_of(plain, rung, model.held_out(truth=False), Record()) is None
    assert effect_of(plain, plain, model.held_out(), Record()) is None


def test_a_replay_tells_the_recorded_counts_and_stops_where_they_moved():
    model, build = trained.cancer_network(), Record()
    plain, rung = rungs(model)
    first = effect_of(plain, rung, model.held_out(), build)
    replay = Record(build.values)
    assert effect_of(plain, rung, model.held_out(), replay) == first
    replay.check_all_used()
    (key,) = build.values
    build.values[key]["kind"] = "residuals"
    with pytest.raises(ReplayMismatch, match="kind"):
        effect_of(plain, rung, model.held_out(), Record(build.values))


def test_of_many_classes_the_most_frequent_are_told_and_the_rest_as_one(monkeypatch):
    monkeypatch.setattr(module, "MOST_CLASSES", 2)
    truth = np.array([3, 3, 3, 1, 1, 0, 2])
    rows = classified(truth, range(4))
    answers = by_scores(np.eye(4)[truth], range(4))
    told = module._confusion(rows, answers, answers)
    assert told["names"] == ["1", "3", OTHERS]
    assert told["before"].tolist() == [[2, 0, 0], [0, 3, 0], [0, 0, 2]]


def test_an_answer_that_is_no_class_is_one_of_the_others():
    rows = classified([0, 1])
    answers = by_scores(drawn_scores(np.array([0, 1]), 2, noise=0.1))
    strange = {**answers, "label": np.array([0, 9])}
    told = module._confusion(rows, answers, strange)
    assert told["names"] == ["0", "1", OTHERS]
    assert told["after"].tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("off", [0.0, 1e30, np.nan, np.inf])
def test_residuals_of_any_size_fall_into_a_bin(off):
    rows = measured([1.0, 2.0, 3.0])
    answers = [{"value": rows.numbers + error} for error in (0.0, off)]
    told = module._residuals(rows, *answers)
    assert told["before"].sum() == told["after"].sum() == 3
