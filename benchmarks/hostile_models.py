"""What a trial makes of models that would take a machine down, and of one that only looks so.

    python benchmarks/hostile_models.py [--write docs/trial.md] [--timeout 10]

Tries the bombs of ``tests/support/bombs.py`` and a package of 1 GiB of mapped weights as an
installation does. Ends with an error if one of the bombs passed, or took more memory than it
may have, or if the large model failed.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "tests/support")]

import bombs  # noqa: E402 - found by the path above
import bundles  # noqa: E402
import devices  # noqa: E402

from edge_runtime.contract.bundle.verify import verify_bundle  # noqa: E402
from edge_runtime.contract.errors import GraphRefused  # noqa: E402
from edge_runtime.engine.session import engine_facts  # noqa: E402
from edge_runtime.engine.trial import Trial, try_variants  # noqa: E402
from edge_runtime.engine.verdict import Verdict, choose  # noqa: E402

# A working set, and what may be taken beyond it between two looks, at most.
MOST = bombs.WORKING_SET + (256 << 20)
MARK, END = "<!-- hostile_models.py -->\n", "<!-- end -->"


@dataclass(frozen=True)
class Row:
    """One model, what was found, and how long that took."""

    model: str
    found: str
    memory_bytes: int | None
    seconds: float

    def text(self) -> str:
        """Render the row of the table."""
        memory = "" if self.memory_bytes is None else f"{self.memory_bytes / 1e6:.0f}"
        return f"| {self.model} | {self.found} | {memory} | {self.seconds:.1f} |"


def tried(room: Path, name: str, bomb: bytes, timeout_s: float) -> Row:
    """Try a bomb."""
    package = room / "package"
    package.mkdir()
    begun = time.monotonic()
    try:
        with verify_bundle(bombs.packed(room / "b.oci.tar", bomb), bundles.KEYS) as verified:
            verified.packages[0].extract(package)
            digest = verified.packages[0].digest
    except GraphRefused as error:
        return Row(name, f"`{error.code}`: {error.message}", None, time.monotonic() - begun)
    begun = time.monotonic()
    (verdict,) = try_variants(Trial(package, digest, 1, timeout_s), ["float32"])
    return row(name, verdict, time.monotonic() - begun)


def row(name: str, verdict: Verdict, seconds: float) -> Row:
    """Render a verdict, without the engine's own words."""
    reason = verdict.text if verdict.passed else verdict.reason.partition(": the engine")[0]
    word = "passed" if verdict.passed else f"`{verdict.code}`"
    return Row(name, f"{word}: {reason}", verdict.memory_bytes, seconds)


def rows(timeout_s: float) -> Iterator[Row]:
    """Try everything; a row each."""
    for name, bomb in (
        ("ConstantOfShape of 4 GiB", bombs.constant_of_shape()),
        ("Tile to 4 GiB", bombs.tile()),
        ("a sparse initializer of 2 GiB", bombs.sparse_initializer()),
        ("a Loop without an end", bombs.endless_loop()),
    ):
        with tempfile.TemporaryDirectory() as room:
            found = tried(Path(room), f"{name}, {len(bomb)} bytes", bomb, timeout_s)
        if found.found.startswith("passed") or (found.memory_bytes or 0) > MOST:
            sys.exit(f"{name} was not contained: {found}")
        yield found
    yield from mapped(timeout_s)


def mapped(timeout_s: float) -> Iterator[Row]:
    """Try two variants over 1 GiB of mapped weights with a working set of 64 MiB."""
    graphs = {"greedy": bombs.product(wasted=700 << 20), "float32": bombs.product()}
    texts = ("1 GiB of mapped weights, and 700 MiB of memory", "1 GiB of mapped weights alone")
    with tempfile.TemporaryDirectory() as room:
        directory = Path(room) / "package"
        digest = bombs.mapped(directory, graphs)
        verdicts = []
        for name, text in zip(graphs, texts, strict=True):
            begun = time.monotonic()
            trial = Trial(directory, digest, 1, max(timeout_s, 60))
            verdicts += try_variants(trial, [name])
            yield row(text, verdicts[-1], time.monotonic() - begun)
    choice = choose(verdicts)
    if choice is None or choice.variant != "float32":
        sys.exit(f"the large model does not serve: {verdicts}")
    if (verdicts[0].memory_bytes or 0) > MOST:
        sys.exit(f"the greedy variant was ended late: {verdicts[0].memory_bytes} bytes")


def ordinary() -> Row:
    """Try a small ladder of two sound variants, for what a trial costs."""
    with tempfile.TemporaryDirectory() as room:
        package = Path(room) / "package"
        package.mkdir()
        path = devices.ladder(Path(room) / "b.oci.tar", sound=True)
        with verify_bundle(path, bundles.KEYS) as verified:
            verified.packages[0].extract(package)
            trial = Trial(package, verified.packages[0].digest, 1)
        begun = time.monotonic()
        verdicts = try_variants(trial, ["first", "second"])
        seconds = time.monotonic() - begun
    return row("a small classifier in two variants, for comparison", verdicts[0], seconds)


def main() -> None:
    """Run everything, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="put the table into this page")
    parser.add_argument("--timeout", type=float, default=10, help="seconds for an endless loop")
    options = parser.parse_args()
    lines = ["| model | found | memory, MB | seconds |", "|---|---|--:|--:|"]
    for found in (*rows(options.timeout), ordinary()):
        lines.append(found.text())
        print(lines[-1], flush=True)
    if options.write:
        put(options.write, "\n".join(lines))


def put(page: Path, text: str) -> None:
    """Replace what stands between the page's marks."""
    before, mark, rest = page.read_text("utf-8").partition(MARK)
    _, end, after = rest.partition(END)
    if not mark or not end:
        sys.exit(f"{page} has no place for the table")
    here = f"Python {platform.python_version()}, {engine_facts().text}, {os.cpu_count()} cores"
    page.write_text(f"{before}{mark}Measured with {here}:\n\n{text}\n{end}{after}", "utf-8")


if __name__ == "__main__":
    main()
