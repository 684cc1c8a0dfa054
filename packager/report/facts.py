"""The facts of a build: plain values that the report, the card and the terminal all show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from edge_runtime.contract.bundle.manifest import FileEntry, Interface, Variant
from packager.budgets import Budgets
from packager.graph import SourceFacts
from packager.scoring import Metric
from packager.target import TargetProfile
from packager.variant import Measured, Skipped, Verdict

SCHEMA = "edgepack.report/2"


@dataclass(frozen=True)
class Identity:
    """What is released: name, version for people, release for machines, words and licence."""

    name: str
    version: str
    release: int
    description: str
    license: str


@dataclass(frozen=True)
class DataFacts:
    """Which rows took part; the rows themselves never leave the workstation.

    Attributes:
        file: the name of ``--data``, without its directory.
        sha256: its digest in hex.
        rows: how many rows it has.
        holdout_file: the name of ``--holdout``; empty where some rows of ``file`` judge.
        holdout_sha256: its digest in hex.
        calibration: how many rows ranges were measured on.
        held_out: how many rows nothing but the judgement saw.
        dropped: how many rows of ``file`` stand in the holdout too and so did not calibrate.
        label: the label column; empty where none was named.
    """

    file: str
    sha256: str
    rows: int
    holdout_file: str
    holdout_sha256: str
    calibration: int
    held_out: int
    dropped: int
    label: str


@dataclass(frozen=True)
class KindFacts:
    """How closely the graph answers one kind of rows.

    Attributes:
        kind: ``held-out``, or what the rows were made for: ``thresholds``, ``ties``, …
        rows: how many were compared.
        refused: how many more the source itself refuses, so that nothing could be compared.
        ties: labels that differ where the source can hardly tell two classes apart.
        excused: rows that differ only as far as float32 or a device's text rules cannot help.
        worst: the number of the row that differs most, but for those excused.
        share: how much of what is allowed it differs by, at most 1.
        column: the column that was changed in it; empty where none was, or several.
        differences: what differs in it, by output: how far, or for no float whether.
        row: its values by column, where they were asked for; else empty.
    """

    kind: str
    rows: int
    refused: int
    ties: int
    excused: int
    worst: int
    share: float
    column: str
    differences: Mapping[str, float | bool]
    row: Mapping[str, Any] = field(default_factory=dict)

    def asides(self) -> list[str]:
        """Say in words what was not compared, or compared and let pass."""
        counts = (
            (self.ties, "labels that differ in a tie"),
            (self.excused, "differ only as float32 must"),
            (self.refused, "refused by the source"),
        )
        return [f"{text}: {count:,}" for count, text in counts if count]


@dataclass(frozen=True)
class ParityFacts:
    """How closely the graph answers as the source does.

    Attributes:
        rows: how many held-out rows were compared.
        ties: their labels that differ where the source can hardly tell two classes apart.
        largest: the largest difference to them by output.
        missing_allowed: columns of which a row may lack a value.
        missing_refused: columns where the source takes such rows and the graph, answering
            differently, does not.
        kinds: one for each kind of rows that was compared, held-out rows first.
    """

    rows: int
    ties: int
    largest: Mapping[str, float]
    missing_allowed: Sequence[str]
    missing_refused: Sequence[str]
    kinds: Sequence[KindFacts] = ()


@dataclass(frozen=True)
class Effect:
    """What the first rung does to the answers on held-out rows, against plain float32.

    Attributes:
        kind: ``confusion`` or ``residuals``.
        variant: the rung.
        names: the classes; of residuals the edges of the bins, as text.
        before: float32's counts: a row for each true class, a column for each answered one; of
            residuals one row, a count a bin.
        after: the rung's.
    """

    kind: str
    variant: str
    names: Sequence[str]
    before: Sequence[Sequence[int]]
    after: Sequence[Sequence[int]]


@dataclass(frozen=True)
class TargetFacts:
    """What was built for one target.

    Attributes:
        profile: the target profile.
        ladder: the variants that ship, best first.
        measured: what was found out about each candidate.
        verdicts: which ship, and why.
        skipped: which were not made, and why.
        notes: what was not measured on this host, as sentences.
        golden_rows: how many golden vectors there are.
        golden_synthetic: whether they were drawn rather than rows of somebody's.
        effect: what the first rung does to the answers; None without truth, or where it is
            float32 itself.
    """

    profile: TargetProfile
    ladder: Sequence[Variant]
    measured: Sequence[Measured]
    verdicts: Sequence[Verdict]
    skipped: Sequence[Skipped]
    notes: Sequence[str]
    golden_rows: int
    golden_synthetic: bool
    effect: Effect | None = None


@dataclass(frozen=True)
class BuildFacts:
    """Everything that is known about a build but its bytes.

    Attributes:
        identity: what is released.
        source: where the model comes from.
        interface: what goes in and comes out.
        data: which rows took part; None without ``--data``.
        parity: None where there was nothing to compare with.
        metric: what quality means; None without data.
        budgets: what every variant had to keep.
        targets: one for each target.
        unchecked: what was not checked and why, as sentences.
        versions: the libraries that made the bundle.
        repairs: what was mended so that the graph answers as the source does, as sentences.
    """

    identity: Identity
    source: SourceFacts
    interface: Interface
    data: DataFacts | None
    parity: ParityFacts | None
    metric: Metric | None
    budgets: Budgets
    targets: Sequence[TargetFacts]
    unchecked: Sequence[str]
    versions: Mapping[str, str]
    repairs: Sequence[str] = ()

    @property
    def metric_name(self) -> str:
        """The metric's name; empty without data."""
        return self.metric.name if self.metric else ""


@dataclass(frozen=True)
class PackedFacts:
    """The file that came out.

    Attributes:
        bundle: its name.
        size: in bytes.
        sha256: of the whole file, in hex.
        signer: fingerprint of the key; empty for an unsigned bundle.
        packages: the digest of each target's package, by target.
        contents: the signed files of each target, by target.
    """

    bundle: str
    size: int
    sha256: str
    signer: str
    packages: Mapping[str, str]
    contents: Mapping[str, Sequence[FileEntry]] = field(default_factory=dict)


def report_json(
    facts: BuildFacts, packed: PackedFacts, values: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the report: facts for people and machines, and the values that a replay needs."""
    told = {"schema": SCHEMA, "bundle": asdict(packed), **asdict(facts)}
    for target, told_target in zip(facts.targets, told["targets"], strict=True):
        for item, told_item in zip(target.measured, told_target["measured"], strict=True):
            told_item |= {
                "quality": item.quality,
                "worst": item.worst.cpu if item.worst else None,
                "agreement": item.agreement,
            }
    return {**in_json(told), "values": dict(values)}


def in_json(value: Any) -> Any:
    """Return facts as JSON has them: a number that JSON cannot hold becomes its name."""
    if isinstance(value, Mapping):
        return {str(key): in_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [in_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value
