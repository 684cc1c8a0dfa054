"""The demonstration: a real model from training to predictions of its installed bundle.

The device's half runs as a program of its own, as it would on a device.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from packager.config import BuildConfig
from packager.console import heading, step
from packager.errors import HostExtraMissing, SourceFailed
from packager.passphrase import ask_passphrase
from packager.pipeline import build
from packager.report.terminal import build_text
from packager.stages.sign import generate_key

if TYPE_CHECKING:
    from pandas import DataFrame

TARGETS = ("x86-64-cpu", "arm64-cpu", "x86-64-cuda")
NAME, VERSION = "breast-cancer", "1.0.0"
_LABEL = "diagnosis"
_BINNED = {
    "mean radius": ("small", "medium", "large"),
    "mean texture": ("smooth", "even", "rough"),
}


def run_demo(directory: Path | None) -> None:
    """Train, build, install, predict and show the metrics, saying what happens at each step."""
    where = directory or Path(tempfile.mkdtemp(prefix="edgepack-demo-"))
    where.mkdir(parents=True, exist_ok=True)
    _say("1. a model", f"everything below lies in {where}")
    model, rows = _train(where)

    _say("2. keygen", "the key that signs releases")
    public = where / "keys" / "release.pub"
    if not public.exists():
        step("fingerprint", generate_key(public.parent, None).fingerprint)

    _say("3. build", f"packager build {model.name} --data {rows.name} --label {_LABEL} …")
    built = build(_config(where, model, rows), step, ask_passphrase)
    click.echo(build_text(built.facts, built.packed))

    _say("4. on the device", "verify, match, prove on this chip, activate")
    store = where / "store"
    _device(store, "trust", "add", str(public))
    _device(store, "install", str(built.bundle))

    _say("5. predict", "the unseen rows, answered by the installed bundle")
    answers = where / "answers.csv"
    _device(store, "predict", NAME, "--input", str(rows), "--output", str(answers))
    click.echo("".join(answers.read_text("utf-8").splitlines(keepends=True)[:4]), nl=False)

    _say("6. metrics", "what the device keeps of it, without any row")
    _device(store, "metrics", NAME)

    _say("next", "three commands to type")
    click.echo(f"packager inspect {built.bundle}")
    click.echo(f"edge-runtime status --store {store}")
    click.echo("packager build YOUR-MODEL.skops --data rows.csv --label COLUMN --version 1.0.0")


def _say(title: str, text: str) -> None:
    click.echo(f"\n{heading(title)}  {text}")


def _config(where: Path, model: Path, rows: Path) -> BuildConfig:
    return BuildConfig(
        model=model,
        name=NAME,
        version=VERSION,
        release=1_000_000,
        targets=TARGETS,
        data=rows,
        label=_LABEL,
        key=where / "keys" / "release.key",
        out=where / "dist",
        description="Benign or malignant, from measurements of cell nuclei.",
    )


def _train(where: Path) -> tuple[Path, Path]:
    """Train a pipeline on scikit-learn's breast-cancer data and save it with its rows."""
    try:
        import skops.io
        from sklearn.compose import ColumnTransformer
        from sklearn.model_selection import train_test_split
        from sklearn.neural_network import MLPClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import OneHotEncoder, StandardScaler
    except ImportError as error:
        raise HostExtraMissing(
            f"the demo trains with scikit-learn, and {error.name} is not installed",
            hint="Install edgepack[host].",
            module=error.name,
        ) from None
    frame = _frame()
    numeric = [name for name in frame.columns if name not in (*_BINNED, _LABEL)]
    pipeline = make_pipeline(
        ColumnTransformer(
            [("numbers", StandardScaler(), numeric), ("names", OneHotEncoder(), list(_BINNED))]
        ),
        MLPClassifier(hidden_layer_sizes=(256, 128), max_iter=300, alpha=1.0, random_state=0),
    )
    train, unseen = train_test_split(
        frame, test_size=0.5, random_state=0, stratify=frame[_LABEL]
    )
    pipeline.fit(train.drop(columns=_LABEL), train[_LABEL])
    score = pipeline.score(unseen.drop(columns=_LABEL), unseen[_LABEL])
    # A build judges by rows, so it gets those that the model never saw.
    rows = where / "rows.csv"
    unseen.to_csv(rows, index=False)
    model = where / f"{NAME}.skops"
    skops.io.dump(pipeline, model)
    step("data", "scikit-learn's breast-cancer data: 569 rows, 30 columns")
    step("changed", f"{' and '.join(_BINNED)} were binned into named categories, for variety")
    step("trained", f"{model.name}, a neural network: {score:.3f} right on the unseen half")
    return model, rows


def _frame() -> DataFrame:
    """Return the data as a table with two columns of names."""
    import pandas as pd
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer(as_frame=True)
    frame: DataFrame = data.data.copy()
    for column, names in _BINNED.items():
        frame[column] = pd.qcut(frame[column], len(names), labels=list(names)).astype(str)
    frame[_LABEL] = data.target.map(dict(enumerate(data.target_names)))
    return frame


def _device(store: Path, *arguments: str) -> None:
    """Run the device's program and show what it says."""
    click.echo(f"$ edge-runtime {' '.join(arguments)}")
    command = [sys.executable, "-m", "edge_runtime", *arguments, "--store", str(store)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise SourceFailed(
            f"edge-runtime {arguments[0]} must succeed, it ended with {done.returncode}",
            hint="Read what it said above.",
            command=list(arguments),
            found=done.returncode,
        )
