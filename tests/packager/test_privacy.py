"""What leaves the house: no row of the user's is found in any byte of a default bundle."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import bundles
import numpy as np
import pandas as pd
import pytest
from host import BUILD, LABEL, NUMBERS, TEXT_COLUMN, Build, packager

from edge_runtime.contract.bundle.archive import write_layout

# How numbers are written down, and what may stand between them.
WRITTEN = (repr, "{:.6g}".format, lambda value: repr(np.float32(value).item()))
BETWEEN = (",", ", ", ";", "\t", " ", ",\n")


def contents(bundle: Path) -> list[bytes]:
    """Return every file of a bundle, packed ones unpacked, and all files inside archives."""
    blobs = list(bundles.entries(bundle).values())
    blobs += [inner for data in blobs for inner in unpacked(data)]
    return blobs + [
        archive.read(name) for archive in archives(blobs) for name in archive.namelist()
    ]


def unpacked(data: bytes) -> list[bytes]:
    """Return the files in a gzipped tar; none where it is something else."""
    if not data.startswith(b"\x1f\x8b"):
        return []
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        files = [archive.extractfile(member) for member in archive.getmembers()]
        return [file.read() for file in files if file is not None]


def archives(blobs: Iterable[bytes]) -> Iterator[zipfile.ZipFile]:
    for data in blobs:
        if zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                yield archive


def golden_inputs(bundle: Path) -> list[dict[str, np.ndarray]]:
    """Return each target's golden inputs by name."""
    blobs = [inner for data in bundles.entries(bundle).values() for inner in unpacked(data)]
    found = []
    for data in [*bundles.entries(bundle).values(), *blobs]:
        if zipfile.is_zipfile(io.BytesIO(data)):
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                inputs = [name for name in arrays.files if name.startswith("in/")]
                found.append({name: arrays[name] for name in inputs})
    return found


def golden_rows(bundle: Path) -> list[tuple[bytes, ...]]:
    """Return the numbers of each golden row, put together again from all of its inputs."""
    rows: list[tuple[bytes, ...]] = []
    for inputs in golden_inputs(bundle):
        floats = [array for array in inputs.values() if array.dtype.kind == "f"]
        table = np.concatenate(floats, axis=1).astype(np.float32)
        rows += [tuple(value.tobytes() for value in row) for row in table]
    return rows


def traces(row: pd.Series) -> set[bytes]:
    """Return every form in which a row's numbers might stand side by side in a file."""
    numbers = row[list(NUMBERS)].astype(float).tolist()
    forms = {np.array(numbers, dtype).tobytes() for dtype in ("<f4", "<f8", ">f4", ">f8")}
    texts = {between.join(map(write, numbers)) for write in WRITTEN for between in BETWEEN}
    return forms | {text.encode() for text in texts}


def found(bundle: Path, rows: pd.DataFrame) -> set[int]:
    """Return the numbers of the rows that a bundle holds in any form."""
    haystack = b"\n".join(dict.fromkeys(contents(bundle)))
    leaked = {
        number
        for number, (_, row) in enumerate(rows.iterrows())
        if any(trace in haystack for trace in traces(row))
    }
    table = rows[list(NUMBERS)].to_numpy(np.float32)
    known = {tuple(value.tobytes() for value in row): n for n, row in enumerate(table)}
    return leaked | {known[row] for row in golden_rows(bundle) if row in known}


@pytest.fixture(scope="module")
def rows(workshop: Path) -> pd.DataFrame:
    return pd.read_csv(workshop / "rows.csv")


@pytest.fixture(scope="module")
def one_input(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A default build of a graph with all columns side by side in one input."""
    out = tmp_path_factory.mktemp("one-input")
    packager(
        "build",
        "line.onnx",
        "--data",
        "numbers.csv",
        "--label",
        LABEL,
        "--out",
        out,
        cwd=workshop,
    )
    return out / "line-1.0.0.oci.tar"


def test_no_row_is_found_where_every_column_is_an_input_of_its_own(build: Build, rows):
    assert found(build.bundle, rows) == set()


def test_no_row_is_found_where_all_columns_are_one_input(one_input, rows):
    assert found(one_input, rows) == set()


def test_golden_rows_share_no_pair_of_numbers_with_any_row(build: Build, one_input, rows):
    known = rows[list(NUMBERS)].to_numpy(np.float32)
    for bundle in (build.bundle, one_input):
        assert len(golden_rows(bundle)) >= 32
        for row in golden_rows(bundle):
            values = np.array([np.frombuffer(value, np.float32)[0] for value in row])
            assert (known == values).sum(axis=1).max() <= 1


@pytest.mark.parametrize("model", ["network.skops", "line.onnx"])
def test_the_search_finds_rows_that_are_there(workshop, tmp_path, rows, model):
    data = "rows.csv" if model == "network.skops" else "numbers.csv"
    packager(
        *("build", model, "--data", data, "--label", LABEL, "--golden", "real"),
        *("--name", "x", "--target", "arm64-cpu", "--out", tmp_path),
        cwd=workshop,
    )
    assert len(found(tmp_path / "x-1.0.0.oci.tar", rows)) == 32


def test_the_search_knows_every_form(tmp_path, rows):
    for trace in traces(rows.iloc[7]):
        entry = ("blobs/sha256/" + "0" * 64, b"before" + trace + b"after")
        write_layout(tmp_path / "leaky.oci.tar", [entry])
        assert found(tmp_path / "leaky.oci.tar", rows) == {7}


def test_words_of_the_data_are_categories_that_the_model_itself_carries(build: Build, rows):
    words = set(rows[TEXT_COLUMN])
    texts = {
        text
        for inputs in golden_inputs(build.bundle)
        for array in inputs.values()
        if array.dtype.kind == "U"
        for text in array.ravel().tolist()
    }
    assert texts
    assert texts <= words


def test_not_even_the_names_of_the_users_files_leave(build: Build, one_input, workshop):
    for bundle, model in ((build.bundle, "network.skops"), (one_input, "line.onnx")):
        for data in contents(bundle):
            for name in (model, "numbers.csv", str(workshop)):
                assert name.encode() not in data


def test_the_command_under_test_is_the_default_one():
    assert "--golden" not in BUILD
