"""Three rows in every format, models that answer them, and what their answer files say."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import devices
import numpy as np

import edge_runtime
from edge_runtime.batch import format_of, predict_table
from edge_runtime.contract.npz import read_npz
from edge_runtime.model import Model

HEADER = "income (k€),visits,plan\n"
ROWS = "4.5,1,basic\n,2,gold\n30,3,basic\n"
LABELS = ["no", "yes", "yes"]
SUFFIXES = ("csv", "jsonl", "npz")


def served(directory: Path, subject: devices.Subject, **changes: Any) -> Model:
    """Load a subject straight from its bundle."""
    path = devices.packed(directory / "b.oci.tar", subject, **changes)
    return edge_runtime.load(path, trust=devices.trust_file(directory))


def answer(model: Model, source: Path, sink: Path | str) -> int:
    given = (str(source), format_of(str(source), None))
    return predict_table(model, given, (str(sink), format_of(str(sink), None)), lambda _: None)


def table(directory: Path, suffix: str) -> Path:
    """Write the three rows in a format."""
    path = directory / f"rows.{suffix}"
    records = list(csv.DictReader(io.StringIO(HEADER + ROWS)))
    if suffix == "csv":
        path.write_text(HEADER + ROWS)
    elif suffix == "jsonl":
        for record in records:
            record |= {"income (k€)": float(record["income (k€)"] or "nan")}
            record["visits"] = int(record["visits"])
        lines = (json.dumps(record).replace("NaN", "null") for record in records)
        path.write_text("\n".join(lines) + "\n")
    else:
        columns = {
            "income (k€)": np.array([4.5, np.nan, 30]),
            "visits": np.array([1, 2, 3]),
            "plan": np.array(["basic", "gold", "basic"]),
        }
        np.savez(path, **columns)
    return path


def labels(path: Path) -> list[str]:
    if path.suffix == ".csv":
        return [row["label"] for row in csv.DictReader(path.open(newline=""))]
    if path.suffix == ".jsonl":
        return [json.loads(line)["label"] for line in path.read_text().splitlines()]
    found: list[str] = read_npz(path.read_bytes(), what=path.name)["label"].tolist()
    return found
