"""What a trial found, a verdict a variant, and which of those that passed serves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from edge_runtime.contract.errors import GoldenMismatch, JsonMalformed, TrialFailed
from edge_runtime.contract.strictjson import Fields
from edge_runtime.contract.units import size
from edge_runtime.engine.benchmark import Timing

# A variant that takes this many times as long as a lower one that passed does not serve.
SLOWER: Final = 1.2

Timings = tuple[Timing, ...]


@dataclass(frozen=True)
class Verdict:
    """What the trial found for one variant.

    Attributes:
        variant: its name.
        code: the error's; empty when it passed.
        reason: what was found, in words.
        rounds: what calls took each time that it was tried; empty where nothing was timed.
        memory_bytes: the most memory that was seen to be the model's, beyond the engine's own;
            None where nobody could see it.
    """

    variant: str
    code: str
    reason: str
    rounds: tuple[Timings, ...] = ()
    memory_bytes: int | None = None

    @property
    def passed(self) -> bool:
        """Tell whether the variant may serve here."""
        return not self.code

    @property
    def timings(self) -> Timings:
        """What calls took, as the median of all rounds."""
        taken: dict[int, list[float]] = {}
        for timed in self.rounds:
            for timing in timed:
                taken.setdefault(timing.rows, []).append(timing.microseconds)
        return tuple(Timing(rows, statistics.median(taken[rows])) for rows in sorted(taken))

    @property
    def text(self) -> str:
        """The verdict for people."""
        told = [self.reason, *(timing.text for timing in self.timings)]
        if self.passed and self.memory_bytes is not None:
            told.append(f"{size(self.memory_bytes)} of memory")
        return ", ".join(told)

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as it is kept and shown."""
        return {
            "variant": self.variant,
            "code": self.code,
            "reason": self.reason,
            "rounds": [[timing.to_json() for timing in timed] for timed in self.rounds],
            "memory_bytes": self.memory_bytes,
        }


def verdict_from_json(value: object) -> Verdict:
    """Read what ``to_json`` returned.

    Raises:
        JsonMalformed: when it is anything else.
    """
    fields = Fields(value, "verdict", JsonMalformed)
    memory = fields.any("memory_bytes")
    if memory is not None and (type(memory) is not int or memory < 0):
        raise _malformed("memory_bytes", "null or bytes", memory)
    verdict = Verdict(
        variant=fields.text("variant"),
        code=fields.text("code"),
        reason=fields.text("reason"),
        rounds=tuple(_timings(timed) for timed in fields.list("rounds", limit=16)),
        memory_bytes=memory,
    )
    fields.done()
    return verdict


def _timings(value: object) -> Timings:
    if not isinstance(value, list):
        raise _malformed("rounds", "lists", value)
    return tuple(_timing(item) for item in value)


def _timing(value: object) -> Timing:
    fields = Fields(value, "verdict.rounds", JsonMalformed)
    timing = Timing(fields.integer("rows", low=1), fields.number("microseconds"))
    fields.done()
    if timing.microseconds <= 0:
        raise _malformed("rounds.microseconds", "above 0", timing.microseconds)
    return timing


def _malformed(field: str, wanted: str, found: object) -> JsonMalformed:
    return JsonMalformed(
        f"verdict.{field} must be {wanted}, it is {str(found)[:60]!r}",
        hint="Repeat the trial: edge-runtime trial",
        field=field,
        expected=wanted,
        found=str(found)[:60],
    )


@dataclass(frozen=True)
class Choice:
    """The variant that serves, and why no better one does.

    Attributes:
        variant: its name.
        aside: what speaks against each above it, in words.
        slow: those of ``aside`` that passed.
    """

    variant: str
    aside: tuple[str, ...] = ()
    slow: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """What speaks against each above it; empty where none is."""
        return "; ".join(self.aside)


def choose(verdicts: Sequence[Verdict]) -> Choice | None:
    """Return what serves: the first that passed, unless it is slow; None where none passed.

    The ladder's order wins, so that equal boxes answer alike, unless a variant took 1.2 times
    as long as a lower one, or longer, each time that both were timed.

    Args:
        verdicts: in the order of the ladder.
    """
    aside: list[str] = []
    slow: list[str] = []
    for number, verdict in enumerate(verdicts):
        lower = [other for other in verdicts[number + 1 :] if other.passed]
        times, fastest = max(
            ((slowness(verdict, other), other.variant) for other in lower), default=(0.0, "")
        )
        reason = verdict.reason
        if verdict.passed:
            if times < SLOWER:
                return Choice(verdict.variant, tuple(aside), tuple(slow))
            reason = f"it takes {times:.2f} times as long as {fastest}"
        aside.append(f"{verdict.variant} left aside: {reason}")
        slow += aside[-1:] if verdict.passed else []
    return None


def slowness(one: Verdict, other: Verdict) -> float:
    """Return how many times as long a variant surely takes as another.

    That is the geometric mean over the batch sizes that both were timed with, and the least of
    all rounds, so that a machine that was busy for a while decides nothing; 0 where they cannot
    be compared.
    """
    found = [_ratio(*both) for both in zip(one.rounds, other.rounds, strict=False)]
    return min(found, default=0.0)


def _ratio(one: Timings, other: Timings) -> float:
    ours = {timing.rows: timing.microseconds for timing in one}
    theirs = {timing.rows: timing.microseconds for timing in other}
    logs = [math.log(ours[rows] / theirs[rows]) for rows in ours.keys() & theirs.keys()]
    return math.exp(statistics.fmean(logs)) if logs else 0.0


def require_choice(verdicts: Sequence[Verdict]) -> Choice:
    """Return what serves.

    Raises:
        GoldenMismatch: when none passed and the first gave wrong answers.
        TrialFailed: when none passed for another reason.
    """
    choice = choose(verdicts)
    if choice is not None:
        return choice
    reasons = "; ".join(f"{verdict.variant}: {verdict.reason}" for verdict in verdicts)
    wrong = verdicts[0].code == GoldenMismatch.code
    raise (GoldenMismatch if wrong else TrialFailed)(
        f"one variant must pass its trial on this device, of {len(verdicts)} none did: "
        f"{reasons}",
        hint="Keep the version that runs; build for this processor and engine: see probe.",
        expected="one variant that passes",
        found=[verdict.to_json() for verdict in verdicts],
    )
