"""Reading tables: what was written comes back, and nothing but typed errors comes out."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.contract import rows
from edge_runtime.contract.errors import (
    EdgepackError,
    InputDtype,
    InputMissing,
    InputName,
    InputShape,
    InputUnreadable,
    InputValue,
    TableMalformed,
)
from edge_runtime.contract.table import (
    DEFAULT_MISSING_TOKENS,
    Column,
    TableFormat,
    format_of,
    read_cells,
    read_table,
)

AGE = Column("my age (y)", "float", "my_age__y_", None, "allow")
PLAN = Column("plan", "text", "plan", None, "allow")
VISITS = Column("visits", "integer", "visits", None, "refuse")
COLUMNS = (AGE, PLAN, VISITS)


def read(data, fmt="csv", columns=COLUMNS, **options):
    return list(read_table(io.BytesIO(data), fmt, columns, TableFormat(), **options))


def read_one(data, column, fmt="csv"):
    (chunk,) = read(data, fmt, (column,))
    return chunk[column.name].tolist()


def write_csv(header, lines, **dialect):
    text = io.StringIO()
    writer = csv.writer(text, **dialect)
    writer.writerow(header)
    writer.writerows(lines)
    return text.getvalue().encode()


# --- what was written comes back -----------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
floats = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(2**63), 2**63 - 1)


@given(
    st.lists(st.tuples(floats, texts, integers), min_size=1),
    st.sampled_from([("\r\n", csv.QUOTE_MINIMAL), ("\n", csv.QUOTE_ALL)]),
)
def test_what_csv_writer_wrote_comes_back(written, dialect):
    ending, quoting = dialect
    header = ["my age (y)", "plan", "visits"]
    data = write_csv(header, written, lineterminator=ending, quoting=quoting)
    chunks = read(data, chunk_rows=3)
    assert [value for chunk in chunks for value in chunk["my age (y)"]] == [
        row[0] for row in written
    ]
    assert [value for chunk in chunks for value in chunk["plan"]] == [
        "" if row[1] in DEFAULT_MISSING_TOKENS else row[1] for row in written
    ]
    assert [value for chunk in chunks for value in chunk["visits"]] == [
        row[2] for row in written
    ]


@given(
    st.lists(st.fixed_dictionaries({"my age (y)": floats, "plan": texts, "visits": integers}))
)
def test_what_json_wrote_comes_back(written):
    data = "\n".join(json.dumps(row) for row in written).encode()
    back = [
        dict(zip(chunk, values, strict=True))
        for chunk in read(data, "jsonl", chunk_rows=2)
        for values in zip(*(array.tolist() for array in chunk.values()), strict=True)
    ]
    assert back == written


@given(st.lists(texts, min_size=1), st.data())
def test_all_cells_of_a_csv_come_back_as_text(header, data):
    header = list(dict.fromkeys(header))
    written = data.draw(st.lists(st.lists(texts, min_size=len(header), max_size=len(header))))
    cells = read_cells(io.BytesIO(write_csv(header, written)))
    assert list(cells.columns) == header
    assert [list(row) for row in zip(*cells.columns.values(), strict=True)] == written


def test_values_have_the_types_of_their_kinds():
    (chunk,) = read(b"my age (y),plan,visits\n1.5,basic,3\n")
    assert [array.dtype for array in chunk.values()] == [np.float64, object, np.int64]


def test_columns_stand_in_any_order_and_others_are_ignored():
    (chunk,) = read(b"visits,id,plan,my age (y)\n3,x7,basic,42\n")
    assert {name: array.tolist() for name, array in chunk.items()} == {
        "my age (y)": [42.0],
        "plan": ["basic"],
        "visits": [3],
    }


def test_a_byte_order_mark_is_skipped():
    assert read_one(b"\xef\xbb\xbfplan\nbasic\n", PLAN) == ["basic"]
    assert read_one(b'\xef\xbb\xbf{"plan": "basic"}\n', PLAN, "jsonl") == ["basic"]


def test_blank_lines_at_the_end_are_nothing():
    assert read_one(b"plan\nbasic\n\n\r\n", PLAN) == ["basic"]
    assert read_one(b'{"plan": "basic"}\n\n  \n', PLAN, "jsonl") == ["basic"]


def test_a_table_without_rows_has_no_chunks():
    assert read(b"my age (y),plan,visits\n") == []
    assert read(b"", "jsonl") == []


def test_a_stream_is_left_open():
    stream = io.BytesIO(b"plan\nbasic\n")
    list(read_table(stream, "csv", (PLAN,), TableFormat()))
    assert not stream.closed


# --- numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("42", 42.0),
        (" 42\t", 42.0),
        ("-.5", -0.5),
        ("+5.", 5.0),
        ("1e-3", 0.001),
        ("1E+3", 1000.0),
        ("007", 7.0),
        ("True", 1.0),
        ("false", 0.0),
        ("1e-400", 0.0),
    ],
)
def test_a_float_is_a_finite_decimal_number(cell, value):
    assert read_one(f'"my age (y)"\n"{cell}"\n'.encode(), AGE) == [value]
    # Beside a cell that is read the careful way, the answer is the same.
    assert read_one(f'"my age (y)"\n"{cell}"\n" 1"\n'.encode(), AGE)[0] == value


@pytest.mark.parametrize(
    "cell",
    [
        "inf",
        "-Infinity",
        "1_000",
        "0x10",
        "1,5",
        "1.5 kg",
        "٣",
        "1e999",
        "--1",
        "1e",
        ".",
        "e5",
    ],
)
def test_what_is_no_finite_decimal_number_is_refused(cell):
    with pytest.raises(InputValue):
        read_one(f'"my age (y)"\n"{cell}"\n'.encode(), AGE)


@pytest.mark.parametrize(
    ("cell", "value"),
    [("42", 42), ("-3", -3), ("42.0", 42), ("42.", 42), (" 7 ", 7), ("True", 1)]
    + [(str(edge), edge) for edge in (2**63 - 1, -(2**63), 2**53 + 1)],
)
def test_an_integer_is_read_exactly(cell, value):
    assert read_one(f"visits\n{cell}\n".encode(), VISITS) == [value]


@pytest.mark.parametrize("cell", ["42.5", "1e3", "9223372036854775808", "9" * 5000, "x", "4_2"])
def test_what_is_no_64_bit_integer_is_refused(cell):
    with pytest.raises(InputValue):
        read_one(f"visits\n{cell}\n".encode(), VISITS)


def test_a_cell_that_is_no_number_names_its_line_and_column(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('plan,my age (y)\n"a\nb",1\nbasic,old\n')
    with pytest.raises(InputValue) as caught:
        list(read_table(path, "csv", (AGE,), TableFormat()))
    assert "rows.csv line 4" in caught.value.message
    assert "'my age (y)'" in caught.value.message
    assert "'old'" in caught.value.message


# --- text ----------------------------------------------------------------------------------


def test_text_is_taken_as_it_is():
    assert read_one('plan\n007\n" x "\n"a ""b"""\nÄ\n'.encode(), PLAN) == [
        "007",
        " x ",
        'a "b"',
        "Ä",
    ]


def test_half_a_surrogate_pair_is_no_text():
    with pytest.raises(TableMalformed):
        read_one(b'{"plan": "\\ud800"}\n', PLAN, "jsonl")


# --- missing -------------------------------------------------------------------------------


@pytest.mark.parametrize("token", DEFAULT_MISSING_TOKENS)
def test_a_missing_token_is_missing(token):
    (chunk,) = read(f'my age (y),plan,visits\n"{token}","{token}",1\n'.encode())
    assert np.isnan(chunk["my age (y)"]).tolist() == [True]
    assert chunk["plan"].tolist() == [""]


def test_missing_tokens_are_the_manifests():
    table = TableFormat(("-999",))
    data = b"my age (y),plan\n-999,NA\n5,-999\n"
    (chunk,) = read_table(io.BytesIO(data), "csv", (AGE, PLAN), table)
    assert chunk["plan"].tolist() == ["NA", ""]
    assert np.isnan(chunk["my age (y)"]).tolist() == [True, False]


def test_a_token_with_blanks_is_missing_as_a_number_and_itself_as_text():
    (chunk,) = read(b"my age (y),plan,visits\n NA , NA ,1\n")
    assert np.isnan(chunk["my age (y)"][0])
    assert chunk["plan"].tolist() == [" NA "]


@pytest.mark.parametrize("kind", ["float", "text", "integer"])
@pytest.mark.parametrize(
    ("fmt", "data"), [("csv", b"c\nNA\n"), ("jsonl", b'{"c": null}\n')], ids=["csv", "jsonl"]
)
def test_a_missing_value_is_refused_where_the_manifest_says_so(kind, fmt, data):
    with pytest.raises(InputMissing) as caught:
        read_one(data, Column("c", kind, "c", None, "refuse"), fmt)
    assert "line " in caught.value.message
    assert "'c'" in caught.value.message


def test_an_integer_column_has_no_missing_value():
    with pytest.raises(InputMissing):
        read_one(b"c\nNA\n", Column("c", "integer", "c", None, "allow"))


def test_json_null_is_missing_and_its_strings_are_themselves():
    data = b'{"my age (y)": null, "plan": null, "visits": 1}\n'
    data += b'{"my age (y)": 1, "plan": "NA", "visits": 2.0}\n'
    (chunk,) = read(data, "jsonl")
    assert chunk["plan"].tolist() == ["", "NA"]
    assert np.isnan(chunk["my age (y)"]).tolist() == [True, False]
    assert chunk["visits"].tolist() == [1, 2]


# --- tables that are none ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no header"),
        (b"\n\n", "no header"),
        (b"plan,plan\na,b\n", "more than once"),
        (b"plan,x\na\n", "line 2: it has 1 cells, the header has 2"),
        (b"plan,x\na,b\na,b,c\n", "line 3: it has 3 cells"),
        (b'plan\n"a\nb', "line 2: it is no CSV"),
        (b'plan\n"a"b\n', "line 2: it is no CSV"),
        (b"plan\na\rb\n", "line 2: it is no CSV"),
        (b"plan\na\n\nb\n", "line 3: it is blank"),
        (b"plan\na\0\n", "line 2: it holds a NUL"),
    ],
)
def test_a_malformed_csv_names_the_line(data, words):
    with pytest.raises(TableMalformed, match=words):
        read(data, columns=(PLAN,))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"plan": "a"}\n{"plan": \n', "the input line 2"),
        (b'{"plan": NaN}\n', "NaN"),
        (b'{"plan": "a", "plan": "b"}\n', "stands twice"),
        (b'{"plan": ' + b"[" * 5000 + b"]" * 5000 + b"}\n", "nests"),
        (b'{"plan": "a"}\n\n{"plan": "a"}\n', "line 2: it is blank"),
    ],
)
def test_malformed_json_lines_name_the_line(data, words):
    with pytest.raises(TableMalformed, match=words):
        read(data, "jsonl", (PLAN,))


@pytest.mark.parametrize("line", [b'["a"]', b'"a"', b"3", b"null"])
def test_a_json_line_that_is_no_object_is_refused(line):
    with pytest.raises(InputName, match="line 1"):
        read(line, "jsonl", (PLAN,))


@pytest.mark.parametrize(
    ("column", "value"),
    [(AGE, b'"42"'), (AGE, b"[1]"), (PLAN, b"7"), (PLAN, b"true")],
)
def test_json_values_must_have_their_columns_type(column, value):
    with pytest.raises(InputValue):
        read_one(b'{"%s": %s}' % (column.name.encode(), value), column, "jsonl")


def test_text_that_is_no_utf8_names_the_line():
    with pytest.raises(InputUnreadable, match="line 2 is not UTF-8"):
        read("plan\nÄ\n".encode("latin-1"), columns=(PLAN,))


def test_a_missing_column_is_named():
    with pytest.raises(InputName, match=r"lacks 'visits'; it has 'my age \(y\)', 'plan'"):
        read(b"my age (y),plan\n1,a\n")
    with pytest.raises(InputName, match="line 1 lacks 'visits'"):
        read(b'{"my age (y)": 1, "plan": "a"}', "jsonl")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputUnreadable, match=r"none\.csv cannot be read: No such file"):
        list(read_table(tmp_path / "none.csv", "csv", COLUMNS, TableFormat()))


def test_a_row_that_never_ends_is_refused_before_memory_is_full():
    class Endless(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, buffer):
            buffer[:] = b"x" * len(buffer)
            return len(buffer)

    for fmt in ("csv", "jsonl"):
        with pytest.raises(TableMalformed, match=f"more than {rows.MAX_ROW_BYTES} bytes"):
            list(read_table(io.BufferedReader(Endless()), fmt, (PLAN,), TableFormat()))


def test_a_quoted_row_of_many_lines_is_bounded_as_well():
    data = b'plan,x\n"' + b'a\n","' * (rows.MAX_ROW_BYTES // 5 + 1)
    with pytest.raises(TableMalformed, match="bytes"):
        read(data, columns=(PLAN,))


def test_a_reading_that_fails_midway_is_an_unreadable_input():
    class Broken(io.BytesIO):
        def readline(self, _=-1):
            raise OSError(5, "Input/output error")

        def read(self, _=-1):
            raise OSError(5, "Input/output error")

    for fmt in ("csv", "jsonl", "npz"):
        with pytest.raises(InputUnreadable, match="Input/output error"):
            list(read_table(Broken(), fmt, (PLAN,), TableFormat()))


# --- chunks --------------------------------------------------------------------------------


def test_chunks_have_at_most_so_many_rows():
    data = b"plan\n" + b"a\n" * 10
    assert [len(chunk["plan"]) for chunk in read(data, columns=(PLAN,), chunk_rows=4)] == [
        4,
        4,
        2,
    ]


def test_wide_rows_make_smaller_chunks(monkeypatch):
    monkeypatch.setattr(rows, "MAX_CHUNK_BYTES", 1000)
    data = b"plan\n" + (b"x" * 400 + b"\n") * 9
    assert [len(chunk["plan"]) for chunk in read(data, columns=(PLAN,))] == [3, 3, 3]


def test_rows_come_before_the_file_is_read_to_its_end():
    stream = io.BytesIO(b"plan\n" + b"a\n" * 100_000)
    next(read_table(stream, "csv", (PLAN,), TableFormat(), chunk_rows=8))
    assert stream.tell() < 100


# --- NPZ -----------------------------------------------------------------------------------


def npz(**arrays):
    data = io.BytesIO()
    np.savez(data, **arrays)
    return data.getvalue()


def test_npz_holds_an_array_a_column():
    data = npz(
        **{"my age (y)": np.float32([1, np.nan, 3]), "extra": np.zeros((2, 2))},
        plan=np.array(["a", "", "c"]),
        visits=np.int8([1, 2, 3]),
    )
    first, second = read(data, "npz", chunk_rows=2)
    assert [array.dtype for array in first.values()] == [np.float64, object, np.int64]
    assert first["plan"].tolist() == ["a", ""]
    assert second["visits"].tolist() == [3]


def test_npz_holds_an_array_a_graph_input_as_it_is():
    columns = [Column(f"c{index}", "float", "features", index, "refuse") for index in range(3)]
    matrix = np.arange(15, dtype=np.float32).reshape(5, 3)
    chunks = read(npz(features=matrix, other=np.zeros(2)), "npz", columns, chunk_rows=2)
    assert [list(chunk) for chunk in chunks] == [["features"]] * 3
    np.testing.assert_array_equal(np.vstack([chunk["features"] for chunk in chunks]), matrix)


def test_a_model_of_bare_tensors_takes_npz_alone():
    (chunk,) = read(npz(image=np.zeros((2, 3, 4)), scale=np.float32(2)), "npz", ())
    assert {name: array.shape for name, array in chunk.items()} == {
        "image": (2, 3, 4),
        "scale": (),
    }
    with pytest.raises(TableMalformed, match="bare tensors"):
        read(b"image\n1\n", "csv", ())


@pytest.mark.parametrize(
    ("arrays", "error"),
    [
        ({"my age (y)": [1.0], "plan": ["a"]}, InputName),
        ({"my age (y)": [1.0], "plan": ["a"], "visits": [1, 2]}, InputShape),
        ({"my age (y)": [[1.0]], "plan": ["a"], "visits": [1]}, InputShape),
        ({"my age (y)": ["1"], "plan": ["a"], "visits": [1]}, InputValue),
        ({"my age (y)": [1.0], "plan": [1], "visits": [1]}, InputDtype),
        ({"my age (y)": [1j], "plan": ["a"], "visits": [1]}, TableMalformed),
        ({"my age (y)": [np.inf], "plan": ["a"], "visits": [1]}, InputValue),
        ({"my age (y)": [1.0], "plan": ["a"], "visits": [1.5]}, InputValue),
        ({"my age (y)": [1.0], "plan": ["a"], "visits": [np.nan]}, InputMissing),
    ],
)
def test_npz_that_does_not_fit_is_refused(arrays, error):
    with pytest.raises(error):
        read(npz(**{name: np.array(array) for name, array in arrays.items()}), "npz")


def test_npz_is_never_unpickled():
    data = io.BytesIO()
    np.savez(data, plan=np.array([{"a": 1}], dtype=object))
    with pytest.raises(TableMalformed):
        read(data.getvalue(), "npz", (PLAN,))


# --- hostile bytes -------------------------------------------------------------------------

SEEDS = {
    "csv": b'my age (y),plan,visits\r\n1.5,"x, ""q""\nz",3\r\n2,NA,4\n-3e5,\xc3\xa9,5\n',
    "jsonl": b'{"my age (y)":1.5,"plan":"x","visits":3}\n{"my age (y)":2,"plan":null}\n',
    "npz": npz(
        **{"my age (y)": np.arange(3.0)}, plan=np.array(["a", "b", "c"]), visits=[1, 2, 3]
    ),
}
edits = st.lists(
    st.tuples(st.integers(0, 2000), st.integers(0, 8), st.binary(max_size=8)), max_size=4
)


@settings(max_examples=300)
@given(st.sampled_from(sorted(SEEDS)), edits)
def test_damaged_tables_raise_nothing_but_typed_errors(fmt, changes):
    data = SEEDS[fmt]
    for start, length, new in changes:
        start %= len(data) + 1
        data = data[:start] + new + data[start + length :]
    try:
        read(data, fmt)
    except EdgepackError as error:
        assert error.code
        assert error.hint


@given(st.sampled_from(sorted(SEEDS)), st.binary(max_size=200))
def test_any_bytes_raise_nothing_but_typed_errors(fmt, data):
    try:
        read(data, fmt)
    except EdgepackError as error:
        assert error.code


# --- names ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fmt"),
    [
        ("a.csv", "csv"),
        ("a.CSV", "csv"),
        ("a.jsonl", "jsonl"),
        ("a.ndjson", "jsonl"),
        ("a.npz", "npz"),
    ],
)
def test_the_end_of_a_name_tells_the_format(name, fmt):
    assert format_of(Path(name)) == fmt


def test_another_ending_is_refused_by_naming_those_known():
    with pytest.raises(InputUnreadable, match=r"\.xlsx.*\.csv, \.jsonl, \.ndjson, \.npz"):
        format_of(Path("rows.xlsx"))
