"""How far answers are apart: by threads, optimisation and batch here, and on promised CPUs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.contract.tensors import Array, Arrays
from edge_runtime.engine.session import CPU
from packager.emulation.answers import Job, Ran, Setting, answers_on
from packager.emulation.machines import HOST, Machine, find_machines, host_architecture
from packager.record import Record
from packager.target import CpuModel
from packager.variant import Candidate

# As a device opens a model, and as other devices, engines and callers might.
AS_SIGNED = Setting(None)
OTHERWISE = (
    Setting(None, threads=2),
    Setting(None, threads=4),
    Setting(None, optimisation="disabled"),
    Setting(None, optimisation="basic"),
    Setting(None, optimisation="extended"),
)
ALONE = Setting(1)
# With ranges measured at each call a row's answer depends on what else is in the batch.
_MEASURES_RANGES = b"DynamicQuantizeLinear"


@dataclass(frozen=True)
class Spread:
    """How far answers on one CPU are from those that were recorded.

    Attributes:
        cpu: as QEMU calls it; ``host`` for this machine, opened in every way.
        apart: by variant and output the greatest distance; infinite where what is no number
            differs.
        problems: by variant, why it gave no answers there.
    """

    cpu: str
    apart: Mapping[str, Mapping[str, float]]
    problems: Mapping[str, str]


def measure_spread(
    ladder: Sequence[Candidate],
    feed: Arrays,
    answers: Mapping[str, Arrays],
    machines: Sequence[Machine],
    record: Record,
    mark: str,
) -> list[Spread]:
    """Let every variant answer in every way here, and as signed on every other machine.

    Args:
        ladder: the variants.
        feed: golden inputs.
        answers: by variant, the answers to compare with.
        machines: promised CPUs that this machine can ask.
        record: keeps the distances; a replay takes them from there and runs nothing.
        mark: stands for variants and inputs.

    Raises:
        ReplayMismatch: when the record does not hold distances.
    """

    def ask(machine: Machine) -> dict[str, Any]:
        return _distances(ladder, feed, answers, machine)

    def ask_all() -> dict[str, dict[str, Any]]:
        asked = [*_here(), *(one for one in machines if one.cpu != HOST)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = pool.map(ask, asked)
            return {one.cpu: told for one, told in zip(asked, found, strict=True)}

    found = record.taken(f"golden/apart/{mark}", ask_all, lambda told: _fits(told, answers))
    return [Spread(cpu, told["apart"], told["problems"]) for cpu, told in found.items()]


def distance(left: Array, right: Array) -> NDArray[np.float64]:
    """Return how far two arrays stand apart, infinitely far where only one is a number."""
    if left.dtype.kind != "f":
        return np.where(left == right, 0.0, np.inf)
    first, second = left.astype(np.float64), right.astype(np.float64)
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    with np.errstate(invalid="ignore"):
        return np.where(same, 0.0, np.nan_to_num(np.abs(first - second), nan=np.inf))


def _here() -> list[Machine]:
    return find_machines(host_architecture(), [CpuModel("this machine", HOST)])[0]


def _distances(
    ladder: Sequence[Candidate], feed: Arrays, answers: Mapping[str, Arrays], machine: Machine
) -> dict[str, Any]:
    ran = answers_on(machine, [_job(one, here=not machine.emulated) for one in ladder], feed)
    return {
        "apart": {name: _farthest(answers[name], one) for name, one in ran.items()},
        "problems": {name: one.problem for name, one in ran.items() if one.problem},
    }


def _job(candidate: Candidate, *, here: bool) -> Job:
    settings = [AS_SIGNED, *(OTHERWISE if here else ())]
    if here and _MEASURES_RANGES not in candidate.model.graph:
        settings.append(ALONE)
    options = candidate.session_options if candidate.provider == CPU else {}
    return Job(candidate.name, candidate.model, options, tuple(settings))


def _farthest(expected: Arrays, ran: Ran) -> dict[str, float]:
    return {
        name: max((float(distance(one[name], array).max()) for one in ran.answers), default=0.0)
        for name, array in expected.items()
    }


def _fits(found: Any, answers: Mapping[str, Arrays]) -> bool:
    """Tell whether a recorded value holds distances of these answers."""
    names = {name: set(outputs) for name, outputs in answers.items()}
    try:
        return all(
            {name: set(apart) for name, apart in told["apart"].items()} == names
            and all(value >= 0 for apart in told["apart"].values() for value in apart.values())
            and all(type(why) is str for why in told["problems"].values())
            for told in found.values()
        )
    except (AttributeError, KeyError, TypeError):
        return False
