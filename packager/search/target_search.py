"""The search for one target: every recipe that may pay is made, measured, judged and proven."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from joblib import Parallel, delayed
from onnx import ModelProto

from edge_runtime.contract.tensors import Arrays
from packager.answers import row_count
from packager.budgets import Budgets
from packager.emulation.machines import HOST, Machine
from packager.graph import Graph
from packager.recipes import FAMILIES, FLOAT32, RECIPES
from packager.record import Record
from packager.scoring import MIN_ROWS
from packager.search.ladder import Field, choose
from packager.search.making import ALL, Maker
from packager.search.promised import Promised, find_promised
from packager.search.rules import NO_NEED
from packager.stages.admit import NOT_FINITE, QUALITY, Court, admit
from packager.stages.evaluate import Bar, asked_rows, evaluate, evaluate_on, slow_there
from packager.stages.forms import other_answers
from packager.stages.golden import GoldenVectors, Meaning, make_golden
from packager.stages.optimise import optimise
from packager.target import TargetProfile
from packager.understanding import Rows, Say
from packager.variant import Candidate, Measured, Skipped, Verdict
from packager.workspace import Workspace

_UNASKED = "an emulator is slow at this model, and better ones were asked"


@dataclass(frozen=True)
class Task:
    """What is searched for, and with what.

    Attributes:
        profile: the target.
        graph: the graph that answers as the source does.
        rows: calibration and held-out rows; None where no data were given.
        pool: rows that golden vectors are chosen from.
        budgets: what every variant must keep.
        effort: one of ``EFFORTS``.
        jobs: how many candidates are worked on at once; None for one a processor.
        single: ship one variant alone.
        record: keeps what was measured.
        workspace: where weights of candidates lie.
        say: told what a step found.
    """

    profile: TargetProfile
    graph: Graph
    rows: Rows | None
    pool: Arrays
    budgets: Budgets
    effort: str
    jobs: int | None
    single: bool
    record: Record
    workspace: Workspace
    say: Say


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        ladder: the candidates that ship, best first.
        plain: plain float32, whether it ships or not.
        golden: what devices prove them with.
        measured: what was found out about every candidate; plain float32 stands first.
        verdicts: one for each of them.
        skipped: recipes that were not tried or could not be made, and why.
        notes: what could not be measured here, as sentences.
    """

    ladder: Sequence[Candidate]
    plain: Candidate
    golden: GoldenVectors
    measured: Sequence[Measured]
    verdicts: Sequence[Verdict]
    skipped: Sequence[Skipped]
    notes: Sequence[str]


def search(task: Task) -> Found:
    """Make, measure and judge the candidates of one target.

    Raises:
        BudgetExceeded: when no candidate keeps the budgets.
        ReplayMismatch: when a value does not agree with the one to be replayed.
        NoGoldenRows: when there are no rows that devices could prove themselves with.
    """
    profile = task.profile
    optimised = optimise(task.graph.model, opset=profile.opset, ir=profile.ir)
    # Weights that the optimised graph reads no more go from the file beside it.
    files = task.workspace.files(
        optimised, task.graph.weights, target=profile.name, rung=FLOAT32
    )
    maker = Maker(
        profile=profile,
        model=ModelProto.FromString(files.graph),
        weights=files.weights,
        calibration=task.rows.calibration if task.rows else None,
        effort=task.effort,
        jobs=task.jobs,
        record=task.record,
        workspace=task.workspace,
    )
    jury = _Jury(task, maker.plain(), find_promised(profile, task.record))
    wave = jury.wave(*maker.make(RECIPES))
    losing = wave.losing()
    needed = [one for one in RECIPES if one.name in wave.unneeded and one.family in losing]
    if needed:
        wave = wave.followed_by(jury.wave(*maker.make(needed, losing)))
    field = Field(
        profile=profile,
        candidates=[jury.plain, *wave.candidates],
        measured=wave.measured,
        verdicts=wave.verdicts,
        budgets=task.budgets,
        single=task.single,
    )
    for one in maker.beside():
        field = field.beside(one)
    ladder, verdicts, golden = _proven(task, field, jury.promised.machines)
    measured = [field.measured[one.name] for one in field.candidates]
    return Found(
        ladder=ladder,
        plain=jury.plain,
        golden=golden,
        measured=measured,
        verdicts=verdicts,
        skipped=list(wave.skipped.values()),
        notes=[*maker.warnings, *_notes(task, jury, measured[0], golden)],
    )


# --- waves ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Wave:
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

    def followed_by(self, later: _Wave) -> _Wave:
        """Return both as one; times are those of the plain graph that stands in each."""
        left = {name: one for name, one in self.skipped.items() if name not in later.tried}
        return _Wave(
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
class _Jury:
    """Judges what was made for one target."""

    task: Task
    plain: Candidate
    promised: Promised

    def wave(self, made: Sequence[Candidate], skipped: Sequence[Skipped]) -> _Wave:
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
        return _Wave(
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


# --- proof ---------------------------------------------------------------------------------


def _proven(
    task: Task, field: Field, machines: Sequence[Machine]
) -> tuple[Sequence[Candidate], Sequence[Verdict], GoldenVectors]:
    """Choose a ladder whose rungs answer their golden inputs alike on every promised CPU."""
    graph = task.graph
    meaning = Meaning(graph.task, graph.roles, graph.threshold)
    while True:
        ladder, verdicts = choose(field)
        golden = make_golden(ladder, field.plain, task.pool, meaning, task.record, machines)
        if not golden.rejected:
            return ladder, verdicts, golden
        for name, reason in golden.rejected.items():
            told = Verdict(name, False, f"does not ship: {reason}", "golden")
            field = field.without(told)


def _notes(task: Task, jury: _Jury, float32: Measured, golden: GoldenVectors) -> list[str]:
    """Say in words what was not measured for this target; nothing of who replays it."""
    plain, promised = jury.plain, jury.promised
    notes = []
    rows = task.rows.held_out if task.rows else None
    if rows and set(promised.cpus) - {HOST}:
        asked = asked_rows(plain, rows)
        if asked < min(rows.count, MIN_ROWS):
            notes.append(f"an emulator is slow at this model: it judged by {asked} rows only")
    if float32.scores:
        notes += [f"quality was not measured on {reason}" for reason in promised.missing]
        if not float32.latency:
            notes.append("speed was not measured, as this host is another chip")
    unchecked = {
        "--max-latency-ms": task.budgets.latency_ms and not float32.latency,
        "--max-memory": task.budgets.memory and float32.memory is None,
    }
    notes += [
        f"{flag} was not checked on this host" for flag, missed in unchecked.items() if missed
    ]
    if not golden.steady:
        notes.append("no golden row holds still when nudged: a sound device may fail its trial")
    return notes
