"""The demonstration: a real model from training to predictions of its installed bundle.

The device's half runs as a program of its own, as it would on a device.
"""

from __future__ import annotations

import csv
import os
import shlex
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.contract.errors import OutputUnwritable
from edge_runtime.contract.terminal import Outcome
from packager.config import BuildConfig, config_template, load_config, resolve
from packager.console import WIDTH, cut, entry
from packager.errors import DeviceFailed, HostExtraMissing
from packager.passphrase import ask_passphrase
from packager.pipeline import Built, build
from packager.report.terminal import build_text
from packager.stages.sign import PRIVATE_NAME, PUBLIC_NAME, generate_key

if TYPE_CHECKING:
    from pandas import DataFrame

NAME, VERSION = "breast-cancer", "1.0.0"
TARGETS = ("x86-64-cpu", "arm64-cpu", "x86-64-cuda")
_LABEL = "diagnosis"
_BINNED = {
    "mean radius": ("small", "medium", "large"),
    "mean texture": ("smooth", "even", "rough"),
}
_SHOWN_ANSWERS = 2


def run_demo(directory: Path | None, tell: Callable[[str], None]) -> Outcome:
    """Train, build, install, predict and show the metrics, telling what happens at each step.

    Args:
        directory: where to work; None makes a temporary one, which stays for a closer look.
        tell: takes the account, block by block.

    Raises:
        OutputUnwritable: when the directory is not empty or cannot be made.
        DeviceFailed: when the device's program does.
        EdgepackError: what the build may raise.
    """
    where = _empty(directory or Path(tempfile.mkdtemp(prefix="edgepack-demo-")))
    demo = _Demo(where.resolve(), tell)
    demo.train()
    demo.make_keys()
    built = demo.build()
    demo.install(built)
    demo.predict()
    demo.metrics()
    commands = demo.next_commands(built)
    return Outcome(
        "edgepack.demo/1",
        {
            "directory": str(demo.where),
            "bundle": str(built.bundle),
            "report": str(built.report),
            "page": str(built.page),
            "next": commands,
        },
        "\n".join(["\nnext: three commands to type", *commands]),
    )


def _empty(directory: Path) -> Path:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        found = sorted(path.name for path in directory.iterdir())
    except OSError as error:
        found, reason = ["?"], error.strerror or str(error)
    else:
        reason = f"it holds {', '.join(found[:3])}"
    if found:
        raise OutputUnwritable(
            f"the demo works in an empty directory, {directory} cannot be one: {reason}",
            hint="Name another one: --dir DIR",
            path=str(directory),
            reason=reason,
        )
    return directory


@dataclass(frozen=True)
class _Demo:
    """The journey, step by step, in one directory."""

    where: Path
    tell: Callable[[str], None]

    def train(self) -> None:
        """Train a pipeline on scikit-learn's breast-cancer data, and save it and its rows."""
        self._title("1 train", f"in {self.where}")
        frame, score = _train(self.where)
        changed = " and ".join(_BINNED)
        self._say(
            "data",
            f"scikit-learn's breast cancer, {len(frame)} rows of 30 columns; for variety, "
            f"{changed} became names such as small",
        )
        self._say(
            "model",
            f"{NAME}.skops, a neural network: {score:.3f} right on rows.csv, "
            "the half that it never saw",
        )

    def make_keys(self) -> None:
        """Make the pair of keys."""
        self._title("2 keys", "$ packager keygen")
        self._say("fingerprint", generate_key(self.where / "keys", None).fingerprint)

    def build(self) -> Built:
        """Write ``packager.toml`` and build what it says, as from inside the directory."""
        config = BuildConfig(
            model=Path(f"{NAME}.skops"),
            name=NAME,
            version=VERSION,
            release=1_000_000,
            targets=TARGETS,
            data=Path("rows.csv"),
            label=_LABEL,
            description="Benign or malignant, from measurements of cell nuclei.",
        )
        file = self.where / "packager.toml"
        file.write_text(config_template(config), encoding="utf-8")
        self._title("3 build", "$ packager build     (packager.toml says the rest)")
        places = {"key": self.where / "keys" / PRIVATE_NAME, "out": self.where / "dist"}
        built = build(resolve(places, load_config(file)), self._say, ask_passphrase)
        own = [target for target in built.facts.targets if target.measured[-1].latency]
        one = (own or built.facts.targets)[0]
        # The page has all targets, and the recipes that were not made.
        shown = replace(built.facts, targets=[replace(one, skipped=())])
        self.tell("\n" + build_text(shown, built.packed, f"dist/{built.page.name}"))
        return built

    def install(self, built: Built) -> None:
        """Let the device trust the key, verify the bundle, prove and activate it."""
        self._title("4 install", "on the device, which believes nobody yet")
        self._device("trust", "add", self.where / "keys" / PUBLIC_NAME)
        self._device("install", built.bundle)

    def predict(self) -> None:
        """Let the installed bundle answer the rows, and count the right answers."""
        rows, answers = self.where / "rows.csv", self.where / "out.csv"
        files = ("--input", rows, "--output", answers)
        self._device("predict", NAME, *files, title="5 predict")
        for line in answers.read_text("utf-8").splitlines()[: _SHOWN_ANSWERS + 1]:
            self.tell(f"    {line}")
        truth, found = _column(rows, _LABEL), _column(answers, "label")
        right = sum(one == other for one, other in zip(truth, found, strict=True))
        self.tell(f"    … {right} of {len(truth)} as diagnosed")

    def metrics(self) -> None:
        """Show what the device wrote down of it."""
        self._device("metrics", NAME, title="6 metrics")

    def next_commands(self, built: Built) -> list[str]:
        """Return three commands that work when typed."""
        packager, device = _program("packager"), _program("edge-runtime")
        store, where = shlex.quote(str(self.where / "store")), shlex.quote(str(self.where))
        return [
            f"{packager} inspect {shlex.quote(str(built.bundle))}",
            f"{device} --store {store} status",
            f"cd {where} && {packager} build --version 1.1.0",
        ]

    def _title(self, title: str, text: str) -> None:
        self.tell("\n" + entry(title, text, sys.stdout))

    def _say(self, name: str, text: str) -> None:
        self.tell(entry(name, text, sys.stdout, indent="  "))

    def _device(self, *arguments: str | Path, title: str = "") -> None:
        """Run the device's program and show what it says."""
        shown = [str(item).removeprefix(f"{self.where}{os.sep}") for item in arguments]
        typed = f"$ edge-runtime --store store {' '.join(shown)}"
        if title:
            self._title(title, typed)
        else:
            self.tell(f"  {typed}")
        store = str(self.where / "store")
        command = [sys.executable, "-m", "edge_runtime", "--store", store]
        done = subprocess.run(
            [*command, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            check=False,
        )
        for line in done.stdout.replace(f"{self.where}{os.sep}", "").splitlines():
            self.tell(textwrap.indent(cut(line, WIDTH - 4), "    "))
        if done.returncode != 0:
            raise DeviceFailed(
                f"edge-runtime {shown[0]} must succeed, it ended with {done.returncode}",
                hint="Mend what it says above, and run the demo again.",
                command=shown,
                expected=0,
                found=done.returncode,
            )


def _program(name: str) -> str:
    """Return how a person starts a program of this installation."""
    script = Path(sys.executable).with_name(name)
    on_path = (Path(place) / name for place in os.get_exec_path())
    if next((path for path in on_path if path.is_file()), None) == script:
        return name
    if script.is_file():
        return shlex.quote(str(script))
    return f"{shlex.quote(sys.executable)} -m {name.replace('-', '_')}"


def _column(path: Path, name: str) -> list[str]:
    with path.open(encoding="utf-8", newline="") as stream:
        return [row[name] for row in csv.DictReader(stream)]


def _train(where: Path) -> tuple[DataFrame, float]:
    """Write the model and the rows that it has not seen; return all rows and its score."""
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
    unseen.to_csv(where / "rows.csv", index=False)
    skops.io.dump(pipeline, where / f"{NAME}.skops")
    return frame, pipeline.score(unseen.drop(columns=_LABEL), unseen[_LABEL])


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
