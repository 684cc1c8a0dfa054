"""How much worse answers are than float32's, and how sure the rows make us of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judged_rows import by_scores, classified, drawn_scores, measured, unknown

from packager.budgets import Drop
from packager.errors import ConfigInvalid
from packager.scoring import Judge, Metric, named_metric, worst
from packager.scoring import judging as module

ABSOLUTE, SHARE, BY_METRIC = Drop(0.01, False), Drop(0.01, True), Drop(0.01)
ACCURACY, RMSE = named_metric("accuracy"), named_metric("root_mean_squared_error")


def labelled(right: int, count: int):
    """Return rows whose truth is 0, and answers of which so many are right."""
    scores = np.tile([1.0, 0.0], (count, 1))
    scores[right:] = [0.0, 1.0]
    return classified(np.zeros(count, int)), by_scores(scores)


def two_answers(count: int, *, classes: int = 3, seed: int = 0):
    truth = np.random.default_rng(seed).integers(0, classes, count)
    base = drawn_scores(truth, classes, noise=1.0, seed=seed)
    other = drawn_scores(truth, classes, noise=1.2, seed=seed)
    rows = classified(truth, range(classes))
    return rows, by_scores(base, range(classes)), by_scores(other, range(classes))


# --- the drop ------------------------------------------------------------------------------


def test_a_drop_is_told_in_the_budget_s_unit():
    rows, base = labelled(80, 100)
    _, other = labelled(60, 100)
    assert Judge(ACCURACY, ABSOLUTE, rows, base).score(other).drop == pytest.approx(0.2)
    assert Judge(ACCURACY, SHARE, rows, base).score(other).drop == pytest.approx(0.25)
    assert Judge(ACCURACY, BY_METRIC, rows, base).score(other).drop == pytest.approx(0.2)


def test_of_errors_more_is_worse_and_by_itself_a_share():
    rows = measured([0.0, 0.0])
    judge = Judge(RMSE, BY_METRIC, rows, {"value": np.array([2.0, 2.0])})
    worse, better = (judge.score({"value": np.array([one, one])}) for one in (3.0, 1.0))
    assert (worse.quality, worse.drop) == (3.0, 0.5)
    assert (better.quality, better.drop) == (1.0, -0.5)


def test_of_no_error_at_all_every_loss_is_too_large():
    rows = measured([0.0, 1.0])
    judge = Judge(RMSE, BY_METRIC, rows, {"value": np.array([0.0, 1.0])})
    assert judge.score({"value": np.array([0.0, 1.0])}).drop == 0.0
    assert judge.score({"value": np.array([0.0, 1.1])}).drop == math.inf


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_an_answer_that_is_no_number_loses_everything(broken):
    rows, base, other = two_answers(20)
    other["probabilities"][3, 1] = broken
    for name in ("balanced_accuracy", "agreement"):
        score = Judge(named_metric(name), BY_METRIC, rows, base).score(other)
        assert math.isnan(score.quality)
        assert score.drop == score.low == score.high == math.inf
        assert not score.within_noise


def test_what_float32_cannot_tell_either_is_no_loss():
    rows, base, _ = two_answers(20)
    base["probabilities"][3, 1] = np.nan
    other = {name: array.copy() for name, array in base.items()}
    other["probabilities"][0] = other["probabilities"][0] * 0.99
    assert Judge(named_metric("log_loss"), BY_METRIC, rows, base).score(other).drop < 0.01


def test_a_metric_without_a_value_for_float32_is_refused():
    rows, base, _ = two_answers(20)
    rows = classified(np.zeros(20, int), range(3))
    with pytest.raises(ConfigInvalid, match="roc_auc_ovr has no value"):
        Judge(named_metric("roc_auc_ovr"), BY_METRIC, rows, base)


def test_the_worst_score_is_the_one_that_loses_most():
    rows, base, other = two_answers(50)
    judge = Judge(ACCURACY, BY_METRIC, rows, base)
    broken = {**other, "probabilities": other["probabilities"] * np.nan}
    scores = [judge.score(one, cpu) for one, cpu in ((base, "a"), (broken, "b"), (other, "c"))]
    assert worst(scores).cpu == "b"
    assert worst([scores[0], scores[2]]).cpu == "c"


# --- the interval --------------------------------------------------------------------------


def test_equal_answers_lose_nothing_for_sure_and_nothing_is_drawn(monkeypatch):
    monkeypatch.setattr(module, "resampled", None)
    rows, base, _ = two_answers(30)
    score = Judge(named_metric("f1_macro"), BY_METRIC, rows, base).score(dict(base))
    assert (score.drop, score.low, score.high, score.agreement) == (0.0, 0.0, 0.0, 1.0)
    assert score.within_noise


def test_rows_that_both_answer_alike_make_no_noise():
    rows, base, _ = two_answers(400)
    other = {**base, "probabilities": base["probabilities"] * np.float32(0.5)}
    score = Judge(named_metric("balanced_accuracy"), BY_METRIC, rows, base).score(other)
    assert (score.drop, score.low, score.high) == (0.0, 0.0, 0.0)


def test_the_interval_is_that_of_the_binomial():
    rows, base = labelled(1000, 1000)
    _, other = labelled(900, 1000)
    score = Judge(ACCURACY, BY_METRIC, rows, base).score(other)
    half = 1.96 * math.sqrt(0.1 * 0.9 / 1000)
    assert score.low == pytest.approx(0.1 - half, abs=0.003)
    assert score.high == pytest.approx(0.1 + half, abs=0.003)


def test_it_is_paired_so_that_rows_which_are_hard_for_both_do_not_widen_it():
    generator = np.random.default_rng(0)
    truth = generator.normal(size=2000)
    base = truth + generator.normal(size=2000)
    other = base + generator.normal(0, 0.01, size=2000)
    score = Judge(named_metric("r2"), BY_METRIC, measured(truth), {"value": base}).score(
        {"value": other}
    )
    assert score.high - score.low < 0.003


def test_few_rows_cannot_tell_a_small_loss_from_noise_and_many_can():
    def score(count):
        rows, base = labelled(round(0.9 * count), count)
        _, other = labelled(round(0.9 * count), count)
        scores = other["probabilities"].copy()
        swapped = round(0.02 * count)
        scores[: 2 * swapped] = [0.0, 1.0]  # rights lost
        scores[-swapped:] = [1.0, 0.0]  # and wrongs mended
        return Judge(ACCURACY, BY_METRIC, rows, base).score(by_scores(scores))

    few, many = score(100), score(4000)
    assert few.drop == pytest.approx(many.drop) == pytest.approx(0.02)
    assert few.within_noise
    assert not many.within_noise


@pytest.mark.parametrize("name", ["accuracy", "average_precision", "f1_macro", "cosine"])
def test_the_same_answers_have_the_same_interval(name):
    rows, base, other = two_answers(300)
    once, again = (
        Judge(named_metric(name), BY_METRIC, rows, base).score(other) for _ in range(2)
    )
    assert once == again
    assert once.low <= once.drop <= once.high


def test_of_many_rows_an_even_choice_is_drawn_and_the_interval_narrows(monkeypatch):
    rows, base, other = two_answers(4000)
    metric = named_metric("balanced_accuracy")
    whole = Judge(metric, BY_METRIC, rows, base).score(other)
    monkeypatch.setattr(module, "DRAWN_ROWS", 1000)
    part = Judge(metric, BY_METRIC, rows, base).score(other)
    assert (part.quality, part.drop) == (whole.quality, whole.drop)
    assert part.high - part.low == pytest.approx(whole.high - whole.low, rel=0.25)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 6),
    st.sampled_from(["balanced_accuracy", "average_precision", "accuracy", "log_loss"]),
    st.integers(0, 99),
)
def test_whatever_the_rows_an_interval_holds_no_nan(count, classes, name, seed):
    rows, base, other = two_answers(count, classes=max(2, classes), seed=seed)
    score = Judge(Metric(name), ABSOLUTE, rows, base).score(other)
    assert not math.isnan(score.low)
    assert not math.isnan(score.high)
    assert score.low <= score.high


def test_a_hundred_classes_with_a_row_each_are_judged():
    truth = np.arange(100)
    base = by_scores(drawn_scores(truth, 100, noise=1.0), range(100))
    other = by_scores(drawn_scores(truth, 100, noise=1.1), range(100))
    rows = classified(truth, range(100))
    for name in ("average_precision", "balanced_accuracy", "f1_macro"):
        score = Judge(named_metric(name), BY_METRIC, rows, base).score(other)
        assert score.low <= score.high


def test_without_truth_the_agreement_is_judged():
    rows = unknown(3, {"label": "label"})
    judge = Judge(named_metric("agreement"), BY_METRIC, rows, {"label": np.array([0, 1, 2])})
    score = judge.score({"label": np.array([0, 1, 1])})
    assert score.quality == score.agreement == pytest.approx(2 / 3)
    assert score.drop == pytest.approx(1 / 3)
