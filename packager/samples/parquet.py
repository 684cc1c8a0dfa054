"""Parquet columns as plain arrays; what no model takes is named, not guessed at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_runtime.contract.errors import TableMalformed
from edge_runtime.contract.tensors import Array, Arrays
from packager.errors import HostExtraMissing

if TYPE_CHECKING:
    import pyarrow as pa


def read_parquet(path: Path) -> tuple[Arrays, int, dict[str, str]]:
    """Read a whole Parquet file.

    Returns:
        The columns that models take, how many rows there are, and the types of the others.

    Raises:
        TableMalformed: when it is no Parquet file, or names a column twice.
        HostExtraMissing: when pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise HostExtraMissing(
            f"{path.name} is Parquet, and pyarrow is not installed",
            hint="Install pyarrow, or write the rows as CSV.",
            expected="pyarrow",
            found=None,
        ) from None
    try:
        table = parquet.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise _malformed(path, str(error)) from None
    names = table.column_names
    if len(set(names)) < len(names):
        raise _malformed(path, "it names a column twice")
    arrays = {name: _array(table.column(name)) for name in names}
    usable = {name: array for name, array in arrays.items() if array is not None}
    unusable = {name: str(table.column(name).type) for name in names if name not in usable}
    return usable, table.num_rows, unusable


def _array(column: pa.ChunkedArray) -> Array | None:
    from pyarrow import float64, types

    kind = column.type
    if types.is_dictionary(kind):
        return _array(column.cast(kind.value_type))
    if types.is_null(kind):
        return np.full(len(column), np.nan)
    if types.is_decimal(kind) or (types.is_boolean(kind) and column.null_count):
        column = column.cast(float64())
    elif not (
        types.is_boolean(kind)
        or types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
    ):
        return None
    array: Array = column.to_numpy()
    return array


def _malformed(path: Path, reason: str) -> TableMalformed:
    return TableMalformed(
        f"{path.name} cannot be read as Parquet: {reason}",
        hint="Write the file again, or write the rows as CSV.",
        what=path.name,
        reason=reason,
    )
