"""What each candidate is worth: quality, bytes, memory, and speed where this is the chip."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from edge_runtime.contract.bundle.manifest import VARIANT_DIRECTORY
from edge_runtime.contract.bundle.packing import packed_size
from edge_runtime.contract.errors import ModelLoadFailed, PredictionFailed
from edge_runtime.contract.tensors import Arrays, Tolerance
from edge_runtime.engine.session import CPU, Session
from packager.answers import BATCH, fixed_batch, row_count, run_rows, take_rows
from packager.budgets import Drop
from packager.emulation.answers import Job, Ran, Setting, answers_on
from packager.emulation.machines import HOST, Machine, host_architecture
from packager.measuring.memory import peaks
from packager.measuring.timing import interleaved_medians
from packager.measuring.work import products_a_row
from packager.record import Record, fingerprint, within
from packager.scoring import HeldOut, Judge, Metric, classes, worst
from packager.variant import Candidate, Measured, Score

# Quality of the same bytes on two processors.
QUALITY_TOLERANCE = Tolerance(rtol=0.02, atol=0.02)
TIMED_BATCHES = (1, BATCH)

# So many rows are scored on a promised CPU at most, and fewer where an emulator, which manages
# about a hundred million products a second, would take more than some minutes a candidate.
MOST_ROWS = 1024
FEWEST_ROWS = 32
EMULATED_PRODUCTS = 30_000_000_000
# Of models that multiply more than this on those rows only what may ship is scored there.
SLOW_PRODUCTS = 300_000_000
EMULATED_BYTES = 256_000_000
# What a candidate that answers nothing there is worth.
_NOTHING = {"quality": math.nan, "drop": math.inf, "low": math.inf, "high": math.inf}

MachineRun = Callable[[Callable[[Machine], Any], Iterable[Machine]], Iterable[Any]]


@dataclass(frozen=True)
class Bar:
    """What candidates are held against.

    Attributes:
        rows: the held-out rows.
        metric: what quality is.
        drop: the budget, in whose unit drops are told.
        record: keeps the figures.
    """

    rows: HeldOut
    metric: Metric
    drop: Drop
    record: Record

    def key(self, plain: Candidate) -> str:
        """Return what stands for rows, metric, unit and plain float32 in the record's keys."""
        truth = {} if self.rows.truth is None else {"truth": classes(self.rows.truth)}
        unit = self.drop.of(bounded=self.metric.bounded).relative
        how = f"{self.metric.name} {unit}"
        return fingerprint(plain.model.mark, self.rows.feed, truth, how)

    def agree(self, recorded: dict[str, Any], fresh: dict[str, Any]) -> str | None:
        """Compare figures of two processors; where rows are few, one of them moves much."""
        loose = replace(QUALITY_TOLERANCE, atol=QUALITY_TOLERANCE.atol + 2 / self.rows.count)
        return within(loose)(recorded, fresh)


def evaluate(
    candidates: Sequence[Candidate],
    rows: HeldOut | None,
    *,
    metric: Metric | None,
    drop: Drop,
    architecture: str,
    record: Record,
) -> tuple[Measured, ...]:
    """Measure every candidate on the same rows here; without rows, only its bytes.

    Args:
        candidates: the first one is plain float32, the measure of all.
        rows: the held-out rows, if there are any.
        metric: see ``choose_metric``; None without rows.
        drop: the budget, in whose unit drops are told.
        architecture: the target's. Time is measured only where this host is that chip, and of
            the CPU alone; a replay has the recorded times wherever it runs, or none.
        record: keeps the figures.

    Raises:
        ReplayMismatch: when quality does not agree with the recorded one.
    """
    sizes = tuple(_sizes(candidate) for candidate in candidates)
    if rows is None or metric is None:
        return sizes
    plain = candidates[0]
    sessions, problems = _opened(candidates)
    bar = Bar(rows, metric, drop, record)
    judge = Judge(metric, drop, rows, run_rows(sessions[plain.name], rows.feed))
    mark = bar.key(plain)
    scores = {}
    for candidate in candidates:
        name = candidate.name
        figures = record.measured(
            f"quality/{name}/{fingerprint(candidate.model.mark)}/{mark}",
            partial(_scored, candidate, sessions.get(name), judge, rows.feed, problems),
            bar.agree,
        )
        scores[name] = Score(**figures)
    sound = {name: one for name, one in sessions.items() if not scores[name].problem}
    models = fingerprint(*(candidate.model.mark for candidate in candidates), rows.feed)
    latency = _latency(
        sound,
        rows.feed,
        f"latency/{architecture}/{plain.provider}/{models}",
        here=host_is(architecture) and all(c.provider == CPU for c in candidates),
        record=record,
    )
    running = [one for one in candidates if one.name in sound]
    memory = peaks(running, _first(rows.feed, BATCH), record)
    return tuple(
        replace(
            one,
            scores=(scores[one.name],),
            latency={
                size: took[one.name] for size, took in latency.items() if one.name in took
            },
            memory=memory.get(one.name),
        )
        for one in sizes
    )


def _sizes(candidate: Candidate) -> Measured:
    model = candidate.model
    packed = packed_size(f"{VARIANT_DIRECTORY}/{candidate.name}.onnx", model.graph)
    if model.weights is not None:
        path = f"{VARIANT_DIRECTORY}/{model.weights.path.name}"
        packed += packed_size(path, model.weights.content)
    return Measured(candidate.name, candidate.precision, model.size, packed)


# --- quality -------------------------------------------------------------------------------


def _opened(candidates: Sequence[Candidate]) -> tuple[dict[str, Session], dict[str, str]]:
    """Open candidates, and say of those but plain float32 why the engine refuses them."""
    sessions, problems = {candidates[0].name: candidates[0].open_here()}, {}
    for candidate in candidates[1:]:
        try:
            sessions[candidate.name] = candidate.open_here()
        except ModelLoadFailed as error:
            problems[candidate.name] = error.message
    return sessions, problems


def _scored(
    candidate: Candidate,
    session: Session | None,
    judge: Judge,
    feed: Arrays,
    problems: Mapping[str, str],
) -> dict[str, Any]:
    """Return the worst score over the batch sizes that matter."""
    if session is None:
        return _nothing(HOST, problems[candidate.name])
    try:
        answers = [run_rows(session, feed, batch) for batch in _batches(candidate)]
    except PredictionFailed as error:
        return _nothing(HOST, error.message)
    return vars(worst([judge.score(one) for one in answers]))


def _batches(candidate: Candidate) -> tuple[int, ...]:
    """Return the batch sizes at which a candidate may answer differently."""
    # With ranges measured at each call, an answer depends on what else is in the batch.
    return (1, BATCH) if b"DynamicQuantizeLinear" in candidate.model.graph else (BATCH,)


def _is_score(found: Any) -> bool:
    fresh = _nothing("", "")
    return isinstance(found, dict) and {name: type(one) for name, one in found.items()} == {
        name: type(one) for name, one in fresh.items()
    }


def _nothing(cpu: str, problem: str) -> dict[str, Any]:
    return vars(Score(cpu, **_NOTHING, agreement=0.0, problem=problem))


# --- time ----------------------------------------------------------------------------------


def host_is(architecture: str) -> bool:
    """Tell whether this machine's processor is of a target's architecture."""
    return host_architecture() == architecture


def _latency(
    sessions: Mapping[str, Session], feed: Arrays, mark: str, *, here: bool, record: Record
) -> dict[int, dict[str, float]]:
    """Return each variant's median call by batch size; nothing where this host may not tell."""
    fixed = fixed_batch(next(iter(sessions.values())))
    found = {}
    for batch in (fixed,) if fixed else TIMED_BATCHES:
        key = f"{mark}/batch-{batch}"
        if record.will_hold(key, fresh=here):
            part = _first(feed, batch)
            calls = {name: partial(one.run, part) for name, one in sessions.items()}
            found[batch] = record.durations(key, partial(interleaved_medians, calls))
    return found


def _first(feed: Arrays, batch: int) -> Arrays:
    """Return so many rows, again from the first where there are fewer."""
    return take_rows(feed, np.resize(np.arange(min(batch, row_count(feed))), batch))


def _job(candidate: Candidate, batches: Iterable[int]) -> Job:
    options = candidate.session_options if candidate.provider == CPU else {}
    settings = tuple(Setting(batch) for batch in batches)
    return Job(candidate.name, candidate.model, options, settings)


# --- the promised CPUs ---------------------------------------------------------------------


def one_by_one(function: Callable[[Machine], Any], machines: Iterable[Machine]) -> list[Any]:
    """Do the same on every machine, one after the other."""
    return [function(machine) for machine in machines]


def asked_rows(plain: Candidate, rows: HeldOut) -> int:
    """Return how many held-out rows a promised CPU is asked about: fewer of slow models."""
    products = max(1, products_a_row(plain.model.graph, rows.feed))
    row = max(1, sum(array.nbytes for array in rows.feed.values()) // rows.count)
    affordable = min(EMULATED_PRODUCTS // products, EMULATED_BYTES // row)
    return min(rows.count, MOST_ROWS, max(FEWEST_ROWS, affordable))


def slow_there(plain: Candidate, rows: HeldOut) -> bool:
    """Tell whether an emulated CPU takes minutes for one candidate."""
    products = products_a_row(plain.model.graph, rows.feed)
    return products * asked_rows(plain, rows) > SLOW_PRODUCTS


def evaluate_on(
    machines: Sequence[Machine],
    candidates: Sequence[Candidate],
    measured: Sequence[Measured],
    bar: Bar,
    *,
    cpus: Sequence[str],
    run: MachineRun = one_by_one,
) -> tuple[Measured, ...]:
    """Add to each candidate its score on every promised CPU.

    A drop is told against what plain float32 answers on this machine to the same rows, at least
    ``MIN_ROWS`` where there are so many and the model is not too slow. In a replay, where this
    machine cannot ask a CPU model that the recorded build asked, the recorded figures stand.

    Args:
        machines: the promised CPUs that run here.
        candidates: the first one is plain float32, whose own score tells of the emulator; of a
            model that is slow there it is not asked, and the others at one batch size.
        measured: what ``evaluate`` found out about them, in the same order.
        bar: what they are held against.
        cpus: the CPU models to ask, but for this chip, which ``evaluate`` asked. Only a replay
            may name others than ``machines`` has.
        run: maps a function over machines, perhaps in parallel.

    Raises:
        ReplayMismatch: when quality does not agree with the recorded one.
    """
    models = [cpu for cpu in cpus if cpu != HOST]
    if not models:
        return tuple(measured)
    plain = candidates[0]
    rows = bar.rows.take(bar.rows.evenly(asked_rows(plain, bar.rows)))
    few = replace(bar, rows=rows)
    mark = few.key(plain)
    here = {machine.cpu: machine for machine in machines}
    slow = slow_there(plain, bar.rows)
    asked = [
        _Asked(
            cpu,
            one,
            _batches(one)[-1:] if slow else _batches(one),
            f"quality/{cpu}/{one.name}/{fingerprint(one.model.mark)}/{mark}",
        )
        for cpu in models
        for one in candidates[slow:]
    ]
    ran = _ran([one for one in asked if not bar.record.knows(one.key)], here, rows.feed, run)
    judge = Judge(bar.metric, bar.drop, rows, run_rows(plain.open_here(), rows.feed))
    scores: dict[str, list[Score]] = {candidate.name: [] for candidate in candidates}
    for one in asked:
        compute = partial(_judged, one, ran, judge)
        # A replay without that machine goes by the record; a build asks none but those here.
        figures = (
            bar.record.measured(one.key, compute, few.agree)
            if one.cpu in here
            else bar.record.taken(one.key, compute, _is_score)
        )
        scores[one.candidate.name].append(Score(**figures))
    return tuple(replace(one, scores=(*one.scores, *scores[one.name])) for one in measured)


@dataclass(frozen=True)
class _Asked:
    """A candidate on a CPU model, in which batches, and where the record keeps its score."""

    cpu: str
    candidate: Candidate
    batches: tuple[int, ...]
    key: str


def _ran(
    asked: Sequence[_Asked], here: Mapping[str, Machine], feed: Arrays, run: MachineRun
) -> dict[tuple[str, str], Ran]:
    """Let every candidate answer where it is asked to, as far as that can be here."""
    jobs: dict[str, list[Job]] = {}
    for one in asked:
        if one.cpu in here:
            jobs.setdefault(one.cpu, []).append(_job(one.candidate, one.batches))
    machines = [here[cpu] for cpu in jobs]
    found = run(partial(_answered, jobs, feed), machines)
    return {
        (machine.cpu, name): ran
        for machine, answers in zip(machines, found, strict=True)
        for name, ran in answers.items()
    }


def _answered(
    jobs: Mapping[str, Sequence[Job]], feed: Arrays, machine: Machine
) -> dict[str, Ran]:
    return answers_on(machine, jobs[machine.cpu], feed)


def _judged(one: _Asked, ran: Mapping[tuple[str, str], Ran], judge: Judge) -> dict[str, Any]:
    found = ran[one.cpu, one.candidate.name]
    if found.problem:
        return _nothing(one.cpu, found.problem)
    return vars(worst([judge.score(answers, one.cpu) for answers in found.answers]))
