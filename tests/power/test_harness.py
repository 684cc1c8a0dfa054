"""What the harness itself must see: which calls change a disk, and every one of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from power_cuts import drawn
from power_trace import Trace, changes, stopped_at_each_call
from power_world import World

PROGRAM = """
import os, subprocess, sys, threading
place = sys.argv[1]
def write(name):
    with open(f"{place}/{name}", "xb") as stream:
        stream.write(b"x")
        stream.flush()
        os.fsync(stream.fileno())
os.mkdir(place + "/made")
write("own")
thread = threading.Thread(target=write, args=("thread",))
thread.start(), thread.join()
os.write(1, b"done")
subprocess.run([sys.executable, "-c", f"import os; os.rename('{place}/own', '{place}/moved')"])
"""


def test_a_program_stands_still_after_each_call_of_its_threads_and_children(
    world: World, tmp_path: Path
) -> None:
    seen: list[tuple[str, int, list[str]]] = []

    def look(trace: Trace) -> None:
        names = sorted(path.name for path in tmp_path.iterdir())
        seen.append((trace.calls[-1].name, trace.told, names))

    words = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    trace = stopped_at_each_call(words, world.environment(), tmp_path, look)
    assert trace.code == 0, trace.said
    assert trace.seen == len(trace.calls) == len(seen)
    assert [(name.removesuffix("at"), told, names) for name, told, names in seen] == [
        ("mkdir", 0, ["made"]),
        ("open", 0, ["made", "own"]),
        ("write", 0, ["made", "own"]),
        ("fsync", 0, ["made", "own"]),
        ("open", 0, ["made", "own", "thread"]),
        ("write", 0, ["made", "own", "thread"]),
        ("fsync", 0, ["made", "own", "thread"]),
        ("rename", 1, ["made", "moved", "thread"]),
    ]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("openat", 'AT_FDCWD</x>, "/place/a", O_RDONLY|O_CLOEXEC) = 3</place/a>'),
        ("write", "1<pipe:[4]>, ...) = 3"),
        ("fsync", "3</placebo>) = 0"),
        ("read", "3</place/a>, ...) = 1"),
        ("rename", '"/elsewhere/a", "/elsewhere/b") = 0'),
    ],
)
def test_what_changes_nothing_there_is_no_call_to_cut_at(name: str, arguments: str) -> None:
    assert not changes(name, arguments, "/place")


def test_a_sync_of_the_directory_itself_is_one() -> None:
    assert changes("fsync", "3</place>) = 0", "/place")


def test_a_share_is_drawn_by_its_seed_and_never_too_small() -> None:
    points = list(range(100))
    assert drawn(points, 0.3, "seed") == drawn(points, 0.3, "seed")
    assert len(drawn(points, 0.3, "seed")) == 30
    assert drawn(points[:4], 0.01, "seed") == points[:4]
    assert drawn(points, 1.0, "seed") == points
