"""Trees lose what nothing reads and gain an order: never a bit of an answer."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from typing import Any

import pytest
from onnx import NodeProto
from skl2onnx.common.data_types import DoubleTensorType
from tree_cases import CASES, FEED, answers, converted, ensemble, same, stripped

from packager.graphs.tree_ensembles import ensembles, held, layout


@pytest.mark.parametrize("case", CASES)
def test_stripped_trees_answer_with_the_same_bits(case: str) -> None:
    graph, feed = converted(case)
    after = stripped(graph)
    assert same(answers(graph, feed), answers(after, feed))
    assert after.ByteSize() < graph.ByteSize()
    assert stripped(after) == after


def test_thresholds_of_float64_stay_what_they_are() -> None:
    graph, feed = converted("forest of three", DoubleTensorType)
    assert same(answers(graph, feed), answers(stripped(graph), feed))


@pytest.mark.parametrize("case", ["forest of two classes", "extra trees", "numbers"])
def test_what_is_stripped_packs_smaller(case: str) -> None:
    graph, _ = converted(case)
    packed = [
        len(gzip.compress(one.SerializeToString(deterministic=True), mtime=0))
        for one in (graph, stripped(graph))
    ]
    assert packed[1] < 0.9 * packed[0]


def test_what_nothing_reads_goes() -> None:
    graph, _ = converted("forest of three")
    (node,) = ensembles(stripped(graph))
    found = held(node)
    assert not found.keys() & {"nodes_hitrates", "nodes_missing_value_tracks_true"}
    assert "post_transform" not in found
    assert (found["class_weights"] > 0).all()


def test_missing_flags_stay_where_a_tree_learned_them() -> None:
    def flagged(node: NodeProto) -> int:
        return int(held(node)["nodes_missing_value_tracks_true"].sum())

    graph, _ = converted("histograms with gaps")
    before = sum(map(flagged, ensembles(graph)))
    assert before > 0
    assert sum(map(flagged, ensembles(stripped(graph)))) == before


# --- graphs by hand ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "weights", "kept"),
    [
        ("Classifier", [0, 1, 0, 0, 0.5, 0.5], 3),
        # A class of zeros beside a negative one would be the label; without it, another is.
        ("Classifier", [-1, 0, -2, 0, 1, 0], 6),
        ("Classifier", [0, 0, 0, 0, 1, 0], 6),
        ("Regressor", [-1, 0, -2, 0, 0, 0], 3),
    ],
)
def test_zeros_go_only_where_they_change_nothing(
    kind: str, weights: Sequence[float], kept: int
) -> None:
    name = "class_weights" if kind == "Classifier" else "target_weights"
    graph = ensemble(kind, **{name: [float(one) for one in weights]})
    after = stripped(graph)
    (node,) = ensembles(after)
    assert len(held(node)[name]) == kept
    assert same(answers(graph, FEED), answers(after, FEED))


@pytest.mark.parametrize("aggregate", ["MIN", "MAX"])
def test_zeros_stay_where_the_least_or_greatest_counts(aggregate: str) -> None:
    weights = [-1.0, 0.0, -2.0, 0.0, 0.0, 3.0]
    graph = ensemble("Regressor", target_weights=weights, aggregate_function=aggregate)
    assert len(held(next(ensembles(stripped(graph))))["target_weights"]) == 6


def test_base_values_stay_for_classes_and_zeros_go_for_numbers() -> None:
    ones, zeros = [1.0] * 6, [0.0] * 3
    classes = stripped(ensemble("Classifier", class_weights=ones, base_values=zeros))
    assert "base_values" in held(next(ensembles(classes)))
    for base, stays in ((zeros, False), ([0.0, 1.0, 0.0], True)):
        graph = ensemble("Regressor", target_weights=ones, base_values=base)
        after = stripped(graph)
        assert ("base_values" in held(next(ensembles(after)))) is stays
        assert same(answers(graph, FEED), answers(after, FEED))


@pytest.mark.parametrize(
    "changed",
    [
        {"nodes_modes": ["BRANCH_EQ", "LEAF", "LEAF"]},
        {"nodes_falsenodeids": [1, 0, 0]},
        {"nodes_falsenodeids": [0, 0, 0]},
        {"nodes_falsenodeids": [7, 0, 0]},
        {"nodes_nodeids": [0, 1, 1]},
        {"target_nodeids": [1, 1, 1, 0, 0, 0]},
        {"target_treeids": [0, 0, 0, 5, 5, 5]},
        {"nodes_treeids": [0, 1, 0]},
    ],
    ids=lambda changed: "-".join(changed),
)
def test_what_is_no_plain_tree_keeps_its_order(changed: dict[str, Any]) -> None:
    graph = ensemble("Regressor", target_weights=[1.0] * 6, **changed)
    (before,), (after,) = (list(ensembles(one)) for one in (graph, stripped(graph)))
    assert layout(before) is None
    assert held(after)["nodes_nodeids"].tolist() == held(before)["nodes_nodeids"].tolist()


def test_leaves_anywhere_and_any_names_are_put_in_order() -> None:
    graph = ensemble(
        "Regressor",
        nodes_nodeids=[2, 0, 1],
        nodes_truenodeids=[1, 9, 9],
        nodes_falsenodeids=[0, 9, 9],
        nodes_values=[0.5, 8.0, 9.0],
        target_nodeids=[1, 1, 1, 0, 0, 0],
        target_weights=[1.0, 2, 3, 4, 5, 6],
    )
    after = stripped(graph)
    found = held(next(ensembles(after)))
    assert found["nodes_nodeids"].tolist() == [0, 1, 2]
    assert found["nodes_truenodeids"].tolist() == [1, 0, 0]
    assert found["nodes_values"].tolist() == [0.5, 0.0, 0.0]
    assert same(answers(graph, FEED), answers(after, FEED))
