"""Tables that the sweep fits and judges on: easy ones, and hard ones as in real life."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

ROWS = 6000
LEARN, SEEN = 2000, 2000  # rows that estimators learn on, and that the gate sees
COLUMNS = 8
SEED = 7
_MISSING = 0.05
_NOISE = 0.2  # the share of hard labels that are drawn at random

_SENTENCES = (
    "the pump stopped after a leak in valve no 7 was seen x y a red lamp lit on panel b "
    "please send someone to look at motor m2 it is hot and loud again today thanks"
)
_WIDE = ["Größe", "naïve", "日本語", "данные", "e\u0301te\u0301", "x_1", "3.5", "don't", "ŝipo"]


@dataclass(frozen=True)
class Table:
    """Rows as the source takes them, and what they should be taken for.

    Attributes:
        rows: an array, a frame or a list of texts.
        target: one or several values a row; None where nothing is to be learned.
    """

    rows: Any
    target: Any

    def take(self, part: slice) -> Table:
        """Return some of the rows, in the same form."""
        frame = isinstance(self.rows, pd.DataFrame)
        rows = self.rows.iloc[part] if frame else self.rows[part]
        return Table(rows, None if self.target is None else self.target[part])

    def columns(self) -> dict[str, Any]:
        """Return the rows by column name, as a file of rows holds them."""
        if isinstance(self.rows, list) and isinstance(self.rows[0], str):
            return {"text": np.array(self.rows, dtype=object)}
        if isinstance(self.rows, list):
            return Table(pd.DataFrame(self.rows), None).columns()
        if isinstance(self.rows, pd.DataFrame):
            return {str(name): _cells(self.rows[name]) for name in self.rows}
        matrix = np.asarray(self.rows)
        matrix = matrix.reshape(len(matrix), -1)
        return {f"x{index}": matrix[:, index] for index in range(matrix.shape[1])}


def _cells(column: Any) -> Any:
    if column.dtype.kind in "fiu":
        return column.to_numpy()
    return column.fillna("").to_numpy(dtype=object)


def make_table(
    form: str, target: str, *, hard: bool, missing: bool = False, rows: int = ROWS
) -> Table:
    """Make the same rows every time.

    Args:
        form: one of ``FORMS``.
        target: one of ``TARGETS``.
        hard: noise, collinear columns, ties, and where ``missing`` allows them, gaps.
        missing: whether the estimator takes missing values.
        rows: how many.
    """
    rng = np.random.default_rng(SEED)
    base = _hard(rng, rows) if hard else rng.normal(size=(rows, COLUMNS))
    wanted = TARGETS[target](base, rng, hard)
    made = FORMS[form](base, rng, hard)
    if hard and missing:
        made = _with_gaps(made, rng)
    return Table(made, wanted)


def _hard(rng: np.random.Generator, rows: int) -> NDArray[np.float64]:
    x = rng.normal(size=(rows, COLUMNS))
    x[:, 4] = x[:, 0] + x[:, 1] + 1e-3 * x[:, 4]  # nearly collinear
    x[:, 5] = 2 * x[:, 2]  # collinear to the last bit
    x[:, 6] = rng.integers(0, 10, size=rows)  # many ties
    x[:, 7] = np.round(50 * x[:, 7]) / 2  # ties, and another scale
    return x


def _with_gaps(made: Any, rng: np.random.Generator) -> Any:
    if isinstance(made, list):
        return made
    holes = rng.random((len(made), 2)) < _MISSING
    if isinstance(made, pd.DataFrame):
        made = made.copy()
        for position, name in enumerate(list(made)[:2]):
            made.loc[holes[:, position], name] = np.nan
        return made
    made = made.astype(np.float64)
    for position in range(min(2, made.shape[1])):
        made[holes[:, position], -1 - position] = np.nan
    return made


# --- what goes in ------------------------------------------------------------------------


def _floats(base: Any, _rng: Any, _hard: bool) -> Any:
    return base


def _positive(base: Any, _rng: Any, _hard: bool) -> Any:
    return np.abs(base)


def _counts(base: Any, _rng: Any, _hard: bool) -> Any:
    return np.minimum(np.floor(2 * np.abs(base)), 9)


def _one_column(base: Any, _rng: Any, hard: bool) -> Any:
    return base[:, [7 if hard else 0]]


def _categories(base: Any, _rng: Any, hard: bool) -> Any:
    """Three columns of words whose frequencies depend on the row."""
    known = np.array(
        ["red", "green", "blue", "Größe", "日本", ""][: 5 if hard else 3], dtype=object
    )
    picked = np.floor(np.abs(base[:, :3]) * 1.7).astype(int) % len(known)
    return pd.DataFrame({f"c{i}": known[picked[:, i]] for i in range(3)})


def _mixed(base: Any, rng: Any, hard: bool) -> Any:
    frame = _categories(base, rng, hard)[["c0"]]
    frame.insert(0, "my age (y)", base[:, 1])
    frame.insert(1, "income", base[:, 7 if hard else 2])
    return frame


def _texts(base: Any, rng: Any, hard: bool) -> Any:
    words = np.array(_SENTENCES.split() + (_WIDE if hard else []), dtype=object)
    lengths = rng.integers(3, 12, size=len(base))
    return [" ".join(rng.choice(words, size=n)) for n in lengths]


def _gaps(base: Any, rng: Any, _hard: bool) -> Any:
    return _with_gaps(base, rng)


def _late_gaps(base: Any, rng: Any, _hard: bool) -> Any:
    """Gaps only in the rows that neither learning nor the gate sees."""
    late = _with_gaps(base, rng)
    late[: LEARN + SEEN] = base[: LEARN + SEEN]
    return late


def _dicts(base: Any, rng: Any, hard: bool) -> Any:
    return _categories(base, rng, hard).to_dict("records")


def _labels(base: Any, rng: Any, hard: bool) -> Any:
    return _classes(base, rng, hard).astype(str)


def _sets(base: Any, rng: Any, hard: bool) -> Any:
    return _categories(base, rng, hard).to_numpy().tolist()


def _images(base: Any, rng: Any, _hard: bool) -> Any:
    return rng.normal(size=(len(base), 4, 4))


FORMS: Mapping[str, Callable[[Any, Any, bool], Any]] = {
    "floats": _floats,
    "positive": _positive,
    "counts": _counts,
    "one column": _one_column,
    "categories": _categories,
    "mixed": _mixed,
    "texts": _texts,
    "gaps": _gaps,
    "late gaps": _late_gaps,
    "dicts": _dicts,
    "labels": _labels,
    "sets": _sets,
    "images": _images,
}


# --- what is to be learned ---------------------------------------------------------------


def _signal(base: Any) -> Any:
    return np.stack(
        [base[:, 0] - base[:, 1], np.sin(2 * base[:, 2]) + base[:, 3], -base[:, 0]], axis=1
    )


def _classes(base: Any, rng: Any, hard: bool) -> Any:
    """Three of them: texts where it is easy, numbers that do not begin at 0 where hard."""
    found = _signal(base).argmax(axis=1)
    if not hard:
        return np.array(["fail", "ok", "warn"])[found]
    drawn = rng.random(len(base)) < _NOISE
    found[drawn] = rng.integers(0, 3, size=int(drawn.sum()))
    return np.array([3, 7, 11])[found]


def _two_classes(base: Any, rng: Any, hard: bool) -> Any:
    noise = rng.normal(size=len(base)) * (1.0 if hard else 0.1)
    yes = _signal(base)[:, 0] + noise > 0.8
    return np.where(yes, 7, 3) if hard else np.where(yes, "yes", "no")


def _numbers(base: Any, rng: Any, hard: bool) -> Any:
    noise = rng.normal(size=len(base)) * (1.0 if hard else 0.05)
    return 10 * _signal(base)[:, 0] + 3 * _signal(base)[:, 1] + noise


def _amounts(base: Any, rng: Any, hard: bool) -> Any:
    return np.exp(_numbers(base, rng, hard) / 20) + 0.1


def _several_numbers(base: Any, rng: Any, hard: bool) -> Any:
    noise = rng.normal(size=(len(base), 2)) * (1.0 if hard else 0.05)
    return 3 * _signal(base)[:, :2] + noise


def _several_classes(base: Any, rng: Any, hard: bool) -> Any:
    return (_several_numbers(base, rng, hard) > 0).astype(np.int64)


def _half_labelled(base: Any, rng: Any, _hard: bool) -> Any:
    """Classes as numbers; -1 where nobody knows."""
    found = _signal(base).argmax(axis=1)
    found[rng.random(len(base)) < 0.5] = -1
    return found


def _nothing(_base: Any, _rng: Any, _hard: bool) -> None:
    return None


TARGETS: Mapping[str, Callable[[Any, Any, bool], Any]] = {
    "classes": _classes,
    "two classes": _two_classes,
    "numbers": _numbers,
    "amounts": _amounts,
    "several numbers": _several_numbers,
    "several classes": _several_classes,
    "half labelled": _half_labelled,
    "nothing": _nothing,
}
