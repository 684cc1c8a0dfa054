"""Arrays of rows that need not fit into memory: the large ones lie in a nameless file."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.contract.errors import OutputUnwritable
from edge_runtime.contract.tensors import Array

# Up to this many bytes an array stays in memory.
IN_MEMORY = 64 << 20
# How much of a larger one is looked at, or moved, at a time.
CHUNK_BYTES = 8 << 20

# Meant for large temporary files, and unlike /tmp never itself in memory.
_LARGE_TEMPORARY = Path("/var/tmp")  # noqa: S108 - the files there have no name


def chunks(array: Array) -> Iterator[Array]:
    """Yield an array's rows, a bounded number at a time."""
    size = max(1, array.dtype.itemsize * math.prod(array.shape[1:]))
    step = max(1, CHUNK_BYTES // size)
    for start in range(0, len(array), step):
        yield array[start : start + step]


def gathered(parts: Iterable[Array], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return one array of many parts; a large one is mapped and cannot be written to.

    The file that it then lies in is in ``TMPDIR``, else in ``/var/tmp``, and vanishes with the
    array, or with the process.

    Args:
        parts: rows, in the order that they shall have.
        shape: of the whole.
        dtype: its element type.

    Raises:
        OutputUnwritable: when there is no room for it.
    """
    size = math.prod(shape) * dtype.itemsize
    if size <= IN_MEMORY:
        whole = np.empty(shape, dtype)
        start = 0
        for part in parts:
            whole[start : start + len(part)] = part
            start += len(part)
        return whole
    directory = _directory()
    try:
        # Written, not mapped: a full disk is then an error and not the end of the process.
        with tempfile.TemporaryFile(dir=directory) as file:
            for part in parts:
                file.write(np.ascontiguousarray(part, dtype).data)
            file.flush()
            return np.asarray(np.memmap(file, dtype, "r", shape=shape))
    except OSError as error:
        raise OutputUnwritable(
            f"{size:,} bytes of rows must fit into {directory}: {error.strerror or error}",
            hint="Free space there, or let TMPDIR name a directory with room for it twice.",
            path=str(directory),
            expected=size,
            found=error.strerror,
        ) from None


def taken(array: Array, rows: Array) -> Array:
    """Return some rows of an array, in the order given; a large one is never read at once.

    Args:
        array: the rows to take from.
        rows: their numbers, or a flag for each.
    """
    numbers = np.flatnonzero(rows) if rows.dtype == bool else rows
    if array.dtype.kind == "O" or array.nbytes <= IN_MEMORY:
        return np.asarray(array[numbers])
    size = array.dtype.itemsize * math.prod(array.shape[1:])
    step = max(1, CHUNK_BYTES // size)
    parts = (array[numbers[i : i + step]] for i in range(0, len(numbers), step))
    return gathered(parts, (len(numbers), *array.shape[1:]), array.dtype)


def _directory() -> str:
    usable = "TMPDIR" not in os.environ and os.access(_LARGE_TEMPORARY, os.W_OK | os.X_OK)
    return str(_LARGE_TEMPORARY) if usable else tempfile.gettempdir()
