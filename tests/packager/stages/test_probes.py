"""Probe rows are made where conversions go wrong: the same ones always, and not too many."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from edge_runtime.contract.columns import assemble
from edge_runtime.contract.table import Column
from edge_runtime.contract.tensors import Arrays, TensorSpec
from packager.answers import row_count
from packager.graph import Graph, SourceFacts, tensor_specs
from packager.stages.probes import (
    EXTREMES,
    LETTERS,
    MAX_SPLITS,
    MISSING,
    TEXT,
    THRESHOLDS,
    UNSEEN,
    Maker,
    Probe,
    base_rows,
    spread,
    tensor_probes,
)

_TYPES = {"float": FloatTensorType, "integer": Int64TensorType, "text": StringTensorType}


def graph_of(model: Any, kinds: dict[str, str], missing: str = "refuse") -> Graph:
    """Convert a model of one matrix, or of one column."""
    kind = next(iter(kinds.values()))
    options = {"zipmap": False}
    types = [("X", _TYPES[kind]([None, len(kinds)]))]
    made = to_onnx(
        model, initial_types=types, options=options, target_opset={"": 18, "ai.onnx.ml": 3}
    )
    columns = tuple(
        Column(name, kind, "X", index if len(kinds) > 1 else None, missing)
        for index, (name, kind) in enumerate(kinds.items())
    )
    return Graph(
        model=made,
        inputs=tensor_specs(made.graph.input),
        outputs=tensor_specs(made.graph.output),
        columns=columns,
        task="classification",
        roles={"label": "label", "probability": "probabilities"},
        labels=(0, 1),
        source=SourceFacts("scikit-learn", "x", "0" * 64, {}, (), "contained"),
    )


def numbers(columns: int = 3, rows: int = 200) -> tuple[Arrays, Any]:
    drawn = np.random.default_rng(0).normal(50, 10, (rows, columns)).astype(np.float32)
    arrays = {f"c{index}": drawn[:, index].astype(np.float64) for index in range(columns)}
    return arrays, (drawn[:, 0] > 50) ^ (drawn[:, 1] > 55)


def tree(missing: str = "refuse", columns: int = 3, **how: Any) -> tuple[Graph, Arrays]:
    rows, labels = numbers(columns)
    model = DecisionTreeClassifier(random_state=0, **how)
    model.fit(np.column_stack(list(rows.values())), labels)
    return graph_of(model, dict.fromkeys(rows, "float"), missing), rows


def of(kind: str, probes: list[Probe]) -> list[Probe]:
    return [probe for probe in probes if probe.kind == kind]


# --- all of them ---------------------------------------------------------------------------


def test_they_are_the_same_every_time_and_pass_the_devices_own_check():
    graph, rows = tree("allow")
    one, other = (Maker(graph, rows).probes() for _ in range(2))
    assert len(one) == len(other) > 0
    for left, right in zip(one, other, strict=True):
        assert replace(left, rows={}) == replace(right, rows={})
        for name in rows:
            np.testing.assert_array_equal(left.rows[name], right.rows[name])
        assemble(graph.columns, graph.inputs, left.rows)


def test_held_out_rows_are_left_as_they_are():
    graph, rows = tree("allow")
    before = {name: values.copy() for name, values in rows.items()}
    Maker(graph, rows).probes()
    for name, values in rows.items():
        np.testing.assert_array_equal(values, before[name])


def test_a_wide_table_gets_no_more_cells_than_a_narrow_one_bears():
    rows, labels = numbers(3000, 60)
    model = DecisionTreeClassifier(random_state=0)
    model.fit(np.column_stack(list(rows.values())), labels)
    probes = Maker(graph_of(model, dict.fromkeys(rows, "float")), rows).probes()
    for kind in (EXTREMES, THRESHOLDS):
        cells = sum(row_count(probe.rows) for probe in of(kind, probes)) * len(rows)
        assert cells < 5_000_000


def test_base_rows_are_complete_where_there_are_any_and_fit_float32():
    columns = (
        Column("a", "float", "a", None, "allow"),
        Column("b", "text", "b", None, "allow"),
    )
    rows = {
        "a": np.array([0.1, np.nan, 0.3, 0.4]),
        "b": np.array(["x", "y", "", "z"], dtype=object),
    }
    found = base_rows(rows, columns)
    assert found["b"].tolist() == ["x", "z"]
    assert found["a"].tolist() == [float(np.float32(0.1)), float(np.float32(0.4))]
    holed = {**rows, "a": np.full(4, np.nan)}
    assert row_count(base_rows(holed, columns)) == 4


@pytest.mark.parametrize("limit", [0, 1, 3, 10])
def test_items_are_spread_evenly(limit):
    found = spread(list(range(7)), limit)
    assert len(found) == min(limit, 7)
    assert found == sorted(set(found))
    assert spread([], limit) == []


# --- thresholds ----------------------------------------------------------------------------


def test_rows_stand_at_each_threshold_and_one_step_beside_it():
    graph, rows = tree(max_depth=1)
    (probe,) = of(THRESHOLDS, Maker(graph, rows).probes())
    (node,) = [n for n in graph.model.graph.node if n.op_type == "TreeEnsembleClassifier"]
    held = {item.name: item for item in node.attribute}
    name = f"c{held['nodes_featureids'].ints[0]}"
    at = np.float32(held["nodes_values"].floats[0])
    low, high = np.float32(-np.inf), np.float32(np.inf)
    steps = [np.nextafter(at, low), at, np.nextafter(at, high)]
    assert probe.rows[name][:3].tolist() == [float(step) for step in steps]


def test_they_come_to_the_split_that_they_are_made_for():
    graph, rows = tree()
    (probe,) = of(THRESHOLDS, Maker(graph, rows).probes())
    matrix = np.column_stack([probe.rows[name] for name in rows])
    labels = DecisionTreeClassifier(random_state=0)
    fitted, truth = numbers()
    labels.fit(np.column_stack(list(fitted.values())), truth)
    found = labels.predict(matrix).reshape(-1, 3)
    assert (found[:, 0] == found[:, 1]).all()  # a threshold itself belongs to what is below
    assert (found[:, 1] != found[:, 2]).mean() > 0.9


def test_of_very_many_splits_some_are_taken():
    rows = np.random.default_rng(0).normal(size=(6000, 3))
    labels = np.random.default_rng(1).random(6000) > 0.5
    model = DecisionTreeClassifier(random_state=0).fit(rows, labels)
    graph = graph_of(model, dict.fromkeys(("a", "b", "c"), "float"))
    held_out = {name: rows[:200, index] for index, name in enumerate("abc")}
    (probe,) = of(THRESHOLDS, Maker(graph, held_out).probes())
    assert row_count(probe.rows) == 3 * MAX_SPLITS


def test_whole_numbers_stand_on_both_sides():
    rows = np.random.default_rng(0).integers(0, 9, (200, 2))
    model = DecisionTreeClassifier(random_state=0).fit(rows, rows[:, 0] > 4)
    graph = graph_of(model, {"a": "integer", "b": "integer"})
    held_out = {"a": rows[:, 0], "b": rows[:, 1]}
    (probe,) = of(THRESHOLDS, Maker(graph, held_out).probes())
    assert probe.rows["a"].dtype == np.int64
    assert set(probe.rows["a"][:2].tolist()) == {4, 5}


# --- missing values ------------------------------------------------------------------------


def test_missing_values_come_alone_together_and_at_splits():
    graph, rows = tree("allow")
    (probe,) = of(MISSING, Maker(graph, rows).probes())
    holes = np.column_stack([np.isnan(probe.rows[name]) for name in rows])
    counts = holes.sum(axis=1)
    assert {1, 2, 3} <= set(counts.tolist())
    assert row_count(probe.rows) < 150


def test_no_value_is_missing_where_columns_refuse_it():
    graph, rows = tree("refuse")
    assert of(MISSING, Maker(graph, rows).probes()) == []


# --- extremes ------------------------------------------------------------------------------


def test_extremes_are_the_ends_a_range_beyond_them_and_a_million_times_more():
    graph, rows = tree(max_depth=2)
    probes = [
        probe for probe in of(EXTREMES, Maker(graph, rows).probes()) if probe.column == "c0"
    ]
    near, far = probes
    low, high = rows["c0"].min(), rows["c0"].max()
    span = high - low
    assert near.rows["c0"][:4].tolist() == [low, high, low - span, high + span]
    assert not near.far
    assert far.far
    assert far.rows["c0"].tolist() == [-1e6 * high, 1e6 * high]


def test_a_column_around_zero_is_asked_for_both_zeros_and_for_tiny_numbers():
    graph, rows = tree(max_depth=2)
    rows = {name: values - 50 for name, values in rows.items()}
    near = of(EXTREMES, Maker(graph, rows).probes())[0].rows["c0"]
    assert (near == 0).sum() == 2
    assert np.signbit(near[near == 0]).tolist() == [False, True]
    assert (np.abs(near[near != 0]) < 1e-20).sum() == 2


@pytest.mark.parametrize("value", [3e38, -3e38, 1e300])
def test_values_at_the_end_of_float32_stay_within_it(value):
    graph, rows = tree(max_depth=2)
    rows["c0"][0] = np.clip(value, -3.4e38, 3.4e38)
    for probe in of(EXTREMES, Maker(graph, rows).probes()):
        assemble(graph.columns, graph.inputs, probe.rows)


def test_whole_numbers_stay_within_64_bits():
    rows = np.random.default_rng(0).integers(0, 9, (200, 2))
    model = DecisionTreeClassifier(random_state=0).fit(rows, rows[:, 0] > 4)
    graph = graph_of(model, {"a": "integer", "b": "integer"})
    held_out = {"a": rows[:, 0].copy(), "b": rows[:, 1].copy()}
    held_out["a"][:2] = (1 << 63) - 1, -(1 << 63) + 1
    values = [v for p in of(EXTREMES, Maker(graph, held_out).probes()) for v in p.rows["a"]]
    assert max(values) == (1 << 63) - 1


# --- text ----------------------------------------------------------------------------------


def documents() -> tuple[Graph, Arrays]:
    words = np.array(["alpha", "beta", "gamma", "delta"])
    drawn = np.random.default_rng(0).choice(words, (200, 3))
    texts = np.array([" ".join(row) for row in drawn], dtype=object)
    labels = np.array(["beta" in text for text in texts])
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, labels)
    graph = graph_of(model, {"text": "text"})
    return graph, {"text": texts}


def test_text_is_made_of_words_that_the_graph_knows():
    probes = of(TEXT, Maker(*documents()).probes())
    plain = [text for probe in probes if not probe.letter for text in probe.rows["text"]]
    assert any("alpha" in text and "東京" in text for text in plain)
    assert any(not text.isascii() for text in plain)
    assert max(map(len, plain)) > 10_000
    assert not any(letter in text for text in plain for letter in LETTERS)


def test_letters_without_a_plain_lower_case_have_rows_of_their_own():
    probes = of(TEXT, Maker(*documents()).probes())
    assert [probe.letter for probe in probes if probe.letter] == list(LETTERS)
    for probe in probes:
        assert all(probe.letter in text for text in probe.rows["text"])


def test_unseen_categories_are_none_of_the_known_ones():
    graph, rows = documents()
    (probe,) = of(UNSEEN, Maker(graph, rows).probes())
    assert probe.column == "text"
    assert not {"alpha", "beta", "gamma", "delta", ""} & set(probe.rows["text"].tolist())


# --- bare tensors --------------------------------------------------------------------------


def test_tensors_are_filled_with_their_ends_and_get_holes():
    rows = {
        "picture": np.random.default_rng(0).random((9, 2, 2)).astype(np.float32),
        "word": np.arange(9).reshape(9, 1),
        "flag": np.zeros((9, 1), dtype=bool),
    }
    inputs = [
        TensorSpec("picture", "float32", (None, 2, 2)),
        TensorSpec("word", "int64", (None, 1)),
        TensorSpec("flag", "bool", (None, 1)),
    ]
    holes, ends, words = tensor_probes(inputs, rows)
    assert np.isnan(holes.rows["picture"]).sum(axis=(1, 2)).tolist() == [1, 4]
    low, high = rows["picture"].min(), rows["picture"].max()
    assert ends.rows["picture"][:, 0, 0].tolist()[:3] == [low, high, 0]
    assert words.rows["word"].ravel().tolist() == [0, 8]
    assert all(set(probe.rows) == set(rows) for probe in (holes, ends, words))
