"""Other tools that choose an int8 model: installed apart, and run as programs of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Every environment gets the engine that times and judges, and PyTorch as the project pins it.
ENGINE = "onnxruntime==1.32.0"
CONSTRAINTS = "torch==2.13.0\n"
LIMIT_S = 900
_QUIET = {"OLIVE_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1", "ORT_DISABLE_TELEMETRY": "1"}


@dataclass(frozen=True)
class Order:
    """What a tool is to work on.

    Attributes:
        model: the float32 ONNX file.
        rows: an archive of rows to calibrate on, by graph input.
        out: an empty directory of the tool's own, in which it runs.
    """

    model: Path
    rows: Path
    out: Path


@dataclass(frozen=True)
class Tool:
    """A tool in an environment of its own.

    Attributes:
        name: of the tool and of what it is asked for.
        venv: its environment, shared by what one installation can do.
        packages: what is installed there.
        command: the program to run, given the environment's programs and an order.
    """

    name: str
    venv: str
    packages: Sequence[str]
    command: Callable[[Path, Order], list[str]]


@dataclass(frozen=True)
class Result:
    """What a tool left behind.

    Attributes:
        file: the ONNX file; None where it made none.
        seconds: the whole process, from its start to its end.
        problem: the last line that it said where it made none.
    """

    file: Path | None
    seconds: float
    problem: str = ""


def install(tool: Tool, work: Path) -> Path:
    """Make a tool's environment unless it is there, and return its directory of programs.

    Raises:
        subprocess.CalledProcessError: when pip cannot install it.
    """
    room = work / "venvs" / tool.venv
    done = room / "installed.txt"
    wanted = "\n".join((*tool.packages, ENGINE, CONSTRAINTS))
    if not (done.exists() and done.read_text("utf-8") == wanted):
        subprocess.run([sys.executable, "-m", "venv", "--clear", room], check=True)
        constraints = room / "constraints.txt"
        constraints.write_text(CONSTRAINTS, "utf-8")
        pip = [room / "bin" / "python", "-m", "pip", "install", "-q", "-c", constraints]
        subprocess.run([*pip, *tool.packages, ENGINE], check=True)
        done.write_text(wanted, "utf-8")
    return room / "bin"


def installed_bytes(directory: Path) -> int:
    """Return what the files of an environment take, links aside."""
    files = (Path(top) / name for top, _, names in os.walk(directory) for name in names)
    return sum(path.stat().st_size for path in files if not path.is_symlink())


def run(tool: Tool, programs: Path, order: Order) -> Result:
    """Run a tool as a program, offline, and return what it made."""
    order.out.mkdir(parents=True)
    command = tool.command(programs, order)
    environment = {**os.environ, **_QUIET}
    environment.pop("PYTHONPATH", None)
    start = time.monotonic()
    try:
        done = subprocess.run(
            command,
            cwd=order.out,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return Result(None, LIMIT_S, f"no end within {LIMIT_S} seconds")
    seconds = time.monotonic() - start
    (order.out / "log.txt").write_text(done.stdout + done.stderr, "utf-8")
    made = sorted((order.out / "made").rglob("*.onnx"))
    if done.returncode or not made:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        return Result(None, seconds, lines[-1][:200])
    return Result(made[0], seconds)


# --- the tools -----------------------------------------------------------------------------


def _olive_auto(programs: Path, order: Order) -> list[str]:
    flags = ("--device", "cpu", "--provider", "CPUExecutionProvider", "--precision", "int8")
    model = ("-m", str(order.model), "-o", "made")
    return [str(programs / "olive"), "auto-opt", *model, *flags, "--disable_telemetry"]


def _olive_static(programs: Path, order: Order) -> list[str]:
    dataset = {"type": "rows_of_archive", "path": str(order.rows)}
    data = {
        "name": "rows",
        "type": "DataContainer",
        "user_script": str(HERE / "beside_olive_rows.py"),
        "load_dataset_config": dataset,
        "dataloader_config": {"batch_size": 1},
    }
    workflow = {
        "input_model": {"type": "OnnxModel", "model_path": str(order.model)},
        "data_configs": [data],
        "passes": {"static": {"type": "OnnxStaticQuantization", "data_config": "rows"}},
        "output_dir": "made",
    }
    config = order.out / "workflow.json"
    config.write_text(json.dumps(workflow), "utf-8")
    return [str(programs / "olive"), "run", "--config", str(config), "--disable_telemetry"]


def _optimum(kind: str) -> Callable[[Path, Order], list[str]]:
    def command(programs: Path, order: Order) -> list[str]:
        words = [programs / "python", HERE / "beside_optimum.py", order.model.parent]
        return [*map(str, (*words, order.model.name, order.rows)), "made", kind]

    return command


_OLIVE = ("olive-ai==0.13.0", "requests")  # which it imports without asking for it
_OPTIMUM = ("optimum-onnx==0.1.0", "datasets")

TOOLS = (
    Tool("Olive, auto-opt int8", "olive", _OLIVE, _olive_auto),
    Tool("Olive, static quantization", "olive", _OLIVE, _olive_static),
    Tool("optimum-onnx, avx512_vnni dynamic", "optimum", _OPTIMUM, _optimum("dynamic")),
    Tool("optimum-onnx, avx512_vnni static", "optimum", _OPTIMUM, _optimum("static")),
)
