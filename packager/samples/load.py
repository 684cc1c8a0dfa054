"""Files of rows: CSV through the device's own reader, Parquet, NPZ; and folders of images.

Parquet columns may be numbers, booleans, decimals, text, or dictionaries of these. An NPZ
archive holds one array a column (1-D) or a graph input (any rank), a row a sample along the
first axis; or the pair that users of scikit-learn know: a 2-D ``X``, whose columns are then
called ``x0``, ``x1``, …, and ``y``, which is the label unless another is named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_runtime.contract.npz import MAX_NPZ_BYTES, read_npz
from edge_runtime.contract.rows import unreadable
from edge_runtime.contract.table import read_cells
from edge_runtime.contract.values import common_length, listed
from packager.errors import DataUnusable, LabelMissing, nearest
from packager.samples.images import load_images
from packager.samples.parquet import read_parquet
from packager.samples.rows import Samples


def load_samples(path: Path, label: str | None, image: Sequence[int] = ()) -> Samples:
    """Load a CSV (.csv), Parquet (.parquet, .pq) or NPZ (.npz) file, or a folder of images.

    Args:
        path: the file or folder.
        label: the name of the column that holds the truth, if any does.
        image: height, width and channels of the images of a folder.

    Raises:
        InputUnreadable: when the file cannot be read.
        TableMalformed: when it is not of its format.
        LabelMissing: when no column has the label's name.
        InputShape: when its arrays differ in their number of rows.
        DataUnusable: when it is of no known format, or has no row; see also ``load_images``.
        HostExtraMissing: when pyarrow or Pillow is needed and not installed.
    """
    if path.is_dir():
        return load_images(path, image, label)
    loaders = {
        ".csv": _load_csv,
        ".parquet": _load_parquet,
        ".pq": _load_parquet,
        ".npz": _load_npz,
    }
    loader = loaders.get(path.suffix.lower())
    if loader is None:
        raise DataUnusable(
            f"{path.name} ends with {path.suffix!r}; rows come as {', '.join(loaders)}, "
            "or as a folder of images",
            hint="Write the rows as CSV, Parquet or NPZ.",
            expected=list(loaders),
            found=path.suffix,
        )
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        samples = loader(path, digest)
    except OSError as error:
        raise unreadable(path.name, error.strerror or str(error)) from None
    if samples.rows == 0:
        raise DataUnusable(
            f"{path.name} has no row",
            hint="Give rows that look like what the devices will see.",
            expected="at least one row",
            found=0,
        )
    return _with_label(samples, label)


def _with_label(samples: Samples, label: str | None) -> Samples:
    if label is None and "y" in samples.raw and (samples.matrix or "X" in samples.raw):
        label = "y"
    if label is None:
        return samples
    if label not in samples.raw and label not in samples.unusable:
        raise LabelMissing(
            f"{samples.what} has no column {label!r}{nearest(label, samples.raw)}; "
            f"it has {listed(list(samples.raw))}",
            hint="Name the label column with --label.",
            expected=label,
            found=list(samples.raw),
        )
    rest = {name: array for name, array in samples.raw.items() if name != label}
    return replace(samples, raw=rest, label=label, raw_label=samples.column(label))


def _load_csv(path: Path, digest: str) -> Samples:
    cells = read_cells(path)
    raw = {name: np.array(column, dtype=object) for name, column in cells.columns.items()}
    return Samples(path.name, digest, raw, np.array(cells.lines, dtype=np.int64), cells=True)


def _load_npz(path: Path, digest: str) -> Samples:
    with path.open("rb") as stream:
        raw = read_npz(stream.read(MAX_NPZ_BYTES + 1), what=path.name)
    width = 0
    if "X" in raw and raw["X"].ndim == 2:  # noqa: PLR2004
        matrix = raw.pop("X")
        width = matrix.shape[1]
        raw |= {f"x{index}": matrix[:, index] for index in range(width)}
    rows = common_length(f"the arrays of {path.name}", raw)
    return Samples(path.name, digest, raw, np.arange(rows), matrix=width)


def _load_parquet(path: Path, digest: str) -> Samples:
    raw, rows, unusable = read_parquet(path)
    return Samples(path.name, digest, raw, np.arange(rows), unusable=unusable)
