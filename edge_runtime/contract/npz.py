"""NPZ without trust: never unpickled, checked before it is allocated, the same bytes anew."""

from __future__ import annotations

import io
import math
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from edge_runtime.contract.errors import TableMalformed
from edge_runtime.contract.tensors import DTYPES, Array, Arrays, plain

MAX_NPZ_BYTES = 256 << 20

_NPY = ".npy"
_NPY_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_ENCRYPTED = 0x1
# What the zip and NPY readers raise on bytes that are neither.
_NPZ_ERRORS = (
    ValueError,
    OSError,
    EOFError,
    KeyError,
    SyntaxError,
    TypeError,
    OverflowError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
)
_SURROGATES = np.arange(0xD800, 0xE000)


def read_npz(data: bytes, *, what: str, limit: int = MAX_NPZ_BYTES) -> Arrays:
    """Read an NPZ archive without ever unpickling; text comes back as object arrays.

    Raises:
        TableMalformed: when it is no NPZ, holds objects, or unpacks past ``limit`` bytes.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_members(archive.infolist(), limit)
            return {
                item.filename.removesuffix(_NPY): _read_npy(archive.read(item))
                for item in archive.infolist()
            }
    except _NPZ_ERRORS as error:
        raise TableMalformed(
            f"{what} is no NPZ archive of plain arrays: {error}",
            hint="Write it with numpy.savez; text as <U arrays, never objects.",
            what=what,
            reason=str(error),
        ) from None


def _check_members(members: Sequence[zipfile.ZipInfo], limit: int) -> None:
    size = sum(item.file_size for item in members)
    if size > limit:
        message = f"it unpacks to {size} bytes, more than the {limit} allowed"
        raise ValueError(message)
    for item in members:
        known = item.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        if not item.filename.endswith(_NPY) or not known or item.flag_bits & _ENCRYPTED:
            message = f"{item.filename[:80]!r} is no plain or deflated .npy file"
            raise ValueError(message)
    if len({item.filename for item in members}) != len(members):
        message = "it holds two arrays of one name"
        raise ValueError(message)


def _read_npy(data: bytes) -> Array:
    """Read one array; its header is checked against its bytes before anything is allocated."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version not in _NPY_HEADERS:
        message = f"an array has the NPY version {version}"
        raise ValueError(message)
    shape, fortran, dtype = _NPY_HEADERS[version](stream)
    body = data[stream.tell() :]
    if dtype.kind != "U" and dtype.name not in DTYPES:
        message = f"an array is of the type {dtype}"
        raise ValueError(message)
    if not dtype.itemsize or len(body) != math.prod(shape) * dtype.itemsize:
        message = f"an array of shape {shape} has {len(body)} bytes"
        raise ValueError(message)
    if dtype.kind == "U":
        _check_characters(np.frombuffer(body, np.dtype("u4").newbyteorder(dtype.byteorder)))
    flat = plain(np.frombuffer(body, dtype)).copy()
    return flat.reshape(shape, order="F" if fortran else "C")


def _check_characters(codes: Array) -> None:
    """Refuse what is no Unicode character, on which numpy itself would fail."""
    if (codes > sys.maxunicode).any() or np.isin(codes, _SURROGATES).any():
        message = "an array of text holds what is no character"
        raise ValueError(message)


def write_npz(arrays: Mapping[str, Array]) -> bytes:
    """Render arrays as NPZ, the same bytes for the same arrays; text is stored as ``<U``."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            plain = (
                array.astype(str) if array.dtype.kind == "O" else np.asarray(array, order="C")
            )
            body = io.BytesIO()
            np.lib.format.write_array(body, plain, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, body.getvalue())
    return buffer.getvalue()
