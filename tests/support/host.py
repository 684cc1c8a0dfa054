"""The host's command line inside the test's process, and a directory for it to work in."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import skops.io
from skl2onnx import to_onnx
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from packager.cli import main

LABEL = "diagnosis"
TEXT_COLUMN = "mean texture"
NUMBERS = ("mean radius", "mean perimeter", "mean smoothness", "worst concavity", "area error")
ALL_TARGETS = ("x86-64-cpu", "arm64-cpu", "x86-64-cuda")

BUILD = (
    *("build", "network.skops", "--data", "rows.csv", "--label", LABEL),
    *("--name", "cancer", "--version", "1.4.0", "--description", "Benign or malignant."),
    *(word for target in ALL_TARGETS for word in ("--target", target)),
)


@dataclass(frozen=True)
class Build:
    """What ``BUILD`` left behind: the bundle, its report, that parsed, and what stderr said."""

    bundle: Path
    report: Path
    document: dict[str, Any]
    said: str


@dataclass(frozen=True)
class Done:
    """What one run of the command line left: its exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


def packager(*arguments: str | Path, cwd: Path, expect: int | None = 0) -> Done:
    """Run ``packager`` in a directory and require its exit code, unless ``expect`` is None."""
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(streams[0]),
        contextlib.redirect_stderr(streams[1]),
    ):
        code = main([str(argument) for argument in arguments])
    out, err = (stream.buffer.getvalue().decode() for stream in streams)  # type: ignore[attr-defined]
    assert expect is None or code == expect, f"exit {code}, expected {expect}\n{out}\n{err}"
    return Done(code, out, err)


def tree(directory: Path) -> dict[str, bytes | None]:
    """Return every file below a directory with its bytes, and every directory with None."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
    }


def cancer() -> pd.DataFrame:
    """Some columns of scikit-learn's breast-cancer data, one in words, and the label."""
    data = load_breast_cancer(as_frame=True)
    frame = data.data[list(NUMBERS)].copy()
    words = pd.qcut(data.data[TEXT_COLUMN], 3, labels=["smooth", "even", "rough"])
    frame[TEXT_COLUMN] = words.astype(str)
    frame[LABEL] = data.target.map(dict(enumerate(data.target_names)))
    return frame


def network(frame: pd.DataFrame) -> Pipeline:
    """A small network over numbers and one-hot words, large enough for int8 to pay."""
    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), list(NUMBERS)),
            ("words", OneHotEncoder(), [TEXT_COLUMN]),
        ]
    )
    model = MLPClassifier((256, 128), max_iter=30, alpha=1.0, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make_pipeline(columns, model).fit(frame.drop(columns=LABEL), frame[LABEL])


def furnish(directory: Path) -> None:
    """Write models, rows and keys under the names that the tests use."""
    frame = cancer()
    frame.to_csv(directory / "rows.csv", index=False)
    skops.io.dump(network(frame), directory / "network.skops")
    numbers, truth = frame[list(NUMBERS)], frame[LABEL]
    line = make_pipeline(StandardScaler(), LogisticRegression()).fit(numbers, truth)
    skops.io.dump(line, directory / "line.skops")
    joblib.dump(line, directory / "line.joblib")
    graph = to_onnx(
        line, numbers.to_numpy(np.float32), options={"zipmap": False}, target_opset=18
    )
    (directory / "line.onnx").write_bytes(graph.SerializeToString())
    frame[[*NUMBERS, LABEL]].to_csv(directory / "numbers.csv", index=False)
    packager("keygen", cwd=directory)
