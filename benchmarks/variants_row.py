"""One model's row: built as a user builds it, built exhaustively, and timed by ourselves."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from variants_checks import ARM, HERE, Row
from variants_models import Made, Model
from variants_timing import File, time_shares

from packager.bundle_file import read_bundle
from packager.config import BuildConfig, resolve
from packager.graphs.model_files import ModelFiles
from packager.pipeline import build, opened_source
from packager.record import Record
from packager.scoring import HeldOut
from packager.stages.optimise import optimise
from packager.target import load_profile
from packager.understanding import understand
from packager.workspace import Workspace

# A candidate of the exhaustive run that this rule turned down could have shipped.
_COULD_SHIP = "better-ones"


def make_row(model: Model, made: Made, room: Path) -> Row:
    """Build a model twice, time what ships, and return all figures as JSON has them."""
    normal = _built(flags(model, made, room / "normal", (HERE, ARM)))
    full = _built({**flags(model, made, room / "full", (HERE,)), "effort": "full"})
    here, arm = (_target(normal.report, name) for name in (HERE, ARM))
    files = extracted(normal, room / "files")
    with plain_float32(normal.config, room) as plain:
        others = {name: file for name, file in files.items() if name != "float32"}
        shares = time_shares({"float32": plain.file, **others}, plain.rows.feed)
        chosen = next(iter(files))
        equal = _equal_labels(made, plain, files[chosen]) if model.goal else None
        agreement = _right(plain, plain.file), _right(plain, files[chosen])
    return {
        "name": model.name,
        "what": model.what,
        "metric": normal.report["metric"]["name"],
        "max_drop": normal.config.max_drop.amount,
        "rows": normal.report["data"]["held_out"],
        "source_bytes": made.model.stat().st_size,
        "seconds": {"normal": normal.seconds, "full": full.seconds},
        "targets": {HERE: _told(here), ARM: _told(arm)},
        "shares": shares,
        "right": agreement,
        "equal_labels": equal,
        "candidates": candidates(_target(full.report, HERE)),
        "goal": vars(model.goal) if model.goal else None,
    }


# --- building ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """A build: what was asked, how long it took, and what it left."""

    config: BuildConfig
    seconds: float
    bundle: Path
    report: dict[str, Any]

    @classmethod
    def read(cls, config: BuildConfig, seconds: float) -> Run:
        """Return a build that is done."""
        stem = f"{config.name}-{config.version}"
        report = json.loads((config.out / f"{stem}.report.json").read_text("utf-8"))
        return cls(config, seconds, config.out / f"{stem}.oci.tar", report)


def flags(model: Model, made: Made, out: Path, targets: Sequence[str]) -> dict[str, Any]:
    """Return what a user asks for, by field of ``BuildConfig``."""
    label = {"label": "y"} if "y" in _columns(made.data) else {}
    return {
        "model": made.model,
        "name": model.name,
        "data": made.data,
        "holdout": made.holdout,
        "unsigned": True,
        "out": out,
        "targets": tuple(targets),
        **label,
        **model.options,
    }


def _built(asked: dict[str, Any]) -> Run:
    config = resolve(asked, {})
    config.out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with (config.out / "build.log").open("w", encoding="utf-8") as log:
        build(config, lambda *told: print(*told, file=log, flush=True), _no_passphrase)
    return Run.read(config, time.monotonic() - start)


def _no_passphrase(_: Path) -> bytes:
    return b""  # nobody asks: the bundles are not signed


def _columns(path: Path) -> list[str]:
    if path.suffix == ".csv":
        with path.open(encoding="utf-8") as lines:
            return lines.readline().strip().split(",")
    with np.load(path, allow_pickle=False) as arrays:
        return list(arrays)


def _target(report: Mapping[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in report["targets"] if one["profile"]["name"] == name)


def _told(target: Mapping[str, Any]) -> Row:
    """Return what the table needs of one target: the plain float32 and what ships."""
    measured = {one["name"]: one for one in target["measured"]}
    ladder = [one["name"] for one in target["ladder"]]
    plain = target["measured"][0]
    return {
        "promised": [cpu["qemu"] for cpu in target["profile"]["cpu_models"]],
        "ladder": ladder,
        "float32": _figures(plain),
        "ships": {name: _figures(measured[name]) for name in ladder},
        "notes": target["notes"],
    }


def _figures(measured: Mapping[str, Any]) -> Row:
    keys = ("size", "packed", "scores", "latency")
    return {key: measured[key] for key in keys}


def candidates(target: Mapping[str, Any]) -> list[Row]:
    """Return every candidate of an exhaustive build: its merit, and whether it could ship.

    Merit is the geometric mean of bytes and times, each as a share of plain float32's.
    """
    verdicts = {one["name"]: one for one in target["verdicts"]}
    plain = target["measured"][0]
    found = []
    for one in target["measured"]:
        shares = [one["size"] / plain["size"]]
        shares += [time / plain["latency"][batch] for batch, time in one["latency"].items()]
        verdict = verdicts[one["name"]]
        could = verdict["admitted"] or verdict["rule"] == _COULD_SHIP
        merit = math.exp(sum(map(math.log, shares)) / len(shares))
        rule = "" if could else verdict["rule"]
        found.append({"name": one["name"], "merit": merit, "rule": rule})
    return sorted(found, key=lambda one: (bool(one["rule"]), one["merit"]))


def extracted(run: Run, room: Path) -> dict[str, File]:
    """Write the variants that ship here as files, best first."""
    packed = next(one for one in read_bundle(run.bundle) if one.manifest.target.name == HERE)
    for part in packed.parts:
        path = room / part.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(part.data)
    return {
        one["name"]: File(room / one["model_file"], one["session_options"])
        for one in _target(run.report, HERE)["ladder"]
    }


# --- float32 itself ------------------------------------------------------------------------


@dataclass(frozen=True)
class Plain:
    """Plain float32 as a file, the measure of all, and the rows of its build."""

    file: File
    rows: HeldOut
    calibration: Mapping[str, Any]


@contextmanager
def plain_float32(config: BuildConfig, room: Path) -> Iterator[Plain]:
    """Make the graph that a build's candidates are made of; it need not ship itself."""
    profile = load_profile(HERE)

    def say(*_: str) -> None:
        return

    with Workspace(room) as workspace:
        with opened_source(config, say) as source:
            understood = understand(source, [profile], config, Record(), workspace, say)
        model = optimise(understood.graph.model, opset=profile.opset, ir=profile.ir)
        files = ModelFiles.of(model, understood.graph.weights)
        path = files.placed(room)
        rows: Any = understood.rows  # every build here is given some
        file = File(path, profile.session_options)
        yield Plain(file, rows.held_out, rows.calibration)
        path.unlink(missing_ok=True)


def _equal_labels(made: Made, plain: Plain, file: File) -> bool | None:
    """Tell whether a file answers the labels of the source itself; None of other sources."""
    if made.model.suffix != ".joblib" or "label" not in plain.rows.roles:
        return None
    source = joblib.load(made.model)
    with np.load(made.holdout) as arrays:
        wanted = source.predict(arrays["X"])
    return bool((_labels(plain, file).astype(str) == wanted.astype(str)).all())


def _labels(plain: Plain, file: File) -> Any:
    name = plain.rows.roles["label"]
    session = file.open()
    feed = plain.rows.feed
    count = len(next(iter(feed.values())))
    parts = [
        session.run([name], {key: array[at : at + 32] for key, array in feed.items()})[0]
        for at in range(0, count, 32)
    ]
    return np.concatenate(parts)


def _right(plain: Plain, file: File) -> float | None:
    """Return the share of right labels, counted here and not by the packager."""
    if plain.rows.truth is None or "label" not in plain.rows.roles:
        return None
    found, wanted = _labels(plain, file), plain.rows.truth.ravel()
    return float((found.astype(str) == wanted.astype(str)).mean())
