"""The power is cut at every call by which a command changes the disk, and each disk is judged.

While the command stands still the image below the disk is copied. Each cut gives two disks:
``raw``, where nothing unsynced survives; and ``journal``, where an unrelated sync has committed
the journal and only delayed data is lost.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from power_checks import Cut, fault_of
from power_disks import Disk, Snapshot
from power_metrics import write_windows
from power_operations import DAMAGE, WINDOWS, Operation, record_of
from power_trace import Trace, stopped_at_each_call
from power_world import World, another_boot

from edge_runtime.state.store import Store

RAW, JOURNAL = "raw", "journal"
THE_END = "the end"
AT_LEAST = 6  # of an operation's disks, and of its calls, that are looked at
MOUNTS = {"default": "", "noauto_da_alloc": "noauto_da_alloc"}

Point = TypeVar("Point")


@dataclass(frozen=True)
class Moment:
    """What one cut left.

    Attributes:
        kind: ``RAW`` or ``JOURNAL``.
        place: after which call, for people.
        told: how many times the writer had told that something is done.
        disk: what the disk holds.
    """

    kind: str
    place: str
    told: int
    disk: Snapshot


@dataclass
class Findings:
    """What came of cutting one operation under one kind of mount.

    Attributes:
        operation: its name.
        mount: a name of ``MOUNTS``.
        calls: how often each call changed the store.
        cuts: stores that cuts left, by kind.
        judged: those of them that differ and were looked at.
        faults: what is wrong: kind, place and reason.
    """

    operation: str
    mount: str
    calls: Counter[str] = field(default_factory=Counter)
    cuts: Counter[str] = field(default_factory=Counter)
    judged: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def faults_of(self, kind: str) -> int:
        """Return how many disks of one kind are bad."""
        return sum(fault.startswith(f"{kind} ") for fault in self.faults)


class Yard:
    """Where operations are cut.

    Args:
        world: bundles and keys.
        directory: for disks.
        disk: an empty one.
        share: how much of what the cuts leave is judged, drawn by a seed; 1 for all of it.
    """

    def __init__(self, world: World, directory: Path, disk: Disk, share: float = 1.0) -> None:
        self._world = world
        self._directory = directory
        self._empty = disk
        self._share = share
        self._made: dict[tuple[tuple[str, ...], ...], Disk] = {}

    def cut(self, operation: Operation, mount: str = "default") -> Findings:
        """Cut an operation at each of its calls and judge what is left."""
        base = self.made(operation)
        data = base.image.read_bytes()
        with base.mounted() as point:
            floor = record_of(Store(point / "store", "named by the test")).floor
        findings = Findings(operation.name, mount)
        for kind in (RAW, JOURNAL):
            disk = base.copied(self._image("cut"), MOUNTS[mount])
            trace, moments = self._run(operation, disk, data, kind)
            if trace.code:
                findings.faults.append(f"uncut it failed: {trace.said}")
            _compare(findings, trace, moments)
            for moment in self._chosen(f"{operation.name} {mount} {kind}", moments):
                findings.judged[moment.kind] += 1
                fault = self._judged(operation, base, moment, Cut(moment.told, floor))
                if fault:
                    findings.faults.append(f"{moment.kind} after {moment.place}: {fault}")
        return findings

    def made(self, operation: Operation) -> Disk:
        """Return the disk on which the operation begins."""
        before = operation.before
        if before not in self._made:
            disk = self._empty.copied(self._image(f"base-{len(self._made)}"))
            with disk.mounted() as point:
                prepare(self._world, operation, point / "store")
            self._made[before] = disk
        return self._made[before]

    def _image(self, name: str) -> Path:
        return self._directory / f"{name}.img"

    def _run(
        self, operation: Operation, disk: Disk, base: bytes, kind: str
    ) -> tuple[Trace, list[Moment]]:
        """Run the operation on a disk, and copy that after each call and at the end."""
        moments: list[Moment] = []

        def look(place: str, told: int) -> None:
            if kind == JOURNAL:
                disk.commit()
            moments.append(Moment(kind, place, told, disk.snapshot(base)))

        def at_call(trace: Trace) -> None:
            look(f"call {len(trace.calls)}, {trace.calls[-1]}", trace.told)

        with disk.mounted() as point:
            words = self._world.program(point / "store", operation.command, operation.module)
            trace = stopped_at_each_call(words, self._world.environment(), point, at_call)
            look(THE_END, trace.told)
        return trace, moments

    def _chosen(self, seed: str, moments: list[Moment]) -> list[Moment]:
        """Leave out disks that equal others, and draw the share that is judged."""
        different: dict[tuple[str, int], Moment] = {}
        for moment in moments:
            different.setdefault((moment.disk.digest, moment.told), moment)
        *others, last = different.values()
        return [*drawn(others, self._share, seed), last]

    def _judged(self, operation: Operation, base: Disk, moment: Moment, cut: Cut) -> str:
        disk = Disk(self._image("judged"), base.point)
        disk.restore(base.image, moment.disk)
        with disk.mounted() as point, another_boot(self._directory):
            return fault_of(self._world, operation, point / "store", cut)


def drawn(points: Sequence[Point], share: float, seed: str) -> list[Point]:
    """Return a share of what might be looked at, but some of it in any case."""
    number = max(min(len(points), AT_LEAST), round(share * len(points)))
    draw = random.Random(seed)  # noqa: S311 - a choice, not a secret
    return [points[index] for index in sorted(draw.sample(range(len(points)), number))]


def _compare(findings: Findings, trace: Trace, moments: list[Moment]) -> None:
    """Count the cuts, and require one for each call that strace has seen, in every run."""
    if findings.calls and findings.calls != trace.counts():
        findings.faults.append(f"two runs differ: {findings.calls} and {trace.counts()}")
    findings.calls = trace.counts()
    findings.cuts[moments[0].kind] = len(moments)
    if len(moments) != trace.seen + 1:
        findings.faults.append(f"{len(moments)} cuts for {trace.seen} calls and the end")


def prepare(world: World, operation: Operation, root: Path) -> None:
    """Make the store on which an operation begins."""
    for command in operation.before:
        if command[0] == DAMAGE:
            _damage(root)
        elif command[0] == WINDOWS:
            list(write_windows(root, int(command[1]), predictions=1))
        elif (said := world.run(root, command)).code:
            raise RuntimeError(f"{' '.join(command)}: {said.err}")


def _damage(root: Path) -> None:
    (path,) = root.glob("models/*/versions/*/variants/*.onnx")
    path.write_bytes(path.read_bytes()[:-1])
