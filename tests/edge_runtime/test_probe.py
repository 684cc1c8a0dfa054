"""What the probe reads, from this machine and from recorded ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_runtime.contract.cpuinfo import parse_cpuinfo
from edge_runtime.contract.errors import EngineConflict, EngineMissing
from edge_runtime.contract.facts import facts_from_json
from edge_runtime.contract.strictjson import dumps
from edge_runtime.engine import session
from edge_runtime.probe import accelerator, architecture, control_group_limits, probe

X86 = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 165
model name\t: Intel(R) Core(TM) i7-10700
stepping\t: 5
cpu MHz\t\t: 2900.000
flags\t\t: fpu sse2 avx2

processor\t: 1
cpu family\t: 6
model\t\t: 165
model name\t: Intel(R) Core(TM) i7-10700
stepping\t: 5
cpu MHz\t\t: 4100.000
flags\t\t: fpu avx2 sse2
"""

# Big and little cores, and the block without a processor that Raspberry Pi kernels add.
ARM = """\
processor\t: 0
BogoMIPS\t: 38.40
Features\t: fp asimd aes crc32
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd03
CPU revision\t: 4

processor\t: 1
Features\t: fp asimd aes crc32 asimddp
CPU implementer\t: 0x41
CPU variant\t: 0x1
CPU part\t: 0xd0b
CPU revision\t: 0

Hardware\t: BCM2835
Serial\t\t: 10000000abcdef01
Model\t\t: Raspberry Pi
"""


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_this_machine_gives_a_passport_that_reads_back() -> None:
    facts = probe()
    assert facts_from_json(dumps(facts.to_json())) == facts
    assert facts.os == "linux"
    assert facts.architecture in ("x86-64", "arm64")
    assert 1 <= facts.threads <= facts.cpus == len(os.sched_getaffinity(0))
    assert facts.memory_bytes > 64 << 20
    assert len(facts.boot_id) == 36
    assert facts.cpu_flags


def test_two_probes_of_one_machine_have_one_identity() -> None:
    assert probe().identity == probe().identity


def test_affinity_bounds_the_threads() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert probe(engine=False).threads == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_the_engine_is_not_touched_when_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise AssertionError

    monkeypatch.setattr(session, "engine_facts", fail)
    facts = probe(engine=False)
    assert facts.engine is None
    assert facts.engine_problem == "nobody asked for it"


@pytest.mark.parametrize("error", [EngineMissing, EngineConflict])
def test_a_machine_without_a_working_engine_is_probed_all_the_same(
    error: type[EngineMissing | EngineConflict], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error("no engine to speak of", hint="")

    monkeypatch.setattr(session, "engine_facts", fail)
    facts = probe()
    assert facts.engine is None
    assert facts.engine_problem == "no engine to speak of"


def test_the_engine_of_this_environment_is_named_with_its_providers() -> None:
    facts = probe()
    if facts.engine is None:
        pytest.skip(f"no engine here: {facts.engine_problem}")
    assert facts.engine.name.startswith("onnxruntime")
    assert "CPUExecutionProvider" in facts.engine.providers


@pytest.mark.parametrize(
    ("machine_name", "wide", "expected"),
    [
        ("x86_64", True, "x86-64"),
        ("x86_64", False, "x86"),
        ("aarch64", True, "arm64"),
        ("aarch64", False, "arm"),
        ("armv7l", False, "arm"),
        ("riscv64", True, "riscv64"),
    ],
)
def test_the_architecture_is_that_of_the_userland(
    machine_name: str, wide: bool, expected: str
) -> None:
    assert architecture(machine_name, wide=wide) == expected


def test_equal_cores_are_named_once_and_their_speed_does_not_count() -> None:
    model, flags = parse_cpuinfo(X86)
    assert model == "Intel(R) Core(TM) i7-10700, cpu family 6, model 165, stepping 5"
    assert flags == ("avx2", "fpu", "sse2")


def test_different_cores_are_all_named_and_share_only_the_flags_that_every_one_has() -> None:
    model, flags = parse_cpuinfo(ARM)
    assert model.count(" + ") == 1
    assert "CPU part 0xd03" in model
    assert "CPU part 0xd0b" in model
    assert flags == ("aes", "asimd", "crc32", "fp")


def test_a_serial_number_never_reaches_the_facts() -> None:
    assert "abcdef01" not in repr(parse_cpuinfo(ARM))


def test_a_kernel_that_says_nothing_is_no_error(tmp_path: Path) -> None:
    facts = probe(engine=False, root=tmp_path)
    assert (facts.cpu_model, facts.cpu_flags, facts.cpu_quota) == ("", (), None)
    assert facts.memory_limit_bytes is None


def test_version_2_limits_are_the_least_of_every_level(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        {
            "proc/self/cgroup": "0::/system.slice/edge.service\n",
            "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "sys/fs/cgroup/system.slice/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/system.slice/memory.max": "536870912\n",
            "sys/fs/cgroup/system.slice/edge.service/cpu.max": "max 100000\n",
            "sys/fs/cgroup/system.slice/edge.service/memory.max": "1073741824\n",
        },
    )
    assert control_group_limits(root) == (1.5, 536870912)


def test_version_1_limits_are_found_by_controller(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/box\n1:cpu,cpuacct:/box\n2:name=systemd:/x\n",
            "proc/self/mountinfo": (
                "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
                "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
                "33 31 0:30 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
            ),
            "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/box/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/box/memory.limit_in_bytes": "268435456\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    assert control_group_limits(root) == (0.5, 268435456)


def test_in_a_container_the_group_is_the_mount_itself(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        {
            "proc/self/cgroup": "1:cpu:/docker/ab12\n0::/../../outside\n",
            "proc/self/mountinfo": (
                "32 31 0:29 /docker/ab12 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n"
                "33 31 0:30 / /sys/fs/cgroup/unified ro - cgroup2 cgroup2 rw\n"
            ),
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/unified/memory.max": "1000000\n",
            "outside/memory.max": "1\n",
        },
    )
    assert control_group_limits(root) == (2.0, 1000000)


def test_no_limit_is_no_limit(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "sys/fs/cgroup/cpu.max": "max 100000\n",
            "sys/fs/cgroup/memory.max": "max\n",
        },
    )
    assert control_group_limits(root) == (None, None)


# --- accelerators --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, ""),
        (
            {
                "sys/module/nvidia/version": "550.54.14\n",
                "proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA L4\n",
                "proc/driver/nvidia/gpus/0000:02:00.0/information": "I: 7\nModel: NVIDIA L4\n",
                "proc/driver/nvidia/gpus/0000:03:00.0/information": "IRQ: 8\n",
            },
            "nvidia 550.54.14 NVIDIA L4",
        ),
        (
            {"etc/nv_tegra_release": "# R35 (release), REVISION: 4.1\n# more\n"},
            "# R35 (release), REVISION: 4.1",
        ),
        ({"sys/module/amdgpu/version": "6.7.0\n"}, "amdgpu 6.7.0"),
    ],
)
def test_an_accelerator_is_its_driver_and_its_chips(
    tmp_path: Path, files: dict[str, str], expected: str
) -> None:
    assert accelerator(machine(tmp_path, files)) == expected
