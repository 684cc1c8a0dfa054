"""How much memory a version needs, and how much there is, by this kernel and recorded ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import weighty

from edge_runtime.contract.bundle.manifest import FileEntry
from edge_runtime.memory import available_bytes, held_bytes, needed_bytes

MIB = 1 << 20
UNIFIED = "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
SPLIT = "30 1 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
GROUP = "sys/fs/cgroup/app"


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def unified(**files: str) -> dict[str, str]:
    return {
        "proc/meminfo": "MemTotal: 4096 kB\nMemAvailable: 2048 kB\n",
        "proc/self/cgroup": "0::/app\n",
        "proc/self/mountinfo": UNIFIED,
        **{f"{GROUP}/{name.replace('_', '.', 1)}": text for name, text in files.items()},
    }


def test_this_machine_has_memory() -> None:
    available = available_bytes()
    assert available is not None
    assert 10 * MIB < available < 1 << 50


def test_a_kernel_that_does_not_say_is_no_reason(tmp_path: Path) -> None:
    assert available_bytes(tmp_path) is None
    assert available_bytes(machine(tmp_path, {"proc/meminfo": "MemTotal: 1 kB\n"})) is None


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 2 * MIB),
        ({"memory_max": "max\n", "memory_current": "7\n"}, 2 * MIB),
        ({"memory_max": f"{MIB}\n", "memory_current": "1000\n"}, MIB - 1000),
        ({"memory_max": "500\n", "memory_current": "1000\n"}, 0),
        (
            {
                "memory_max": f"{MIB}\n",
                "memory_current": "5000\n",
                "memory_stat": "anon 1\ninactive_file 4000\nactive_file 9\n",
            },
            MIB - 1000,
        ),
        ({"memory_max": f"{MIB}\n"}, 2 * MIB),
    ],
)
def test_a_control_group_bounds_what_there_is(
    tmp_path: Path, files: dict[str, str], expected: int
) -> None:
    assert available_bytes(machine(tmp_path, unified(**files))) == expected


def test_the_narrowest_of_all_levels_counts(tmp_path: Path) -> None:
    files = unified(memory_max="9000\n", memory_current="1000\n")
    files["sys/fs/cgroup/memory.max"] = "7000\n"
    files["sys/fs/cgroup/memory.current"] = "3000\n"
    assert available_bytes(machine(tmp_path, files)) == 4000


def test_control_groups_of_version_1_are_read_as_well(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/memory/app"
    files = {
        "proc/self/cgroup": "4:memory:/app\n",
        "proc/self/mountinfo": SPLIT,
        f"{group}/memory.limit_in_bytes": "9000\n",
        f"{group}/memory.usage_in_bytes": "5000\n",
        f"{group}/memory.stat": "cache 1\ntotal_inactive_file 2000\n",
    }
    assert available_bytes(machine(tmp_path, files)) == 6000


def test_what_a_version_needs_is_what_its_trial_was_held_to() -> None:
    manifest = weighty.manifest(weighty.subject())
    variant = manifest.variants[0]
    sizes = {variant.model_file: 10, weighty.PATH: 1000}
    files = tuple(FileEntry(path, count, "0" * 64) for path, count in sizes.items())
    manifest = replace(
        manifest, files=files, target=replace(manifest.target, memory_bytes=5000)
    )
    assert needed_bytes(manifest, variant, None) == 6000
    assert needed_bytes(manifest, variant, 300) == 1600
    assert needed_bytes(manifest, variant, 1 << 40) == 6000
    assert held_bytes(manifest, variant) == 1010
