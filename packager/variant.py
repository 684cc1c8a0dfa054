"""Variants on their way into a bundle: made, measured, judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_runtime.engine.session import CPU, Session, SessionPlan
from packager.model_files import ModelFiles


@dataclass(frozen=True)
class Candidate:
    """A graph for one execution provider and precision that may become a rung of the ladder.

    Attributes:
        name: the rung, for example ``int8-static``; unique within a target.
        precision: ``float32``, ``float16`` or ``int8``.
        provider: ONNX Runtime's full provider name.
        model: the ONNX file, and its weights where they stand beside it.
        session_options: configuration entries that the device opens it with.
        provider_options: options of the execution provider.
    """

    name: str
    precision: str
    provider: str
    model: ModelFiles
    session_options: Mapping[str, str] = field(default_factory=dict)
    provider_options: Mapping[str, str] = field(default_factory=dict)

    def open_here(self) -> Session:
        """Open it on this machine's CPU: an accelerator that it names may not be here.

        Raises:
            ModelLoadFailed: when the engine refuses the graph.
        """
        options = self.session_options if self.provider == CPU else {}
        return self.model.open(SessionPlan(session_options=options))


@dataclass(frozen=True)
class Skipped:
    """A rung that the profile asks for and that was not made, and why, as a sentence."""

    name: str
    reason: str


@dataclass(frozen=True)
class Measured:
    """What was found out about one candidate.

    Attributes:
        name: the candidate's name.
        precision: its precision.
        size: bytes of its files.
        quality: the metric on held-out rows, greater is better, the worst over batch sizes; NaN
            where an answer was not finite; None without held-out rows.
        agreement: how far it answers as float32 does, 1.0 for always; None likewise.
        latency: median nanoseconds a call by batch size; empty where this host is not the chip.
    """

    name: str
    precision: str
    size: int
    quality: float | None = None
    agreement: float | None = None
    latency: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate ships, and why, as a sentence."""

    name: str
    admitted: bool
    reason: str
