"""Files of rows: the same rows as CSV, Parquet and NPZ are the same samples."""

from __future__ import annotations

import datetime
import decimal
import hashlib
import sys

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from edge_runtime.contract.errors import InputShape, InputUnreadable, TableMalformed
from edge_runtime.contract.table import Column
from packager.errors import ColumnMissing, DataUnusable, HostExtraMissing, LabelMissing
from packager.samples import load_samples

AGE = Column("age", "float", "age", None, "allow")
CODE = Column("code", "text", "code", None, "allow")
COUNT = Column("count", "integer", "count", None, "refuse")


@pytest.fixture(params=["csv", "parquet", "npz"])
def path(request, tmp_path):
    """Return a file of three rows and a label in each of the formats."""
    path = tmp_path / f"rows.{request.param}"
    if request.param == "csv":
        path.write_text("age,code,count,y\n1.5,007,1,no\n,x,2,yes\n3,NA,3,no\n")
    elif request.param == "parquet":
        columns = {"age": [1.5, None, 3], "code": ["007", "x", None], "count": [1, 2, 3]}
        parquet.write_table(pa.table({**columns, "y": ["no", "yes", "no"]}), path)
    else:
        np.savez(
            path,
            age=[1.5, np.nan, 3],
            code=["007", "x", ""],
            count=[1, 2, 3],
            y=["no", "yes", "no"],
        )
    return path


def test_the_same_rows_are_the_same_samples(path):
    samples = load_samples(path, "y")
    assert samples.rows == 3
    assert samples.kinds == {"age": "float", "code": "text", "count": "integer"}
    typed = samples.typed([AGE, CODE, COUNT])
    np.testing.assert_array_equal(typed["age"], [1.5, np.nan, 3])
    assert typed["code"].tolist() == ["007", "x", ""]
    assert typed["count"].tolist() == [1, 2, 3]
    assert samples.label == "y"
    assert samples.label_classes(["no", "yes"]).tolist() == ["no", "yes", "no"]


def test_samples_remember_the_digest_of_the_whole_file(path):
    assert load_samples(path, None).digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_label_that_is_not_there_names_the_nearest(path):
    with pytest.raises(LabelMissing, match=r"no column 'cuont' \(did you mean 'count'\?\)"):
        load_samples(path, "cuont")


def test_without_a_label_every_column_is_one(path):
    samples = load_samples(path, None)
    assert samples.label is None
    assert list(samples.raw) == ["age", "code", "count", "y"]


# --- Parquet -------------------------------------------------------------------------------


def write(tmp_path, **columns):
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("column", "kind", "values"),
    [
        (pa.array(["a", None, "b"]).dictionary_encode(), "text", ["a", "", "b"]),
        (pa.array(["a", None, "b"], pa.large_string()), "text", ["a", "", "b"]),
        (pa.array([decimal.Decimal("1.25"), None]), "float", [1.25, np.nan]),
        (pa.array([1, 2, 1]).dictionary_encode(), "integer", [1, 2, 1]),
        (pa.array([True, False]), "integer", [1, 0]),
        (pa.array([True, None]), "float", [1, np.nan]),
        (pa.array([1, None]), "float", [1, np.nan]),
        (pa.array([1.5, None], pa.float32()), "float", [1.5, np.nan]),
        (pa.array([7, 8], pa.uint8()), "integer", [7, 8]),
        (pa.nulls(2), "float", [np.nan, np.nan]),
    ],
    ids=str,
)
def test_parquet_columns_are_numbers_or_text(tmp_path, column, kind, values):
    samples = load_samples(write(tmp_path, c=column), None)
    assert samples.kinds == {"c": kind}
    assert samples.columns["c"].tolist() == pytest.approx(values, nan_ok=True)


@pytest.mark.parametrize(
    "column",
    [pa.array([datetime.date(2026, 1, 1)]), pa.array([[1]]), pa.array([b"x"])],
    ids=["date", "list", "bytes"],
)
def test_a_parquet_column_of_another_type_is_refused_once_it_is_needed(tmp_path, column):
    samples = load_samples(write(tmp_path, age=[1.0], c=column), None)
    assert samples.typed([AGE])["age"].tolist() == [1]
    with pytest.raises(DataUnusable, match=r"'c' of rows\.parquet has the type [a-z0-9]+"):
        samples.typed([Column("c", "float", "c", None, "allow")])


def test_a_label_of_another_type_is_refused(tmp_path):
    path = write(tmp_path, age=[1.0], day=[datetime.date(2026, 1, 1)])
    with pytest.raises(DataUnusable, match="'day'"):
        load_samples(path, "day")


def test_two_parquet_columns_of_one_name_are_refused(tmp_path):
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), path)
    with pytest.raises(TableMalformed, match="twice"):
        load_samples(path, None)


def test_bytes_that_are_no_parquet_are_refused(tmp_path):
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1 nonsense PAR1")
    with pytest.raises(TableMalformed, match="Parquet"):
        load_samples(path, None)


def test_without_pyarrow_parquet_says_what_to_install(tmp_path, monkeypatch):
    path = write(tmp_path, age=[1.0])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(HostExtraMissing, match="pyarrow is not installed"):
        load_samples(path, None)


# --- NPZ -----------------------------------------------------------------------------------


def test_a_matrix_x_and_y_are_columns_in_order_and_the_label(tmp_path):
    np.savez(tmp_path / "rows.npz", X=np.arange(6.0).reshape(3, 2), y=[0, 1, 0], site=[1, 1, 2])
    samples = load_samples(tmp_path / "rows.npz", None)
    assert samples.label == "y"
    assert set(samples.raw) == {"x0", "x1", "site"}
    named = [Column(name, "float", "features", i, "refuse") for i, name in enumerate("ab")]
    assert samples.typed(named)["b"].tolist() == [1, 3, 5]


def test_a_matrix_of_another_width_is_refused(tmp_path):
    np.savez(tmp_path / "rows.npz", X=np.zeros((3, 2)))
    with pytest.raises(ColumnMissing, match="lacks the column 'age'"):
        load_samples(tmp_path / "rows.npz", None).typed([AGE])


def test_arrays_of_different_lengths_are_refused(tmp_path):
    np.savez(tmp_path / "rows.npz", a=np.zeros(3), b=np.zeros(4))
    with pytest.raises(InputShape, match="'a' has 3, 'b' has 4"):
        load_samples(tmp_path / "rows.npz", None)


# --- what cannot be rows -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet", "rows.npz"])
def test_a_file_that_is_not_there_is_named(tmp_path, name):
    with pytest.raises(InputUnreadable, match=f"{name} cannot be read: No such file"):
        load_samples(tmp_path / name, None)


def test_another_ending_is_refused_by_naming_those_known(tmp_path):
    with pytest.raises(DataUnusable, match=r"'\.xlsx'; rows come as \.csv, \.parquet"):
        load_samples(tmp_path / "rows.xlsx", None)


def test_a_file_without_rows_is_refused(tmp_path):
    (tmp_path / "rows.csv").write_text("a,b\n")
    with pytest.raises(DataUnusable, match="has no row"):
        load_samples(tmp_path / "rows.csv", None)
