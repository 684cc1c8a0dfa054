"""The parent's side of the child that opens saved models: start it, ask it, end it.

Nothing that the child says is believed beyond its form: it may run a stranger's code.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

import psutil

from edge_runtime.contract.errors import EdgepackError
from packager.errors import (
    ColumnMissing,
    ConversionFailed,
    DataUnusable,
    HostExtraMissing,
    SourceFailed,
    SourceUnreadable,
    SourceUnsupported,
    SourceUntrustedType,
    SourceVersionSkew,
)
from packager.sources import wire
from packager.sources.confine import PACKAGE_DIRECTORIES, Limits
from packager.sources.wire import Message

MIN_MEMORY_BYTES = 4 << 30
MEMORY_SHARE = 0.75
CPU_SECONDS = 3600
WALL_SECONDS = 600.0
MAX_ANSWER_BYTES = 2 << 30  # what one ONNX file can be
HELPER_FILE_BYTES = 4096  # importing SciPy before 1.15 makes an empty file
_EXIT_SECONDS = 5.0
_ROOT = Path(__file__).resolve().parents[2]
_TEXT_LIMIT = 600

# The only errors that the child can raise in us, by code, and the only values they carry.
_ERRORS: dict[str, type[EdgepackError]] = {
    leaf.code: leaf
    for leaf in (
        ColumnMissing,
        ConversionFailed,
        DataUnusable,
        HostExtraMissing,
        SourceUnreadable,
        SourceUnsupported,
        SourceUntrustedType,
        SourceVersionSkew,
    )
}
_VALUES = ("expected", "found", "column")

# What the child keeps of our environment: where the loader finds libraries.
_KEPT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
_ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",  # the converter iterates over sets
    "PYTHONUTF8": "1",
    "CUDA_VISIBLE_DEVICES": "",  # parity is judged on the CPU; a driver needs devices and files
    "JOBLIB_MULTIPROCESSING": "0",
    "KERAS_BACKEND": "torch",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_USE_LEGACY_KERAS": "1",
}


class CrashError(Exception):
    """What ended the child: the name and text of an exception that nobody there expected."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}" if text else kind)
        self.kind = kind


def default_limits() -> Limits:
    """Return what a child may use on this machine."""
    memory = max(MIN_MEMORY_BYTES, int(psutil.virtual_memory().total * MEMORY_SHARE))
    return Limits(memory, CPU_SECONDS, WALL_SECONDS)


class Sandbox:
    """A child process that has shut itself in, as a context manager.

    The thread that enters it must outlive it: the kernel ends the child with that thread.

    Args:
        what: how errors name what the child opens.
        limits: what the child may use.
        readable: the files and directories that it may read.
        python: the interpreter of an environment with other library versions; else our own.

    Attributes:
        containment: what holds, ``contained: …`` or ``uncontained: …``.
    """

    def __init__(
        self,
        what: str,
        limits: Limits | None = None,
        *,
        readable: Iterable[Path] = (),
        python: Path | None = None,
    ) -> None:
        self._what = what
        self._limits = limits or default_limits()
        if python is not None and not self._limits.file_bytes:
            self._limits = replace(self._limits, file_bytes=HELPER_FILE_BYTES)
        self._readable = [str(path.resolve()) for path in readable]
        self._python = python
        self.containment = ""

    def __enter__(self) -> Sandbox:
        self._home = tempfile.TemporaryDirectory(prefix="edgepack-", ignore_cleanup_errors=True)
        self._child = subprocess.Popen(
            [self._python or sys.executable, "-m", "packager.sources.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._home.name,
            env=self._environment(Path(self._home.name)),
            start_new_session=True,
        )
        self._pipes = cast(BinaryIO, self._child.stdin), cast(BinaryIO, self._child.stdout)
        try:
            started = self.ask({"limits": vars(self._limits), "readable": self._readable})
        except CrashError as crash:
            self._end()
            raise SourceFailed(
                f"the child that opens {self._what} must start, but it failed: {crash}",
                hint="Install the packager again; its own files are damaged.",
                expected="a started child",
                found=str(crash),
            ) from None
        except BaseException:
            self._end()
            raise
        self.containment = clean(started.head.get("containment"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def ask(self, head: dict[str, Any], payload: bytes = b"") -> Message:
        """Send one request and return its answer.

        Raises:
            EdgepackError: the leaf that the child raised.
            SourceFailed: when it died, took too long, or answered no message.
            CrashError: when a library raised there what it never says it would.
        """
        answer = self._exchange(Message(head, payload))
        if "crash" in answer.head:
            self._stop()
            raise self._crash(answer.head["crash"])
        if "error" in answer.head:
            raise _leaf(answer.head["error"])
        return answer

    def _exchange(self, request: Message) -> Message:
        """Talk in a thread of its own: a stuck pipe must not hold us beyond the limit."""
        requests, replies = self._pipes
        answers: list[Message | Exception | None] = []

        def talk() -> None:
            try:
                wire.send(requests, request)
                answers.append(wire.receive(replies, MAX_ANSWER_BYTES))
            except (OSError, ValueError, MemoryError) as error:
                answers.append(error)

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        thread.join(self._limits.wall_seconds)
        if not answers:
            self._kill()
            raise SourceFailed(
                f"the child that opens {self._what} must answer within "
                f"{self._limits.wall_seconds:g} s, it did not",
                hint="Look at what the file runs when it is opened.",
                expected=self._limits.wall_seconds,
                found="no answer",
            )
        answer = answers[0]
        if isinstance(answer, Message):
            return answer
        raise self._death(answer)

    def _environment(self, home: Path) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        paths = _copied_code(home) if self._python else _own_paths()
        own = {"HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": paths}
        # Importing PyTorch's compiler wants a directory that is there; it writes nothing.
        own["TORCHINDUCTOR_CACHE_DIR"] = str(home)
        return {**kept, **_ENVIRONMENT, **own}

    def _death(self, reason: Exception | None) -> SourceFailed:
        if isinstance(reason, wire.WireBrokenError):
            found = f"it answered what is no message ({clean(reason)})"
        else:
            found = f"it was ended by {self._exit()}"
        return SourceFailed(
            f"the child that opens {self._what} must answer, but {found}",
            hint="Build from a file that only holds the model, or free memory and try again.",
            expected="an answer",
            found=found,
        )

    def _exit(self) -> str:
        try:
            status = self._child.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            return "closing its answers"
        if status >= 0:
            return f"itself with status {status}"
        name = signal.Signals(-status).name
        limits = {"SIGXCPU": f" ({self._limits.cpu_seconds} s of processor time were allowed)"}
        return name + limits.get(name, "")

    def _crash(self, crash: Any) -> Exception:
        told = crash if isinstance(crash, dict) else {}
        kind, text = clean(told.get("type")), clean(told.get("message"))
        if kind != "MemoryError":
            return CrashError(kind, text)
        gigabytes = self._limits.memory_bytes / (1 << 30)
        return SourceFailed(
            f"the child that opens {self._what} needs more than the {gigabytes:.1f} GiB "
            "of memory allowed",
            hint="Build on a machine with more memory.",
            expected=self._limits.memory_bytes,
            found="more",
        )

    def _kill(self) -> None:
        if hasattr(os, "killpg"):
            try:
                os.killpg(self._child.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                self._child.kill()
        else:
            self._child.kill()

    def _stop(self) -> None:
        self._kill()
        self._child.wait()

    def _end(self) -> None:
        self._stop()
        for pipe in self._pipes:
            try:
                pipe.close()
            except OSError:
                continue  # what was still to be written has no reader any more
        self._home.cleanup()


def _own_paths() -> str:
    """Return the module path of a child that has our own libraries."""
    packages = [path for path in sys.path if Path(path).name in PACKAGE_DIRECTORIES]
    return os.pathsep.join([str(_ROOT), *packages])


def _copied_code(home: Path) -> str:
    """Return the module path of a child elsewhere: our code, without what lies beside it."""
    for package in ("packager", "edge_runtime"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(_ROOT / package, home / "code" / package, ignore=ignored)
    return str(home / "code")


def _leaf(told: Any) -> EdgepackError:
    error = told if isinstance(told, dict) else {}
    leaf = _ERRORS.get(str(error.get("code")), SourceFailed)
    values = error.get("values")
    values = values if isinstance(values, dict) else {}
    return leaf(
        clean(error.get("message")),
        hint=clean(error.get("hint")),
        **{name: values[name] for name in _VALUES if name in values},
    )


def clean(text: Any) -> str:
    """Make a stranger's text fit for a terminal: one line, no control characters, bounded."""
    line = " ".join(str(text)[:_TEXT_LIMIT].split())
    return "".join(letter if letter.isprintable() else "?" for letter in line)
