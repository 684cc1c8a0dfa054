"""What is searched for on one target, and with what."""

from __future__ import annotations

from dataclasses import dataclass

from edge_runtime.contract.tensors import Arrays
from packager.budgets import Budgets
from packager.graph import Graph
from packager.record import Record
from packager.target import TargetProfile
from packager.understanding import Rows, Say
from packager.workspace import Workspace


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
