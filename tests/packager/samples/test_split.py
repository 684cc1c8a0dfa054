"""Splitting: disjoint by content and group, in proportion, and the same every time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime.contract.table import Column
from packager.errors import ColumnMissing, DataUnusable
from packager.samples import load_samples, split_samples


@pytest.fixture
def load(tmp_path):
    """Return a function that loads columns as a CSV with the label y."""

    def load(name="rows.csv", **columns):
        header, rows = ",".join(columns), zip(*columns.values(), strict=True)
        lines = [",".join(map(str, row)) for row in rows]
        (tmp_path / name).write_text("\n".join([header, *lines]) + "\n")
        return load_samples(tmp_path / name, "y" if "y" in columns else None)

    return load


def split(samples, columns=(), holdout=None, split_by=None, classification=True):
    return split_samples(
        samples, columns, holdout=holdout, split_by=split_by, classification=classification
    )


def test_every_row_stands_on_one_side_and_a_quarter_calibrates(load):
    parts = split(load(a=range(96), y=[0, 1] * 48))
    assert parts.calibration.rows == 24
    sides = [side.columns["a"].tolist() for side in (parts.calibration, parts.held_out)]
    assert sorted(sides[0] + sides[1]) == list(range(96))


def test_classes_keep_their_proportion(load):
    parts = split(load(a=range(400), y=[1 if i % 10 == 0 else 0 for i in range(400)]))
    assert parts.calibration.label_classes([0, 1]).mean() == pytest.approx(0.1)
    assert parts.held_out.label_classes([0, 1]).mean() == pytest.approx(0.1)


def test_a_class_of_one_row_is_held_out(load):
    parts = split(load(a=range(40), y=[0] * 39 + [1]))
    assert 1 in parts.held_out.label_classes([0, 1])


def test_the_same_rows_are_split_the_same_way(load):
    samples = load(a=range(50), y=[0, 1] * 25)
    first, second = split(samples), split(samples)
    assert first.calibration.places.tolist() == second.calibration.places.tolist()


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=2, max_size=40))
def test_neither_equal_rows_nor_groups_are_parted(load, rows):
    samples = load(a=[row[0] for row in rows], machine=[f"m{row[1]}" for row in rows])
    model = [Column("a", "float", "a", None, "allow")]
    try:
        parts = split(samples, model, split_by="machine", classification=False)
    except DataUnusable:
        return
    for name in ("a", "machine"):
        sides = [
            set(side.columns[name].tolist()) for side in (parts.calibration, parts.held_out)
        ]
        assert sides[0].isdisjoint(sides[1])
    assert parts.calibration.rows + parts.held_out.rows == len(rows)


def test_rows_equal_in_the_models_columns_stay_together_whatever_else_differs(load):
    samples = load(a=[1, 1, 2, 2, 3, 3], id=range(6), y=[0, 1] * 3)
    parts = split(samples, [Column("a", "float", "a", None, "allow")])
    sides = [set(side.columns["a"].tolist()) for side in (parts.calibration, parts.held_out)]
    assert sides[0].isdisjoint(sides[1])


def test_numbers_are_equal_however_they_are_written(load):
    parts = split(load(a=["1.0", "1", "-0.0", "0", "NA", ""], y=[0] * 6))
    sides = [
        {str(value) for value in np.abs(side.columns["a"]).tolist()}
        for side in (parts.calibration, parts.held_out)
    ]
    assert sides[0].isdisjoint(sides[1])


def test_tensors_are_compared_too(tmp_path):
    np.savez(tmp_path / "rows.npz", image=np.repeat(np.arange(4.0), 4).reshape(8, 2, 1))
    parts = split(load_samples(tmp_path / "rows.npz", None))
    sides = [set(side.raw["image"].ravel()) for side in (parts.calibration, parts.held_out)]
    assert sides[0].isdisjoint(sides[1])


def test_a_holdout_file_judges_and_what_stands_in_it_does_not_calibrate(load):
    samples = load(a=range(10), y=[0, 1] * 5)
    holdout = load("holdout.csv", y=[1, 0], a=["3.0", "99"])
    parts = split(samples, holdout=holdout)
    assert parts.held_out is holdout
    assert parts.dropped == 1
    assert parts.calibration.columns["a"].tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_a_group_in_the_holdout_file_does_not_calibrate(load):
    samples = load(a=range(4), machine=["m", "n", "m", "o"])
    holdout = load("holdout.csv", a=[50], machine=["m"])
    parts = split(samples, holdout=holdout, split_by="machine", classification=False)
    assert parts.calibration.columns["a"].tolist() == [1, 3]
    assert parts.dropped == 2


def test_rows_that_are_all_alike_cannot_be_split(load):
    with pytest.raises(DataUnusable, match=r"the 3 rows of rows\.csv leave none to calibrate"):
        split(load(a=[1, 1, 1], y=[0, 0, 1]))


def test_a_holdout_file_of_the_same_rows_is_refused(load):
    samples = load(a=range(3), y=[0, 1, 0])
    with pytest.raises(DataUnusable, match=r"\(3 are\)"):
        split(samples, holdout=samples)


def test_a_group_column_that_is_not_there_is_named(load):
    with pytest.raises(ColumnMissing, match=r"'machin' \(did you mean 'machine'"):
        split(load(a=[1, 2], machine=["m", "n"]), split_by="machin")
