"""The ladder: best first, one a family, float32 last, budgets kept, and one alone if asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from packager.budgets import Budgets
from packager.errors import BudgetExceeded
from packager.graphs.model_files import ModelFiles
from packager.recipes import PLAIN, Recipe
from packager.search.ladder import Field, choose
from packager.stages.admit import Court, admit
from packager.target import TargetProfile, load_profile
from packager.variant import Candidate, Measured, Score, Verdict

CPU = "CPUExecutionProvider"
HERE, ELSEWHERE = {1: 100.0, 32: 1000.0}, dict[int, float]()
FUSED = Recipe("float32-fused", "float32", form="fused")
TREES = Recipe("float32-trees", "float32", form="trees")
STATIC, SPARING = (
    Recipe("int8-static", "int8-static"),
    Recipe("int8-static-sparing", "int8-static"),
)
DYNAMIC, INT4 = Recipe("int8-dynamic", "int8-dynamic"), Recipe("int4", "int4")


@pytest.fixture(scope="module")
def profile() -> TargetProfile:
    return load_profile("x86-64-cpu")


def measured(recipe: Recipe, size: int, *, times: float = 1.0, here: bool = True) -> Measured:
    latency = {batch: times * time for batch, time in HERE.items()} if here else ELSEWHERE
    score = Score("host", 0.9, 0.0, -0.01, 0.01, 1.0)
    return Measured(recipe.name, recipe.precision, size, size // 2, [score], latency)


def field(
    profile: TargetProfile,
    *others: tuple[Recipe, Measured],
    budgets: Budgets | None = None,
    single: bool = False,
    here: bool = True,
) -> Field:
    """The field as a search makes it: plain float32 has 1,000 bytes."""
    ones = [(PLAIN, measured(PLAIN, 1000, here=here)), *others]
    kept = budgets or Budgets()
    verdicts = admit([one for _, one in ones], Court(ones[0][1], None, kept))
    provider = profile.providers[0]
    return Field(
        profile,
        [Candidate(recipe.name, recipe, provider, ModelFiles(b"")) for recipe, _ in ones],
        {one.name: one for _, one in ones},
        {one.name: one for one in verdicts},
        kept,
        single,
    )


def chosen(found: Field) -> tuple[list[str], dict[str, Verdict]]:
    ladder, verdicts = choose(found)
    names = [one.name for one in ladder]
    assert [one.name for one in verdicts] == [one.name for one in found.candidates]
    assert {one.name for one in verdicts if one.admitted} == set(names)
    return names, {one.name: one for one in verdicts}


def sized(recipe: Recipe, size: int, **more: Any) -> tuple[Recipe, Measured]:
    return recipe, measured(recipe, size, **more)


# --- order ---------------------------------------------------------------------------------


def test_float32_alone_is_a_ladder(profile):
    names, told = chosen(field(profile))
    assert names == ["float32"]
    assert told["float32"].reason == "ships: every ladder ends on float32"


def test_where_time_counts_merit_decides_the_order(profile):
    slow, fast = sized(STATIC, 300, times=1.1), sized(DYNAMIC, 310, times=0.5)
    assert chosen(field(profile, slow, fast))[0] == ["int8-dynamic", "int8-static", "float32"]


def test_on_another_chip_the_profile_decides_the_order_and_then_bytes(profile):
    ones = [
        sized(DYNAMIC, 200, here=False),
        sized(STATIC, 300, here=False),
        sized(SPARING, 290, here=False),
    ]
    names, told = chosen(field(profile, *ones, here=False))
    assert names == ["int8-static-sparing", "int8-dynamic", "float32"]
    assert told["int8-static"].reason == (
        "does not ship: int8-static-sparing of its family does"
    )


def test_of_a_family_the_best_ships_and_the_other_is_told(profile):
    names, told = chosen(field(profile, sized(STATIC, 300), sized(SPARING, 500)))
    assert names == ["int8-static", "float32"]
    assert told["int8-static-sparing"].rule == "better-ones"
    assert told["int8-static-sparing"].reason == "does not ship: int8-static of its family does"


def test_a_ladder_holds_three(profile):
    names, told = chosen(
        field(profile, sized(STATIC, 300), sized(DYNAMIC, 310), sized(INT4, 320))
    )
    assert names == ["int8-static", "int8-dynamic", "float32"]
    assert told["int4"].reason == (
        "does not ship: a ladder holds 3 variants, better ones fill it"
    )


def test_the_best_float32_form_is_the_last_rung(profile):
    ones = (sized(FUSED, 900), sized(TREES, 700), sized(STATIC, 300))
    names, told = chosen(field(profile, *ones))
    assert names == ["int8-static", "float32-trees"]
    assert told["float32"].reason == "does not ship: float32-trees is better"
    assert told["float32-fused"].reason == "does not ship: float32-trees is better"


def test_what_is_worse_than_the_last_rung_does_not_stand_above_it(profile):
    names, told = chosen(field(profile, sized(TREES, 200), sized(STATIC, 300)))
    assert names == ["float32-trees"]
    assert told["int8-static"].reason == "does not ship: float32-trees is better"


# --- quality -------------------------------------------------------------------------------


def losing(one: Measured, drop: float, noise: float) -> Measured:
    return replace(
        one, scores=[Score("host", 0.9 - drop, drop, drop - noise, drop + noise, 1.0)]
    )


def test_among_close_ones_a_clear_difference_of_quality_decides(profile):
    lossy = (STATIC, losing(measured(STATIC, 300), 0.009, 0.001))
    exact = (SPARING, losing(measured(SPARING, 308), 0.001, 0.001))
    assert chosen(field(profile, lossy, exact))[0][0] == "int8-static-sparing"


def test_a_difference_within_noise_decides_nothing(profile):
    lossy = (STATIC, losing(measured(STATIC, 300), 0.009, 0.005))
    exact = (SPARING, losing(measured(SPARING, 308), 0.001, 0.005))
    assert chosen(field(profile, lossy, exact))[0][0] == "int8-static"


def test_quality_within_the_budget_buys_no_worse_merit(profile):
    lossy = (STATIC, losing(measured(STATIC, 300), 0.009, 0.001))
    exact = (SPARING, losing(measured(SPARING, 600), 0.001, 0.001))
    assert chosen(field(profile, lossy, exact))[0][0] == "int8-static"


def test_among_close_ones_that_lose_alike_the_first_recipe_ships(profile):
    slower, faster = sized(STATIC, 300, times=1.01), sized(SPARING, 300, times=0.99)
    assert chosen(field(profile, slower, faster))[0][0] == "int8-static"


def test_what_is_admitted_by_a_margin_stands_above_plain_float32(profile):
    names, told = chosen(field(profile, sized(FUSED, 950)))
    assert names == ["float32-fused"]
    assert told["float32"].reason == "does not ship: float32-fused is better"


# --- budgets -------------------------------------------------------------------------------


def test_where_float32_misses_a_budget_the_smallest_is_the_last_rung(profile):
    ones = (sized(STATIC, 320, times=0.5), sized(DYNAMIC, 300, times=0.9))
    names, told = chosen(field(profile, *ones, budgets=Budgets(size=400)))
    assert names == ["int8-static", "int8-dynamic"]
    assert told["float32"].rule == "size"
    assert told["float32"].reason == (
        "does not ship: it has 1,000 bytes, --max-size allows 400"
    )


def test_a_smaller_form_of_float32_may_keep_the_budget(profile):
    names, _ = chosen(field(profile, sized(TREES, 390), budgets=Budgets(size=400)))
    assert names == ["float32-trees"]


def test_where_nothing_fits_the_nearest_is_told_with_its_value(profile):
    slow = sized(DYNAMIC, 300, times=1.5)  # the nearest, if it were not too slow
    made = field(profile, sized(STATIC, 320), slow, budgets=Budgets(size=310))
    with pytest.raises(BudgetExceeded) as caught:
        choose(made.without(Verdict("int8-dynamic", False, "does not ship: slow", "too-slow")))
    assert caught.value.message == (
        "x86-64-cpu: no variant keeps the budgets; the nearest is int8-static, and it has "
        "320 bytes, --max-size allows 310"
    )
    assert caught.value.values["budget"] == "max-size"


# --- one alone, and beside an accelerator --------------------------------------------------


def test_single_ships_the_best_alone(profile):
    ones = (sized(STATIC, 300), sized(DYNAMIC, 310))
    names, told = chosen(field(profile, *ones, single=True))
    assert names == ["int8-static"]
    assert told["float32"].reason == "does not ship: --single ships one variant, int8-static"
    assert told["float32"].rule == told["int8-dynamic"].rule == "single"


def test_one_that_golden_vectors_turned_down_makes_room_for_the_next(profile):
    made = field(profile, sized(STATIC, 300), sized(SPARING, 500))
    rejected = Verdict("int8-static", False, "does not ship: other answers", "golden")
    names, told = chosen(made.without(rejected))
    assert names == ["int8-static-sparing", "float32"]
    assert told["int8-static"] == rejected


@pytest.mark.parametrize("single", [False, True])
def test_beside_an_accelerator_stands_float32_for_the_cpu(single):
    half = Recipe("float16", "float16")
    made = field(
        load_profile("x86-64-cuda"), sized(half, 500, here=False), single=single, here=False
    )
    cpu = Recipe("float32-cpu", "float32", form="plain")
    made = made.beside(Candidate(cpu.name, cpu, CPU, ModelFiles(b"")))
    expected = ["float16"] if single else ["float16", "float32", "float32-cpu"]
    names, told = chosen(made)
    assert names == expected
    assert told["float32-cpu"].admitted != single
