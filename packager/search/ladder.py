"""The ladder: which of the admitted candidates ship, in which order, and why not the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edge_runtime.contract.bundle.manifest import MAX_VARIANTS
from packager.budgets import Budgets
from packager.errors import BudgetExceeded
from packager.recipes import FLOAT32
from packager.stages.admit import BUDGET_RULES, overrun, weight
from packager.target import TargetProfile
from packager.variant import Candidate, Measured, Verdict

# Candidates whose merits differ by less are as good as each other, as far as times can tell;
# then quality decides where it differs beyond noise, and else the order of recipes.
CLOSE = 1.03

_FLAGS = {"size": "max-size", "latency": "max-latency-ms", "memory": "max-memory"}


@dataclass(frozen=True)
class Field:
    """Everything that a ladder is chosen from.

    Attributes:
        profile: the target.
        candidates: plain float32 stands first; one of another provider, made of the same
            graph, is the last resort beside an accelerator.
        measured: what was found out about each, by name.
        verdicts: who was admitted and why not, by name.
        budgets: what every variant must keep.
        single: ship one variant alone.
    """

    profile: TargetProfile
    candidates: Sequence[Candidate]
    measured: Mapping[str, Measured]
    verdicts: Mapping[str, Verdict]
    budgets: Budgets
    single: bool = False

    @property
    def plain(self) -> Candidate:
        """Plain float32, the measure of all."""
        return self.candidates[0]

    def beside(self, one: Candidate) -> Field:
        """Return the field with plain float32 for another provider in it as well."""
        measured = replace(self.measured[self.plain.name], name=one.name)
        verdict = replace(self.verdicts[self.plain.name], name=one.name)
        return replace(
            self,
            candidates=[*self.candidates, one],
            measured={**self.measured, one.name: measured},
            verdicts={**self.verdicts, one.name: verdict},
        )

    def without(self, verdict: Verdict) -> Field:
        """Return the field with one more candidate turned down."""
        return replace(self, verdicts={**self.verdicts, verdict.name: verdict})

    def merit(self, one: Candidate) -> tuple[int, float]:
        """Return what candidates are ranked by, the least first.

        Where this host is the chip: the geometric mean of bytes and times, as shares of plain
        float32's. Elsewhere: the order of families in the profile, then bytes.
        """
        measured, base = self.measured[one.name], self.measured[self.plain.name]
        timed = bool(measured.latency)
        order = 0 if timed else self.profile.precisions.index(one.recipe.family)
        return order, weight(measured, base)


def choose(field: Field) -> tuple[list[Candidate], list[Verdict]]:
    """Return the rungs, best first, and every candidate's verdict.

    The last rung is the best float32 form. Where float32 itself misses a budget it is the one
    with the fewest bytes of those that keep them all.

    Raises:
        BudgetExceeded: when no candidate keeps the budgets.
    """
    admitted = [one for one in field.candidates if field.verdicts[one.name].admitted]
    if not admitted:
        raise _nothing_fits(field)
    ranked = _ranked(field, [one for one in admitted if one.provider == field.plain.provider])
    told = dict(field.verdicts)
    if field.single:
        chosen = ranked[:1]
        _turn_down(told, ranked[1:], f"--single ships one variant, {chosen[0].name}", "single")
        _turn_down(told, _apart(field, admitted), "--single ships one variant", "single")
        return chosen, _in_order(field, told)
    last = _last(field, ranked)
    rungs = ranked[: ranked.index(last)]
    _turn_down(told, ranked[len(rungs) + 1 :], f"{last.name} is better", "better-ones")
    beside = _apart(field, admitted)
    rungs = _one_a_family(rungs, last, told)
    room = MAX_VARIANTS - 1 - len(beside)
    full = f"a ladder holds {MAX_VARIANTS} variants, better ones fill it"
    _turn_down(told, rungs[room:], full, "better-ones")
    return [*rungs[:room], last, *beside], _in_order(field, told)


def _ranked(field: Field, admitted: Sequence[Candidate]) -> list[Candidate]:
    """Return candidates best first; of close ones the first recipe that loses no more."""
    left, ranked = [*(one for one in admitted if one is not field.plain)], []
    left += [field.plain] if field.plain in admitted else []  # a margin has been kept to it
    while left:
        best = min(map(field.merit, left))
        close = [one for one in left if _close(field.merit(one), best)]
        chosen = next(one for one in close if _clear(field, one, close))
        ranked.append(chosen)
        left.remove(chosen)
    return ranked


def _close(merit: tuple[int, float], best: tuple[int, float]) -> bool:
    return merit[0] == best[0] and merit[1] <= CLOSE * best[1]


def _clear(field: Field, one: Candidate, others: Sequence[Candidate]) -> bool:
    """Tell whether none of the others loses less than it beyond what noise can do."""
    worst = field.measured[one.name].worst
    ends = [found.high for other in others if (found := field.measured[other.name].worst)]
    return worst is None or worst.low <= min(ends)


def _last(field: Field, ranked: Sequence[Candidate]) -> Candidate:
    forms = [one for one in ranked if one.recipe.family == FLOAT32]
    if forms:
        return forms[0]
    return min(ranked, key=lambda one: field.measured[one.name].size)


def _apart(field: Field, admitted: Sequence[Candidate]) -> list[Candidate]:
    """Return the rungs for another provider, which no device compares with the first's."""
    return [one for one in admitted if one.provider != field.plain.provider]


def _one_a_family(
    rungs: Sequence[Candidate], last: Candidate, told: dict[str, Verdict]
) -> list[Candidate]:
    best: dict[str, Candidate] = {last.recipe.family: last}
    for one in rungs:
        first = best.setdefault(one.recipe.family, one)
        if first is not one:
            _turn_down(told, [one], f"{first.name} of its family does", "better-ones")
    return [one for one in rungs if best[one.recipe.family] is one]


def _turn_down(
    told: dict[str, Verdict], ones: Sequence[Candidate], reason: str, rule: str
) -> None:
    for one in ones:
        told[one.name] = Verdict(one.name, False, f"does not ship: {reason}", rule)


def _in_order(field: Field, told: Mapping[str, Verdict]) -> list[Verdict]:
    return [told[one.name] for one in field.candidates]


def _nothing_fits(field: Field) -> BudgetExceeded:
    """Return the error that names the budget, the nearest candidate and both values."""
    verdicts = [one for one in field.verdicts.values() if one.rule in BUDGET_RULES]
    nearest = min(verdicts, key=lambda one: overrun(field.measured[one.name], field.budgets))
    flag = _FLAGS[nearest.rule]
    return BudgetExceeded(
        f"{field.profile.name}: no variant keeps the budgets; the nearest is {nearest.name}, "
        f"and {nearest.reason.removeprefix('does not ship: ')}",
        hint=f"Raise --{flag}, or train a smaller model.",
        target=field.profile.name,
        budget=flag,
        nearest=nearest.name,
    )
