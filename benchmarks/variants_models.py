"""The benchmarks' models: of the kinds that people ship, each made here with fixed seeds."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import variants_data as data
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


@dataclass(frozen=True)
class Model:
    """One row of the tables.

    Attributes:
        name: what it is called here, and its bundle.
        what: it in words.
        rows: makes its rows.
        write: learns and writes the model, given its rows and a path without a suffix; returns
            the path.
        options: flags of ``packager build`` beside data and targets.
        goal: what is to be beaten.
    """

    name: str
    what: str
    rows: Callable[[], data.Rows]
    write: Callable[[data.Rows, Path], Path]
    options: dict[str, Any] = field(default_factory=dict)
    goal: Goal | None = None


@dataclass(frozen=True)
class Goal:
    """What the chosen variant is to reach; None where nothing is asked.

    Attributes:
        size: its bytes as installed, as a share of float32's.
        speed: how many times as fast as float32 it is, at batch 1 and 32.
        packed: its bytes in the bundle as a share of the source's file, with equal answers.
    """

    size: float | None = None
    speed: float | None = None
    packed: float | None = None


@dataclass(frozen=True)
class Made:
    """A model on disk and the rows for its build.

    Attributes:
        model: the source file.
        data: rows that calibrate.
        holdout: rows that judge.
    """

    model: Path
    data: Path
    holdout: Path


def make(model: Model, room: Path) -> Made:
    """Learn and write a model and its rows, unless they are there from an earlier run.

    What an older edition of these files made is thrown away, its figures too.
    """
    mark, kept = _mark(), room / "made-by.txt"
    if not kept.exists() or kept.read_text("utf-8") != mark:
        shutil.rmtree(room, ignore_errors=True)
        room.mkdir(parents=True)
        kept.write_text(mark, "utf-8")
    rows = model.rows()
    held = {"data": rows.calibrate(), "holdout": rows.judge()}
    paths = {name: _write_rows(room / name, part) for name, part in held.items()}
    if found := list(room.glob("model.*")):
        return Made(found[0], **paths)
    draft = model.write(rows, room / "draft")
    path = draft.with_stem("model")
    draft.rename(path)
    return Made(path, **paths)


def _mark() -> str:
    """Return a digest of all that decides what is learned."""
    files = sorted(Path(__file__).parent.glob("variants_[dmn]*.py"))  # data, models, nets
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _write_rows(path: Path, part: dict[str, Any]) -> Path:
    if "text" in part:
        path = path.with_suffix(".csv")
        lines = [",".join(part), *map(",".join, zip(*part.values(), strict=True))]
        path.write_text("\n".join(lines) + "\n", "utf-8")
        return path
    path = path.with_suffix(".npz")
    np.savez(path, **part)
    return path


# --- scikit-learn --------------------------------------------------------------------------


def _learned(estimator: Any) -> Callable[[data.Rows, Path], Path]:
    def write(rows: data.Rows, path: Path) -> Path:
        path = path.with_suffix(".joblib")
        joblib.dump(estimator.fit(*rows.learn()), path)
        return path

    return write


def _sklearn(
    name: str,
    what: str,
    rows: Callable[[], data.Rows],
    estimator: Any,
    goal: Goal | None = None,
) -> Model:
    return Model(name, what, rows, _learned(estimator), {"trust_pickle": True}, goal)


def _network(kind: Any, *hidden: int, epochs: int) -> Any:
    # Few epochs: what is judged is how the answers change, not how good they are at best.
    few = {"max_iter": epochs, "n_iter_no_change": epochs}
    network = kind(hidden_layer_sizes=hidden, tol=0, random_state=0, **few)
    return make_pipeline(StandardScaler(), network)


# --- PyTorch -------------------------------------------------------------------------------


def _trained(
    kind: str, *, epochs: int, rate: float, least: float, channels: int | None = None
) -> Callable[[data.Rows, Path], Path]:
    """Return what trains a net and refuses one that has learned less than it should."""

    def write(rows: data.Rows, path: Path) -> Path:
        import variants_nets as nets  # what needs PyTorch, a second to import

        classes = len(np.unique(rows.truth))
        shape = (classes,) if channels is None else (channels, classes)
        net = nets.train(lambda: getattr(nets, kind)(*shape), rows, epochs=epochs, rate=rate)
        found = nets.accuracy(net, rows)
        print(f"{kind}: {found:.3f} of the answers are right", flush=True)
        if found < least:
            message = f"{kind} reached {found:.3f}, where {least} is needed"
            raise RuntimeError(message)
        path = path.with_suffix(".pt2")
        nets.save(net, rows, path)
        return path

    return write


def _net(
    name: str,
    what: str,
    rows: Callable[[], data.Rows],
    write: Callable[[data.Rows, Path], Path],
    goal: Goal | None = None,
) -> Model:
    classes = 10 if rows is data.digit_images else data.TOPICS
    labels = tuple(map(str, range(classes)))
    return Model(name, what, rows, write, {"labels": labels}, goal)


_CNN = Goal(size=0.30, speed=1.6)
_DENSE = Goal(size=0.26, speed=2.0)


def models() -> list[Model]:
    """Return all models, the small ones first."""
    return [
        _sklearn(
            "logistic",
            "LogisticRegression after StandardScaler, 20 columns",
            data.payments,
            make_pipeline(StandardScaler(), LogisticRegression()),
        ),
        _sklearn(
            "forest",
            "RandomForestClassifier, 100 trees of any depth, 16 columns, 3 classes",
            data.machines,
            RandomForestClassifier(100, random_state=0),
            Goal(packed=0.06),
        ),
        _sklearn(
            "boosting",
            "GradientBoostingClassifier, 200 trees of depth 4, 20 columns",
            data.payments,
            GradientBoostingClassifier(n_estimators=200, max_depth=4, random_state=0),
        ),
        _sklearn(
            "hist-boosting",
            "HistGradientBoostingRegressor, 200 trees, 10 columns with missing values",
            lambda: data.prices(gaps=True),
            HistGradientBoostingRegressor(max_iter=200, random_state=0),
        ),
        _sklearn(
            "isolation-forest",
            "IsolationForest, 100 trees, 20 columns, nothing known",
            lambda: data.payments(known=False),
            IsolationForest(random_state=0),
        ),
        _sklearn(
            "neighbours",
            "KNeighborsClassifier on 5,000 rows of 16 columns, 3 classes",
            data.machines,
            KNeighborsClassifier(),
        ),
        _sklearn(
            "text",
            "TfidfVectorizer and LogisticRegression, texts of eight topics",
            data.documents,
            make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=300)),
        ),
        _sklearn(
            "mlp",
            "MLPClassifier 64-1024-1024-512-10 on digits",
            data.digits,
            _network(MLPClassifier, 1024, 1024, 512, epochs=20),
            _DENSE,
        ),
        _sklearn(
            "mlp-regression",
            "MLPRegressor 10-512-512-1",
            data.prices,
            _network(MLPRegressor, 512, 512, epochs=25),
        ),
        _net(
            "cnn-plain",
            "three convolutions with pooling, two dense layers, digits of 1x32x32",
            data.digit_images,
            _trained("plain_convolutions", epochs=8, rate=1e-3, least=0.9, channels=1),
            _CNN,
        ),
        _net(
            "cnn-residual",
            "a small ResNet, BatchNorm and residual adds, textures of 3x32x32",
            data.textures,
            _trained("residual_convolutions", epochs=12, rate=2e-3, least=0.7, channels=3),
            _CNN,
        ),
        _net(
            "cnn-depthwise",
            "a small MobileNetV2, depthwise, ReLU6, textures of 3x32x32",
            data.textures,
            _trained("depthwise_convolutions", epochs=12, rate=2e-3, least=0.7, channels=3),
        ),
        _net(
            "encoder",
            "MiniLM's shape: 6 layers, hidden 384, 12 heads, 30,522 words, 32 tokens",
            data.tokens,
            _trained("Encoder", epochs=1, rate=3e-4, least=0.5),
            _DENSE,
        ),
    ]
