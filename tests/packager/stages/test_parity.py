"""The parity gate holds real conversions and catches graphs that answer otherwise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import trained
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, numpy_helper
from trained import Trained

from edge_runtime.contract.tensors import Arrays
from edge_runtime.engine.session import SessionPlan, open_session
from packager.answers import run_rows
from packager.errors import ParityFailed, ReplayMismatch
from packager.record import Record
from packager.stages.parity import Parity, check_parity, recorded_parity

MODELS = [
    trained.cancer_network,
    trained.cancer_logistic,
    trained.cancer_forest,
    trained.iris_network,
    trained.diabetes_network,
]


def answers(model: Trained, graph: ModelProto) -> Arrays:
    session = open_session(graph.SerializeToString(), SessionPlan())
    return run_rows(session, model.feed)


def gate(model: Trained, graph: ModelProto) -> Parity:
    found = answers(model, graph)
    return check_parity(model.reference(), found, task=model.task, roles=model.roles)


def corrupted(graph: ModelProto) -> ModelProto:
    """Return the graph with the largest float of its largest weights 10 % larger."""
    copy = ModelProto()
    copy.CopyFrom(graph)
    tensors = [t for t in copy.graph.initializer if t.data_type == t.FLOAT]
    if tensors:
        tensor = max(tensors, key=lambda one: np.prod(one.dims))
        weights = numpy_helper.to_array(tensor).copy()
        weights.flat[np.abs(weights).argmax()] *= 1.1
        tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
        return copy
    named = ("coefficients", "nodes_values")
    floats = [a for node in copy.graph.node for a in node.attribute if a.name in named]
    values = np.array(floats[0].floats)
    floats[0].floats[int(np.abs(values).argmax())] *= 1.1
    return copy


@pytest.mark.parametrize("model", MODELS)
def test_a_faithful_conversion_passes(model: Callable[[], Trained]) -> None:
    parity = gate(model(), model().graph)
    assert parity.rows == len(model().rows)
    assert parity.ties == 0
    assert all(largest < 1e-2 for largest in parity.largest.values())


@pytest.mark.parametrize("model", [m for m in MODELS if m is not trained.cancer_forest])
def test_one_weight_ten_percent_off_is_caught(model: Callable[[], Trained]) -> None:
    with pytest.raises(ParityFailed):
        gate(model(), corrupted(model().graph))


def test_one_threshold_of_a_forest_ten_percent_off_is_caught() -> None:
    model = trained.cancer_forest()
    graph = ModelProto()
    graph.CopyFrom(model.graph)
    (tree,) = [node for node in graph.graph.node if node.op_type.startswith("TreeEnsemble")]
    (values,) = [item for item in tree.attribute if item.name == "nodes_values"]
    (tree_ids,) = [item for item in tree.attribute if item.name == "nodes_treeids"]
    values.floats[list(tree_ids.ints).index(7)] *= 0.9  # the root of the eighth tree
    with pytest.raises(ParityFailed):
        gate(model, graph)


def test_the_error_shows_the_worst_row_as_differences_and_never_a_value() -> None:
    model = trained.iris_network()
    found = answers(model, model.graph)
    found["probabilities"][5] = np.roll(found["probabilities"][5], 1)
    found["label"][5] = (found["label"][5] + 1) % 3
    with pytest.raises(ParityFailed) as caught:
        check_parity(model.reference(), found, task=model.task, roles=model.roles)
    error = caught.value
    assert error.message.startswith("the graph answers 1 of 38 held-out rows unlike the source")
    assert "row 5: label differs, probabilities is off by" in error.message
    assert set(error.values) == {"rows", "failing", "total", "worst_row", "differences"}
    assert error.values["differences"]["label"] is True
    assert 0 < error.values["differences"]["probabilities"] <= 1
    assert not any(str(value) in error.message for value in model.rows[5])


def test_a_replay_tells_the_recorded_figures_and_refuses_those_of_other_rows() -> None:
    build, found = Record(), Parity(427, 0, {"p": 4.4e-05})
    assert recorded_parity(found, build, "mark") == found
    elsewhere = Parity(427, 1, {"p": 4.6e-05})
    assert recorded_parity(elsewhere, Record(build.values), "mark") == found
    for other in (Parity(426, 0, {"p": 4.4e-05}), Parity(427, 0, {"q": 4.4e-05})):
        with pytest.raises(ReplayMismatch, match="compared other rows or outputs"):
            recorded_parity(other, Record(build.values), "mark")


def test_labels_may_differ_only_where_the_source_has_a_tie() -> None:
    roles = {"label": "label", "probability": "p"}
    expected = {
        "label": np.array([0, 1, 1]),
        "p": np.array([[0.5, 0.5], [0.4, 0.6], [0.4999999, 0.5000001]]),
    }
    tied = {"label": np.array([1, 1, 0]), "p": expected["p"]}
    assert check_parity(expected, tied, task="classification", roles=roles).ties == 2
    wrong = {"label": np.array([0, 0, 1]), "p": expected["p"]}
    with pytest.raises(ParityFailed, match="row 1: label differs"):
        check_parity(expected, wrong, task="classification", roles=roles)


def test_without_scores_every_label_must_be_equal() -> None:
    labels = {"label": np.array(["a", "b"], dtype=object)}
    roles = {"label": "label"}
    check_parity(labels, labels, task="classification", roles=roles)
    with pytest.raises(ParityFailed, match="1 of 2 probe rows"):
        other = {"label": np.array(["a", "c"], dtype=object)}
        check_parity(labels, other, task="classification", roles=roles, rows="probe rows")


@pytest.mark.parametrize(
    "found",
    [
        {"y": np.zeros((3, 2))},
        {"y": np.zeros((3, 1), dtype=np.int64)},
        {"z": np.zeros((3, 1))},
        {"y": np.zeros((3, 1)), "z": np.zeros(3)},
    ],
)
def test_another_form_is_refused_and_both_are_named(found: Arrays) -> None:
    with pytest.raises(ParityFailed, match=r"floats\[3, 1\]"):
        check_parity({"y": np.zeros((3, 1))}, found, task="regression", roles={"value": "y"})


def test_a_nan_counts_as_equal_to_a_nan_and_as_far_from_any_number() -> None:
    roles = {"value": "y"}
    gap = {"y": np.array([[1.0], [np.nan]])}
    assert check_parity(gap, gap, task="regression", roles=roles).largest == {"y": 0.0}
    with pytest.raises(ParityFailed, match="row 1"):
        check_parity(gap, {"y": np.ones((2, 1))}, task="regression", roles=roles)


@given(st.sampled_from([1e-9, 1.0, 1e9]), st.floats(1e-3, 0.5))
def test_the_gate_is_as_strict_for_small_figures_as_for_large_ones(
    unit: float, share: float
) -> None:
    expected = {"y": np.linspace(-1, 1, 50).reshape(-1, 1) * unit}
    moved = {"y": expected["y"] + share * unit}
    with pytest.raises(ParityFailed):
        check_parity(expected, moved, task="regression", roles={"value": "y"})
    near = {"y": expected["y"].astype(np.float32)}
    check_parity(expected, near, task="regression", roles={"value": "y"})


def test_figures_whose_spread_drowns_in_the_grain_of_float32_are_refused() -> None:
    expected = {"y": 1e9 + np.linspace(0, 1, 50).reshape(-1, 1)}
    with pytest.raises(ParityFailed):
        flat = {"y": expected["y"].astype(np.float32)}
        check_parity(expected, flat, task="regression", roles={"value": "y"})
