"""The search for one target: every recipe that may pay is made, measured, judged and proven."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import ModelProto

from packager.emulation.machines import HOST, Machine
from packager.recipes import FLOAT32, RECIPES
from packager.scoring import MIN_ROWS
from packager.search.jury import Jury
from packager.search.ladder import Field, choose
from packager.search.making import Maker
from packager.search.promised import find_promised
from packager.search.task import Task
from packager.stages.evaluate import asked_rows
from packager.stages.golden import GoldenVectors, Meaning, make_golden
from packager.stages.optimise import optimise
from packager.variant import Candidate, Measured, Skipped, Verdict


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
    jury = Jury(task, maker.plain(), find_promised(profile, task.record))
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


def _notes(task: Task, jury: Jury, float32: Measured, golden: GoldenVectors) -> list[str]:
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
