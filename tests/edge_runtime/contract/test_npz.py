"""NPZ is read without trust and written the same each time."""

from __future__ import annotations

import io
import pickle
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_runtime.contract.errors import TableMalformed
from edge_runtime.contract.npz import read_npz, write_npz
from edge_runtime.contract.tensors import DTYPES, dtype_name

numbers = hnp.arrays(
    st.sampled_from([dtype for name, dtype in DTYPES.items() if name != "string"]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
texts = hnp.arrays(
    object,
    hnp.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=4),
    elements=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5),
)


@given(st.dictionaries(st.text("abc/_", min_size=1, max_size=5), numbers | texts, max_size=4))
def test_arrays_come_back_as_they_were(arrays: dict[str, Any]) -> None:
    found = read_npz(write_npz(arrays), what="x")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert dtype_name(found[name]) == dtype_name(array)
        np.testing.assert_array_equal(found[name], array)
        assert found[name].shape == array.shape


def test_equal_arrays_give_equal_bytes_at_any_time() -> None:
    arrays = {"a": np.arange(3), "t": np.array(["x"], object)}
    assert write_npz(arrays) == write_npz(
        {name: array.copy() for name, array in arrays.items()}
    )


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy(header: str, body: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    """Return a .npy file with any header."""
    text = header.encode("latin1")
    return b"\x93NUMPY" + bytes(version) + len(text).to_bytes(2, "little") + text + body


def zipped(*members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def test_numpys_own_archives_are_read_compressed_or_not() -> None:
    buffer = io.BytesIO()
    columns = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    np.savez_compressed(buffer, a=columns, b=np.arange(2, dtype=">i8"), c=np.array("one"))
    found = read_npz(buffer.getvalue(), what="x")
    np.testing.assert_array_equal(found["a"], columns)
    assert found["b"].tolist() == [0, 1]
    assert found["b"].dtype.isnative
    assert found["c"].item() == "one"
    found["a"][0, 0] = 1  # as writable as if it had been made here


def test_a_pickle_inside_is_never_opened(tmp_path: Any) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (tmp_path.joinpath("opened").touch, ())

    buffer = io.BytesIO()
    np.savez(buffer, a=np.array([Bomb()], object))
    for data in (
        buffer.getvalue(),
        zipped(("a.npy", pickle.dumps(Bomb()))),
        pickle.dumps(Bomb()),
    ):
        with pytest.raises(TableMalformed):
            read_npz(data, what="x")
    assert not (tmp_path / "opened").exists()


HEADER = "{'descr': %r, 'fortran_order': False, 'shape': %s}\n"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        zipped(("a.txt", b"text")),
        zipped(("a.npy", b"no array")),
        zipped(("a.npy", npy(HEADER % ("<f8", "(2,)"), bytes(15)))),
        zipped(("a.npy", npy(HEADER % ("<f8", "(2,)"), bytes(17)))),
        zipped(("a.npy", npy(HEADER % ("<f8", "(100000000000000,)")))),
        zipped(("a.npy", npy(HEADER % ("<U0", "(100000000000000,)")))),
        zipped(("a.npy", npy(HEADER % ("<f8", "(-1, -1)"), bytes(8)))),
        zipped(("a.npy", npy(HEADER % ("<f8", f"({2**70}, 0)")))),
        zipped(("a.npy", npy(HEADER % ("|O", "(1,)"), bytes(8)))),
        zipped(("a.npy", npy(HEADER % ("|V8", "(1,)"), bytes(8)))),
        zipped(("a.npy", npy(HEADER % ("<M8[s]", "(1,)"), bytes(8)))),
        zipped(("a.npy", npy(HEADER % ("<c8", "(1,)"), bytes(8)))),
        zipped(("a.npy", npy(HEADER % ("<U1", "(1,)"), b"\xff\xff\xff\x7f"))),
        zipped(("a.npy", npy(HEADER % (">U1", "(1,)"), b"\x00\x00\xd8\x00"))),
        zipped(("a.npy", npy("{'descr': '<f8', 'shape': (1,)}\n", bytes(8)))),
        zipped(("a.npy", npy("__import__('os')\n", bytes(8)))),
        zipped(("a.npy", npy("{'descr': (\n", bytes(8)))),
        zipped(("a.npy", npy("(" * 5000 + "\n"))),
        zipped(("a.npy", npy(HEADER % ("<f8", "(1,)"), bytes(8), version=(3, 0)))),
        zipped(("a.npy", npy(HEADER % ("<f8", "(1,)"), bytes(8), version=(9, 0)))),
        zipped(
            ("a.npy", npy(HEADER % ("<f8", "(1,)"), bytes(8))), compression=zipfile.ZIP_BZIP2
        ),
        zipped(
            ("a.npy", npy(HEADER % ("<f8", "(1,)"), bytes(8))), compression=zipfile.ZIP_LZMA
        ),
        npz(a=np.ones(3)).replace(b"PK\x01\x02", b"PK\x01\x03"),
        npz(a=np.ones(3))[:-30],
    ],
)
def test_what_is_no_archive_of_plain_arrays_is_refused(data: bytes) -> None:
    with pytest.raises(TableMalformed, match="golden is no NPZ archive of plain arrays"):
        read_npz(data, what="golden")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name_are_refused() -> None:
    array = npy(HEADER % ("<f8", "(1,)"), bytes(8))
    with pytest.raises(TableMalformed, match="two arrays of one name"):
        read_npz(zipped(("a.npy", array), ("a.npy", array)), what="x")


def test_an_encrypted_member_is_refused() -> None:
    data = bytearray(npz(a=np.ones(3)))
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + flags] |= 1
    with pytest.raises(TableMalformed, match="no plain or deflated"):
        read_npz(bytes(data), what="x")


def test_a_bomb_is_refused_by_its_claimed_size() -> None:
    data = zipped(("a.npy", bytes(4 << 20)), compression=zipfile.ZIP_DEFLATED)
    assert len(data) < 5000
    with pytest.raises(TableMalformed, match="unpacks to 4194304 bytes, more than the 1048576"):
        read_npz(data, what="x", limit=1 << 20)


SAMPLE = write_npz({"in/x": np.ones((2, 2), np.float32), "t": np.array(["a", "b"], object)})


@settings(max_examples=400)
@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), max_size=4))
def test_no_damage_raises_anything_but_a_typed_error(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SAMPLE)
    for offset, value in changes:
        data[offset] = value
    try:
        arrays = read_npz(bytes(data), what="x")
    except TableMalformed:
        return
    assert all(isinstance(array, np.ndarray) for array in arrays.values())


@given(st.binary(max_size=100))
def test_no_npy_file_raises_anything_but_a_typed_error(body: bytes) -> None:
    try:
        read_npz(zipped(("a.npy", b"\x93NUMPY\x01\x00" + body)), what="x")
    except TableMalformed:
        return
