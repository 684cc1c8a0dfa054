"""Rows parted into those that calibrate and those that judge; no row stands on both sides."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edge_runtime.contract.table import Column
from edge_runtime.contract.tensors import Array
from packager.errors import DataUnusable
from packager.samples.large import chunks
from packager.samples.rows import Samples

# Calibration is content with few rows, a judgement is not: one unit in four calibrates.
SHARE = 4
SEED = 0


@dataclass(frozen=True)
class Split:
    """Two disjoint parts of the user's rows.

    Attributes:
        calibration: the rows that quantization may look at.
        held_out: the rows that judge, and that nothing else may look at.
        dropped: rows of the data that the holdout file holds too, and that therefore do not
            calibrate.
    """

    calibration: Samples
    held_out: Samples
    dropped: int = 0


def split_samples(
    samples: Samples,
    columns: Sequence[Column] = (),
    *,
    holdout: Samples | None,
    split_by: str | None,
    classification: bool,
) -> Split:
    """Split rows, the same way every time.

    Rows that are alike in the model's columns stay together, and so do rows of one group.

    Args:
        samples: the user's rows.
        columns: the model's columns; without any, all columns decide whether rows are alike.
        holdout: rows that judge; then ``samples`` only calibrates, without what stands there.
        split_by: a column whose equal values mark a group, such as a customer or a machine.
        classification: keep the label's classes in proportion, as far as groups allow.

    Raises:
        ColumnMissing: when there is no column ``split_by``.
        DataUnusable: when nothing is left for one of the sides.
    """
    codes: dict[Hashable, int] = {}
    ids = _ids(samples, columns, split_by, codes)
    if holdout is None:
        chosen = _quarter(_units(ids), samples.raw_label if classification else None)
        held_out, dropped = samples.take(np.logical_not(chosen)), 0
    else:
        elsewhere = np.isin(ids, _ids(holdout, columns, split_by, codes))
        chosen = np.logical_not(elsewhere.any(axis=0))
        held_out, dropped = holdout, samples.rows - int(chosen.sum())
    if not chosen.any():
        raise DataUnusable(
            f"the {samples.rows} rows of {samples.what} leave none to calibrate with: they are "
            f"all alike, of one group, or in the holdout file ({dropped} are)",
            hint="Give more rows that differ, or leave out the holdout file.",
            expected="two rows or groups that differ",
            found=samples.rows,
        )
    return Split(samples.take(chosen), held_out, dropped)


def _ids(
    samples: Samples,
    columns: Sequence[Column],
    split_by: str | None,
    codes: dict[Hashable, int],
) -> Array:
    """Return for each row the number of its content and, where asked for, of its group."""
    content = _codes((("row", key) for key in _contents(samples, columns)), codes)
    if split_by is None:
        return np.array([content])
    groups = map(str, samples.column(split_by).tolist())
    return np.array([content, _codes((("group", key) for key in groups), codes)])


def _codes(keys: Iterable[Hashable], codes: dict[Hashable, int]) -> list[int]:
    return [codes.setdefault(key, len(codes)) for key in keys]


def _contents(samples: Samples, columns: Sequence[Column]) -> list[bytes]:
    arrays = samples.typed(columns) if columns else samples.columns
    contents = [hashlib.blake2b(digest_size=16) for _ in range(samples.rows)]
    for name in sorted(arrays):
        for content, value in zip(contents, _comparable(arrays[name]), strict=True):
            content.update(value)
    return [content.digest() for content in contents]


def _comparable(array: Array) -> Iterator[bytes]:
    """Yield for each row bytes that are equal where the values are."""
    if array.dtype.kind == "O":
        yield from (f"{len(text)} {text}".encode() for text in array.tolist())
        return
    for part in chunks(array):
        if array.dtype == np.uint8 and array.ndim > 1:  # images, which there are many of
            yield from (row.tobytes() for row in part)
            continue
        numbers = part.astype(np.float64).reshape(len(part), -1) + 0.0  # -0 becomes 0
        numbers[np.isnan(numbers)] = np.nan
        yield from (row.tobytes() for row in numbers)


def _units(ids: Array) -> Array:
    """Number the sets of rows that hang together by content or by group."""
    unit = ids[0]
    while True:
        before = unit
        for of_row in ids:
            lowest = np.full(ids.max() + 1, ids.max())
            np.minimum.at(lowest, of_row, unit)
            unit = lowest[of_row]
        if np.array_equal(unit, before):
            return np.unique(unit, return_inverse=True)[1]


def _quarter(units: Array, labels: Array | None) -> Array:
    """Mark the rows of every fourth unit of each class; a unit has its first row's class."""
    first = np.unique(units, return_index=True)[1]
    classes = np.zeros(len(first), dtype=np.int64)
    if labels is not None:
        classes = np.array(_codes(map(str, labels[first].tolist()), {}))
    order = np.random.default_rng(SEED).permutation(len(first))
    order = order[np.argsort(classes[order], kind="stable")]
    ranked = classes[order]
    rank = np.arange(len(first)) - np.searchsorted(ranked, ranked)
    turn = rank % SHARE == 1
    if not turn.any():
        turn = np.arange(len(first)) % SHARE == 1
    chosen = np.zeros(len(first), dtype=bool)
    chosen[order[turn]] = True
    return chosen[units]
