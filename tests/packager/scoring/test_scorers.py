"""scikit-learn's scorers, asked about answers: the figure is the one that it tells itself."""

from __future__ import annotations

import numpy as np
import pytest
from judged_rows import ROLES, by_scores, classified, drawn_scores, measured
from sklearn import metrics

from packager.scoring import named_metric
from packager.scoring.scorers import objection, scored, scorer_names

TRUTH = np.random.default_rng(3).integers(0, 2, 60)
THREE = np.random.default_rng(4).integers(0, 3, 60)


def whole(statistic, count):
    return statistic(np.arange(count)[None])[0]


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("f1", lambda t, s: metrics.f1_score(t, s.argmax(axis=1))),
        ("roc_auc", lambda t, s: metrics.roc_auc_score(t, s[:, 1])),
        ("neg_brier_score", lambda t, s: metrics.brier_score_loss(t, s[:, 1])),
        (
            "precision_macro",
            lambda t, s: metrics.precision_score(t, s.argmax(1), average="macro"),
        ),
    ],
)
@pytest.mark.parametrize("labels", [[0, 1], ["no", "yes"], [False, True]])
def test_a_figure_of_two_classes_is_scikit_learn_s(name, score, labels):
    scores = drawn_scores(TRUTH, 2, noise=1.0).astype(np.float32)
    rows = classified(np.array(labels, dtype=object)[TRUTH], labels)
    found = whole(scored(name, rows, by_scores(scores, labels)), 60)
    assert found == pytest.approx(score(TRUTH, scores), rel=1e-5)


def test_a_figure_of_three_classes_is_scikit_learn_s():
    scores = drawn_scores(THREE, 3, noise=1.0)
    rows, answers = classified(THREE, range(3)), by_scores(scores, range(3))
    expected = metrics.roc_auc_score(THREE, scores, multi_class="ovr")
    assert whole(scored("roc_auc_ovr", rows, answers), 60) == pytest.approx(expected, rel=1e-5)


def test_probabilities_that_do_not_quite_add_up_to_one_are_judged():
    scores = drawn_scores(THREE, 3, noise=1.0)
    rows = classified(THREE, range(3))
    exact, loose = (by_scores(scores * factor, range(3)) for factor in (1.0, 0.98))
    figures = [whole(scored("roc_auc_ovr", rows, one), 60) for one in (exact, loose)]
    assert figures[0] == pytest.approx(figures[1])


@pytest.mark.parametrize("columns", [1, 2])
def test_scores_that_are_no_probabilities_rank_as_well(columns):
    lead = drawn_scores(TRUTH, 2, noise=1.0)[:, 1] * 8 - 4
    scores = lead[:, None] if columns == 1 else np.column_stack([-lead, lead])
    rows = classified(TRUTH, roles={"label": "label", "score": "scores"})
    answers = {"label": (lead > 0).astype(int), "scores": scores}
    expected = metrics.roc_auc_score(TRUTH, lead)
    assert whole(scored("roc_auc", rows, answers), 60) == pytest.approx(expected)


def test_an_error_is_told_as_people_know_it():
    truth = np.arange(5.0)
    figure = whole(
        scored("neg_median_absolute_error", measured(truth), {"value": truth + 2}), 5
    )
    assert figure == pytest.approx(2.0)


def test_a_draw_that_a_scorer_refuses_has_no_value():
    rows = classified(THREE, range(3))
    statistic = scored(
        "roc_auc_ovr", rows, by_scores(drawn_scores(THREE, 3, noise=1.0), range(3))
    )
    assert np.isnan(statistic(np.flatnonzero(THREE == 0)[None, :5])).all()


def test_answers_that_are_no_class_are_wrong_answers():
    rows = classified(TRUTH)
    answers = by_scores(drawn_scores(TRUTH, 2, noise=0.1))
    answers["label"] = np.where(np.arange(60) < 30, 7, answers["label"])
    assert whole(scored("recall_macro", rows, answers), 60) < 0.7


@pytest.mark.parametrize("name", sorted(scorer_names()))
@pytest.mark.parametrize(
    ("rows", "answers"),
    [
        (classified(TRUTH), by_scores(drawn_scores(TRUTH, 2, noise=1.0))),
        (
            classified(THREE, range(3)),
            by_scores(drawn_scores(THREE, 3, noise=1.0), range(3)),
        ),
        (
            measured(np.linspace(0.5, 2, 30)),
            {"value": np.linspace(0.6, 1.9, 30)[:, None]},
        ),
    ],
    ids=["two", "three", "numbers"],
)
def test_a_scorer_without_an_objection_has_a_value(name, rows, answers):
    metric = named_metric(name)
    scorer = f"neg_{metric.name}" if metric.lower_is_better else metric.name
    if not objection(scorer, rows):
        assert np.isfinite(whole(scored(scorer, rows, answers), rows.count))
        assert rows.roles in (ROLES, {"value": "value"})
