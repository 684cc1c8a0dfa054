"""What a device reads, bent many times: nothing gets through, only typed errors are raised.

    python benchmarks/fuzz.py [--inputs 200000] [--seed 1] [--only KIND…] [--json]

Each kind of input (bundles, signatures, graphs, …) is bent with an eye for its structure and
handed to the code that reads it on a device. Memory is limited while it runs, and the directory
that it works in must hold nothing more afterwards. The seed of an input that is found is
printed, and brings about the same input again: ``--only KIND --seed SEED --inputs 1``.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

sys.path[:0] = [
    str(Path(__file__).resolve().parents[1] / place) for place in ("", "tests/support")
]

from fuzz_bend import Bender  # noqa: E402 - not without the path above
from fuzz_kinds import KINDS, Kind  # noqa: E402

from edge_runtime.contract.errors import EdgepackError  # noqa: E402

# What reading may take beyond what this process has when it begins.
MEMORY_BYTES = 256 << 20
SEED_STEP = 1_000_003


@dataclass
class Count:
    """What became of the inputs of one kind.

    Attributes:
        name: the kind.
        what: the same in words.
        measure: by what those were judged that were taken.
        seed: of the first input.
        inputs: how many there were.
        refused: how many by a typed error, by its code.
        without_effect: how many were taken, and held by the measure.
        accepted: seeds of those that were taken and did not hold.
        tracebacks: seeds of those that raised anything else, with that.
        left: files that stand in the room and did not before.
        memory_bytes: how much the process grew at most.
        seconds: how long it took.
    """

    name: str
    what: str
    measure: str
    seed: int
    inputs: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    without_effect: int = 0
    accepted: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    memory_bytes: int = 0
    seconds: float = 0.0

    @property
    def bad(self) -> int:
        """How much of it must not be."""
        return len(self.accepted) + len(self.tracebacks) + len(self.left)


def main() -> None:
    """Fuzz, print the counts, and fail where one is bad."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=(), choices=[kind.name for kind in KINDS])
    parser.add_argument("--json", action="store_true", help="print the counts as one object")
    options = parser.parse_args()
    counts = fuzz(options.inputs, options.seed, options.only, sys.stderr.write)
    if options.json:
        print(json.dumps([vars(count) for count in counts]))
    else:
        print("\n".join(map(line, counts)))
    sys.exit(bool(sum(count.bad for count in counts)))


def line(count: Count) -> str:
    """Return one line about a kind."""
    codes = ", ".join(f"{code} {number}" for code, number in count.refused.most_common())
    return (
        f"{count.name:10} {count.inputs:7} inputs, {sum(count.refused.values()):7} refused, "
        f"{count.without_effect:6} without effect, {len(count.accepted)} accepted, "
        f"{len(count.tracebacks)} tracebacks, {len(count.left)} left, "
        f"+{count.memory_bytes >> 20} MiB ({codes})"
    )


def fuzz(
    inputs: int, seed: int, only: Sequence[str], say: Callable[[str], object]
) -> list[Count]:
    """Fuzz every kind with its share of the inputs."""
    chosen = [kind for kind in KINDS if not only or kind.name in only]
    whole = sum(kind.share for kind in chosen)
    counts = []
    for kind in chosen:
        with tempfile.TemporaryDirectory() as room:
            begin = time.monotonic()
            counts.append(one_kind(kind, -(-inputs * kind.share // whole), seed, Path(room)))
            counts[-1].seconds = time.monotonic() - begin
            say(f"{line(counts[-1])}\n")
    return counts


def one_kind(kind: Kind, inputs: int, seed: int, room: Path) -> Count:
    """Fuzz one kind in an empty directory."""
    once = kind.make(room)
    count = Count(kind.name, kind.what, kind.measure, seed)
    _try(once, count, seed)  # the first makes what all of them reuse
    files = set(room.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_AS)
    before = _size("VmSize"), _size("VmHWM")
    resource.setrlimit(resource.RLIMIT_AS, (before[0] + MEMORY_BYTES, limits[1]))
    try:
        for number in range(1, inputs):
            _try(once, count, seed + number * SEED_STEP)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    count.memory_bytes = _size("VmHWM") - before[1]
    count.left = sorted(path.name for path in set(room.iterdir()) - files)
    return count


def _try(once: Callable[[Bender], None], count: Count, seed: int) -> None:
    """Try one input and count what became of it."""
    count.inputs += 1
    try:
        once(Bender(Random(f"{count.name} {seed}")))  # noqa: S311 - chance that can be repeated
    except EdgepackError as error:
        count.refused[error.code] += 1
    except AssertionError as error:
        count.accepted.append(f"{seed}: {error}")
    except Exception as error:  # whatever else is raised is what is looked for
        count.tracebacks.append(f"{seed}: {type(error).__name__}: {error}"[:300])
    else:
        count.without_effect += 1


def _size(key: str) -> int:
    for row in Path("/proc/self/status").read_text().splitlines():
        if row.startswith(f"{key}:"):
            return int(row.split()[1]) << 10
    raise LookupError(key)


if __name__ == "__main__":
    main()
