"""Rows typed by the device's code: kinds found out, labels as classes, feeds of a graph."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.contract.errors import InputDtype, InputMissing, InputValue
from edge_runtime.contract.table import Column
from edge_runtime.contract.tensors import TensorSpec
from packager.errors import ColumnMissing, LabelMissing
from packager.samples import load_samples


@pytest.fixture
def load(tmp_path):
    """Return a function that loads the text of a CSV, or arrays as an NPZ."""

    def load(text="", label=None, **arrays):
        path = tmp_path / ("rows.npz" if arrays else "rows.csv")
        if arrays:
            np.savez(path, **arrays)
        else:
            path.write_text(text)
        return load_samples(path, label)

    return load


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "-2", "3.0"], "integer"),
        (["1", "", "3"], "float"),
        (["1.5", "NA"], "float"),
        ([" 1 ", "2"], "integer"),
        (["True", "False"], "integer"),
        (["", "NaN"], "float"),
        (["1", "a"], "text"),
        (["007", "123"], "text"),
        (["-01", "2"], "text"),
        (["0.5", "0"], "float"),
        (["1e999"], "text"),
        (["inf"], "text"),
        (["2026-01-01"], "text"),
    ],
)
def test_the_kind_of_a_column_is_found_out(load, cells, kind):
    samples = load("c,d\n" + "".join(f'"{cell}",1\n' for cell in cells))
    assert samples.kinds["c"] == kind
    assert len(samples.columns["c"]) == len(cells)


def test_the_models_kind_stands_over_the_kind_found_out(load):
    samples = load("zip\n123\n456\n")
    assert samples.kinds == {"zip": "integer"}
    text = samples.typed([Column("zip", "text", "zip", None, "refuse")])
    assert text["zip"].tolist() == ["123", "456"]


def test_a_value_of_another_kind_names_its_line(load):
    samples = load("a,y\n1,0\nx,1\n").take(np.array([1]))
    with pytest.raises(InputValue, match=r"rows\.csv line 3: column 'a'"):
        samples.typed([Column("a", "float", "a", None, "allow")])


def test_a_missing_column_names_the_nearest(load):
    with pytest.raises(
        ColumnMissing, match=r"lacks the column 'age' \(did you mean 'agee'\?\)"
    ):
        load("agee\n1\n").typed([Column("age", "float", "age", None, "allow")])


# --- labels --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "cells", "found"),
    [
        ([0, 1], ["0", "1.0", " 1"], [0, 1, 1]),
        ([0.5, 1.5], ["0.5", "1.50"], [0.5, 1.5]),
        ([False, True], ["True", "false", "1"], [True, False, True]),
        (["no", "yes"], ["yes", "no"], ["yes", "no"]),
        (["0", "1"], ["1", "0"], ["1", "0"]),
        (["NA", "EU"], ["NA", "EU"], ["NA", "EU"]),
    ],
)
def test_label_text_becomes_the_models_classes(load, classes, cells, found):
    labels = load("a,y\n" + "".join(f'1,"{cell}"\n' for cell in cells), "y").label_classes(
        classes
    )
    assert labels.tolist() == found
    assert [type(label) for label in labels.tolist()] == [type(label) for label in found]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [([0, 1], [0, 1]), ([0.0, 1.0], [0, 1]), ([False, True], [0, 1]), (["0", "1"], [0, 1])],
)
def test_labels_that_have_a_type_become_the_models_classes(load, labels, classes):
    samples = load(X=np.zeros((2, 2)), y=np.array(labels))
    assert samples.label_classes(classes).tolist() == classes


@pytest.mark.parametrize("cell", ["maybe", "2", "", "1.5"])
def test_an_unknown_class_is_named_with_its_line_and_the_known_ones(load, cell):
    samples = load(f"a,y\n1,0\n1,{cell}\n", "y")
    with pytest.raises(LabelMissing, match=rf"line 3: label 'y' is '{cell}', .* '0', '1'"):
        samples.label_classes([0, 1])


def test_without_a_label_there_are_no_classes(load):
    with pytest.raises(LabelMissing, match=r"no column of rows\.csv was named as the label"):
        load("a\n1\n").label_classes([0, 1])


def test_labels_of_a_regression_are_numbers(load):
    assert load("a,y\n1,0.5\n1,-2\n", "y").label_numbers().tolist() == [0.5, -2]
    with pytest.raises(InputMissing, match="line 2: column 'y'"):
        load("a,y\n1,\n", "y").label_numbers()


# --- feeds ---------------------------------------------------------------------------------


def test_columns_make_the_graphs_feed(load):
    columns = [
        Column("b", "float", "features", 1, "allow"),
        Column("a", "float", "features", 0, "refuse"),
    ]
    feed = load("a,b\n1,2\n3,\n").feed(columns, [TensorSpec("features", "float32", (None, 2))])
    np.testing.assert_array_equal(feed["features"], np.float32([[1, 2], [3, np.nan]]))


@pytest.mark.parametrize("name", ["image", "X"])
def test_bare_tensors_are_named_or_the_one_x(load, name):
    images = np.arange(16.0).reshape(2, 2, 2, 2)
    spec = TensorSpec("image", "float32", (None, 2, 2, 2))
    feed = load(**{name: images}).feed([], [spec])
    np.testing.assert_array_equal(feed["image"], images.astype(np.float32))


def test_a_matrix_and_columns_side_by_side_are_the_one_input(load):
    spec = TensorSpec("input", "float32", (None, 2))
    wanted = [[1, 2], [3, 4]]
    assert load(X=np.array(wanted), y=[0, 1]).feed([], [spec])["input"].tolist() == wanted
    assert load("a,b,y\n1,2,0\n3,4,1\n", "y").feed([], [spec])["input"].tolist() == wanted


def test_several_bare_inputs_must_be_named(load):
    specs = [TensorSpec("a", "float32", (None,)), TensorSpec("b", "float32", (None,))]
    assert list(load(a=[1.0], b=[2.0]).feed([], specs)) == ["a", "b"]
    with pytest.raises(ColumnMissing, match="'b'"):
        load(a=[1.0]).feed([], specs)


def test_text_does_not_stand_beside_numbers_in_a_matrix(load):
    spec = TensorSpec("input", "float32", (None, 2))
    with pytest.raises(InputDtype):
        load("a,b\n1,x\n").feed([], [spec])


def test_rows_can_be_taken_in_any_order(load):
    samples = load("a,y\n1,p\n2,q\n3,r\n", "y").take(np.array([2, 0]))
    assert samples.columns["a"].tolist() == [3, 1]
    assert samples.label_classes(["p", "q", "r"]).tolist() == ["r", "p"]


@pytest.mark.parametrize(
    ("values", "fits"), [([1, 255], True), ([1, 256], False), ([0, 65535], False)]
)
def test_whole_numbers_that_do_not_fit_are_refused_and_not_made_others(load, values, fits):
    samples = load(X=np.array(values, np.uint16).reshape(2, 1, 1))
    spec = TensorSpec("pixels", "uint8", (None, 1, 1))
    if fits:
        assert samples.feed((), [spec])["pixels"].ravel().tolist() == values
    else:
        with pytest.raises(InputDtype, match="takes uint8"):
            samples.feed((), [spec])
