"""The trial: every variant of a package in a child of its own, on this chip.

A wrong model may kill its process (an illegal instruction, no memory) or never return, so the
first load of anything happens where that is a sentence instead of an outage.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from edge_runtime.contract import strictjson
from edge_runtime.contract.bundle.installed import open_installed
from edge_runtime.contract.bundle.manifest import Variant
from edge_runtime.contract.bundle.verify import VerifiedPackage
from edge_runtime.contract.errors import DeviceError, EdgepackError, JsonMalformed, TrialFailed
from edge_runtime.contract.units import size
from edge_runtime.engine import child
from edge_runtime.engine.benchmark import benchmark
from edge_runtime.engine.golden import golden_inputs, prove, session_plan
from edge_runtime.engine.limits import Bounds, confine, end_with_parent, go_first, usage
from edge_runtime.engine.session import CPU, SessionPlan, engine_facts
from edge_runtime.engine.verdict import Verdict, choose, require_choice, verdict_from_json
from edge_runtime.engine.watch import Ended, watched

TIMEOUT_S: Final = 120.0
# How often variants are timed before one is left aside for being slow.
ROUNDS: Final = 3

_SIGNALS: Final[Mapping[int, str]] = {
    signal.SIGILL: "it met an instruction that this processor does not have",
    signal.SIGSEGV: "it reached for memory that is not its own",
    signal.SIGBUS: "a file that it maps could not be read",
    signal.SIGABRT: "the engine gave itself up",
    signal.SIGFPE: "it divided by zero",
    signal.SIGKILL: "memory or its time ran out, or somebody ended it",
}
# How the engine says that it got no memory: its own words, or those of C++.
_NO_MEMORY: Final = re.compile(
    r"failed to allocate|bad.?alloc|out of memory|memory.?error", re.IGNORECASE
)


@dataclass(frozen=True)
class Trial:
    """What is to be tried.

    Attributes:
        directory: a package, as it is installed.
        digest: its name.
        threads: the most that a session may have on this device.
        timeout_s: how long a child may take.
    """

    directory: Path
    digest: str
    threads: int
    timeout_s: float = TIMEOUT_S


def run_trial(
    directory: Path,
    digest: str,
    variants: Sequence[str],
    *,
    threads: int,
    timeout_s: float = TIMEOUT_S,
) -> tuple[Verdict, ...]:
    """Try all variants; ``choose`` then tells which of them serves.

    Raises:
        GoldenMismatch: when none passes and the first gave wrong answers.
        TrialFailed: when none passes for another reason.
    """
    verdicts = try_variants(Trial(directory, digest, threads, timeout_s), variants)
    require_choice(verdicts)
    return verdicts


def try_variants(trial: Trial, variants: Sequence[str]) -> tuple[Verdict, ...]:
    """Try every variant in a child of its own, and return a verdict for each, in their order.

    Where a variant is to be left aside because it is slow, all that passed are tried again, in
    the other order: what was busy in one round counts only if it is so in every one.
    """
    found = {name: _try(trial, name) for name in variants}
    for _ in range(1, ROUNDS):
        passed = [name for name, verdict in found.items() if verdict.passed]
        choice = choose(list(found.values()))
        if choice is None or choice.variant == passed[0]:
            break
        for name in reversed(passed):
            found[name] = _joined(found[name], _try(trial, name))
    return tuple(found.values())


def _joined(known: Verdict, again: Verdict) -> Verdict:
    """Return a verdict with one more round; who fails only now and then has failed."""
    return replace(
        again,
        rounds=(*known.rounds, *again.rounds),
        memory_bytes=_most(known.memory_bytes, again.memory_bytes),
    )


def _most(*found: int | None) -> int | None:
    return max((item for item in found if item is not None), default=None)


def _try(trial: Trial, variant: str) -> Verdict:
    task = [trial.directory.resolve(), trial.digest, variant, trial.threads, trial.timeout_s]
    command = child.command(__name__, [str(item) for item in task])
    try:
        ended = watched(command, timeout_s=trial.timeout_s)
    except OSError as error:
        reason = f"no child could be started from {command[0]!r}: {error.strerror}"
        return _failed(variant, reason)
    verdict = _verdict(variant, ended)
    return replace(verdict, memory_bytes=_most(verdict.memory_bytes, ended.memory_bytes))


def _verdict(variant: str, ended: Ended) -> Verdict:
    if ended.stopped:
        return _failed(variant, ended.stopped)
    if ended.status < 0:
        return _failed(variant, f"it was ended by {_signal_name(-ended.status)}")
    try:
        return verdict_from_json(strictjson.loads(ended.report, what="the trial's report"))
    except JsonMalformed:
        said = ended.complaint[-200:] or "silence"
        return _failed(variant, f"exit status {ended.status} without a verdict: {said}")


def _signal_name(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name}: {_SIGNALS[number]}" if number in _SIGNALS else name


def _failed(variant: str, reason: str) -> Verdict:
    return Verdict(variant, TrialFailed.code, reason)


# --- the child's life ----------------------------------------------------------------------


def main(arguments: Sequence[str]) -> None:
    """Try one variant of an installed package, and report its bounds and the verdict."""
    directory, digest, name, threads, timeout_s, parent, pipe = arguments
    end_with_parent(int(parent))
    go_first()
    trial = Trial(Path(directory), digest, int(threads), float(timeout_s))
    with os.fdopen(int(pipe), "wb", buffering=0) as report:

        def tell(facts: dict[str, Any]) -> None:
            report.write(strictjson.dumps(facts) + b"\n")

        try:
            package = open_installed(trial.directory, digest)
            verdict = _within_limits(package, name, trial, tell)
        except EdgepackError as error:
            verdict = Verdict(name, error.code, error.message)
        tell(verdict.to_json())


def _within_limits(
    package: VerifiedPackage, name: str, trial: Trial, tell: Callable[[dict[str, Any]], None]
) -> Verdict:
    manifest = package.manifest
    variant = manifest.variant(name)
    if variant is None:
        return _failed(name, "the package has no such variant")
    engine_facts()  # imports the engine, whose own memory is not the model's
    plan = session_plan(manifest, variant, threads=trial.threads)
    sizes = {entry.path: entry.size for entry in manifest.files}
    bounds = confine(
        # An accelerator's driver maps far more than it uses.
        memory_bytes=manifest.target.memory_bytes if variant.provider == CPU else None,
        mapped_bytes=sum(sizes[path] for path in variant.weights),
        threads=plan.threads,
        cpu_s=trial.timeout_s * plan.threads,
    )
    if bounds is not None:
        tell(bounds.to_json())
    try:
        return _proven(package, variant, plan, bounds)
    except (MemoryError, DeviceError) as error:
        words = str(error) or "MemoryError"
        if isinstance(error, DeviceError) and not _NO_MEMORY.search(words):
            raise
        budget = size(manifest.target.memory_bytes)
        return _failed(name, f"its working set of {budget} was not enough: {words}")


def _proven(
    package: VerifiedPackage, variant: Variant, plan: SessionPlan, bounds: Bounds | None
) -> Verdict:
    session = prove(package, variant, plan)
    rows = package.manifest.golden.rows
    timings = benchmark(session, golden_inputs(package), rows)
    taken = usage() if bounds else None
    memory = taken.anonymous - bounds.engine if taken and bounds else None
    return Verdict(variant.name, "", "golden vectors hold", (timings,), memory)
