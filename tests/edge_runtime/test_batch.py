"""Whole tables: every format in and out, and a wrong row that is named and leaves nothing."""

from __future__ import annotations

import json
from pathlib import Path

import devices
import numpy as np
import pytest
from onnx import TensorProto, helper
from tables import HEADER, LABELS, SUFFIXES, answer, labels, served, table

from edge_runtime.batch import CHUNK_ROWS, format_of, predict_table
from edge_runtime.contract.errors import (
    EdgepackError,
    InputShape,
    InputValue,
    OutputUnwritable,
    PredictionFailed,
    TableMalformed,
    UsageError,
)
from edge_runtime.contract.npz import read_npz, write_npz
from edge_runtime.contract.tensors import TensorSpec
from edge_runtime.model import Model

# --- formats -------------------------------------------------------------------------------


@pytest.mark.parametrize("sink", SUFFIXES)
@pytest.mark.parametrize("source", SUFFIXES)
def test_every_format_is_read_and_written(
    loan: Model, tmp_path: Path, source: str, sink: str
) -> None:
    out = tmp_path / f"answers.{sink}"
    assert answer(loan, table(tmp_path, source), out) == 3
    assert labels(out) == LABELS


def test_a_csv_of_answers_has_a_column_a_class(loan: Model, tmp_path: Path) -> None:
    answer(loan, table(tmp_path, "csv"), tmp_path / "a.csv")
    first, *rows = (tmp_path / "a.csv").read_text().splitlines()
    assert first == "label,probability_no,probability_yes"
    assert rows[1].startswith("yes,0.01798")


def test_json_lines_are_what_predict_records_returns(loan: Model, tmp_path: Path) -> None:
    answer(loan, table(tmp_path, "csv"), tmp_path / "a.jsonl")
    records = [{"income (k€)": 4.5, "visits": 1, "plan": "basic"}]
    first = (tmp_path / "a.jsonl").read_text().splitlines()[0]
    assert json.loads(first) == loan.predict_records(records)[0]


def test_an_npz_of_answers_has_the_graph_s_own_outputs(loan: Model, tmp_path: Path) -> None:
    answer(loan, table(tmp_path, "csv"), tmp_path / "a.npz")
    found = read_npz((tmp_path / "a.npz").read_bytes(), what="answers")
    assert found["probabilities"].shape == (3, 2)
    assert found["probabilities"].dtype == np.float32


@pytest.mark.parametrize("name", ["rows", "rows.txt", "rows.csv.gz"])
def test_a_suffix_that_says_nothing_asks_for_the_format(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        format_of(name, None)
    assert format_of(name, "npz") == "npz"


def test_a_stream_is_csv_unless_said_otherwise() -> None:
    assert (format_of("-", None), format_of("-", "jsonl")) == ("csv", "jsonl")
    assert format_of("ROWS.NDJSON", None) == "jsonl"


@pytest.mark.parametrize(
    ("sink", "expected"),
    [("csv", b"label,probability_no,probability_yes\n"), ("jsonl", b""), ("npz", None)],
)
@pytest.mark.parametrize("source", SUFFIXES)
def test_a_table_without_rows_gives_answers_without_rows(
    loan: Model, tmp_path: Path, source: str, sink: str, expected: bytes | None
) -> None:
    path = tmp_path / f"rows.{source}"
    if source == "npz":
        np.savez(
            path, **{"income (k€)": [], "visits": np.empty(0, int), "plan": np.empty(0, "U")}
        )
    else:
        path.write_text(HEADER if source == "csv" else "")
    out = tmp_path / f"answers.{sink}"
    assert answer(loan, path, out) == 0
    if expected is not None:
        assert out.read_bytes() == expected
        return
    found = read_npz(out.read_bytes(), what="answers")
    assert {name: array.shape for name, array in found.items()} == {
        "label": (0,),
        "probabilities": (0, 2),
    }


def test_what_json_cannot_hold_is_null_or_a_word(tmp_path: Path) -> None:
    inputs = (TensorSpec("x", "float32", (None,)),)
    outputs = (TensorSpec("value", "float32", (None,)),)
    nodes = [helper.make_node("Log", ["x"], ["value"])]
    subject = devices.Subject(
        devices.graph(nodes, inputs, outputs),
        devices.interface(inputs, outputs),
        {"x": np.ones(2, np.float32)},
    )
    (tmp_path / "rows.npz").write_bytes(write_npz({"x": np.array([1, 0, -1], np.float32)}))
    with served(tmp_path, subject) as model:
        answer(model, tmp_path / "rows.npz", tmp_path / "a.jsonl")
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()] == [
        {"value": 0.0},
        {"value": "-Infinity"},
        {"value": None},
    ]


# --- tensors -------------------------------------------------------------------------------


def test_bare_tensors_come_and_go_as_npz(lookup: Model, tmp_path: Path) -> None:
    rows = 3 * CHUNK_ROWS
    (tmp_path / "rows.npz").write_bytes(write_npz({"index": np.arange(rows) % 3}))
    assert answer(lookup, tmp_path / "rows.npz", tmp_path / "a.npz") == rows
    found = read_npz((tmp_path / "a.npz").read_bytes(), what="answers")
    assert found["value"].tolist() == [1.0, 2.0, 3.0] * CHUNK_ROWS
    answer(lookup, tmp_path / "rows.npz", tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "value\n" + "1.0\n2.0\n3.0\n" * CHUNK_ROWS


def test_a_table_has_no_tensors(lookup: Model, tmp_path: Path) -> None:
    with pytest.raises(TableMalformed, match="bare tensors"):
        answer(lookup, table(tmp_path, "csv"), tmp_path / "a.npz")
    assert not (tmp_path / "a.npz").exists()


def summing() -> devices.Subject:
    inputs = (TensorSpec("x", "float32", (None, 2)),)
    outputs = (TensorSpec("total", "float32", ()),)
    nodes = [helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0)]
    return devices.Subject(
        devices.graph(nodes, inputs, outputs),
        devices.interface(inputs, outputs),
        {"x": np.ones((2, 2), np.float32)},
    )


def test_answers_that_are_no_rows_pass_as_arrays_only(tmp_path: Path) -> None:
    rows = 2 * CHUNK_ROWS
    (tmp_path / "rows.npz").write_bytes(write_npz({"x": np.ones((rows, 2), np.float32)}))
    with served(tmp_path, summing()) as model:
        answer(model, tmp_path / "rows.npz", tmp_path / "a.npz")
        with pytest.raises(PredictionFailed, match="'total' must hold 1024 answers"):
            answer(model, tmp_path / "rows.npz", tmp_path / "a.csv")
    found = read_npz((tmp_path / "a.npz").read_bytes(), what="answers")
    assert found["total"].shape == ()
    assert found["total"] == 2 * rows
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.parametrize(("size", "rows"), [(1, 5), (2, 4)])
def test_a_graph_of_fixed_batch_gets_batches_of_that_length(
    tmp_path: Path, size: int, rows: int
) -> None:
    inputs = (TensorSpec("x", "float32", (size, 1)),)
    outputs = (TensorSpec("value", "float32", (size, 1)),)
    nodes = [helper.make_node("Neg", ["x"], ["value"])]
    subject = devices.Subject(
        devices.graph(nodes, inputs, outputs),
        devices.interface(inputs, outputs, roles={"value": "value"}, task="regression"),
        {"x": np.ones((size, 1), np.float32)},
    )
    path = tmp_path / "rows.npz"
    given = np.arange(rows, dtype=np.float32).reshape(-1, 1)
    path.write_bytes(write_npz({"x": given}))
    with served(tmp_path, subject) as model:
        assert answer(model, path, tmp_path / "a.csv") == rows
        if size > 1:
            path.write_bytes(write_npz({"x": given[:-1]}))
            with pytest.raises(InputShape, match=r"float32\[2, 1\], found shape \[1, 1\]"):
                answer(model, path, tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_text().splitlines()[1:3] == ["-0.0", "-1.0"]


def test_a_csv_whose_rows_would_change_their_columns_is_refused(tmp_path: Path) -> None:
    inputs = (TensorSpec("x", "float32", (None, 1)),)
    outputs = (TensorSpec("y", "float32", (None, None)),)
    node = helper.make_node
    nodes = [  # as many copies of x as its largest value says
        node("Shape", ["x"], ["rows"], end=1),
        node("ReduceMax", ["x"], ["most"], keepdims=0),
        node("Cast", ["most"], ["count"], to=TensorProto.INT64),
        node("Unsqueeze", ["count", "first"], ["width"]),
        node("Concat", ["rows", "width"], ["shape"], axis=0),
        node("Expand", ["x", "shape"], ["y"]),
    ]
    subject = devices.Subject(
        devices.graph(nodes, inputs, outputs, first=np.array([0])),
        devices.interface(inputs, outputs),
        {"x": np.array([[2]], np.float32)},
    )
    column = np.full((CHUNK_ROWS + 1, 1), 2, np.float32)
    column[-1] = 3
    (tmp_path / "rows.npz").write_bytes(write_npz({"x": column}))
    with served(tmp_path, subject) as model:
        with pytest.raises(OutputUnwritable, match=r"'y_1'].* came .*'y_2'"):
            answer(model, tmp_path / "rows.npz", tmp_path / "a.csv")
        answer(model, tmp_path / "rows.npz", tmp_path / "a.jsonl")
    last = (tmp_path / "a.jsonl").read_text().splitlines()[-1]
    assert json.loads(last) == {"y": [3.0, 3.0, 3.0]}


# --- refused rows --------------------------------------------------------------------------


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize(
    ("row", "error", "text"),
    [
        (
            "x,1,basic",
            InputValue,
            "column 'income (k€)' takes a finite decimal number, found 'x'",
        ),
        ("1e39,1,basic", InputValue, "column 'income (k€)' takes what float32 can hold"),
        ("1,1.5,basic", InputValue, "column 'visits'"),
        ("1,1", TableMalformed, "it has 2 cells, the header has 3"),
    ],
)
def test_a_wrong_cell_names_its_line_and_leaves_no_answers(
    loan: Model, tmp_path: Path, row: str, error: type[EdgepackError], text: str, exists: bool
) -> None:
    line = 2 * CHUNK_ROWS + 7
    rows = [HEADER, *["1,1,basic\n"] * (line - 2), row + "\n", "1,1,basic\n"]
    (tmp_path / "rows.csv").write_text("".join(rows))
    out = tmp_path / "a.csv"
    if exists:
        out.write_text("older answers")
    before = devices.snapshot(tmp_path)
    with pytest.raises(error) as caught:
        answer(loan, tmp_path / "rows.csv", out)
    assert caught.value.message.startswith(f"rows.csv line {line}: ")
    assert text in caught.value.message
    assert devices.snapshot(tmp_path) == before


def test_a_wrong_row_of_an_npz_is_counted_from_the_file_s_start(
    loan: Model, tmp_path: Path
) -> None:
    rows = 2 * CHUNK_ROWS
    income = np.ones(rows)
    income[rows - 3] = 1e39
    columns = {"income (k€)": income, "visits": np.ones(rows, int), "plan": np.full(rows, "a")}
    np.savez(tmp_path / "rows.npz", **columns)
    with pytest.raises(InputValue, match=rf"rows.npz row {rows - 3} \(counted from 0\)"):
        answer(loan, tmp_path / "rows.npz", tmp_path / "a.csv")


def test_progress_is_told_as_it_is_made(loan: Model, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(HEADER + "1,1,basic\n" * (CHUNK_ROWS + 1))
    told: list[int] = []
    predict_table(loan, (str(path), "csv"), (str(tmp_path / "a"), "csv"), told.append)
    assert told == [CHUNK_ROWS, CHUNK_ROWS + 1]
