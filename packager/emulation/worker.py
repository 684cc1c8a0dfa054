"""The program that runs on a processor: opens models, lets them answer, says what became of it.

``python PROGRAM TASK`` where PROGRAM is this package as a zip and TASK a file of JSON. It runs
on any Python with numpy and the engine, and opens models by the device's own code. Each line on
the standard output is an object: ``{}`` once the engine runs, then one for each job as it ends,
so that whatever ends this process is known to be the next job's doing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from edge_runtime.contract.errors import EdgepackError
from edge_runtime.contract.npz import read_npz, write_npz
from edge_runtime.contract.tensors import Arrays
from edge_runtime.engine.session import Session, SessionPlan, open_session
from packager.answers import fixed_batch, row_count, run_rows, take_rows

if sys.platform != "win32":
    import resource

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_FORGET_PEAK = "5"
_REASON = 300


def main() -> None:
    """Do every job of the task, in order."""
    lines = _private_stdout()
    task = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    _bound(task["cpu_seconds"], task["file_bytes"])
    rows = Path(task["feed"]).read_bytes()
    feed = read_npz(rows, what="the rows", limit=task["file_bytes"])
    del rows
    empty = open_session(Path(task["empty"]).read_bytes(), SessionPlan())
    empty.run({"in": np.zeros(1, bool)})
    _tell(lines, {})
    for job in task["jobs"]:
        _tell(lines, _done(job, feed, memory=task["memory"]))


def _private_stdout() -> TextIO:
    """Keep the pipe for ourselves: prints of the engine must not get among the lines."""
    lines = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(lines, "w", encoding="utf-8")


def _tell(lines: TextIO, line: Mapping[str, Any]) -> None:
    lines.write(json.dumps(line) + "\n")
    lines.flush()


def _bound(cpu_seconds: int, file_bytes: int) -> None:
    """End what nobody waits for any more, and keep files from filling the disk."""
    if sys.platform != "win32":
        for kind, value in (
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_CPU, cpu_seconds),
            (resource.RLIMIT_FSIZE, file_bytes),
        ):
            _, hard = resource.getrlimit(kind)
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (value, value))


def _done(job: Mapping[str, Any], feed: Arrays, *, memory: bool) -> dict[str, Any]:
    """Do one job and return what is told of it."""
    peak, problem = None, ""
    try:
        if memory:
            peak = _peak(job, feed)
        _in_sessions(job, partial(_answer, feed))
    except EdgepackError as error:
        problem = error.message
    except Exception as error:  # what a graph answers may be more than numpy or the disk takes
        problem = f"{type(error).__name__}: {error}"[:_REASON]
    return {"problem": problem, "peak_bytes": peak}


def _peak(job: Mapping[str, Any], feed: Arrays) -> int | None:
    """Return how far memory rises in one call of each setting, as a device makes it.

    It comes before anything else: the answers to all rows, and their file, are our own matter.
    """
    memory = _Memory()
    _in_sessions(job, partial(_call, feed, memory))
    return memory.rise


def _answer(feed: Arrays, session: Session, setting: Mapping[str, Any]) -> None:
    answers = run_rows(session, feed, setting["batch"] or row_count(feed))
    Path(setting["answers"]).write_bytes(write_npz(answers))


def _call(feed: Arrays, memory: _Memory, session: Session, setting: Mapping[str, Any]) -> None:
    rows = fixed_batch(session) or setting["batch"] or row_count(feed)
    session.run(take_rows(feed, np.resize(np.arange(row_count(feed)), rows)))
    memory.look()  # while what the session maps is still mapped


def _in_sessions(
    job: Mapping[str, Any], do: Callable[[Session, Mapping[str, Any]], None]
) -> None:
    """Do something in every setting; neighbours alike share a session, else one ends first."""

    def how(setting: Mapping[str, Any]) -> tuple[int, str]:
        return setting["threads"], setting["optimisation"]

    for opened, settings in groupby(job["settings"], key=how):
        _in_session(_open(job, *opened), settings, do)


def _in_session(
    session: Session,
    settings: Iterable[Mapping[str, Any]],
    do: Callable[[Session, Mapping[str, Any]], None],
) -> None:
    for setting in settings:
        do(session, setting)


def _open(job: Mapping[str, Any], threads: int, optimisation: str) -> Session:
    """Open a model as a device does: from its bytes, or beside its weights."""
    path = Path(job["model"])
    plan = SessionPlan(
        threads=threads, session_options=job["session_options"], optimisation=optimisation
    )
    return open_session(path if job["weights_beside"] else path.read_bytes(), plan)


class _Memory:
    """How far this process's private memory rises from now on.

    Linux keeps the peak of all that is resident (``VmHWM``) and tells what of the present is
    private (``RssAnon``) and what is mapped from files or shared. While a session is open the
    mapped only grows, so the peak less the mapped is at most the peak of the private.

    Attributes:
        rise: the most that was seen, in bytes; None where this system does not tell.
    """

    def __init__(self) -> None:
        self.rise: int | None = None
        with suppress(OSError, KeyError):  # not Linux, or a kernel that keeps no peaks
            _CLEAR.write_text(_FORGET_PEAK)
            self._before = _sizes()["RssAnon"]
            self.rise = 0

    def look(self) -> None:
        """Take note of what the memory has been until now."""
        if self.rise is not None:
            now = _sizes()
            peak = now["VmHWM"] - now["RssFile"] - now["RssShmem"]
            self.rise = max(self.rise, max(peak, now["RssAnon"]) - self._before)


def _sizes() -> dict[str, int]:
    """Return what the kernel tells of this process's memory, in bytes."""
    found = {}
    for line in _STATUS.read_text("ascii", "replace").splitlines():
        name, _, rest = line.partition(":")
        if rest.endswith(" kB"):
            found[name] = int(rest.split()[0]) * 1024
    return found
