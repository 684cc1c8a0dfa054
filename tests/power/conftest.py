"""Disks whose power is cut, and commands whose calls fail; what was done is summed up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from power_cuts import Findings, Yard
from power_disks import Disk, DiskUnavailable
from power_faults import Failures, Saboteur
from power_page import calls_text, totals
from power_world import World, once_for_all

# Of the different disks that cuts leave, and of the calls that fail, so many are judged here;
# benchmarks/power_cuts.py judges them all.
SHARE = 0.2

CUTS = pytest.StashKey[list[Findings]]()
FAILURES = pytest.StashKey[list[Failures]]()


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with once_for_all():
        yield World.made(tmp_path_factory.mktemp("power") / "world")


@pytest.fixture(scope="package")
def empty_disk(tmp_path_factory: pytest.TempPathFactory) -> Disk:
    directory = tmp_path_factory.mktemp("disks")
    try:
        return Disk.made(directory / "empty.img", directory / "mounted")
    except DiskUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="package")
def yard(world: World, empty_disk: Disk, tmp_path_factory: pytest.TempPathFactory) -> Yard:
    """Where a share of the disks is judged."""
    return Yard(world, tmp_path_factory.mktemp("share"), empty_disk, SHARE)


@pytest.fixture(scope="package")
def whole_yard(
    world: World, empty_disk: Disk, tmp_path_factory: pytest.TempPathFactory
) -> Yard:
    """Where all of them are."""
    return Yard(world, tmp_path_factory.mktemp("whole"), empty_disk)


@pytest.fixture(scope="package")
def saboteur(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saboteur]:
    with Saboteur(world, tmp_path_factory.mktemp("failing")) as saboteur:
        yield saboteur


@pytest.fixture
def cuts(request: pytest.FixtureRequest) -> list[Findings]:
    """What cuts found so far, for the summary."""
    return request.config.stash.setdefault(CUTS, [])


@pytest.fixture
def failures(request: pytest.FixtureRequest) -> list[Failures]:
    """What failing calls found so far, for the summary."""
    return request.config.stash.setdefault(FAILURES, [])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the calls and their counts."""
    cuts, failures = config.stash.get(CUTS, []), config.stash.get(FAILURES, [])
    if cuts:
        terminalreporter.write_line(f"power cuts: {totals(cuts)}")
    for fault in sorted({found.fault for found in failures}):
        own = [found for found in failures if found.fault == fault]
        outcomes = sum((found.outcomes for found in own), Counter[str]())
        tried, points = sum(found.tried for found in own), sum(found.points for found in own)
        text = f"{fault} at {tried} of {points} calls: {calls_text(outcomes)}"
        terminalreporter.write_line(text)
