"""A watched child: what it says is read, what it takes is seen, and it is ended by name."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from edge_runtime.contract import strictjson
from edge_runtime.engine.limits import Bounds
from edge_runtime.engine.watch import Ended, watched

TELL = """
import os, sys, time
def tell(line):
    os.write(int(sys.argv[-1]), line + b"\\n")
"""
ROOMY = Bounds(engine=0, working_set=1 << 40, mapped=0, threads=1000)


def ended(code: str, *, bounds: Bounds | None = None, timeout_s: float = 60) -> Ended:
    """Run code in a watched child, which has told its bounds."""
    told = f"tell({strictjson.dumps(bounds.to_json())!r})\n" if bounds else ""
    return watched([sys.executable, "-I", "-c", f"{TELL}{told}{code}"], timeout_s=timeout_s)


# --- what it says --------------------------------------------------------------------------


def test_the_last_line_of_the_pipe_is_the_report() -> None:
    found = ended("print('noise'); tell(b'one'); tell(b'two')", bounds=ROOMY)
    assert (found.status, found.stopped, found.report) == (0, "", b"two")
    assert found.complaint == ""


def test_a_child_without_a_word_has_no_report() -> None:
    found = ended("")
    assert (found.report, found.complaint, found.memory_bytes) == (b"", "", None)


def test_its_parent_is_told_to_it() -> None:
    assert ended("tell(sys.argv[-2].encode())").report == str(os.getpid()).encode()


def test_how_it_ended_and_its_last_complaint_are_known() -> None:
    found = ended("os.write(2, b'first\\nlast \\xff\\n'); os._exit(7)")
    assert (found.status, found.complaint) == (7, "last �")
    assert ended("os.kill(os.getpid(), 4)").status == -signal.SIGILL


def test_a_child_that_says_too_much_is_heard_to_its_end() -> None:
    flood = "for _ in range(64): os.write(2, b'x' * (1 << 16))\n"
    report = "for _ in range(64): os.write(int(sys.argv[-1]), b'x' * (1 << 16) + b'\\n')\n"
    found = ended(f"{flood}{report}tell(b'end')")
    assert found.report == b"end"
    assert len(found.complaint) <= 1 << 20


@pytest.mark.parametrize("line", [b"", b"{}", b"null", b"[1]", b'{"engine":1}', b"\xff"])
def test_a_first_line_that_has_no_bounds_sets_none(line: bytes) -> None:
    found = ended(f"tell({line!r}); tell(b'report')")
    assert (found.stopped, found.report, found.memory_bytes) == ("", b"report", None)


# --- what it takes -------------------------------------------------------------------------


def test_memory_that_it_really_has_is_seen_and_counted() -> None:
    code = "kept = bytearray(b'x' * (96 << 20)); time.sleep(0.2); tell(b'done')"
    found = ended(code, bounds=ROOMY)
    assert found.report == b"done"
    assert found.memory_bytes is not None
    assert found.memory_bytes > 96 << 20


def test_memory_that_is_only_promised_is_none() -> None:
    code = "import mmap; kept = mmap.mmap(-1, 1 << 30, mmap.MAP_PRIVATE); time.sleep(0.2)"
    found = ended(code, bounds=ROOMY)
    assert found.memory_bytes is not None
    assert found.memory_bytes < 256 << 20


def test_more_memory_than_its_working_set_ends_it() -> None:
    bounds = Bounds(engine=64 << 20, working_set=64 << 20, mapped=1 << 30, threads=9)
    code = "kept = []\nwhile True: kept.append(bytearray(b'x' * (1 << 20)))"
    found = ended(code, bounds=bounds)
    assert found.stopped == "it took more memory than its working set of 64.0 MiB"
    assert found.status == -signal.SIGKILL


def test_more_threads_than_it_may_have_end_it() -> None:
    bounds = Bounds(engine=0, working_set=1 << 40, mapped=0, threads=4)
    code = (
        "import threading\n"
        "for _ in range(8): threading.Thread(target=time.sleep, args=(60,)).start()"
    )
    assert ended(code, bounds=bounds).stopped.endswith(" threads, it may have 4")


def test_another_process_ends_it_and_that_one_too(tmp_path: Path) -> None:
    number = tmp_path / "number"
    code = (
        "child = os.fork()\n"
        "if child:\n"
        f"    open({str(number)!r}, 'w').write(str(child))\n"
        f"    tell({strictjson.dumps(ROOMY.to_json())!r})\n"
        "time.sleep(60)"
    )
    assert ended(code).stopped == "it started another process"
    wait_for_the_end_of(int(number.read_text()))


def test_a_process_that_it_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    """Without bounds nobody looks for others; they end with it all the same."""
    number = tmp_path / "number"
    code = (
        "child = os.fork()\n"
        f"if child: open({str(number)!r}, 'w').write(str(child))\n"
        "else: time.sleep(60)"
    )
    assert ended(code).stopped == ""
    wait_for_the_end_of(int(number.read_text()))


def wait_for_the_end_of(pid: int) -> None:
    with suppress(ProcessLookupError):
        while "\nState:\tZ" not in status(pid):
            time.sleep(0.01)


def status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        raise ProcessLookupError from None


# --- time, and what else may happen --------------------------------------------------------


@pytest.mark.parametrize("bounds", [None, ROOMY])
def test_what_does_not_end_is_ended(bounds: Bounds | None) -> None:
    found = ended("time.sleep(60)", bounds=bounds, timeout_s=0.3)
    assert (found.status, found.stopped) == (-9, "it did not answer within 0.3 s")


def test_what_cannot_be_started_is_an_error_and_leaves_nothing_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(FileNotFoundError):
        watched(["/nowhere/python"], timeout_s=1)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_program_that_waits_for_no_child_gets_its_report() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert ended("time.sleep(0.2); tell(b'report')").report == b"report"
    finally:
        signal.signal(signal.SIGCHLD, before)
