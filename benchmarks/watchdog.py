"""What deadlines do: how late a stop comes, what one costs, and whether it ever hits another.

    python benchmarks/watchdog.py [--write docs/deadlines.md]
    python benchmarks/watchdog.py --calls 20000 --stops 5 --seconds 1

Installs graphs whose input decides how long they take (``tests/support/endless.py``) and serves
them in this process and in a worker. Ends with an error if a call failed that was in time, if
an answer was wrong, or if a worker outlasted its deadline by more than a second.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "tests/support")]

import devices  # noqa: E402 - found by the path above
import endless  # noqa: E402
import numpy as np  # noqa: E402

import edge_runtime  # noqa: E402
from edge_runtime.contract.errors import DeadlineExceeded, EdgepackError  # noqa: E402
from edge_runtime.engine.session import engine_facts  # noqa: E402
from edge_runtime.model import Model  # noqa: E402

THREADS = 4
LONG_MS = 600_000.0
STOP_MS = 20.0
NODE_MS = 300.0
WORKER_GRACE_MS = 1000.0
MARK, END = "<!-- watchdog.py -->\n", "<!-- end -->"


@dataclass
class Tally:
    """What became of calls of one kind."""

    calls: int = 0
    late: int = 0
    failed: int = 0
    wrong: int = 0

    def add(self, other: Tally) -> None:
        """Count another thread's as well."""
        self.calls += other.calls
        self.late += other.late
        self.failed += other.failed
        self.wrong += other.wrong


# --- races ---------------------------------------------------------------------------------


def race(model: Model, calls: int) -> tuple[Tally, Tally]:
    """Let calls race their deadlines in several threads, each followed by an innocent one.

    Returns:
        The calls whose deadlines lie around what a call takes, and those with all the time.
    """
    typical = cost(lambda: model.predict({"index": np.arange(3)}, timeout_ms=LONG_MS), 2000)
    racing, innocent = Tally(), Tally()
    counting = threading.Lock()

    def run(number: int) -> None:
        draw = np.random.default_rng(number)
        mine, others = Tally(), Tally()
        for _ in range(calls // THREADS):
            index = draw.integers(3, size=3)
            one_call(model, index, typical * draw.uniform(0.3, 3) / 1000, mine)
            one_call(model, index, LONG_MS if draw.random() < 0.5 else None, others)
        with counting:
            racing.add(mine)
            innocent.add(others)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return racing, innocent


def one_call(model: Model, index: np.ndarray, timeout_ms: float | None, tally: Tally) -> None:
    """Predict once and count what came of it, judged by a clock of our own."""
    tally.calls += 1
    began = time.monotonic_ns()
    try:
        answers = model.predict({"index": index}, timeout_ms=timeout_ms)
    except DeadlineExceeded:
        elapsed_ms = (time.monotonic_ns() - began) / 1e6
        if timeout_ms is not None and elapsed_ms >= timeout_ms:
            tally.late += 1
        else:
            tally.failed += 1
    except EdgepackError:
        tally.failed += 1
    else:
        tally.wrong += answers["value"].tolist() != (index + 1).tolist()


def cost(call: Callable[[], object], times: int) -> float:
    """Return the median microseconds of a call, the first tenth of them left out."""
    taken = []
    for _ in range(times):
        began = time.perf_counter_ns()
        call()
        taken.append((time.perf_counter_ns() - began) / 1000)
    return statistics.median(taken[times // 10 :])


# --- stops ---------------------------------------------------------------------------------


def stops(model: Model, times: int) -> list[float]:
    """Stop an endless loop so often; return by how many milliseconds each came late."""
    late = []
    for _ in range(times):
        model.predict(endless.asked(3))  # the worker is there, and answers
        late.append(overrun(model, endless.FOR_EVER, STOP_MS))
    return late


def overrun(model: Model, count: np.ndarray, timeout_ms: float) -> float:
    """Return by how many milliseconds a call that is too long outlasts its deadline."""
    began = time.monotonic()
    try:
        model.predict({"count": count}, timeout_ms=timeout_ms)
    except DeadlineExceeded:
        return (time.monotonic() - began) * 1000 - timeout_ms
    sys.exit(f"a call of {timeout_ms} ms was answered that takes longer")


def node_of(model: Model, seconds: float) -> int:
    """Return what makes a single node take about so long: its time grows with the square."""
    count = 20_000
    taken = cost(lambda: model.predict(endless.asked(count)), 5) / 1e6
    return int(count * (seconds * 1.15 / taken) ** 0.5)


# --- the tables ----------------------------------------------------------------------------


def raced(load: Callable[..., Model], calls: int) -> list[str]:
    """Race, and return the table; end with an error if anybody innocent was hit."""
    with load("lookup") as model:
        racing, innocent = race(model, calls)
    rows = (
        ("deadlines around what a call takes", racing),
        ("right after one of those, with all the time", innocent),
    )
    lines = [
        f"{racing.calls + innocent.calls:,} calls by {THREADS} threads of one process:",
        "",
        "| calls | how many | late, said so | answered wrong | failed though in time |",
        "|---|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {name} | {one.calls:,} | {one.late:,} | {one.wrong:,} | {one.failed:,} |"
        for name, one in rows
    ]
    if any(one.failed or one.wrong for _, one in rows) or innocent.late:
        sys.exit("\n".join([*lines, "an innocent call was hit"]))
    return lines


def stopped(load: Callable[..., Model], times: int, seconds: float) -> list[str]:
    """Return the table of what outlasts its deadline by how much."""
    lines = [
        "| what runs | deadline | in this process it ends late by | with `isolate=True` by |",
        "|---|--:|--:|--:|",
    ]
    with load("loop") as model, load("loop", isolate=True) as apart:
        here, there = stops(model, times), stops(apart, times)
        restarts = apart.status()["worker"]["restarts"]
    said = [f"{statistics.median(one):.1f} ms, at most {max(one):.1f}" for one in (here, there)]
    lines.append(f"| an endless loop, {times} times | {STOP_MS:g} ms | {said[0]} | {said[1]} |")
    with load("long") as model, load("long", isolate=True) as apart:
        count = np.array([node_of(model, seconds)])
        while (here_ms := overrun(model, count, NODE_MS)) + NODE_MS < seconds * 1000:
            count = count * 6 // 5
        there_ms = overrun(apart, count, NODE_MS)
        began = time.monotonic()
        apart.predict(endless.asked(3))
        again = (time.monotonic() - began) * 1000
        restarts += apart.status()["worker"]["restarts"]
    if max(there_ms, *there) > WORKER_GRACE_MS:
        sys.exit(f"a worker outlasted its deadline by {max(there_ms, *there):.0f} ms")
    node = f"a single node of {(here_ms + NODE_MS) / 1000:.1f} s"
    lines += [
        f"| {node} | {NODE_MS:g} ms | {here_ms / 1000:.1f} s | {there_ms:.0f} ms |",
        "",
        f"After the node a new worker answered within {again:.0f} ms. Workers ended by force: "
        f"{restarts} of {times + 1}; the others stopped by themselves.",
    ]
    return lines


def costs(load: Callable[..., Model]) -> list[str]:
    """Return the table of what one call costs."""
    small, large = {"index": np.arange(3)}, {"index": np.arange(131_072) % 3}
    kinds = (
        ("no deadline", {}, None),
        ("a deadline", {}, LONG_MS),
        ("a worker", {"isolate": True}, None),
        ("a worker and a deadline", {"isolate": True}, LONG_MS),
    )
    lines = ["| a call with | 3 values | 1 MiB in, ½ MiB out |", "|---|--:|--:|"]
    for name, how, timeout_ms in kinds:
        with load("lookup", **how) as model:
            times = [
                cost(lambda: model.predict(feed, timeout_ms=timeout_ms), repeats)  # noqa: B023
                for feed, repeats in ((small, 5000), (large, 500))
            ]
        lines.append(f"| {name} | {times[0]:.0f} µs | {times[1]:,.0f} µs |")
    return lines


def loader(directory: Path) -> Callable[..., Model]:
    """Install the graphs and return what loads them by name."""
    _, store = devices.trusting(directory)
    subjects = {
        "lookup": devices.lookup(),
        "loop": endless.loop(),
        "long": endless.long_node(),
    }
    for name, subject in subjects.items():
        bundle = devices.packed(directory / f"{name}.oci.tar", subject, name=name)
        for command in (("install", bundle), ("mark-good", name)):
            said = devices.run("--store", store, *command)
            if said.code:
                sys.exit(said.err)

    def load(name: str, *, isolate: bool = False) -> Model:
        return edge_runtime.load(name, store=store, isolate=isolate)

    return load


def put(page: Path, tables: Sequence[str]) -> None:
    """Replace what stands between the page's marks."""
    before, mark, rest = page.read_text("utf-8").partition(MARK)
    _, end, after = rest.partition(END)
    if not mark or not end:
        sys.exit(f"{page} has no place for the tables")
    engine = engine_facts().text
    head = f"Measured with Python {platform.python_version()}, {engine}, {os.cpu_count()} cores"
    body = "\n\n".join([f"{head}, which other work shared.", *tables])
    page.write_text(f"{before}{mark}{body}\n{end}{after}", "utf-8")


def main() -> None:
    """Run everything, and print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000, help="that race a deadline")
    parser.add_argument("--stops", type=int, default=100, help="of an endless loop")
    parser.add_argument("--seconds", type=float, default=10, help="of the single node")
    parser.add_argument("--write", type=Path, help="put the tables into this page")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deadlines-") as directory:
        load = loader(Path(directory))
        parts = (
            lambda: stopped(load, options.stops, options.seconds),
            lambda: costs(load),
            lambda: raced(load, options.calls),
        )
        tables = []
        for part in parts:
            tables.append("\n".join(part()))
            print(tables[-1], end="\n\n", flush=True)
    if options.write:
        put(options.write, tables)


if __name__ == "__main__":
    main()
