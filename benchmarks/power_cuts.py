"""Every command that changes a store is cut at each call, and each store left is judged.

    python benchmarks/power_cuts.py [--share 0.2] [--only NAME…] [--write docs/power-cuts.md]

It takes root, strace and e2fsprogs, and some ten minutes on two cores. The exit code is 1 where
a store is bad, or where one that is broken on purpose is not caught.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "tests/support")]

from power_broken import STYLES  # noqa: E402
from power_cuts import MOUNTS, Findings, Yard  # noqa: E402
from power_disks import Disk  # noqa: E402
from power_faults import FAULTS, KILL, Failures, Saboteur  # noqa: E402
from power_operations import OPERATIONS, Operation, broken  # noqa: E402
from power_page import Caught, Results, calls_text, page, totals  # noqa: E402
from power_world import World, once_for_all  # noqa: E402


def main() -> None:
    """Cut, let fail, and break; print a line for each, and write the page where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="of what is judged, by a seed")
    parser.add_argument("--only", nargs="+", default=(), help="operations by name")
    parser.add_argument("--write", type=Path, help="a page to write the tables to")
    options = parser.parse_args()
    if options.write and (options.only or options.share < 1):
        parser.error("--write takes all of it: leave out --only and --share")
    chosen = [one for one in OPERATIONS if not options.only or one.name in options.only]
    with tempfile.TemporaryDirectory(prefix="power-") as name, once_for_all():
        results = _results(Path(name), chosen, options.share)
    print(totals(results.cuts))
    if options.write:
        options.write.write_text(page(results), encoding="utf-8")
    print(f"{results.bad} bad")
    sys.exit(1 if results.bad else 0)


def _results(directory: Path, chosen: Sequence[Operation], share: float) -> Results:
    world = World.made(directory / "world")
    disk = Disk.made(directory / "empty.img", directory / "mounted")
    (directory / "failing").mkdir()
    with Saboteur(world, directory / "failing") as saboteur:
        cuts = list(_cuts(Yard(world, directory, disk, share), chosen))
        failures = list(_failures(saboteur, chosen, share))
        return Results(cuts, failures, list(_caught(Yard(world, directory, disk), saboteur)))


def _cuts(yard: Yard, chosen: Sequence[Operation]) -> Iterator[Findings]:
    for operation in chosen:
        for mount in MOUNTS:
            found = yard.cut(operation, mount)
            print(
                f"{operation.name}, {mount}: {found.cuts.total()} cuts, "
                f"{found.judged.total()} judged, {len(found.faults)} bad; "
                f"{calls_text(found.calls)}",
                *found.faults,
                sep="\n  ",
                flush=True,
            )
            yield found


def _failures(
    saboteur: Saboteur, chosen: Sequence[Operation], share: float
) -> Iterator[Failures]:
    for operation in chosen:
        for fault in FAULTS:
            failed = saboteur.fail(operation, fault, share)
            print(
                f"{operation.name}, {fault}: {failed.tried} of {failed.points} calls, "
                f"{calls_text(failed.outcomes)}, {len(failed.faults)} bad",
                *failed.faults,
                sep="\n  ",
                flush=True,
            )
            yield failed


def _caught(yard: Yard, saboteur: Saboteur) -> Iterator[Caught]:
    for style in STYLES:
        operation = broken(style)
        cuts = {mount: yard.cut(operation, mount) for mount in MOUNTS}
        caught = Caught(style, saboteur.fail(operation, KILL), cuts)
        bad = sum(len(found.faults) for found in cuts.values())
        print(
            f"{style}: {bad} bad after cuts, {len(caught.kills.faults)} after kills", flush=True
        )
        yield caught


if __name__ == "__main__":
    main()
