"""Every call by which a command changes the store fails, or ends it, one after the other.

No disk is mounted and nobody needs to be root: strace lets the n-th call of a name fail with
ENOSPC or EIO, or kills the command there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from power_checks import Cut, fault_of
from power_cuts import drawn, prepare
from power_operations import Operation, record_of
from power_trace import Call, changes, strace
from power_world import World

from edge_runtime.state.store import Store

ENOSPC, EIO, KILL = "ENOSPC", "EIO", "KILL"
FAULTS = {ENOSPC: "error=ENOSPC", EIO: "error=EIO", KILL: "signal=KILL"}
TYPED = range(2, 9)  # exit codes that say what happened; 1 is a defect of ours

_CALL = re.compile(r"\d+ +(?P<name>\w+)\((?P<arguments>.*)")


@dataclass
class Failures:
    """What came of letting one operation fail at each call.

    Attributes:
        operation: its name.
        fault: a key of ``FAULTS``.
        points: calls that change the store.
        tried: those at which it was made to fail.
        outcomes: how often it then ended in which way.
        faults: what is wrong: place and reason.
    """

    operation: str
    fault: str
    points: int = 0
    tried: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status, negative by a signal, and what it said."""

    code: int
    said: str
    errors: str


class Saboteur:
    """Lets operations fail.

    Args:
        world: bundles and keys.
        directory: for stores.
    """

    def __init__(self, world: World, directory: Path) -> None:
        self._world = world
        self._directory = directory
        self._server = subprocess.Popen(
            [sys.executable, "-m", "power_forks", str(world.directory)],
            env=world.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Saboteur:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.communicate(timeout=60)

    def fail(self, operation: Operation, fault: str, share: float = 1.0) -> Failures:
        """Let an operation fail at each of its calls and judge what is left.

        Args:
            operation: what is done.
            fault: a key of ``FAULTS``.
            share: of its calls, drawn by a seed; 1 for all.
        """
        base = self._directory / "base"
        shutil.rmtree(base, ignore_errors=True)
        base.mkdir()
        prepare(self._world, operation, base / "store")
        floor = record_of(Store(base / "store", "named by the test")).floor
        points = self._points(operation, base)
        found = Failures(operation.name, fault, points=len(points))
        for point in drawn(points, share, f"{operation.name} {fault}"):
            found.tried += 1
            problem = self._problem(operation, base, floor, point, found)
            if problem:
                found.faults.append(f"{point} ({point.name} {point.number}): {problem}")
        return found

    def _points(self, operation: Operation, base: Path) -> list[Call]:
        """Return every call that is made to change the store, failed ones included."""
        root = self._fresh(base)
        ended = self._run(operation, root, ())
        if ended.code:
            raise RuntimeError(f"{operation.name} fails by itself: {ended.errors}")
        seen: Counter[str] = Counter()
        points = []
        for line in self._log().splitlines():
            if call := _CALL.match(line):
                name, arguments = call["name"], call["arguments"]
                seen[name] += 1
                if changes(name, arguments, str(root.parent)):
                    points.append(Call(name, seen[name], arguments))
        return points

    def _problem(
        self, operation: Operation, base: Path, floor: int, point: Call, found: Failures
    ) -> str:
        root = self._fresh(base)
        what = f"inject={point.name}:{FAULTS[found.fault]}:when={point.number}"
        ended = self._run(operation, root, ("-e", what))
        if not self._was_hit(root, point, ended.code):
            return f"the call was not met again: {ended.errors}"
        if ended.code > 0 and (ended.code not in TYPED or "error[" not in ended.errors):
            return f"exit status {ended.code}: {ended.errors}"
        found.outcomes[_outcome(ended.code)] += 1
        # What it said before it failed or was killed counts as well, but not what it warned of.
        told = 0 if "warning:" in ended.errors else ended.said.count("\n")
        cut = Cut(told, floor)
        return fault_of(self._world, operation, root, cut)

    def _fresh(self, base: Path) -> Path:
        place = self._directory / "failing"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(base, place, symlinks=True)
        return place / "store"

    def _log(self) -> str:
        return (self._directory / "trace").read_text(encoding="utf-8", errors="replace")

    def _was_hit(self, root: Path, point: Call, code: int) -> bool:
        lines = self._log().splitlines()
        if code == -signal.SIGKILL:
            hits = [line for line in lines if _CALL.match(line)][-1:]
        else:
            hits = [line for line in lines if "(INJECTED)" in line]
        return len(hits) == 1 and f" {point.name}(" in hits[0] and str(root.parent) in hits[0]

    def _run(self, operation: Operation, root: Path, injection: tuple[str, ...]) -> Ended:
        """Run the command under strace."""
        server, said = self._server, self._directory / "said"
        errors = said.with_name("said.errors")
        words = [*operation.module, "--store", str(root)]
        words += self._world.words(operation.command)
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps([str(said), *words]) + "\n")
        server.stdin.flush()
        child = int(server.stdout.readline())
        log = ("-o", str(self._directory / "trace"), "-p", str(child))
        tracer = subprocess.Popen([*strace(*injection), *log], stderr=subprocess.DEVNULL)
        _wait_until_traced(child, tracer)
        code = int(server.stdout.readline())
        tracer.wait(timeout=60)
        return Ended(code, *(path.read_text("utf-8", "replace") for path in (said, errors)))


def _outcome(code: int) -> str:
    if code < 0:
        return "killed"
    return "typed error" if code else "done all the same"


def _wait_until_traced(child: int, tracer: subprocess.Popen[bytes]) -> None:
    """Wait until a stopped process is watched, then let it go on."""
    status = Path(f"/proc/{child}/status")
    while "\tt (tracing stop)\n" not in status.read_text(encoding="ascii", errors="replace"):
        if tracer.poll() is not None:
            os.kill(child, signal.SIGKILL)
            raise RuntimeError(f"strace does not trace here: exit status {tracer.returncode}")
        time.sleep(0.001)
    os.kill(child, signal.SIGCONT)
