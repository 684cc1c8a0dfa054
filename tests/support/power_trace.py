"""A program is stopped after each of its calls that changes a directory, so that others look.

strace sends it SIGSTOP on entering such a call: the call is still made, and then nothing of the
program runs until it is told to go on. That is closer to a power cut than a kill is, because
a program that is killed closes its files, and ext4 writes some of them out at that moment.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# The several names of a call are those of different architectures.
CHANGING = (
    *("open", "openat", "openat2", "creat", "write", "writev", "pwrite64", "pwritev"),
    *("pwritev2", "fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "msync"),
    *("truncate", "ftruncate", "fallocate", "copy_file_range", "sendfile", "splice"),
    *("mkdir", "mkdirat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir"),
    *("link", "linkat", "symlink", "symlinkat", "mknod", "mknodat", "chmod", "fchmod"),
    *("fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "utimensat"),
    *("setxattr", "fsetxattr", "lsetxattr", "removexattr", "fremovexattr"),
)
_OPENING = ("open", "openat", "openat2")
_MAKING = ("O_CREAT", "O_TRUNC")
_PATIENCE_S = 180.0

_LINE = re.compile(r"(?P<pid>\d+) +(?P<rest>.*)")
_CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)")
_RESUMED = re.compile(r"<\.\.\. (?P<name>\w+) resumed>(?P<arguments>.*)")
_FAILED = re.compile(r"= -1 E[A-Z]+ ")


@dataclass(frozen=True)
class Call:
    """One call that changed something below a directory.

    Attributes:
        name: of the call.
        number: which of that name in the whole program, from 1, those elsewhere included.
        arguments: as strace shows them.
    """

    name: str
    number: int
    arguments: str

    def __str__(self) -> str:
        paths = re.findall(r'[<"]([^<>"]*/[^<>"]*)[>"]', self.arguments)
        tail = "/".join(paths[-1].split("/")[-2:]) if paths else ""
        return f"{self.name} {tail}".rstrip()


@dataclass
class Trace:
    """What a program did.

    Attributes:
        seen: how many calls that changed something below the directory strace has told of.
        calls: those of them after which the program was stopped and looked at.
        told: how many times it had written to its standard output so far.
        code: its exit status.
        said: what it wrote, standard error included.
    """

    seen: int = 0
    calls: list[Call] = field(default_factory=list)
    told: int = 0
    code: int = -1
    said: str = ""

    def counts(self) -> Counter[str]:
        """Return how many calls there were of each name."""
        return Counter(call.name for call in self.calls)


def changes(name: str, arguments: str, place: str) -> bool:
    """Tell whether a call, as strace shows it, is made to change a directory or what it holds.

    Args:
        name: of the call.
        arguments: as strace shows them, its result included.
        place: the directory's path.
    """
    if name not in CHANGING or not re.search(rf'{re.escape(place)}[/">]', arguments):
        return False
    return name not in _OPENING or any(flag in arguments for flag in _MAKING)


def strace(*more: str) -> list[str]:
    """Return the words that begin a trace of every call that may change a disk."""
    calls = ",".join(f"?{name}" for name in CHANGING)
    return ["strace", "-f", "-y", "-qq", "-s", "64", "-e", f"trace={calls}", *more]


def stopped_at_each_call(
    words: Sequence[str],
    environment: Mapping[str, str],
    place: Path,
    look: Callable[[Trace], None],
) -> Trace:
    """Run a program and call ``look`` whenever it stands still after a call that changed much.

    Args:
        words: the program and its arguments.
        environment: what it sees.
        place: only calls that change this directory or what it holds count.
        look: may read the disk; the last of ``Trace.calls`` is the one just made.
    """
    reader, writer = os.pipe()
    calls = ",".join(f"?{name}" for name in CHANGING)
    tracer = strace("-o", f"/dev/fd/{writer}", "-e", f"inject={calls}:signal=STOP")
    process = subprocess.Popen(
        [*tracer, *words],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        pass_fds=[writer],
        start_new_session=True,
    )
    os.close(writer)
    watchdog = threading.Timer(_PATIENCE_S, _kill, [process])
    watchdog.start()
    follower = _Follower(str(place), look)
    try:
        with os.fdopen(reader, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                follower.take(line)
    finally:
        watchdog.cancel()
        if process.poll() is None:
            _kill(process)
        follower.trace.said, _ = process.communicate()
        follower.trace.code = process.returncode
    return follower.trace


def _kill(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)


class _Follower:
    """Reads strace's lines while they come, and lets the program go on after each stop."""

    def __init__(self, place: str, look: Callable[[Trace], None]) -> None:
        self.trace = Trace()
        self._place = place
        self._look = look
        self._seen: Counter[str] = Counter()
        self._waiting: dict[int, Call | None] = {}  # calls by thread whose stop is to come
        self._begun: dict[int, str] = {}  # the arguments of calls that others interrupted
        self._first = 0

    def take(self, line: str) -> None:
        """Take one line."""
        found = _LINE.match(line)
        if found is None:
            return
        pid, rest = int(found["pid"]), found["rest"]
        self._first = self._first or pid
        if rest.startswith("--- stopped by SIGSTOP"):
            if pid in self._waiting:
                self._stopped(pid, self._waiting.pop(pid))
        elif call := _CALL.match(rest):
            if "<unfinished ...>" in call["arguments"]:
                self._begun[pid] = call["arguments"]
            else:
                self._ended(pid, call["name"], call["arguments"])
        elif call := _RESUMED.match(rest):
            arguments = self._begun.pop(pid, "") + call["arguments"]
            self._ended(pid, call["name"], arguments)

    def _ended(self, pid: int, name: str, arguments: str) -> None:
        self._seen[name] += 1
        known = changes(name, arguments, self._place) and not _FAILED.search(arguments)
        self.trace.seen += known
        self._waiting[pid] = Call(name, self._seen[name], arguments) if known else None
        self.trace.told += pid == self._first and name == "write" and arguments.startswith("1<")

    def _stopped(self, pid: int, call: Call | None) -> None:
        if call is not None:
            _wait_until_all_stand(pid)
            self.trace.calls.append(call)
            self._look(self.trace)
        os.kill(_process_of(pid), signal.SIGCONT)


def _process_of(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("Tgid:"):
            return int(line.split()[1])
    return pid


def _wait_until_all_stand(pid: int) -> None:
    """Wait until no thread of a stopped process runs any more."""
    for _ in range(2000):
        states = {
            path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
            for path in Path(f"/proc/{pid}/task").glob("*/stat")
        }
        if states <= {"t", "T"}:
            return
        time.sleep(0.001)
    raise RuntimeError(f"process {pid} does not stand still: {states}")
