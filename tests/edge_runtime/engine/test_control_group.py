"""Control groups, on recorded trees: made only where they were handed over, and removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_runtime.engine.control_group import ControlGroup
from edge_runtime.engine.limits import Bounds

BOUNDS = Bounds(engine=30 << 20, working_set=64 << 20, mapped=1 << 30, threads=4)


@pytest.fixture
def service(tmp_path: Path) -> Path:
    """The group of a service that may divide it, and this process in a group below."""
    files = {
        "proc/self/cgroup": "4:memory:/old\n0::/system.slice/edge.service/main\n",
        "proc/self/mountinfo": (
            "29 23 0:25 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
        ),
        "sys/fs/cgroup/system.slice/edge.service/main/cgroup.procs": "",
        "sys/fs/cgroup/system.slice/edge.service/cgroup.subtree_control": "cpu memory pids\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    group = tmp_path / "sys/fs/cgroup/system.slice/edge.service"
    try:
        os.setxattr(group, "user.delegate", b"1")
    except OSError as error:
        pytest.skip(f"marks cannot be set here: {error.strerror}")
    return group


def made(service: Path) -> list[Path]:
    return sorted(service.glob("edge-runtime-trial-*"))


def root_of(service: Path) -> Path:
    return service.parents[4]


def test_a_group_is_made_bounded_and_removed(service: Path) -> None:
    with ControlGroup.made(root_of(service)) as group:
        (directory,) = made(service)
        group.enter(4711)
        group.limit(BOUNDS)
        written = {path.name: path.read_text() for path in directory.iterdir()}
        for path in directory.iterdir():
            path.unlink()  # the kernel's files go with their directory
    assert written.pop("cgroup.procs") == "4711"
    assert written.pop("memory.swap.max") == "0"
    assert int(written.pop("memory.max")) - (94 << 20) - (1 << 30) == 64 << 20
    assert written == {}
    assert made(service) == []


def test_the_memory_limit_is_asked_for_where_it_is_not_on(service: Path) -> None:
    control = service / "cgroup.subtree_control"
    control.write_text("cpu\n")
    with ControlGroup.made(root_of(service)):
        assert control.read_text() == "+memory"


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ("low 0\nhigh 0\nmax 12\noom 0\noom_kill 0\n", ""),
        (
            "low 0\nmax 12\noom 1\noom_kill 2\n",
            "it took more memory than its control group may have",
        ),
        (None, ""),
    ],
)
def test_what_the_kernel_ended_is_told(service: Path, events: str | None, reason: str) -> None:
    with ControlGroup.made(root_of(service)) as group:
        (directory,) = made(service)
        if events is not None:
            (directory / "memory.events").write_text(events)
        assert group.reason() == reason


def test_groups_of_programs_that_were_killed_are_removed(service: Path) -> None:
    left = service / "edge-runtime-trial-1-1"
    left.mkdir()
    with ControlGroup.made(root_of(service)):
        assert left not in made(service)


def without_a_mark(service: Path) -> None:
    os.removexattr(service, "user.delegate")


def without_version_2(service: Path) -> None:
    path = root_of(service) / "proc/self/cgroup"
    path.write_text("4:memory:/old\n")


def out_of_sight(service: Path) -> None:
    path = root_of(service) / "proc/self/mountinfo"
    path.write_text("30 23 0:26 /elsewhere /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")


def without_a_kernel_s_word(service: Path) -> None:
    (root_of(service) / "proc/self/cgroup").unlink()


def gone(service: Path) -> None:
    service.rename(service.with_name("other.service"))


@pytest.mark.parametrize(
    "change",
    [without_a_mark, without_version_2, out_of_sight, without_a_kernel_s_word, gone],
)
def test_no_group_is_made_where_none_was_handed_over(service: Path, change: object) -> None:
    root = root_of(service)
    assert callable(change)
    change(service)
    with ControlGroup.made(root) as group:
        assert sorted(root.rglob("edge-runtime-trial-*")) == []
        group.enter(4711)
        group.limit(BOUNDS)
        assert group.reason() == ""


def test_a_group_that_cannot_be_divided_is_left_alone(service: Path) -> None:
    (service / "cgroup.subtree_control").unlink()
    (service / "cgroup.subtree_control").mkdir()
    with ControlGroup.made(root_of(service)) as group:
        assert made(service) == []
        assert group.reason() == ""
