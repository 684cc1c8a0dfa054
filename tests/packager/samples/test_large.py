"""Large arrays of rows: out of memory, out of sight, and the same rows as small ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from packager.samples import large
from packager.samples.large import chunks, gathered, taken


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let every array be a large one; return where the files are."""
    monkeypatch.setattr(large, "IN_MEMORY", 0)
    monkeypatch.setattr(large, "CHUNK_BYTES", 64)
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


ROWS = np.arange(600, dtype=np.int32).reshape(50, 4, 3)


def is_mapped(array: np.ndarray[Any, Any]) -> bool:
    return isinstance(array.base, np.memmap)


def test_a_small_array_stays_in_memory() -> None:
    found = gathered([ROWS[:20], ROWS[20:]], ROWS.shape, ROWS.dtype)
    np.testing.assert_array_equal(found, ROWS)
    assert not is_mapped(found)
    assert not is_mapped(taken(ROWS, np.arange(3)))


def test_a_large_one_is_mapped_and_its_file_has_no_name(tiny: Path) -> None:
    found = gathered(iter([ROWS[:20], ROWS[20:]]), ROWS.shape, ROWS.dtype)
    np.testing.assert_array_equal(found, ROWS)
    assert is_mapped(found)
    assert not found.flags.writeable
    assert list(tiny.iterdir()) == []


@pytest.mark.usefixtures("tiny")
def test_some_rows_of_it_are_mapped_too() -> None:
    flags = np.arange(50) % 3 == 0
    for rows in (flags, np.flatnonzero(flags), np.array([7, 7, 3])):
        found = taken(ROWS, rows)
        np.testing.assert_array_equal(found, ROWS[rows])
        assert is_mapped(found)


@pytest.mark.usefixtures("tiny")
def test_text_stays_in_memory_and_so_does_nothing_at_all() -> None:
    text = np.array(["a", "b"], dtype=object)
    assert taken(text, np.array([1])).tolist() == ["b"]
    assert taken(ROWS, np.zeros(50, bool)).shape == (0, 4, 3)


@given(
    arrays.array_shapes(min_dims=1, max_dims=4, max_side=9),
    st.sampled_from(["u1", "f4", "f8"]),
    st.integers(1, 400),
)
def test_chunks_are_the_rows_in_order(shape: tuple[int, ...], kind: str, size: int) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype(kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large, "CHUNK_BYTES", size)
        parts = list(chunks(array))
    np.testing.assert_array_equal(np.concatenate(parts), array)
    assert all(part.nbytes <= max(size, array[:1].nbytes) for part in parts)


def test_the_place_is_tmpdir_else_the_one_for_large_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert large._directory() == str(tmp_path)
    monkeypatch.delenv("TMPDIR")
    usable = os.access("/var/tmp", os.W_OK | os.X_OK)  # noqa: S108
    assert (large._directory() == "/var/tmp") == usable  # noqa: S108
