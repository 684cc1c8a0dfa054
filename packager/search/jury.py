"""The jury of one target: judges candidates here and on the promised CPUs, wave by wave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from joblib import Parallel, delayed

from packager.answers import row_count
from packager.emulation.machines import HOST, Machine
from packager.recipes import FAMILIES, FLOAT32
from packager.search.ladder import Field, choose
from packager.search.making import ALL
from packager.search.promised import Promised
from packager.search.rules import NO_NEED
from packager.search.task import Task
from packager.stages.admit import NOT_FINITE, QUALITY, Court, admit
from packager.stages.evaluate import Bar, evaluate, evaluate_on, slow_there
from packager.stages.forms import other_answers
from packager.understanding import Rows
from packager.variant import Candidate, Measured, Skipped, Verdict

_UNASKED = "an emulator is slow at this model, and better ones were asked"


@dataclass(frozen=True)
class Wave:
    """Candidates that were made together, and what became of them, by name."""

    candidates: Sequence[Candidate]
    skipped: Mapping[str, Skipped]
    measured: Mapping[str, Measured]
    verdicts: Mapping[str, Verdict]

    @property
    def unneeded(self) -> set[str]:
        """Recipes that were skipped as long as nothing was known to be lost."""
        return {one.name for one in self.skipped.values() if one.rule == NO_NEED}

    def losing(self) -> set[str]:
        """Families whose plain recipe lost too much quality."""
        lost = {one.name for one in self.verdicts.values() if one.rule in (QUALITY, NOT_FINITE)}
        return lost.intersection(FAMILIES)  # a plain recipe has its family's name

    def followed_by(self, later: Wave) -> Wave:
        """Return both as one; times are those of the plain graph that stands in each."""
        left = {name: one for name, one in self.skipped.items() if name not in later.tried}
        return Wave(
            [*self.candidates, *later.candidates],
            {**left, **later.skipped},
            {**_retimed(later.measured, self.measured[FLOAT32]), **self.measured},
            {**later.verdicts, **self.verdicts},
        )

    @property
    def tried(self) -> set[str]:
        """The names of all recipes that were looked at."""
        return {*self.skipped, *(one.name for one in self.candidates)}


def _retimed(measured: Mapping[str, Measured], base: Measured) -> dict[str, Measured]:
    """Tell times as shares of this base's: a processor is not as fast at every moment."""
    then = measured[base.name].latency
    return {
        name: replace(
            one,
            latency={
                batch: time / then[batch] * base.latency[batch]
                for batch, time in one.latency.items()
            },
        )
        for name, one in measured.items()
    }


@dataclass(frozen=True)
class Jury:
    """Judges what was made for one target."""

    task: Task
    plain: Candidate
    promised: Promised

    def wave(self, made: Sequence[Candidate], skipped: Sequence[Skipped]) -> Wave:
        """Judge candidates here, and those that are left on the promised CPUs."""
        task, rows = self.task, self.task.rows
        candidates = {one.name: one for one in (self.plain, *made)}
        found = evaluate(
            list(candidates.values()),
            rows.held_out if rows else None,
            metric=rows.metric if rows else None,
            drop=task.budgets.drop,
            architecture=task.profile.architecture,
            record=task.record,
        )
        measured = {one.name: one for one in found}
        court = self._court(found[0], made)
        left = [one.name for one in admit(found, court) if one.admitted and one.name != FLOAT32]
        self._tell(len(made), len(left))
        if rows and left and set(self.promised.cpus) - {HOST}:
            asked = [one for one in made if one.name in left]
            measured = self._there(rows, asked, measured, court)
            unasked = [one for one in asked if one.recipe.family != FLOAT32]
            unasked = [one for one in unasked if len(measured[one.name].scores) == 1]
            unproven = {**court.unproven, **{one.name: _UNASKED for one in unasked}}
            court = replace(court, base=measured[FLOAT32], unproven=unproven)
        return Wave(
            made, {one.name: one for one in skipped}, measured, self._verdicts(measured, court)
        )

    def _verdicts(self, measured: Mapping[str, Measured], court: Court) -> dict[str, Verdict]:
        return {one.name: one for one in admit(list(measured.values()), court)}

    def _there(
        self,
        rows: Rows,
        left: Sequence[Candidate],
        measured: dict[str, Measured],
        court: Court,
    ) -> dict[str, Measured]:
        """Add scores on the promised CPUs; of a model that is slow there to what may ship."""
        if not slow_there(self.plain, rows.held_out):
            return self._scored(rows, left, measured)
        asked: set[str] = set()
        while True:
            field = Field(
                profile=self.task.profile,
                candidates=[self.plain, *left],
                measured=measured,
                verdicts=self._verdicts(measured, court),
                budgets=self.task.budgets,
                single=self.task.single,
            )
            ladder, _ = choose(field)
            ask = [
                one for one in ladder if one.name not in asked and one.recipe.family != FLOAT32
            ]
            if not ask:
                return measured
            measured = self._scored(rows, ask, measured)
            asked |= {one.name for one in ask}

    def _scored(
        self, rows: Rows, candidates: Sequence[Candidate], measured: dict[str, Measured]
    ) -> dict[str, Measured]:
        """Score candidates on the promised CPUs, several of which are emulated at once."""
        task = self.task
        bar = Bar(rows.held_out, rows.metric, task.budgets.drop, task.record)
        candidates = [self.plain, *candidates]
        found = [measured[one.name] for one in candidates]

        def run(ask: Callable[[Machine], Any], machines: Iterable[Machine]) -> Iterable[Any]:
            # In threads of this process whoever else takes over: emulators were found here.
            parallel = Parallel(n_jobs=task.jobs or ALL, backend="threading")
            answers: Iterable[Any] = parallel(map(delayed(ask), machines))
            return answers

        promised = self.promised
        there = evaluate_on(
            promised.machines, candidates, found, bar, cpus=promised.cpus, run=run
        )
        return {**measured, **{one.name: one for one in there}}

    def _court(self, base: Measured, made: Sequence[Candidate]) -> Court:
        task, rows = self.task, self.task.rows
        strangers = {
            one.name: other_answers(self.plain, one, rows.held_out.feed, task.record)
            for one in made
            if rows and one.recipe.family == FLOAT32
        }
        return Court(
            base=base,
            metric=rows.metric if rows else None,
            budgets=task.budgets,
            rows=row_count(rows.held_out.feed) if rows else 0,
            strangers={name: reason for name, reason in strangers.items() if reason},
            unproven={
                one.name: self.promised.unproven
                for one in made
                if self.promised.unproven and one.recipe.sums_integers
            },
        )

    def _tell(self, made: int, left: int) -> None:
        cpus = ", ".join(one.cpu for one in self.promised.machines if one.emulated)
        scoring = f"; scoring on {cpus}" if cpus and left else ""
        counted = f"{made} candidate{'' if made == 1 else 's'} made, {left} left"
        self.task.say("search", f"{self.task.profile.name}: {counted}{scoring}")
