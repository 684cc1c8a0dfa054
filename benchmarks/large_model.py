"""What a model of gigabytes costs in memory, from its ONNX file to its first prediction.

    python benchmarks/large_model.py [--write docs/large-models.md]
    python benchmarks/large_model.py --megabytes 200 [--one-file] [--int8] [--limit 2.5]

Makes an ONNX file of random layers and runs ``packager`` and ``edge-runtime`` on it as
programs: build, verify, install, predict. Peaks are the kernel's own high-water marks, read and
set back whenever ``packager`` says that a step is done, of that process of a program which had
most. Without a size, all that the documentation shows is run, which needs 10 GB of disk.
Everything is removed at the end.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import psutil
from onnx import TensorProto, helper

CHECKOUT = Path(__file__).resolve().parents[1]
INPUTS, LAYERS, ROWS = 64, 10, 60
POLL_S = 0.01


@dataclass(frozen=True)
class Case:
    """What is built: how many megabytes of weights, where they are, and into which rungs."""

    megabytes: int
    one_file: bool = False
    int8: bool = False

    def text(self) -> str:
        """Say it for people."""
        place = "inside the graph's file" if self.one_file else "in a file beside the graph"
        rungs = "int8-dynamic and float32" if self.int8 else "float32"
        return f"{self.megabytes / 1000:.1f} GB of weights {place}, built as {rungs}"


SHOWN = (Case(2500), Case(1900, one_file=True), Case(500, int8=True))


@dataclass
class Stage:
    """What one step took: seconds, and peaks in bytes of all and of private memory."""

    name: str
    start: float
    seconds: float = 0.0
    peak: int = 0
    private: int = 0


# --- the model -----------------------------------------------------------------------------


def make_model(directory: Path, case: Case) -> int:
    """Write ``model.onnx``, perhaps with ``model.onnx.data``; return its weights' bytes."""
    width = max(64, round((case.megabytes * 250_000 / LAYERS) ** 0.5 / 64) * 64)
    shapes = [(INPUTS, width), *[(width, width)] * LAYERS, (width, 8)]
    nodes, tensors, offset, last = [], [], 0, "features"
    with (directory / "model.onnx.data").open("wb") as stream:
        for number, shape in enumerate(shapes):
            tensor = TensorProto(name=f"w{number}", data_type=TensorProto.FLOAT, dims=shape)
            length = 4 * shape[0] * shape[1]
            if case.one_file:
                tensor.raw_data = b"".join(_weights(number, shape))
            else:
                stream.writelines(_weights(number, shape))
                _place(tensor, offset, length)
            tensors.append(tensor)
            offset += length
            nodes.append(helper.make_node("MatMul", [last, f"w{number}"], [f"m{number}"]))
            nodes.append(helper.make_node("Relu", [f"m{number}"], [f"r{number}"]))
            last = f"r{number}"
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", axis])
        for name, axis in (("features", INPUTS), (f"m{len(shapes) - 1}", 8))
    ]
    graph = helper.make_graph(nodes[:-1], "large", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (directory / "model.onnx").write_bytes(model.SerializeToString())
    return offset


def _weights(seed: int, shape: tuple[int, int]) -> Iterator[bytes]:
    generator = np.random.default_rng(seed)
    for _ in range(shape[0]):
        row = generator.standard_normal(shape[1], dtype=np.float32)
        yield (row * np.float32((2 / shape[0]) ** 0.5)).tobytes()


def _place(tensor: onnx.TensorProto, offset: int, length: int) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    places = {"location": "model.onnx.data", "offset": offset, "length": length}
    for key, value in places.items():
        tensor.external_data.add(key=key, value=str(value))


def make_rows(path: Path) -> None:
    """Write rows that nobody ever had."""
    rows = np.random.default_rng(0).standard_normal((ROWS, INPUTS))
    header = ",".join(f"x{number}" for number in range(INPUTS))
    np.savetxt(path, rows, fmt="%.6g", delimiter=",", header=header, comments="")


# What the profile tries, as it is written there.
FAMILIES = '"int8-static", "int8-dynamic", "int8-weights", "int4", "float32"'


def make_profile(path: Path, size: int, *, int8: bool) -> None:
    """Write a target profile that a model of this size fits into."""
    text = (CHECKOUT / "targets" / "x86-64-cpu.toml").read_text("utf-8")
    megabytes = size // 1_000_000
    for old, new in {
        'name = "x86-64-cpu"': 'name = "large"',
        "memory-mb = 512": f"memory-mb = {megabytes * 13 // 10}",
        "bundle-mb = 1000": f"bundle-mb = {max(1000, megabytes * 2)}",
        FAMILIES: '"int8-dynamic", "float32"' if int8 else '"float32"',
    }.items():
        if old not in text:
            sys.exit(f"targets/x86-64-cpu.toml no longer says {old}")
        text = text.replace(old, new)
    path.write_text(text, "utf-8")


# --- measuring -----------------------------------------------------------------------------


@dataclass
class Watch:
    """Follows a program and its children, a stage at a time."""

    pid: int
    stages: list[Stage]
    lock: threading.Lock = field(default_factory=threading.Lock)

    def follow(self, done: threading.Event) -> None:
        """Look until the program has ended."""
        while not done.wait(POLL_S):
            with self.lock:
                self.look()

    def look(self) -> None:
        """Note what the program has now, and the most it had since the stage began."""
        stage = self.stages[-1]
        for pid in self._processes():
            status = _status(pid)
            stage.peak = max(stage.peak, status.get("VmHWM", 0))
            stage.private = max(stage.private, status.get("RssAnon", 0))
        stage.seconds = time.monotonic() - stage.start

    def turn(self, name: str) -> None:
        """End a stage under this name and begin another."""
        with self.lock:
            self.look()
            self.stages[-1].name = name
            for pid in self._processes():
                try:
                    Path(f"/proc/{pid}/clear_refs").write_text("5", "ascii")
                except OSError:
                    continue
            self.stages.append(Stage("", time.monotonic()))

    def _processes(self) -> list[int]:
        try:
            children = psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [self.pid, *(child.pid for child in children)]


def _status(pid: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {key: int(rest.split()[0]) * 1024 for key, rest in pairs if rest.endswith("kB")}


def run(name: str, room: Path, *command: str) -> list[Stage]:
    """Run a program and return its stages; those of a build by what it says on stderr."""
    program = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=room,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "NO_COLOR": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    watch = Watch(program.pid, [Stage(name, time.monotonic())])
    done = threading.Event()
    thread = threading.Thread(target=watch.follow, args=(done,))
    thread.start()
    said = []
    for line in program.stderr or ():
        said.append(line)
        if name == "build" and not line.startswith(" "):
            watch.turn(f"build: {line.split()[0]}")
    code = program.wait()
    done.set()
    thread.join()
    if code:
        sys.exit(f"{' '.join(command)} ended with {code}:\n{''.join(said)}")
    return [stage for stage in watch.stages if stage.name]


# --- the table -----------------------------------------------------------------------------


def journey(room: Path, case: Case) -> tuple[int, list[Stage]]:
    """Make, build, verify, install, predict; return the bytes of the weights and the stages."""
    weights = make_model(room, case)
    make_rows(room / "rows.csv")
    make_profile(room / "large.toml", weights, int8=case.int8)
    run("", room, "packager", "keygen")
    build = ("build", "model.onnx", "--name", "large", "--data", "rows.csv")
    stages = run("build", room, "packager", *build, "--target", "./large.toml")
    for file in ("model.onnx", "model.onnx.data"):
        (room / file).unlink()
    bundle, store = "dist/large-1.0.0.oci.tar", ("--store", "store")
    trust = ("trust", "add", "keys/release.pub")
    run("", room, "edge_runtime", *trust, *store)
    stages += run("verify", room, "edge_runtime", "verify", bundle, *store)
    stages += run("install, with its trial", room, "edge_runtime", "install", bundle, *store)
    predict = ("predict", "large", "--input", "rows.csv", "--output", "answers.csv")
    stages += run(f"predict {ROWS} rows", room, "edge_runtime", *predict, *store)
    return weights, stages


def table(case: Case, weights: int, stages: Sequence[Stage]) -> str:
    """Render one table of the documentation."""
    lines = [
        f"**{case.text()}** ({weights / 1e6:,.0f} MB):",
        "",
        "| step | peak, MB | against the weights | private, MB | seconds |",
        "|---|--:|--:|--:|--:|",
    ]
    for stage in stages:
        lines.append(
            f"| {stage.name} | {stage.peak / 1e6:,.0f} | {stage.peak / weights:.2f} | "
            f"{stage.private / 1e6:,.0f} | {stage.seconds:.1f} |"
        )
    return "\n".join(lines)


def measured(case: Case, room: Path | None, limit: float | None) -> str:
    """Run one case and return its table, or fail above so many times the weights."""
    with tempfile.TemporaryDirectory(prefix="large-", dir=room) as directory:
        weights, stages = journey(Path(directory), case)
    text = table(case, weights, stages)
    print(text, end="\n\n", flush=True)
    worst = max(stages, key=lambda stage: stage.peak)
    if limit and worst.peak > limit * weights:
        sys.exit(f"{worst.name} took {worst.peak / weights:.2f} times the weights")
    return text


def main() -> None:
    """Run what was asked for, and print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, help="of weights; by default all cases shown")
    parser.add_argument("--one-file", action="store_true", help="weights inside the graph")
    parser.add_argument("--int8", action="store_true", help="make int8-dynamic as well")
    parser.add_argument("--room", type=Path, help="where to work; needs four times the weights")
    parser.add_argument("--write", type=Path, help="put the tables into this page")
    parser.add_argument("--limit", type=float, help="fail above so many times the weights")
    options = parser.parse_args()
    cases: Sequence[Case] = SHOWN
    if options.megabytes:
        cases = [Case(options.megabytes, options.one_file, options.int8)]
    texts = [measured(case, options.room, options.limit) for case in cases]
    if options.write:
        put(options.write, texts)


def put(page: Path, texts: Sequence[str]) -> None:
    """Replace what stands between the page's marks."""
    before, mark, rest = page.read_text("utf-8").partition("<!-- large_model.py -->\n")
    _, end, after = rest.partition("<!-- end -->")
    if not mark or not end:
        sys.exit(f"{page} has no place for the tables")
    here = f"Python {platform.python_version()}, onnx {onnx.__version__}"
    head = f"Measured with {here}, {os.cpu_count()} cores, one thread:"
    body = "\n\n".join([head, *texts])
    page.write_text(f"{before}{mark}{body}\n{end}{after}", "utf-8")


if __name__ == "__main__":
    main()
