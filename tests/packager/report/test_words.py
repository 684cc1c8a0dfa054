"""What page, terminal and card say alike: sentences and figures."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import reports

from packager.budgets import Budgets, Drop
from packager.recipes import PLAIN, RECIPES
from packager.report import words
from packager.scoring import Metric
from packager.variant import Measured

ERROR = Metric("mean_absolute_error", lower_is_better=True, bounded=False)


@pytest.mark.parametrize("recipe", [PLAIN, *RECIPES], ids=lambda one: one.name)
def test_every_recipe_has_words_of_its_own(recipe):
    told = words.made_how(recipe.name, reduce_range=False)
    assert told
    others = {
        words.made_how(one.name, reduce_range=False)
        for one in (PLAIN, *RECIPES)
        if one.name != recipe.name
    }
    assert told not in others


def test_weights_of_seven_bits_are_told_where_there_are_some():
    assert "7 of their bits" in words.made_how("int8-static", reduce_range=True)
    assert "7 of their bits" not in words.made_how("float32", reduce_range=True)
    assert "7 of their bits" not in words.made_how("int8-weights", reduce_range=True)


def test_a_candidate_without_a_recipe_has_words_or_none():
    assert words.made_how("float32-cpu", reduce_range=False).endswith("for the CPU")
    assert words.made_how("somebody-elses", reduce_range=False) == ""


@pytest.mark.parametrize(
    ("drop", "low", "high", "told"),
    [
        (0.0, 0.0, 0.0, "no drop"),
        (0.004, -0.001, 0.009, "within noise"),
        (-0.004, -0.009, 0.0, "within noise"),
        (0.0042, 0.0011, 0.0075, "drop 0.0042"),
        (-0.0042, -0.0075, -0.0011, "drop -0.0042"),
        (math.nan, math.nan, math.nan, "an answer is no number"),
    ],
)
def test_a_drop_within_noise_is_never_called_a_loss(drop, low, high, told):
    score = reports.score(drop=drop, low=low, high=high)
    assert words.drop_words(score, relative=False) == told


def test_a_problem_stands_in_place_of_a_drop():
    score = reports.score("Haswell", math.nan, math.nan, problem="it crashed")
    assert words.drop_words(score, relative=False) == "it crashed"
    assert words.quality_figure(reports.facts(), score) == "none"


def test_a_drop_is_told_in_the_unit_of_the_budget():
    assert not words.is_relative(reports.facts())
    assert words.is_relative(reports.facts(metric=ERROR))
    assert words.is_relative(reports.facts(budgets=Budgets(Drop(0.01, relative=True))))
    assert not words.is_relative(
        reports.facts(metric=ERROR, budgets=Budgets(Drop(0.5, relative=False)))
    )
    assert words.drop_figure(0.0123, relative=True) == "1.23%"
    assert words.drop_figure(-0.000001, relative=False) == "0.0000"
    assert words.drop_text(reports.facts(metric=ERROR)) == "1%"


def test_a_quality_has_digits_that_suit_the_metric():
    score = reports.score(quality=12345.678)
    assert words.quality_figure(reports.facts(metric=ERROR), score) == "12346"
    assert words.quality_figure(reports.facts(), reports.score(quality=0.95)) == "0.9500"


@pytest.mark.parametrize(
    ("scores", "standing"),
    [
        ((), words.UNJUDGED),
        ((reports.score(),), words.AS_GOOD),
        ((reports.score(drop=0.009, low=-0.01, high=0.02),), words.AS_GOOD),
        ((reports.score(drop=0.009, low=0.001, high=0.02),), words.WITHIN),
        ((reports.score(drop=0.01, low=0.001, high=0.02),), words.WITHIN),
        ((reports.score(drop=0.011, low=-0.01, high=0.02),), words.OVER),
        ((reports.score(drop=math.nan),), words.OVER),
        ((reports.score(), reports.score("Haswell", drop=math.nan, problem="x")), words.OVER),
    ],
)
def test_the_point_estimate_counts_against_the_budget_and_noise_is_no_loss(scores, standing):
    item = Measured("int8", "int8", 1, 1, scores)
    assert words.standing(item, Drop(0.01)) == standing
    assert standing in words.STANDINGS


def test_a_verdict_is_one_sentence_with_bytes_times_and_quality():
    facts = reports.rich_facts()
    assert words.verdict(facts, facts.targets[0]) == (
        "int8-static ships: 0.30 of float32's bytes, 0.61 of its time at batch 1, "
        "0.47 of its time at batch 32; balanced_accuracy 0.9534 → 0.9547 on Nehalem, "
        "within noise"
    )


def test_a_target_that_was_not_timed_has_no_time_in_its_verdict():
    facts = reports.rich_facts()
    assert words.verdict(facts, facts.targets[1]) == (
        "int8-static ships: 0.30 of float32's bytes; balanced_accuracy 0.9534 → 0.9547 on "
        "cortex-a53, within noise"
    )


def test_float32_alone_has_a_reason():
    small = reports.facts()
    assert words.verdict(small, small.targets[0]) == (
        "float32 ships: none of the 1 other candidates pays within the budgets"
    )
    alone = replace(small.targets[0], measured=small.targets[0].measured[:1])
    assert "could be tried" in words.verdict(reports.facts(alone), alone)
    assert "without rows" in words.verdict(reports.facts(data=None), small.targets[0])


def test_every_budget_that_was_set_is_told_as_it_was_typed():
    budgets = Budgets(Drop(0.02), 5 << 20, 1.5, 64 << 20)
    assert words.budget_words(reports.facts(budgets=budgets)) == [
        "--max-drop 0.02",
        "--max-size 5.0 MiB",
        "--max-latency-ms 1.5",
        "--max-memory 64.0 MiB",
    ]
    assert words.budget_words(reports.facts(metric=None)) == []


@pytest.mark.parametrize(
    ("nanoseconds", "told"),
    [
        (13, "13.0 ns"),
        (13_000, "13.0 µs"),
        (148_000, "148 µs"),
        (1.24e6, "1.24 ms"),
        (2e9, "2.00 s"),
    ],
)
def test_times_have_three_digits_and_a_unit(nanoseconds, told):
    assert words.duration(nanoseconds) == told


def test_lists_read_as_sentences():
    assert [words.listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
