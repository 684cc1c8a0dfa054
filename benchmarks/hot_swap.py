"""What a swap costs those who predict meanwhile, and whether it ever costs them an answer.

    python benchmarks/hot_swap.py [--write docs/hot-swap.md]
    python benchmarks/hot_swap.py --versions 2 --megabytes 1 --seconds 1

Threads predict flat out with a model that follows its store, while programs install version
after version, roll each back and activate it again. Every answer is compared bit for bit with
what a plain session of the engine answers for the version that the answer names. Ends with an
error if a call failed, an answer was wrong, a version never answered, or a call went uncounted.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "tests/support")]

import devices  # noqa: E402 - found by the path above
import numpy as np  # noqa: E402
from hot_swap_calls import Callers, Span  # noqa: E402
from hot_swap_models import FEEDS, KINDS, Kind, version  # noqa: E402

import edge_runtime  # noqa: E402
from edge_runtime.engine.session import engine_facts  # noqa: E402
from edge_runtime.following import Following  # noqa: E402
from edge_runtime.metrics import summarize  # noqa: E402
from edge_runtime.model import Model  # noqa: E402
from edge_runtime.state.store import Store  # noqa: E402

PATIENCE_S = 120.0
MARK, END = "<!-- hot_swap.py -->\n", "<!-- end -->"


@dataclass(frozen=True)
class Plan:
    """How much is done.

    Attributes:
        versions: that are installed one after another.
        control: how many of them are installed on a store that nobody follows as well.
        megabytes: of weights in each.
        threads: that predict.
        seconds: of quiet.
    """

    versions: int
    control: int
    megabytes: float
    threads: int
    seconds: float


@dataclass
class Found:
    """What came of one kind of model."""

    kind: Kind
    callers: Callers
    quiet: list[Span] = field(default_factory=list)
    elsewhere: list[Span] = field(default_factory=list)
    commands: list[Span] = field(default_factory=list)
    swaps: list[Span] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    counted: int = 0
    followed: int = 0
    problems: list[str] = field(default_factory=list)


# --- one kind ------------------------------------------------------------------------------


def measure(kind: Kind, plan: Plan, room: Path) -> Found:
    """Install, swap, roll back and activate every version under fire."""
    numbers = range(plan.versions + 1)
    bundles = [kind.packed(room, number, plan.megabytes) for number in numbers]
    references = {version(n): kind.references(n, plan.megabytes) for n in numbers}
    feeds = [kind.feed(seed, plan.megabytes) for seed in range(FEEDS)]
    here, there = (Path(devices.trusting(made(room / name))[1]) for name in ("here", "there"))
    for store in (here, there):
        command(store, "install", str(bundles[0]))
        command(store, "mark-good", kind.name)
    swaps: list[Span] = []
    with watching_swaps(swaps), edge_runtime.load(kind.name, store=here, follow=True) as model:
        with Callers(model, feeds, references, plan.threads) as callers:
            found = Found(kind, callers, swaps=swaps)
            with during(found.quiet):
                time.sleep(plan.seconds)
            for number, bundle in list(enumerate(bundles))[1:]:
                if number <= plan.control:
                    with during(found.elsewhere):
                        change(there, kind, number, bundle, None, found)
                change(here, kind, number, bundle, model, found)
                print(f"{kind.name} {number}/{plan.versions}", file=sys.stderr, flush=True)
        found.followed = model.status()["following"]["swaps"]
    found.counted = summarize(
        [Store(here, "the benchmark's").model(kind.name).metrics]
    ).tally.rows
    found.problems = problems(found, plan)
    return found


def change(
    store: Path, kind: Kind, number: int, bundle: Path, model: Model | None, found: Found
) -> None:
    """Install a version, go back from it and to it again; each time wait until it serves."""
    steps = (
        (("install", str(bundle)), number),
        (("rollback", kind.name), number - 1),
        (("activate", f"{kind.name}@{version(number)}"), number),
    )
    for arguments, expected in steps:
        if model is None:
            command(store, *arguments)
            continue
        with during(found.commands):
            command(store, *arguments)
            wait_until_served(model, version(expected))
        wait_until_proven(store, kind)
        found.memory_mb.append(resident_mb())
    if model is None:
        command(store, "mark-good", kind.name)


def command(store: Path, *arguments: str) -> None:
    """Run the device's program, as an operator does."""
    done = subprocess.run(
        [sys.executable, "-m", "edge_runtime", "--store", str(store), *arguments],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")


def wait_until_served(model: Model, expected: str) -> None:
    """Wait until new calls are answered by a version."""
    end = time.monotonic() + PATIENCE_S
    while model.version != expected:
        if time.monotonic() > end:
            raise SystemExit(f"{expected} never served: {model.status()['following']}")
        time.sleep(0.001)


def wait_until_proven(store: Path, kind: Kind) -> None:
    """Wait until the calls have proven what serves; that takes them no time."""
    there = Store(store, "the benchmark's").model(kind.name)
    while there.standing().probation:
        time.sleep(0.001)


@contextmanager
def watching_swaps(spans: list[Span]) -> Iterator[None]:
    """Note when a version is loaded, takes over, and the one before it is closed."""
    take = Following._take

    def noted(self: Following, *arguments: Any) -> None:
        with during(spans):
            take(self, *arguments)

    with mock.patch.object(Following, "_take", noted):
        yield


@contextmanager
def during(spans: list[Span]) -> Iterator[None]:
    """Note when something happened."""
    began = time.perf_counter_ns()
    yield
    spans.append((began, time.perf_counter_ns()))


def made(directory: Path) -> Path:
    """Make a directory and return it."""
    directory.mkdir()
    return directory


def resident_mb() -> float:
    """Return the memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def problems(found: Found, plan: Plan) -> list[str]:
    """Return what must not be."""
    callers, swaps = found.callers, 3 * plan.versions
    missing = {version(n) for n in range(plan.versions + 1)} - callers.versions
    listed = [f"a call failed: {text}" for text in callers.failed[:5]]
    listed += [f"an answer was wrong: {text}" for text in callers.wrong[:5]]
    listed += [f"{name} never answered" for name in sorted(missing)]
    if found.counted != callers.calls:
        listed.append(f"{callers.calls} calls were answered, {found.counted} counted")
    if found.followed != swaps:
        listed.append(f"{swaps} swaps were due, {found.followed} came")
    return listed


# --- the page ------------------------------------------------------------------------------


def page(results: Sequence[Found], plan: Plan) -> str:
    """Return the figures as the documentation shows them."""
    facts = engine_facts()
    lines = [
        f"Measured with Python {platform.python_version()}, {facts.text}, {os.cpu_count()} "
        f"cores, which other work shared; {plan.threads} threads predict one row a call, "
        f"{plan.versions + 1} versions of {plan.megabytes:g} MB.",
        "",
        "| | " + " | ".join(found.kind.name for found in results) + " |",
        "|---|" + "--:|" * len(results),
    ]
    rows = {
        "what the model does": [found.kind.what for found in results],
        "calls answered": [f"{found.callers.calls:,}" for found in results],
        "**calls failed**": [f"**{len(found.callers.failed)}**" for found in results],
        "**answers not their version's, bit for bit**": [
            f"**{len(found.callers.wrong)}**" for found in results
        ],
        "calls answered and not counted": [
            f"{found.callers.calls - found.counted}" for found in results
        ],
        "versions that answered": [f"{len(found.callers.versions)}" for found in results],
        "swaps": [f"{found.followed}" for found in results],
        "loading, warming and swapping, median": [
            f"{np.median([end - start for start, end in found.swaps]) / 1e6:.0f} ms"
            for found in results
        ],
        "memory of the process after the first swap, and after the last": [
            f"{found.memory_mb[0]:.0f} MB, {found.memory_mb[-1]:.0f} MB" for found in results
        ],
    }
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]
    for found in results:
        lines += ["", f"How long a call of `{found.kind.name}` took, in ms:", ""]
        lines += [
            "| while | calls | p50 | p99 | p99.9 | longest |",
            "|---|--:|--:|--:|--:|--:|",
        ]
        spans = {
            "nothing else happens": found.quiet,
            "the same commands work on a store that nobody follows": found.elsewhere,
            "commands work on the store that is followed": found.commands,
            "— of that, from the look that finds a new version until the old one is closed": (
                found.swaps
            ),
        }
        lines += [timed(name, found.callers.taken(span)) for name, span in spans.items()]
    return "\n".join(lines) + "\n"


def timed(name: str, taken: np.ndarray) -> str:
    """Return a row of the table of times."""
    if not len(taken):
        return f"| {name} | 0 | | | | |"
    figures = [*np.percentile(taken, [50, 99, 99.9]), taken.max()]
    cells = " | ".join(f"{figure / 1e6:.3f}" for figure in figures)
    return f"| {name} | {len(taken):,} | {cells} |"


def write(path: Path, text: str) -> None:
    """Put the figures into a page, between its marks."""
    before, _, rest = path.read_text("utf-8").partition(MARK)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{path} must have the marks {MARK.strip()} and {END}")
    path.write_text(f"{before}{MARK}{text}{END}{after}", "utf-8")


def main() -> None:
    """Measure, print, write the page where asked, and tell whether all went well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--versions", type=int, default=20)
    parser.add_argument("--megabytes", type=float, default=21.0, help="of weights in each")
    parser.add_argument("--control", type=int, default=3, help="versions installed elsewhere")
    parser.add_argument("--kinds", nargs="+", default=[kind.name for kind in KINDS])
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10.0, help="of quiet")
    parser.add_argument("--write", type=Path, help="a page to write the figures to")
    options = parser.parse_args()
    if options.write and len(options.kinds) < len(KINDS):
        parser.error("--write takes all models: leave out --kinds")
    plan = Plan(
        options.versions, options.control, options.megabytes, options.threads, options.seconds
    )
    results = []
    for kind in (kind for kind in KINDS if kind.name in options.kinds):
        with tempfile.TemporaryDirectory() as room:
            results.append(measure(kind, plan, Path(room)))
    text = page(results, plan)
    print(text)
    wrong = [f"{found.kind.name}: {text}" for found in results for text in found.problems]
    print("\n".join(wrong), file=sys.stderr)
    if options.write and not wrong:
        write(options.write, text)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
