"""TreeEnsemble of ai.onnx.ml 5: the same answers in fewer bytes, or a reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
from tree_cases import CASES, FEED, answers, converted, ensemble, same, stripped

from packager.stages.trees import as_tree_ensemble

REFUSED = {
    "forest of mixed leaves": "gives one number, some of these give several",
    "boosting of two": "cannot be said to the last bit",
    "boosting of three": "cannot be said to the last bit",
    "histograms of two": "cannot be said to the last bit",
    "histograms with gaps": "cannot be said to the last bit",
    "several numbers": "gives one number, some of these give several",
}


def one_number(**changed: Any) -> ModelProto:
    """Return a tree that answers 1 below its split and 2 above."""
    ends = {"target_treeids": [0, 0], "target_nodeids": [1, 2], "target_ids": [0, 0]}
    known: dict[str, Any] = {"n_targets": 1, "target_weights": [1.0, 2.0], **ends}
    return ensemble("Regressor", **{**known, **changed})


@pytest.mark.parametrize("case", [case for case in CASES if case not in REFUSED])
def test_the_new_form_answers_with_the_same_bits(case: str) -> None:
    graph, feed = converted(case)
    before = graph.SerializeToString()
    made = as_tree_ensemble(stripped(graph))
    assert isinstance(made, ModelProto), made
    assert same(answers(graph, feed), answers(made, feed))
    assert graph.SerializeToString() == before
    kinds = {node.op_type for node in made.graph.node}
    assert "TreeEnsemble" in kinds
    assert not kinds & {"TreeEnsembleClassifier", "TreeEnsembleRegressor"}
    assert made.ByteSize() < stripped(graph).ByteSize()


@pytest.mark.parametrize("case", ["forest of two classes", "forest of three"])
def test_sums_of_float64_stay_what_they_are(case: str) -> None:
    graph, feed = converted(case, DoubleTensorType)
    made = as_tree_ensemble(stripped(graph))
    assert isinstance(made, ModelProto), made
    assert same(answers(graph, feed), answers(made, feed))


@pytest.mark.parametrize(("case", "reason"), REFUSED.items())
def test_what_cannot_be_said_so_is_told(case: str, reason: str) -> None:
    graph, _ = converted(case, FloatTensorType)
    assert reason in str(as_tree_ensemble(graph))


def test_a_graph_without_trees_is_told() -> None:
    graph = helper.make_graph([], "none", [], [])
    assert as_tree_ensemble(helper.make_model(graph)) == "there are no trees in the graph"


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
@pytest.mark.parametrize("base", [[], [1.5]])
def test_however_trees_are_joined_and_whatever_they_start_from(
    aggregate: str, base: list[float]
) -> None:
    graph = one_number(base_values=base, aggregate_function=aggregate)
    made = as_tree_ensemble(graph)
    assert isinstance(made, ModelProto), made
    assert same(answers(graph, FEED), answers(made, FEED))


def test_several_outputs_with_base_values_are_left_as_they_are() -> None:
    ends = {"target_treeids": [0, 0], "target_nodeids": [1, 2], "target_ids": [0, 2]}
    graph = ensemble("Regressor", target_weights=[0.25, -3.0], base_values=[1.5, 0, 2], **ends)
    assert "no base value" in str(as_tree_ensemble(graph))
    after = stripped(graph)
    assert same(answers(graph, FEED), answers(after, FEED))


def test_a_root_with_one_answer_on_both_sides_keeps_it() -> None:
    graph = one_number(target_weights=[4.0, 4.0])
    made = as_tree_ensemble(graph)
    assert isinstance(made, ModelProto), made
    assert answers(made, FEED)["y"].ravel().tolist() == [4.0] * 4


def test_what_the_trees_are_fed_must_be_floats() -> None:
    graph = ensemble("Classifier", class_weights=[0.0, 1, 0, 0, 0.5, 0.5])
    graph.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    assert "anything but floats" in str(as_tree_ensemble(graph))


@pytest.mark.parametrize("mode", ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT"])
@pytest.mark.parametrize("track", [0, 1])
def test_thresholds_and_missing_values_lead_the_same_way(mode: str, track: int) -> None:
    tracks = [track, 0, 0]
    graph = one_number(
        nodes_modes=[mode, "LEAF", "LEAF"], nodes_missing_value_tracks_true=tracks
    )
    made = as_tree_ensemble(graph)
    assert isinstance(made, ModelProto), made
    assert same(answers(graph, FEED), answers(made, FEED))
    assert len(np.unique(answers(made, FEED)["y"])) == 2
