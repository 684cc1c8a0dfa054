"""Qualities in closed form are scikit-learn's, for all rows and for every draw of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from judged_rows import by_scores, classified, drawn_scores, measured, unknown
from sklearn import metrics

from packager.scoring.closed_forms import OF_CLASSES, OF_NUMBERS, agreement, cosine

NUMBERS = arrays.arrays(np.float64, 12, elements=st.floats(-1e6, 1e6, width=32))
CODES = st.integers(2, 4).flatmap(
    lambda count: st.tuples(
        st.just(count), arrays.arrays(np.int64, 14, elements=st.integers(0, count - 1))
    )
)


def whole(statistic, count):
    return statistic(np.arange(count)[None])[0]


# --- classes -------------------------------------------------------------------------------


@settings(max_examples=60)
@given(CODES, st.integers(0, 9), st.sampled_from([0.3, 1.0, 3.0]))
def test_figures_of_classes_are_scikit_learn_s(codes, seed, noise):
    count, truth = codes
    scores = drawn_scores(truth, count, noise=noise, seed=seed).round(1).astype(np.float32)
    rows, answers = classified(truth, range(count)), by_scores(scores, range(count))
    label = answers["label"]
    found = {name: whole(form(rows, answers), len(truth)) for name, form in OF_CLASSES.items()}
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, label))
    recalls = metrics.recall_score(truth, label, average=None, labels=np.unique(truth))
    assert found["balanced_accuracy"] == pytest.approx(recalls.mean())
    present, counts = np.unique(truth, return_counts=True)
    judged = present[[counts.argmin()]] if count == 2 else present
    expected = [metrics.average_precision_score(truth == one, scores[:, one]) for one in judged]
    assert found["average_precision"] == pytest.approx(np.mean(expected))


@given(st.integers(0, 20))
def test_log_loss_is_scikit_learn_s(seed):
    truth = np.random.default_rng(seed).integers(0, 3, 30)
    scores = drawn_scores(truth, 3, noise=4.0, seed=seed).astype(np.float32)
    scores[0], scores[1] = np.eye(3)[truth[0]], np.eye(3)[(truth[1] + 1) % 3]
    form = OF_CLASSES["log_loss"](classified(truth, range(3)), by_scores(scores, range(3)))
    assert whole(form, 30) == pytest.approx(
        metrics.log_loss(truth, scores, labels=range(3)), rel=1e-5
    )


def test_a_draw_is_judged_as_if_its_rows_were_all_there_are():
    truth = np.array([0, 0, 1, 2, 2, 2, 1, 0])
    scores = drawn_scores(truth, 3, noise=2.0).astype(np.float32)
    rows, answers = classified(truth, range(3)), by_scores(scores, range(3))
    drawn = np.random.default_rng(1).integers(0, 8, (50, 8))
    for form in OF_CLASSES.values():
        for numbers, value in zip(drawn, form(rows, answers)(drawn), strict=True):
            part = {name: array[numbers] for name, array in answers.items()}
            alone = form(classified(truth[numbers], range(3)), part)
            assert value == pytest.approx(whole(alone, 8))


def test_equal_scores_are_one_threshold_whatever_their_order():
    truth = np.array([1, 0, 0, 1, 0, 1])
    scores = np.tile([[0.5, 0.5]], (6, 1))
    rows, form = classified(truth), OF_CLASSES["average_precision"]
    assert whole(form(rows, by_scores(scores)), 6) == pytest.approx(0.5)


# --- numbers -------------------------------------------------------------------------------


@given(NUMBERS, NUMBERS)
def test_figures_of_numbers_are_scikit_learn_s(truth, found):
    rows, answers = measured(truth), {"value": found[:, None]}
    ours = {name: whole(form(rows, answers), 12) for name, form in OF_NUMBERS.items()}
    scores = {
        "mean_absolute_error": metrics.mean_absolute_error,
        "mean_squared_error": metrics.mean_squared_error,
        "root_mean_squared_error": metrics.root_mean_squared_error,
    }
    for name, score in scores.items():
        assert ours[name] == pytest.approx(score(truth, found), rel=1e-9, abs=1e-12)
    if np.ptp(truth) > 1e-3:
        assert ours["r2"] == pytest.approx(metrics.r2_score(truth, found), rel=1e-6, abs=1e-9)


def test_where_nothing_varies_exact_answers_explain_all_and_others_nothing():
    form, same = OF_NUMBERS["r2"], np.full(4, 2.0)
    assert whole(form(measured(same), {"value": same}), 4) == 1.0
    assert whole(form(measured(same), {"value": same + 1}), 4) == 0.0


# --- against float32 -----------------------------------------------------------------------


def test_agreement_counts_equal_labels_whatever_the_probabilities():
    rows = classified([0, 1, 1, 0])
    base = by_scores([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]])
    other = by_scores([[0.6, 0.4], [0.1, 0.9], [0.7, 0.3], [0.6, 0.4]])
    assert whole(agreement(rows, other, base), 4) == 0.75


def test_the_cosine_is_that_of_each_row_and_of_the_worst_output():
    rows = unknown(2, {})
    base = {"one": np.array([[1.0, 0], [0, 2]]), "two": np.array([[1.0, 1], [1, 1]])}
    other = {"one": np.array([[2.0, 0], [0, 1]]), "two": np.array([[1.0, 0], [1, 1]])}
    assert whole(cosine(rows, other, base), 2) == pytest.approx((0.5**0.5 + 1) / 2)
    assert whole(cosine(rows, base, base), 2) == 1.0


@pytest.mark.parametrize(("found", "expected"), [([[0.0, 0.0]], 1.0), ([[0.0, 1.0]], 0.0)])
def test_nothing_is_like_nothing_and_like_nothing_else(found, expected):
    base = {"y": np.zeros((1, 2))}
    assert whole(cosine(unknown(1, {}), {"y": np.array(found)}, base), 1) == expected


def test_one_number_a_row_has_no_direction_and_is_judged_by_what_it_explains():
    base = {"y": np.array([[1.0], [2.0], [3.0]])}
    other = {"y": np.array([[1.0], [2.0], [4.0]])}
    assert whole(cosine(unknown(3, {}), other, base), 3) == pytest.approx(1 - 1 / 2)


def test_what_is_no_float_is_equal_or_not():
    base = {"y": np.array([[1, 2], [3, 4]])}
    other = {"y": np.array([[1, 2], [3, 5]])}
    assert whole(agreement(unknown(2, {}), other, base), 2) == 0.75


def test_long_answers_are_compared_a_part_at_a_time(monkeypatch):
    generator = np.random.default_rng(0)
    base = {"y": generator.normal(size=(50, 3, 7))}
    other = {"y": base["y"] + generator.normal(0, 0.1, (50, 3, 7))}
    expected = whole(cosine(unknown(50, {}), other, base), 50)
    monkeypatch.setattr("packager.scoring.closed_forms._CHUNK", 64)
    assert whole(cosine(unknown(50, {}), other, base), 50) == expected
