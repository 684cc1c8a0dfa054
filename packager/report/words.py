"""Sentences and figures that page, terminal and card say alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edge_runtime.contract.units import size
from packager.budgets import Drop
from packager.recipes import (
    FLOAT16,
    FLOAT32,
    INT4,
    INT8_DYNAMIC,
    INT8_STATIC,
    INT8_WEIGHTS,
    PLAIN,
    RECIPES,
    Recipe,
)
from packager.report.facts import BuildFacts, TargetFacts
from packager.variant import Measured, Score

HOST = "host"

# How a candidate stands against the quality budget.
AS_GOOD, WITHIN, OVER, UNJUDGED = "as-good", "within", "over", "unjudged"
STANDINGS: Mapping[str, str] = {
    AS_GOOD: "as good as float32, or within noise of it",
    WITHIN: "worse, within the budget",
    OVER: "worse than the budget allows, or no answer",
    UNJUDGED: "not judged",
}

_FAMILIES: Mapping[str, str] = {
    FLOAT16: "floating point of 16 bits",
    INT8_DYNAMIC: "weights of 8 bits, ranges of values found anew at each call",
    INT8_WEIGHTS: "weights of 8 bits that become float32 when the engine loads them",
    INT4: "weights of 4 bits in blocks, everything else float32",
    f"{FLOAT32}-cpu": "the float32 graph again, for the CPU",
}
_FORMS: Mapping[str, str] = {
    "plain": "the graph as it was converted, the measure of all",
    "fused": "float32 with operators fused ahead of time",
    "trees": "float32 with its trees in the newer, smaller form",
}
_RANGES: Mapping[str, str] = {
    "minmax": "from the least and the greatest value",
    "entropy": "that lose least information",
    "percentile": "without the rarest values",
}
_FEW_DIGITS = 5
# What floating point may add to a drop that is the budget itself.
_HAIR = 1e-12


# --- how candidates are made ---------------------------------------------------------------


def made_how(name: str, *, reduce_range: bool) -> str:
    """Say how a candidate was made.

    Args:
        name: the candidate's.
        reduce_range: whether int8 weights of its target take 7 bits.
    """
    recipe = {one.name: one for one in (PLAIN, *RECIPES)}.get(name)
    if recipe is None:
        return _FAMILIES.get(name, "")
    if recipe.family == FLOAT32:
        return _FORMS[recipe.form]
    words = [_family(recipe)]
    if reduce_range and recipe.family in (INT8_STATIC, INT8_DYNAMIC):
        words.append("weights use 7 of their bits")
    if recipe.dense_only:
        words.append("MatMul and Gemm alone")
    if recipe.sparing:
        words.append("the nodes that err most stay float32")
    return "; ".join(words)


def _family(recipe: Recipe) -> str:
    if recipe.family == INT8_STATIC:
        return f"weights and values of 8 bits, ranges {_RANGES[recipe.ranges]}"
    return _FAMILIES[recipe.family]


# --- figures -------------------------------------------------------------------------------


def is_relative(facts: BuildFacts) -> bool:
    """Tell whether drops are shares of what float32 reaches, not in the metric's unit."""
    return bool(_budget(facts).relative)


def _budget(facts: BuildFacts) -> Drop:
    return facts.budgets.drop.of(bounded=facts.metric is None or facts.metric.bounded)


def drop_figure(value: float, *, relative: bool) -> str:
    """Return a drop as ``--max-drop`` writes it: 0.0042, or 0.42% of an error."""
    if not math.isfinite(value):
        return "unknown"
    return f"{value:z.2%}" if relative else f"{value:z.4f}"


def quality_figure(facts: BuildFacts, score: Score) -> str:
    """Return a quality in the metric's unit, or that there is none."""
    if score.problem or not math.isfinite(score.quality):
        return "none"
    bounded = facts.metric is None or facts.metric.bounded
    return f"{score.quality:z.4f}" if bounded else f"{score.quality:.{_FEW_DIGITS}g}"


def interval(score: Score, *, relative: bool) -> str:
    """Return the 95 % interval of a score's drop."""
    low, high = (drop_figure(end, relative=relative) for end in (score.low, score.high))
    return f"{low} to {high}"


def drop_words(score: Score, *, relative: bool) -> str:
    """Say what a candidate loses: nothing, something within noise, or how much."""
    if score.problem:
        return score.problem
    if not math.isfinite(score.drop):
        return "an answer is no number"
    if score.drop == score.low == score.high == 0:
        return "no drop"
    if score.within_noise:
        return "within noise"
    return f"drop {drop_figure(score.drop, relative=relative)}"


def standing(item: Measured, budget: Drop) -> str:
    """Return how a candidate's worst quality stands against the budget: one of STANDINGS."""
    worst = item.worst
    if worst is None:
        return UNJUDGED
    if worst.problem or not worst.drop <= budget.amount + _HAIR:  # NaN is over it too
        return OVER
    return AS_GOOD if worst.low <= 0 else WITHIN


def time_shares(item: Measured, base: Measured) -> dict[int, float]:
    """Return by batch size which share of float32's time a call takes on this machine."""
    return {
        batch: duration / base.latency[batch]
        for batch, duration in item.latency.items()
        if batch in base.latency
    }


def duration(nanoseconds: float) -> str:
    """Return a time for people: 1.24 ms."""
    for unit, step in (("ns", 1.0), ("µs", 1e3), ("ms", 1e6)):
        if nanoseconds < 1000 * step:
            return f"{nanoseconds / step:#.3g} {unit}".replace(". ", " ")
    return f"{nanoseconds / 1e9:#.3g} s".replace(". ", " ")


# --- CPU models ----------------------------------------------------------------------------


def cpu_words(cpu: str) -> str:
    """Return what a score's CPU is called in a sentence."""
    return "this machine" if cpu == HOST else cpu


def judged_on(measured: Sequence[Measured]) -> list[str]:
    """Return the CPU models that some candidate was scored on, in the order of the scores."""
    return list(dict.fromkeys(score.cpu for item in measured for score in item.scores))


def listed(words: Sequence[str]) -> str:
    """Return words as a list in a sentence: a, b and c."""
    if len(words) < 2:  # noqa: PLR2004 - one word needs no "and"
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def bare_reason(reason: str) -> str:
    """Return why a candidate does not ship, where a heading says already that it does not."""
    return reason.removeprefix("does not ship: ")


# --- verdicts ------------------------------------------------------------------------------


def verdict(facts: BuildFacts, target: TargetFacts) -> str:
    """Say in one sentence what ships for a target and why."""
    base = target.measured[0]
    first = next(item for item in target.measured if item.name == target.ladder[0].name)
    if first.name == base.name:
        return f"{first.name} ships: {_why_plain(facts, target)}"
    parts = [", ".join(_gains(first, base))]
    if first.worst is not None and base.scores:
        parts.append(_kept(facts, first.worst, base.scores[0]))
    return f"{first.name} ships: {'; '.join(parts)}"


def _why_plain(facts: BuildFacts, target: TargetFacts) -> str:
    if facts.data is None:
        return "without rows nobody can say what a smaller form costs in quality"
    others = len(target.measured) - 1
    if not others:
        return "no smaller form of this model could be tried"
    return f"none of the {others} other candidates pays within the budgets"


def _gains(item: Measured, base: Measured) -> list[str]:
    shares = [f"{item.size / base.size:.2f} of float32's bytes"]
    shares += [
        f"{share:.2f} of its time at batch {batch}"
        for batch, share in time_shares(item, base).items()
    ]
    return shares


def _kept(facts: BuildFacts, worst: Score, base: Score) -> str:
    lost = drop_words(worst, relative=is_relative(facts))
    where = "" if worst.cpu == HOST else f" on {worst.cpu}"
    before, after = quality_figure(facts, base), quality_figure(facts, worst)
    return f"{facts.metric_name} {before} → {after}{where}, {lost}"


def budget_words(facts: BuildFacts) -> list[str]:
    """Return every budget that variants had to keep, as the command line has it."""
    budgets = facts.budgets
    given = [("--max-drop", drop_text(facts))] if facts.metric else []
    if budgets.size is not None:
        given.append(("--max-size", size(budgets.size)))
    if budgets.latency_ms is not None:
        given.append(("--max-latency-ms", f"{budgets.latency_ms:g}"))
    if budgets.memory is not None:
        given.append(("--max-memory", size(budgets.memory)))
    return [f"{flag} {value}" for flag, value in given]


def drop_text(facts: BuildFacts) -> str:
    """Return the quality budget in the unit in which drops are told."""
    return _budget(facts).text()


def run_commands(name: str, version: str) -> list[str]:
    """Return what a person types on a device to install a bundle and use it."""
    return [
        "edge-runtime trust add release.pub",
        f"edge-runtime install {name}-{version}.oci.tar",
        f"edge-runtime predict {name} --input rows.csv --output answers.csv",
    ]
