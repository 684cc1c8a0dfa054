"""The bounds of a trial's child, each overstepped by a real process."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_runtime.engine import limits

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


@pytest.mark.parametrize("text", ["", "VmPeak:\t1 kB\n"])
def test_a_kernel_that_does_not_tell_sets_no_memory_bound(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    (tmp_path / "status").write_text(text)
    monkeypatch.setattr(limits, "_STATUS", tmp_path / "status")
    assert limits._private_bytes() is None
