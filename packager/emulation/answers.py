"""Letting models answer on a processor, in a process that nothing they do can take along."""

from __future__ import annotations

import json
import math
import os
import queue
import signal
import subprocess
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from onnx import TensorProto, helper

import edge_runtime
from edge_runtime.contract.errors import EdgepackError
from edge_runtime.contract.npz import read_npz, write_npz
from edge_runtime.contract.tensors import Arrays
from packager.answers import row_count
from packager.emulation.machines import Machine
from packager.graphs.model_files import ModelFiles
from packager.sources.sandbox import clean

# How long a Python may take until its engine runs, and a job: so much whatever it is, and for
# each row of each setting so much, more where the model or the row is large.  An emulated chip
# is up to a hundred times slower; these end what hangs, and are no judgement on speed.
START_SECONDS = 300.0
JOB_SECONDS = 120.0
ROW_SECONDS = 1.0
MODEL_MEGABYTE_SECONDS = 0.2
ROW_MEGABYTE_SECONDS = 10.0
LONGEST_SECONDS = 7200.0

FILE_BYTES = 2 << 30  # of rows, and of one setting's answers
_LINE_CHARACTERS = 4096
_MEGABYTE = 1_000_000
_EXIT_SECONDS = 5.0

_PROGRAM = "from packager.emulation.worker import main\n\nmain()\n"
# What the worker takes along of the host's package; edge_runtime goes with it whole.
_TAKEN = ("__init__.py", "answers.py", "emulation/__init__.py", "emulation/worker.py")
_NOT_FOR_CHILDREN = ("PYTHON", "QEMU_")
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Setting:
    """How a model is run.

    Attributes:
        batch: rows in a call; None for all of them at once.
        threads: threads within one operator.
        optimisation: as in ``SessionPlan``.
    """

    batch: int | None
    threads: int = 1
    optimisation: str = "all"


@dataclass(frozen=True)
class Job:
    """A model that is to answer.

    Attributes:
        name: what its answers are asked for by; unique among the jobs of a call.
        model: the ONNX file, and its weights where they stand beside it.
        session_options: configuration entries that it is opened with.
        settings: how it is run, one after the other.
    """

    name: str
    model: ModelFiles
    session_options: Mapping[str, str]
    settings: tuple[Setting, ...]


@dataclass(frozen=True)
class Ran:
    """What became of a job.

    Attributes:
        answers: every output for all rows, once a setting; empty where there is a problem.
        peak_bytes: how far the process's private memory rose above that of an empty session
            while the model was opened and run; None on an emulated processor and where this
            system does not tell.
        problem: why there are no answers; "" where there are.
    """

    answers: tuple[Arrays, ...]
    peak_bytes: int | None
    problem: str


def answers_on(machine: Machine, jobs: Sequence[Job], feed: Arrays) -> dict[str, Ran]:
    """Let models answer the same rows on a processor.

    Whatever a model does there, an illegal instruction, a crash, no end, is the problem of its
    job alone. Nothing is said of how long anything took.

    Args:
        machine: the processor.
        jobs: the models.
        feed: the graphs' inputs.
    """
    # Memory is told of a process in which nothing ran before; to start one costs little here.
    shares = [list(jobs)] if machine.emulated else [[job] for job in jobs]
    with tempfile.TemporaryDirectory(prefix="edgepack-") as directory:
        room = _Room(machine, Path(directory), feed)
        return {name: ran for share in shares for name, ran in room.answers(share).items()}


class _Room:
    """A directory with the program, the rows, and what processes on a machine leave there."""

    def __init__(self, machine: Machine, directory: Path, feed: Arrays) -> None:
        self._machine = machine
        self._directory = directory
        self._rows = row_count(feed)
        rows = write_npz(feed)
        self._row_bytes = len(rows) / max(1, self._rows)
        self._file("feed.npz").write_bytes(rows)
        self._file("empty.onnx").write_bytes(_empty_graph())
        _write_program(self._file("worker.zip"))

    def answers(self, jobs: list[Job]) -> dict[str, Ran]:
        """Do jobs, in as many processes as it takes."""
        found: dict[str, Ran] = {}
        while waiting := [job for job in jobs if job.name not in found]:
            with self._process(waiting) as process:
                told = process.line(START_SECONDS)
                if isinstance(told, str):
                    return found | {job.name: Ran((), None, told) for job in waiting}
                for number, job in enumerate(waiting):
                    told = process.line(self._seconds(job))
                    found[job.name] = self._ran(number, job, told)
                    if isinstance(told, str):
                        break
        return found

    def _ran(self, number: int, job: Job, told: dict[str, Any] | str) -> Ran:
        problem = told if isinstance(told, str) else clean(told["problem"])
        files = [self._answers(number, index) for index in range(len(job.settings))]
        try:
            if isinstance(told, str) or problem:
                return Ran((), None, problem)
            answers = tuple(
                read_npz(file.read_bytes(), what="the answers", limit=FILE_BYTES)
                for file in files
            )
            return Ran(answers, told["peak_bytes"], "")
        except (EdgepackError, OSError) as error:
            return Ran((), None, clean(error))
        finally:
            for file in files:
                file.unlink(missing_ok=True)

    @contextmanager
    def _process(self, jobs: Sequence[Job]) -> Iterator[_Process]:
        task = self._file("task.json")
        task.write_text(json.dumps(self._task(jobs)), "utf-8")
        words = [*self._machine.python, str(self._file("worker.zip")), str(task)]
        process = _Process(words, _environment(self._machine), self._file("errors.txt"))
        try:
            yield process
        finally:
            process.end()

    def _task(self, jobs: Sequence[Job]) -> dict[str, Any]:
        threads = max(one.threads for job in jobs for one in job.settings)
        return {
            "feed": str(self._file("feed.npz")),
            "empty": str(self._file("empty.onnx")),
            "memory": not self._machine.emulated,
            "cpu_seconds": math.ceil(
                START_SECONDS + threads * sum(self._seconds(job) for job in jobs)
            ),
            "file_bytes": FILE_BYTES,
            "jobs": [self._job(number, job) for number, job in enumerate(jobs)],
        }

    def _job(self, number: int, job: Job) -> dict[str, Any]:
        return {
            "model": str(job.model.placed(self._directory)),
            "weights_beside": job.model.weights is not None,
            "session_options": dict(job.session_options),
            "settings": [
                {**asdict(setting), "answers": str(self._answers(number, index))}
                for index, setting in enumerate(job.settings)
            ],
        }

    def _seconds(self, job: Job) -> float:
        """Return how long a job may take."""
        of_model = job.model.size / _MEGABYTE * MODEL_MEGABYTE_SECONDS
        of_row = self._row_bytes / _MEGABYTE * ROW_MEGABYTE_SECONDS
        rows = self._rows * len(job.settings)
        return min(JOB_SECONDS + rows * (ROW_SECONDS + of_model + of_row), LONGEST_SECONDS)

    def _answers(self, number: int, setting: int) -> Path:
        return self._file(f"answers-{number}-{setting}.npz")

    def _file(self, name: str) -> Path:
        return self._directory / name


class _Process:
    """A worker, and the lines that it tells."""

    def __init__(self, words: list[str], environment: dict[str, str], errors: Path) -> None:
        self._errors = errors
        self._lines: queue.Queue[str] = queue.Queue()
        self._failed = ""
        try:
            with errors.open("wb") as stream:
                self._child = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=stream,
                    env=environment,
                    encoding="utf-8",
                    errors="replace",
                )
        except OSError as error:
            self._failed = f"its Python does not start: {clean(error)}"
            return
        # In a thread of its own: a pipe that stays silent must not hold us beyond the limit.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def line(self, seconds: float) -> dict[str, Any] | str:
        """Return the next object that it tells, or why it tells none, as a sentence."""
        if self._failed:
            return self._failed
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            return f"it did not end within {seconds:,.0f} s"
        try:
            return cast("dict[str, Any]", json.loads(line))
        except ValueError:
            return self._death()

    def end(self) -> None:
        """End it, whatever it does."""
        if not self._failed:
            self._child.kill()
            self._child.wait()
            self._reader.join()
            cast("Any", self._child.stdout).close()

    def _read(self) -> None:
        """Hand over lines until there are no more; the last is empty."""
        pipe = cast("Any", self._child.stdout)
        while line := pipe.readline(_LINE_CHARACTERS):
            self._lines.put(line)
        self._lines.put("")

    def _death(self) -> str:
        try:
            status = self._child.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            return "it told what is no answer"
        if status >= 0:
            return f"it ended with status {status}: {self._last_words() or 'silence'}"
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        return f"it was ended by {name}{_CAUSES.get(name, '')}"

    def _last_words(self) -> str:
        with self._errors.open("rb") as stream:
            stream.seek(max(0, self._errors.stat().st_size - _LINE_CHARACTERS))
            said = stream.read().decode("utf-8", "replace").strip()
        return clean(said.rpartition("\n")[2])


_CAUSES = {
    "SIGILL": ", an instruction that this processor has not",
    "SIGKILL": ", as happens when memory runs out",
}


def _environment(machine: Machine) -> dict[str, str]:
    """Return the environment of a worker: nothing of ours that leads its Python astray."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_NOT_FOR_CHILDREN)
    }
    libraries = {"PYTHONPATH": os.pathsep.join(machine.libraries)} if machine.libraries else {}
    return {**kept, **dict.fromkeys(_ONE_THREAD, "1"), "PYTHONUTF8": "1", **libraries}


def _write_program(path: Path) -> None:
    """Write the worker as a zip that any Python runs: our code, without what lies beside it."""
    device = Path(edge_runtime.__file__).parent
    host = Path(__file__).parents[1]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__main__.py", _PROGRAM)
        for file in sorted(device.rglob("*.py")):
            archive.write(file, Path("edge_runtime") / file.relative_to(device))
        for name in _TAKEN:
            archive.write(host / name, Path("packager") / name)


def _empty_graph() -> bytes:
    """Return a graph that does nothing: what a session costs without a model."""
    value = partial(helper.make_tensor_value_info, elem_type=TensorProto.BOOL, shape=None)
    node = helper.make_node("Identity", ["in"], ["out"])
    graph = helper.make_graph([node], "empty", [value("in")], [value("out")])
    opsets = [helper.make_opsetid("", 13)]
    return bytes(
        helper.make_model(graph, ir_version=7, opset_imports=opsets).SerializeToString()
    )
