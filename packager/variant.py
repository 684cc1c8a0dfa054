"""Variants on their way into a bundle: made, measured, judged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edge_runtime.engine.session import CPU, Session, SessionPlan
from packager.graphs.model_files import ModelFiles
from packager.recipes import Recipe


@dataclass(frozen=True)
class Candidate:
    """A graph for one execution provider and precision that may become a rung of the ladder.

    Attributes:
        name: the recipe's name, for example ``int8-static``; unique within a target.
        recipe: how it was made.
        provider: ONNX Runtime's full provider name.
        model: the ONNX file, and its weights where they stand beside it.
        session_options: configuration entries that the device opens it with.
        provider_options: options of the execution provider.
    """

    name: str
    recipe: Recipe
    provider: str
    model: ModelFiles
    session_options: Mapping[str, str] = field(default_factory=dict)
    provider_options: Mapping[str, str] = field(default_factory=dict)

    @property
    def precision(self) -> str:
        """``float32``, ``float16``, ``int8`` or ``int4``."""
        return self.recipe.precision

    def open_here(self) -> Session:
        """Open it on this machine's CPU: an accelerator that it names may not be here.

        Raises:
            ModelLoadFailed: when the engine refuses the graph.
        """
        options = self.session_options if self.provider == CPU else {}
        return self.model.open(SessionPlan(session_options=options))


@dataclass(frozen=True)
class Skipped:
    """A recipe that was not tried or could not be made.

    Attributes:
        name: the recipe's.
        reason: why, as a sentence.
        rule: the name of the rule that skipped it; empty where it was tried in vain.
    """

    name: str
    reason: str
    rule: str = ""


@dataclass(frozen=True)
class Score:
    """What a candidate is worth on one CPU model, on held-out rows.

    Attributes:
        cpu: as the profile calls it for QEMU; ``host`` for the machine that builds.
        quality: the metric as people know it: of errors, less is better. NaN where an answer
            was no number; the worst over batch sizes.
        drop: how much worse than float32 it is on this machine, in the unit of ``--max-drop``;
            below zero it is better.
        low: the lower end of the drop's 95 % interval.
        high: the upper end.
        agreement: how far it answers as float32 does, 1.0 for always.
        problem: why there is no quality (it crashed there), as a sentence; empty otherwise.
    """

    cpu: str
    quality: float
    drop: float
    low: float
    high: float
    agreement: float
    problem: str = ""

    @property
    def within_noise(self) -> bool:
        """Whether the rows cannot tell it from float32."""
        return self.low <= 0 <= self.high


@dataclass(frozen=True)
class Measured:
    """What was found out about one candidate.

    Attributes:
        name: the candidate's name.
        precision: its precision.
        size: bytes of its files as installed.
        packed: bytes of its files in the bundle.
        scores: by CPU model, this machine first; empty without held-out rows.
        latency: median nanoseconds a call by batch size; empty where this host is not the chip.
        memory: bytes it takes beyond an engine without a model; None where not measured.
    """

    name: str
    precision: str
    size: int
    packed: int
    scores: Sequence[Score] = ()
    latency: Mapping[int, float] = field(default_factory=dict)
    memory: int | None = None

    @property
    def worst(self) -> Score | None:
        """The score on the CPU model where it loses most; None without held-out rows."""
        return max(self.scores, key=_badness, default=None)

    @property
    def quality(self) -> float | None:
        """The quality there."""
        return self.worst.quality if self.worst else None

    @property
    def agreement(self) -> float | None:
        """The least agreement with float32 on any CPU model; None without held-out rows."""
        return min((score.agreement for score in self.scores), default=None)


def _badness(score: Score) -> float:
    broken = bool(score.problem) or not math.isfinite(score.drop)
    return math.inf if broken else score.drop


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate ships, and why.

    Attributes:
        name: the candidate's.
        admitted: whether it ships.
        reason: why, as a sentence.
        rule: the name of the rule that decided, for example ``quality``.
    """

    name: str
    admitted: bool
    reason: str
    rule: str = ""
