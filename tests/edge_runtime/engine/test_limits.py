"""The bounds of a trial's child, each overstepped by a real process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from edge_runtime.contract.errors import JsonMalformed
from edge_runtime.engine import limits
from edge_runtime.engine.limits import Bounds, bounds_from_json, usage
from edge_runtime.engine.session import SessionPlan, open_session

CHECKOUT = Path(limits.__file__).parents[2]


def confined(code: str, cpu_s: float = 30, cwd: Path | None = None) -> tuple[int, str]:
    start = (
        f"import sys; sys.path.append({str(CHECKOUT)!r})\n"
        "from edge_runtime.engine.limits import confine\n"
        f"confine(memory_bytes=64 << 20, threads=1, cpu_s={cpu_s})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", start + code],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )
    return done.returncode, done.stdout.strip()


def test_memory_beyond_the_budget_is_refused() -> None:
    code = (
        "small = bytearray(32 << 20)\ntry: bytearray(1 << 30)\nexcept MemoryError: print('no')"
    )
    assert confined(code) == (0, "no")


def test_a_loop_without_an_end_is_ended_though_nobody_waits() -> None:
    assert confined("while True: pass", cpu_s=0)[0] == -signal.SIGKILL


def test_no_file_is_written(tmp_path: Path) -> None:
    code = "import pathlib\ntry: pathlib.Path('x').write_text('x')\nexcept OSError: print('no')"
    assert confined(code, cwd=tmp_path) == (0, "no")
    assert [path for path in tmp_path.iterdir() if path.stat().st_size] == []


def test_what_dies_leaves_no_core(tmp_path: Path) -> None:
    assert confined("import ctypes; ctypes.string_at(0)", cwd=tmp_path)[0] == -signal.SIGSEGV
    assert list(tmp_path.iterdir()) == []


def test_no_memory_bound_is_set_where_none_is_wanted() -> None:
    code = (
        "import resource\n"
        "from edge_runtime.engine.limits import confine\n"
        "confine(memory_bytes=None, threads=1, cpu_s=30)\n"
        "print(resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.append({str(CHECKOUT)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "True"


def python(code: str, *arguments: str) -> str:
    start = f"import sys; sys.path.append({str(CHECKOUT)!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", start + code, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- how limits are computed ---------------------------------------------------------------


def test_the_graph_of_nothing_is_one_that_the_engine_opens() -> None:
    (node,) = onnx.load_from_string(limits.EMPTY).graph.node
    assert node.op_type == "Identity"
    onnx.checker.check_model(onnx.load_from_string(limits.EMPTY))
    assert [spec.name for spec in open_session(limits.EMPTY, SessionPlan()).inputs] == ["x"]


@pytest.mark.parametrize("threads", [1, 8])
def test_limits_are_what_the_engine_takes_with_its_threads_and_the_model_s_own(
    threads: int,
) -> None:
    """Eight threads have stacks and arenas of some hundreds of megabytes of address space."""
    told = python(
        "import json, resource\n"
        "from edge_runtime.engine.limits import confine, usage\n"
        "from edge_runtime.engine.session import SessionPlan, engine_facts, open_session\n"
        "engine_facts()\n"
        "before = usage()\n"
        f"bounds = confine(memory_bytes=64 << 20, threads={threads}, cpu_s=None,\n"
        "                 mapped_bytes=1 << 30)\n"
        "limits = [resource.getrlimit(kind)[0]\n"
        "          for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]\n"
        "from edge_runtime.engine.limits import EMPTY\n"
        f"session = open_session(EMPTY, SessionPlan(threads={threads}))\n"
        "after = usage()\n"
        "cpu = resource.getrlimit(resource.RLIMIT_CPU)[0] == resource.RLIM_INFINITY\n"
        "print(json.dumps([vars(before), bounds.to_json(), limits, vars(after), cpu]))"
    )
    before, bounds, (space, data), after, no_cpu = json.loads(told)
    more = (1 << 30) + (64 << 20)
    slack = 96 << 20  # an arena more or less, whoever allocates first
    assert abs(space - more - after["address_space"]) < slack
    assert abs(data - more - after["data"]) < 16 << 20
    assert space - more >= before["address_space"] + (threads - 1) * (8 << 20)
    assert before["anonymous"] <= bounds["engine"] <= after["anonymous"] + (4 << 20)
    assert after["threads"] <= bounds["threads"] <= after["threads"] + 8
    assert (bounds["working_set"], bounds["mapped"]) == (64 << 20, 1 << 30)
    assert no_cpu


def test_what_this_process_takes_is_read() -> None:
    found = usage()
    assert found is not None
    assert found.address_space > found.data > 0
    assert found.address_space > found.anonymous > 1 << 20
    assert found.threads >= 1


def test_a_process_that_ended_takes_nothing_that_could_be_told() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert usage(child.pid) is None


@pytest.mark.parametrize("text", ["", "VmPeak:\t1 kB\n", "no colon\nVmSize:\t1 kB\n"])
def test_a_kernel_that_does_not_tell_sets_no_memory_bound(tmp_path: Path, text: str) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/status").write_text(text)
    told = python(
        "import pathlib, resource\n"
        "from edge_runtime.engine import limits\n"
        "limits.PROC = pathlib.Path(sys.argv[1])\n"
        "bounds = limits.confine(memory_bytes=1, threads=1, cpu_s=30)\n"
        "print(bounds, resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY)",
        str(tmp_path),
    )
    assert told == "None True"


def test_a_tried_process_is_what_the_kernel_ends_first() -> None:
    told = python(
        "from edge_runtime.engine.limits import go_first\n"
        "go_first()\n"
        "print(open('/proc/self/oom_score_adj').read())"
    )
    assert told == "1000"


def test_a_process_ends_with_its_parent_also_when_that_was_gone_already() -> None:
    code = (
        f"import sys; sys.path.append({str(CHECKOUT)!r})\n"
        "from edge_runtime.engine.limits import end_with_parent\n"
        "end_with_parent(int(sys.argv[1]))\n"
        "print('alive')"
    )
    for parent, status in ((os.getpid(), 0), (1, -signal.SIGKILL)):
        done = subprocess.run([sys.executable, "-c", code, str(parent)], check=False)
        assert done.returncode == status


# --- bounds on their way to the parent -----------------------------------------------------


def test_bounds_come_back_as_they_were_told() -> None:
    bounds = Bounds(engine=1, working_set=2, mapped=3, threads=4)
    assert bounds_from_json(json.loads(json.dumps(bounds.to_json()))) == bounds


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"engine": 1, "working_set": 2, "mapped": 3},
        {"engine": 1, "working_set": 2, "mapped": 3, "threads": -1},
        {"engine": 1, "working_set": 2, "mapped": 3, "threads": "4"},
        {"engine": 1, "working_set": 2, "mapped": 3, "threads": 4, "more": 5},
    ],
)
def test_what_are_no_bounds_is_refused(value: object) -> None:
    with pytest.raises(JsonMalformed):
        bounds_from_json(value)
