"""What cutting the power found, as tables for people."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from power_broken import SHOWN_BY_KILLS
from power_cuts import JOURNAL, MOUNTS, RAW, Findings
from power_faults import EIO, ENOSPC, KILL, Failures


@dataclass(frozen=True)
class Caught:
    """What the harness found of one broken store.

    Attributes:
        style: its mistake.
        kills: what came of killing it.
        cuts: what came of cutting it, by the name of the mount.
    """

    style: str
    kills: Failures
    cuts: Mapping[str, Findings]


@dataclass(frozen=True)
class Results:
    """All that one run found.

    Attributes:
        cuts: of each operation under each mount.
        failures: of each operation and fault.
        caught: of each broken store.
    """

    cuts: Sequence[Findings]
    failures: Sequence[Failures]
    caught: Sequence[Caught]

    @property
    def bad(self) -> int:
        """How many stores were not as they must be, and broken stores were not caught."""
        missed = [one for one in self.caught if not is_caught(one)]
        cut = sum(len(found.faults) for found in self.cuts)
        return len(missed) + cut + sum(len(found.faults) for found in self.failures)


def is_caught(caught: Caught) -> bool:
    """Tell whether everything that must show the mistake does, under every mount."""
    cuts = [found.faults_of(kind) for found in caught.cuts.values() for kind in (RAW, JOURNAL)]
    return all(cuts) and bool(caught.kills.faults) == (caught.style in SHOWN_BY_KILLS)


def calls_text(counts: Counter[str]) -> str:
    """Return counts, the largest first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {name}" for name, count in ordered)


def totals(cuts: Sequence[Findings]) -> str:
    """Return one line over all cuts."""
    calls: Counter[str] = Counter()
    for found in cuts:
        calls.update(found.calls)
    made = sum(found.cuts.total() for found in cuts)
    judged = sum(found.judged.total() for found in cuts)
    bad = sum(len(found.faults) for found in cuts)
    return f"{made} cuts, {judged} different disks judged, {bad} bad; {calls_text(calls)}"


_HEAD = """# Power cuts

What is left of a store when the power goes, or when a write fails, at any instant. Written by
`python benchmarks/power_cuts.py --write docs/power-cuts.md` (as root, on Linux with strace and
e2fsprogs); the stage `power` of `./dev test` cuts at the same calls and judges a seeded share.

## How

The store lies on a small ext4 disk in a file, mounted so that the kernel commits nothing by
itself. The real command runs under strace, which stops it after every call that changes the
store: not killed, because a process that is killed closes its files, and ext4 then writes some
of them out. While nothing runs the disk is copied, as the power would leave it:

- **raw**: nothing that was not synced survives;
- **journal**: an unrelated sync has just committed the journal, so names are there and delayed
  data is not.

Each is done as ext4 is mounted by default, and with `noauto_da_alloc`, which leaves out its
repairs for careless programs. The calls are those that strace recorded in that very run; the
suite fails when there is a call without a cut, or when two runs differ. Disks that are equal
bit for bit are judged once.

A disk is judged as its user would: it is mounted, as after a new start of the machine. The
record reads, in both copies; the version that serves, and the one to go back to, verify byte
for byte; what serves is what served before or what was installed, and answers bit for bit as it
must. What the command had told to be done is so. The floor is not lower. The next command does
its work, and nothing is left behind.
"""

_BROKEN = """
## Broken stores

The same harness over this very runtime, its way to the disk replaced by one that is seen in the
field: how many of the judged stores are bad, and what was found first.
"""

_FAILING = """
## Calls that fail

Each call that would change the store fails with ENOSPC, then with EIO, or the command is killed
there. Then the command has to end with a typed error or do its work all the same (clearing up
is left to the next one then, and a load that cannot be counted says so), and the store is
judged as above. Killed commands are judged without a power cut: this is what `kill -9` can do.
"""

_LIMITS = """
## What this does not show

- A sync is taken as a whole: a disk that tears a single write in the middle of it, or that says
  "written" and lies, is the file system's and the disk's matter.
- Other file systems. The order of syncs does not count on ext4's: directories are synced one by
  one, as f2fs in its default mode needs it. FAT has no journal; on a stick nothing is kept that
  must survive.
- The trial runs in its real child where a command is cut. Where thousands of disks are judged,
  and where calls fail, it runs once a package, and its verdict is repeated.
"""


def page(results: Results) -> str:
    """Return the page."""
    parts = [_HEAD, _cuts_table(results.cuts), f"\nTogether: {totals(results.cuts)}.\n"]
    parts += [_FAILING, _failures_table(results.failures)]
    parts += [_BROKEN, _caught_table(results.caught), _LIMITS]
    return "".join(parts)


def _cuts_table(cuts: Sequence[Findings]) -> str:
    lines = [
        "\n## Cuts\n",
        "| operation | calls that change the store | cuts | disks judged | bad |",
        "|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(found.operation for found in cuts):
        own = [found for found in cuts if found.operation == name]
        calls = own[0].calls
        lines.append(
            f"| {name} | {calls.total()}: {calls_text(calls)} "
            f"| {sum(found.cuts.total() for found in own)} "
            f"| {sum(found.judged.total() for found in own)} "
            f"| {sum(len(found.faults) for found in own)} |"
        )
    return "\n".join(lines) + "\n"


def _failures_table(failures: Sequence[Failures]) -> str:
    lines = [
        "\n| operation | calls | ENOSPC: typed error, done, bad | EIO: typed error, done, bad "
        "| killed, bad |",
        "|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(found.operation for found in failures):
        own = {found.fault: found for found in failures if found.operation == name}
        cells = [
            f"{one.outcomes['typed error']}, {one.outcomes['done all the same']}, "
            f"{len(one.faults)}"
            for one in (own[ENOSPC], own[EIO])
        ]
        killed = own[KILL]
        cells.append(f"{killed.outcomes['killed']}, {len(killed.faults)}")
        lines.append(f"| {name} | {killed.points} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _caught_table(caught: Sequence[Caught]) -> str:
    mounts = [f"{kind}, {mount}" for mount in MOUNTS for kind in (RAW, JOURNAL)]
    lines = [
        f"\n| mistake | killed | {' | '.join(mounts)} | found first |",
        f"|---|---{'|---' * len(mounts)}|---|",
    ]
    for one in caught:
        cells = [_share(len(one.kills.faults), one.kills.tried)]
        for found in one.cuts.values():
            for kind in (RAW, JOURNAL):
                cells.append(_share(found.faults_of(kind), found.judged[kind]))
        first = next(iter(one.cuts.values())).faults
        told = re.sub(r"/\S*/", "", first[0].rpartition(": ")[2]) if first else "nothing"
        lines.append(f"| {one.style} | {' | '.join(cells)} | {told} |")
    return "\n".join(lines) + "\n"


def _share(bad: int, judged: int) -> str:
    return f"**{bad}** of {judged}" if bad else f"0 of {judged}"
