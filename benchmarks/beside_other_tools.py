"""Our choice beside Olive's and optimum-onnx's for this processor: bytes, quality, speed, cost.

    python benchmarks/beside_other_tools.py --work DIR [--only NAME…] [--fresh]
        [--write docs/beside-other-tools.md]

Takes those models of ``variants.py`` that hold something to quantize (DIR may be the same, then
they are not learned again), but for its encoder, which takes an emulated Haswell too long. The
other tools are installed into environments of their own under
DIR and get the float32 graph that our candidates are made of, and the rows that we calibrate
on. All files are then timed in this process, and judged here and on an emulated Haswell.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from beside_judge import Judge
from beside_page import page, summary
from beside_tools import TOOLS, Order, Result, Tool, install, installed_bytes, run
from variants_checks import HERE, Row
from variants_models import Made, Model, make, models
from variants_row import Run, extracted, flags, plain_float32
from variants_timing import File, time_shares

from packager.config import resolve

CHECKOUT = Path(__file__).resolve().parents[1]
FLOAT32, OURS = "float32", "edgepack"
NAMES = ("mlp", "mlp-regression", "cnn-plain", "cnn-residual", "cnn-depthwise")
# What this project needs on a workstation, for models of PyTorch as well.
_OURS = Tool(OURS, "edgepack", (f"{CHECKOUT}[host,torch]",), lambda *_: [])


def main() -> None:
    """Work on the models, print their lines, and write the page where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="where everything stays")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=(), metavar="NAME")
    parser.add_argument("--fresh", action="store_true", help="run the tools again")
    parser.add_argument("--write", type=Path, help="a page to write the tables to")
    options = parser.parse_args()
    if options.write and options.only:
        parser.error("--write takes all models: leave out --only")
    warnings.simplefilter("ignore")
    work = options.work.resolve()
    programs = {tool.name: install(tool, work) for tool in (*TOOLS, _OURS)}
    chosen = [one for one in models() if one.name in (options.only or NAMES)]
    rows = [_row(model, work, programs, fresh=options.fresh) for model in chosen]
    if options.write:
        sizes = {path.parent.name: _sizes(path.parent) for path in programs.values()}
        options.write.write_text(page(rows, sizes), encoding="utf-8")


def _row(model: Model, work: Path, programs: Mapping[str, Path], *, fresh: bool) -> Row:
    room = work / model.name
    kept = room / "beside.json"
    made = make(model, room)
    if fresh or not kept.exists():
        row = make_row(model, made, room / "beside", programs)
        kept.write_text(json.dumps(row, indent=1), "utf-8")
    row: Row = json.loads(kept.read_text("utf-8"))
    print(summary(row), flush=True)
    return row


def make_row(model: Model, made: Made, room: Path, programs: Mapping[str, Path]) -> Row:
    """Let every tool work on a model, and return what each made of it."""
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir()
    ours = _run(programs[OURS], flags(model, made, room / "ours", (HERE,)))
    with plain_float32(ours.config, room) as plain:
        float32 = room / "float32.onnx"
        shutil.copyfile(plain.file.path, float32)
        calibration = room / "rows.npz"
        np.savez(calibration, **plain.calibration)
        results = {
            tool.name: run(
                tool,
                programs[tool.name],
                Order(float32, calibration, room / f"tool-{number}"),
            )
            for number, tool in enumerate(TOOLS)
        }
        shipped = extracted(ours, room / "files")
        results[OURS] = Result(next(iter(shipped.values())).path, ours.seconds)
        files = {FLOAT32: File(float32, plain.file.entries), OURS: next(iter(shipped.values()))}
        files |= {name: File(one.file) for name, one in results.items() if _new(name, one)}
        judge = Judge(plain.rows, float32.read_bytes())
        told = {name: judge.judged(file) for name, file in files.items()}
        sound = {name: file for name, file in files.items() if not told[name]["problem"]}
        shares = time_shares(sound, plain.rows.feed)
    return {
        "name": model.name,
        "metric": judge.metric,
        "rows": judge.count,
        "variant": next(iter(shipped)),
        "float32": _figures(files[FLOAT32], told[FLOAT32], None, {}),
        "tools": {
            name: _figures(files.get(name), told.get(name), results[name], shares.get(name, {}))
            for name in (OURS, *(tool.name for tool in TOOLS))
        },
    }


def _sizes(venv: Path) -> tuple[int, int]:
    """Return the bytes of an environment, and how many of them are PyTorch's."""
    torch = next(venv.glob("lib/*/site-packages/torch"), None)
    return installed_bytes(venv), installed_bytes(torch) if torch else 0


def _new(name: str, result: Result) -> bool:
    return name != OURS and result.file is not None


def _figures(
    file: File | None, told: Row | None, result: Result | None, shares: Mapping[str, float]
) -> Row:
    """Return what is known of a file; of one that was not made, why."""
    found: dict[str, Any] = {"seconds": result.seconds if result else None, "shares": shares}
    if file is None or told is None:
        return {**found, "problem": result.problem if result else ""}
    return {**found, **told, "size": file.path.stat().st_size}


def _run(programs: Path, asked: dict[str, Any]) -> Run:
    """Run our own program as a user does, in an environment like those of the others."""
    config = resolve(asked, {})
    words: list[str] = []
    for field, value in asked.items():
        flag = {"targets": "target"}.get(field, field).replace("_", "-")
        if field == "model":
            words.append(str(value))
        elif value is True:
            words.append(f"--{flag}")
        else:
            words += [f"--{flag}", ",".join(value) if isinstance(value, tuple) else str(value)]
    command = [str(programs / "python"), "-m", "packager", "build", *words]
    start = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    subprocess.run(command, env=environment, capture_output=True, check=True)
    return Run.read(config, time.monotonic() - start)


if __name__ == "__main__":
    main()
