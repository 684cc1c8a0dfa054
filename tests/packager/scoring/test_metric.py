"""Which metric judges, by name or by what the rows are like."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from judged_rows import ROLES, classified, measured, unknown
from sklearn.metrics import get_scorer_names

from packager.errors import ConfigInvalid
from packager.scoring import Metric, choose_metric, named_metric

RARE = [0] * 95 + [1] * 5
EVEN = [0, 1] * 50


# --- by themselves -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        (classified(EVEN), "balanced_accuracy"),
        (classified(RARE), "average_precision"),
        (classified(RARE, roles={"label": "label"}), "balanced_accuracy"),
        (classified([1] * 20), "balanced_accuracy"),
        (classified([1]), "balanced_accuracy"),
        (classified(range(100), range(100)), "average_precision"),
        (measured([1.0, 2.0]), "r2"),
        (measured([2.0, 2.0, 2.0]), "root_mean_squared_error"),
        (measured([2.0]), "root_mean_squared_error"),
        (unknown(3, {"label": "label"}), "agreement"),
        (unknown(3, {}), "cosine"),
        (unknown(3, {"value": "value"}), "cosine"),
    ],
)
def test_the_rows_decide(rows, name):
    assert choose_metric(None, rows).name == name


# --- by name -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "metric"),
    [
        ("agreement", Metric("agreement")),
        ("f1_macro", Metric("f1_macro")),
        ("log_loss", Metric("log_loss", lower_is_better=True, bounded=False)),
        ("neg_log_loss", Metric("log_loss", lower_is_better=True, bounded=False)),
        (
            "mean_absolute_percentage_error",
            Metric("mean_absolute_percentage_error", lower_is_better=True, bounded=False),
        ),
        ("positive_likelihood_ratio", Metric("positive_likelihood_ratio", bounded=False)),
    ],
)
def test_a_name_has_a_direction_and_a_unit(wanted, metric):
    assert named_metric(wanted) == metric


def test_every_scorer_of_scikit_learn_has_a_name_here_with_and_without_neg():
    for name in get_scorer_names():
        metric = named_metric(name)
        assert metric.lower_is_better == name.startswith("neg_")
        assert named_metric(metric.name) == metric


@pytest.mark.parametrize(
    ("wanted", "nearest"),
    [("balanced_acuracy", "balanced_accuracy"), ("rocauc", "roc_auc"), ("neg_r2", None)],
)
def test_an_unknown_name_is_refused_and_the_nearest_told(wanted, nearest):
    with pytest.raises(ConfigInvalid, match=f"{wanted} is no metric") as caught:
        named_metric(wanted)
    assert nearest is None or repr(nearest) in caught.value.message


def test_names_of_our_own_forms_need_no_scikit_learn():
    code = (
        "import sys; from packager.scoring import named_metric; import packager.options; "
        "named_metric('average_precision'); named_metric('neg_log_loss'); "
        "sys.exit('sklearn' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- what does not suit --------------------------------------------------------------------

LABELS_ALONE = {"label": "label"}
SCORES = {"label": "label", "score": "scores"}


@pytest.mark.parametrize(
    ("wanted", "rows", "reason"),
    [
        ("r2", classified(EVEN), "it judges numbers"),
        ("neg_max_error", classified(EVEN), "it judges numbers"),
        ("accuracy", measured([1.0, 2.0]), "it judges classes"),
        ("f1", measured([1.0, 2.0]), "scikit-learn says"),
        ("rand_score", measured([1.0, 2.0]), "scikit-learn says"),
        ("r2", measured([2.0, 2.0]), "one number"),
        ("r2", unknown(3, {}), "nobody knows the truth"),
        ("f1_macro", unknown(3, LABELS_ALONE), "nobody knows the truth"),
        ("log_loss", classified(EVEN, roles=LABELS_ALONE), "no probabilities"),
        ("log_loss", classified(EVEN, roles=SCORES), "no probabilities"),
        ("neg_brier_score", classified(EVEN, roles=LABELS_ALONE), "scikit-learn says"),
        ("average_precision", classified(EVEN, roles=LABELS_ALONE), "nor scores"),
        ("roc_auc", classified(EVEN, roles=LABELS_ALONE), "scikit-learn says"),
        ("roc_auc", classified([1] * 9), "no value|scikit-learn says"),
        ("average_precision", classified([1] * 9), "one class"),
        ("f1", classified([0, 1, 2] * 3, range(3)), "multiclass"),
        ("top_k_accuracy", classified(EVEN), "always 1"),
        ("neg_mean_gamma_deviance", measured([0.0, 1.0]), "positive"),
        ("f1_samples", classified(EVEN), "scikit-learn says"),
    ],
)
def test_a_metric_that_does_not_suit_is_refused_and_suitable_ones_are_told(
    wanted, rows, reason
):
    with pytest.raises(ConfigInvalid, match=f"does not suit .*({reason})") as caught:
        choose_metric(wanted, rows)
    suiting = caught.value.values["expected"]
    assert suiting[0] in caught.value.message
    for name in suiting:
        assert choose_metric(name, rows).name == name


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        ("roc_auc", classified(EVEN)),
        ("roc_auc", classified(EVEN, roles=SCORES)),
        ("roc_auc_ovr", classified([0, 1, 2] * 3, range(3))),
        ("f1", classified(["no", "yes"] * 5, ["no", "yes"])),
        ("neg_negative_likelihood_ratio", classified(EVEN)),
        ("matthews_corrcoef", classified(np.array([True, False] * 9), [False, True])),
        ("median_absolute_error", measured([1.0, 2.0])),
        ("d2_absolute_error_score", measured([1.0, 2.0])),
        ("agreement", measured([1.0, 2.0])),
        ("cosine", classified(EVEN, roles=ROLES)),
    ],
)
def test_a_metric_that_suits_is_taken(wanted, rows):
    assert choose_metric(wanted, rows) == named_metric(wanted)
