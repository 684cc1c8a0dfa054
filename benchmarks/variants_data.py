"""Rows that the benchmarks' models learn on: scikit-learn's own, or generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets

SEED = 20
SIDE = 32  # pixels of an image's side
SEQUENCE = 32  # tokens of a text
VOCABULARY = 30_522  # BERT's, and so MiniLM's
TOPICS = 8

_SYLLABLES = (
    "ba",
    "ko",
    "li",
    "mur",
    "ten",
    "sa",
    "vor",
    "pi",
    "del",
    "an",
    "gri",
    "fo",
    "ne",
    "us",
)
_BY_TOPIC = 0.3  # the share of a text's words that its topic chooses


@dataclass(frozen=True)
class Rows:
    """Disjoint rows: some to learn on, some to calibrate on, some that judge.

    Attributes:
        columns: arrays by name, a row each; the matrix of a table is called ``X``.
        truth: what each row is; None where nobody knows.
        learned: how many of the first rows a model learns on.
        calibrated: how many rows after them calibrate; all others judge.
    """

    columns: dict[str, Any]
    truth: Any
    learned: int
    calibrated: int

    def learn(self) -> tuple[Any, Any]:
        """Return the only column of the rows to learn on, and their truth."""
        part = self.part(slice(self.learned))
        return next(iter(part.values())), part.get("y")

    def calibrate(self) -> dict[str, Any]:
        """Return the rows that a build calibrates on, truth included."""
        return self.part(slice(self.learned, self.learned + self.calibrated))

    def judge(self) -> dict[str, Any]:
        """Return the rows that judge, truth included."""
        return self.part(slice(self.learned + self.calibrated, None))

    def part(self, rows: slice) -> dict[str, Any]:
        """Return some rows of every column; truth is called ``y``."""
        found = {name: column[rows] for name, column in self.columns.items()}
        return found if self.truth is None else {**found, "y": self.truth[rows]}


# --- tables --------------------------------------------------------------------------------


def payments(*, known: bool = True) -> Rows:
    """Make a table of 20 columns, one class in twelve rows; some columns have two decimals."""
    matrix, truth = datasets.make_classification(
        n_samples=7000,
        n_features=20,
        n_informative=9,
        n_redundant=4,
        weights=[0.92],
        flip_y=0.01,
        class_sep=1.2,
        random_state=SEED,
    )
    matrix[:, 10:] = np.round(matrix[:, 10:], 2)
    return Rows({"X": matrix.astype(np.float32)}, truth if known else None, 5000, 500)


def machines() -> Rows:
    """Make a table of 16 columns and three classes, as many rows of each."""
    matrix, truth = datasets.make_classification(
        n_samples=7000,
        n_features=16,
        n_informative=10,
        n_classes=3,
        flip_y=0.05,
        random_state=SEED + 1,
    )
    return Rows({"X": matrix.astype(np.float32)}, truth, 5000, 500)


def prices(*, gaps: bool = False) -> Rows:
    """Make a table of 10 columns and a number to be foretold; perhaps with missing values."""
    matrix, truth = datasets.make_friedman1(
        n_samples=7000, n_features=10, noise=0.5, random_state=SEED
    )
    if gaps:
        matrix[np.random.default_rng(SEED).random(matrix.shape) < 0.05] = np.nan
    return Rows({"X": matrix.astype(np.float32)}, truth, 5000, 500)


def digits() -> Rows:
    """Return scikit-learn's 1,797 written digits of 8 by 8 pixels."""
    matrix, truth = _digits()
    return Rows({"X": matrix}, truth, 1000, 256)


def _digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    matrix, truth = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(SEED).permutation(len(matrix))
    return matrix[order].astype(np.float32), truth[order]


# --- images --------------------------------------------------------------------------------


def digit_images() -> Rows:
    """Return the digits as images of 32 by 32, values within 0…1."""
    matrix, truth = _digits()
    images = np.kron(matrix.reshape(-1, 1, 8, 8) / 16, np.ones((1, 1, 4, 4)))
    return Rows({"input": images.astype(np.float32)}, truth.astype(str), 1280, 256)


def textures(rows: int = 4600) -> Rows:
    """Make images, 3 by 32 by 32, of eight textures: coloured, turned, shifted, noisy."""
    rng = np.random.default_rng(SEED)
    truth = rng.integers(0, len(_TEXTURES), rows)
    down, across = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    images = np.empty((rows, 3, SIDE, SIDE), np.float32)
    for row, kind in enumerate(truth):
        turn = rng.uniform(0, 2 * np.pi)
        u = np.cos(turn) * across + np.sin(turn) * down + rng.uniform(-0.2, 0.2)
        v = np.cos(turn) * down - np.sin(turn) * across + rng.uniform(-0.2, 0.2)
        pattern = _TEXTURES[kind](u, v, rng.uniform(16, 24))
        colours = rng.uniform(0, 1, (2, 3, 1, 1))
        image = colours[0] * pattern + colours[1] * (1 - pattern)
        images[row] = image + rng.normal(0, 0.15, image.shape)
    return Rows({"input": images}, truth.astype(str), rows - 600, 300)


_TEXTURES = (
    lambda u, _v, f: (np.sin(f * u) > 0) * 1.0,
    lambda u, _v, f: (np.sin(2 * f * u) > 0) * 1.0,
    lambda u, v, f: (np.sin(f * u) * np.sin(f * v) > 0) * 1.0,
    lambda u, v, f: (np.sin(2 * f * u) * np.sin(2 * f * v) > 0) * 1.0,
    lambda u, v, f: (np.sin(2 * f * np.hypot(u, v)) > 0) * 1.0,
    lambda u, v, f: (np.hypot(u, v) < 6 / f) * 1.0,
    lambda u, v, f: (np.maximum(np.abs(u), np.abs(v)) < 5.3 / f) * 1.0,
    lambda u, v, f: np.sin(f * u) * 0.5 + 0.5 + 0 * v,
)


# --- texts ---------------------------------------------------------------------------------


def documents(rows: int = 5000) -> Rows:
    """Make texts of 20 to 60 words, each about one of eight topics, as words occur in life."""
    rng = np.random.default_rng(SEED)
    words = np.array(_words(rng, 6000))
    truth, numbers = _texts(rng, rows, len(words), length=60)
    lengths = rng.integers(20, 60, rows)
    texts = [
        " ".join(words[line[:length]]) for line, length in zip(numbers, lengths, strict=True)
    ]
    return Rows({"text": np.array(texts, dtype=object)}, truth.astype(str), rows - 1000, 400)


def tokens(rows: int = 5100) -> Rows:
    """Make texts as a tokenizer hands them over: up to 32 numbers, and which of them count."""
    rng = np.random.default_rng(SEED)
    truth, numbers = _texts(rng, rows, VOCABULARY - 1000, length=SEQUENCE)
    lengths = rng.integers(SEQUENCE // 2, SEQUENCE + 1, rows)
    mask = (np.arange(SEQUENCE) < lengths[:, None]).astype(np.int64)
    columns = {"ids": (numbers + 1000) * mask, "mask": mask}
    return Rows(columns, truth.astype(str), rows - 556, 300)


def _texts(
    rng: np.random.Generator, rows: int, words: int, *, length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each text's topic and its words by number, the common ones first."""
    truth = rng.integers(0, TOPICS, rows)
    common = np.minimum(rng.zipf(1.3, (rows, length)) - 1, words - 1)
    # Every topic has fifty words of its own among the next common ones.
    special = 100 + 50 * truth[:, None] + rng.integers(0, 50, (rows, length))
    return truth, np.where(rng.random((rows, length)) < _BY_TOPIC, special, common)


def _words(rng: np.random.Generator, count: int) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(rng.choice(_SYLLABLES, rng.integers(1, 5)))] = None
    return list(found)
