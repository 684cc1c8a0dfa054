"""The parity gate holds real conversions and catches graphs that answer otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import trained
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, numpy_helper
from trained import Trained

from edge_runtime.contract.tensors import Arrays, TensorSpec
from edge_runtime.engine.session import SessionPlan, open_session
from packager.answers import run_rows
from packager.errors import ParityFailed, ReplayMismatch
from packager.record import Record
from packager.stages.parity import Asked, Gate, Parity, check_parity, recorded_parity
from packager.yards import measure, rounded

MODELS = [
    trained.cancer_network,
    trained.cancer_logistic,
    trained.cancer_forest,
    trained.iris_network,
    trained.diabetes_network,
]

VALUES = Gate("regression", {"value": "y"})


def answers(model: Trained, graph: ModelProto) -> Arrays:
    session = open_session(graph.SerializeToString(), SessionPlan())
    return run_rows(session, model.feed)


def gate(model: Trained, graph: ModelProto) -> Parity:
    found = answers(model, graph)
    return check_parity(model.reference(), found, Gate(model.task, model.roles))


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
        check_parity(model.reference(), found, Gate(model.task, model.roles))
    error = caught.value
    assert error.message.startswith("the graph answers 1 of 38 held-out rows unlike the source")
    assert "row 5: label differs, probabilities is off by" in error.message
    assert set(error.values) == {"rows", "failing", "total", "worst_row", "differences"}
    assert error.values["differences"]["label"] is True
    assert 0 < error.values["differences"]["probabilities"] <= 1
    assert not any(str(value) in error.message for value in model.rows[5])


FIGURES = {
    "kind": "held-out",
    "rows": 427,
    "refused": 0,
    "ties": 0,
    "excused": 0,
    "largest": {"p": 4.4e-05},
    "worst": 3,
    "share": 0.44,
    "column": "",
    "differences": {"label": False, "p": 4.4e-05},
}


def test_a_replay_tells_the_recorded_figures():
    build = Record()
    assert recorded_parity([FIGURES], build, "mark") == [FIGURES]
    elsewhere = FIGURES | {"ties": 1, "worst": 9, "share": 0.5, "largest": {"p": 5e-05}}
    assert recorded_parity([elsewhere], Record(build.values), "mark") == [FIGURES]


@pytest.mark.parametrize(
    "other",
    [
        FIGURES | {"rows": 426},
        FIGURES | {"kind": "thresholds"},
        FIGURES | {"largest": {"q": 4.4e-05}},
        FIGURES | {"ties": 0.5},
        {name: value for name, value in FIGURES.items() if name != "worst"},
    ],
)
def test_a_replay_refuses_the_figures_of_other_rows(other):
    build = Record()
    recorded_parity([FIGURES], build, "mark")
    with pytest.raises(ReplayMismatch, match="compared other rows or outputs"):
        recorded_parity([other], Record(build.values), "mark")


CLASSES = Gate("classification", {"label": "label", "probability": "p"})


def test_labels_may_differ_only_where_the_source_has_a_tie() -> None:
    expected = {
        "label": np.array([0, 1, 1]),
        "p": np.array([[0.5, 0.5], [0.4, 0.6], [0.4999999, 0.5000001]]),
    }
    rounded_off = expected["p"] + [[-1e-8, 1e-8], [0, 0], [1e-7, -1e-7]]
    tied = {"label": np.array([1, 1, 0]), "p": rounded_off}
    assert check_parity(expected, tied, CLASSES).ties == 2
    wrong = {"label": np.array([0, 0, 1]), "p": expected["p"]}
    with pytest.raises(ParityFailed, match="row 1: label differs"):
        check_parity(expected, wrong, CLASSES)


def test_where_both_have_exactly_equal_scores_the_same_label_has_to_win() -> None:
    scores = np.array([[0.5, 0.5], [0.25, 0.75]])
    expected = {"label": np.array([0, 1]), "p": scores}
    with pytest.raises(ParityFailed, match="row 0: label differs"):
        check_parity(expected, {"label": np.array([1, 1]), "p": scores}, CLASSES)


def test_a_tie_is_measured_by_its_own_row_and_by_no_larger_one() -> None:
    roles = {"label": "label", "score": "s"}
    expected = {"label": np.array([0, 1]), "s": np.array([[1e-3, 0.0], [0.0, 1e9]])}
    swapped = {"label": np.array([1, 1]), "s": expected["s"]}
    with pytest.raises(ParityFailed, match="row 0: label differs"):
        check_parity(expected, swapped, Gate("classification", roles))


def test_without_scores_every_label_must_be_equal() -> None:
    labels = {"label": np.array(["a", "b"], dtype=object)}
    gate = Gate("classification", {"label": "label"})
    check_parity(labels, labels, gate)
    with pytest.raises(ParityFailed, match="1 of 2 probe rows"):
        other = {"label": np.array(["a", "c"], dtype=object)}
        check_parity(labels, other, gate, Asked("probe rows"))


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
        check_parity({"y": np.zeros((3, 1))}, found, VALUES)


@pytest.mark.parametrize(
    ("promised", "said"),
    [
        (TensorSpec("y", "float32", (None, 1)), None),
        (TensorSpec("y", "float64", (None, 1)), r"float64\[\?, 1\].*float32\[3, 1\]"),
        (TensorSpec("y", "float32", (None,)), r"float32\[\?\].*float32\[3, 1\]"),
        (TensorSpec("y", "float32", (None, 2)), r"float32\[\?, 2\].*float32\[3, 1\]"),
    ],
)
def test_the_graph_keeps_what_its_interface_promises(promised: TensorSpec, said: str) -> None:
    expected, found = ({"y": np.zeros((3, 1), kind)} for kind in (np.float64, np.float32))
    gate = Gate("regression", {"value": "y"}, (promised,))
    if said is None:
        check_parity(expected, found, gate)
        return
    with pytest.raises(ParityFailed, match=said):
        check_parity(expected, found, gate)


def test_a_nan_counts_as_equal_to_a_nan_and_as_far_from_any_number() -> None:
    gap = {"y": np.array([[1.0], [np.nan]])}
    assert check_parity(gap, gap, VALUES).largest == {"y": 0.0}
    with pytest.raises(ParityFailed, match="row 1"):
        check_parity(gap, {"y": np.ones((2, 1))}, VALUES)


# --- how far float32 may stand -------------------------------------------------------------


@given(st.sampled_from([1e-9, 1.0, 1e9]), st.floats(1e-3, 0.5))
def test_the_gate_is_as_strict_for_small_figures_as_for_large_ones(
    unit: float, share: float
) -> None:
    expected = {"y": np.linspace(-1, 1, 50).reshape(-1, 1) * unit}
    moved = {"y": expected["y"] + share * unit}
    with pytest.raises(ParityFailed):
        check_parity(expected, moved, VALUES)
    near = {"y": expected["y"].astype(np.float32)}
    check_parity(expected, near, VALUES)


def test_figures_whose_spread_drowns_in_the_grain_of_float32_are_refused() -> None:
    expected = {"y": 1e9 + np.linspace(0, 1, 50).reshape(-1, 1)}
    with pytest.raises(ParityFailed):
        check_parity(expected, {"y": expected["y"].astype(np.float32)}, VALUES)


@given(st.floats(1e-3, 1e6), st.floats(0, 1e-15))
def test_one_figure_for_all_rows_may_be_rounded_to_float32(size: float, noise: float) -> None:
    expected = {"y": size * (1 + noise * np.linspace(-1, 1, 50).reshape(-1, 1))}
    check_parity(expected, {"y": expected["y"].astype(np.float32)}, VALUES)
    with pytest.raises(ParityFailed):
        check_parity(expected, {"y": np.log(expected["y"] + 1)}, VALUES)


def test_a_model_that_hardly_varies_is_compared_by_how_it_varies() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 2))
    expected = {"y": 5 + 1e-3 * rows[:, :1] + 1e-4 * rows[:, 1:]}
    swapped = {"y": 5 + 1e-3 * rows[:, 1:] + 1e-4 * rows[:, :1]}
    check_parity(expected, {"y": expected["y"].astype(np.float32)}, VALUES)
    with pytest.raises(ParityFailed):
        check_parity(expected, swapped, VALUES)


def test_what_rounding_the_inputs_does_is_allowed_and_little_more() -> None:
    rows = 1e4 + np.random.default_rng(0).normal(size=(200, 3))
    weights = np.array([[3.0], [-2.0], [-1.0]])
    expected, moved = {"y": rows @ weights}, {"y": rounded(rows) @ weights}
    graph = {"y": rows.astype(np.float32) @ weights.astype(np.float32)}
    with pytest.raises(ParityFailed):
        check_parity(expected, graph, VALUES)
    gate = replace(VALUES, yards=measure(expected, expected, moved))
    check_parity(expected, graph, gate)
    for wrong in (np.array([[3.0], [-1.0], [-2.0]]), weights * 1.02):
        with pytest.raises(ParityFailed):
            check_parity(expected, {"y": rows @ wrong}, gate)


def test_rare_probabilities_are_compared_by_how_they_vary() -> None:
    rare = np.random.default_rng(0).random((200, 1)) * 5e-5
    expected = {"label": np.zeros(200, int), "p": np.hstack([1 - rare, rare])}
    near = {**expected, "p": expected["p"].astype(np.float32)}
    check_parity(expected, near, CLASSES)
    doubled = {**expected, "p": np.hstack([1 - 2 * rare, 2 * rare])}
    with pytest.raises(ParityFailed, match="p is off by"):
        check_parity(expected, doubled, CLASSES)


def test_an_answer_far_above_all_others_may_differ_in_proportion() -> None:
    usual = {"y": np.linspace(-1, 1, 50).reshape(-1, 1)}
    gate = replace(VALUES, yards=measure(usual))
    expected = {"y": np.array([[1e6], [0.5]])}
    check_parity(expected, {"y": np.array([[1e6 + 1], [0.5]])}, gate)
    for found in ([[1e6], [0.501]], [[1e6 * 1.001], [0.5]]):
        with pytest.raises(ParityFailed):
            check_parity(expected, {"y": np.array(found)}, gate)


# --- rows that float32 cannot see ----------------------------------------------------------


def far_gate() -> Gate:
    usual = {"y": np.linspace(-1, 1, 50).reshape(-1, 1)}
    return replace(VALUES, yards=measure(usual))


def test_a_model_with_bounds_may_answer_far_rows_otherwise_within_them() -> None:
    expected, found = {"y": np.array([[0.2]])}, {"y": np.array([[-0.7]])}
    far = Asked("far rows", np.array([True]))
    assert check_parity(expected, found, far_gate(), far).excused == 1
    with pytest.raises(ParityFailed):
        check_parity(expected, found, far_gate())


@pytest.mark.parametrize(("own", "graph"), [(5e6, 0.2), (0.2, 5e6), (0.2, np.nan), (1.5, 0.2)])
def test_far_rows_are_held_to_what_the_model_answers_beyond_its_bounds(
    own: float, graph: float
) -> None:
    expected, found = {"y": np.array([[own]])}, {"y": np.array([[graph]])}
    with pytest.raises(ParityFailed):
        check_parity(expected, found, far_gate(), Asked("far rows", np.array([True])))


def test_far_rows_have_labels_that_the_source_knows() -> None:
    gate = replace(CLASSES, known=frozenset({0, 1}))
    scores = np.array([[0.0, 1.0]])
    expected = {"label": np.array([1]), "p": scores}
    far = Asked("far rows", np.array([True]))
    other = {"label": np.array([0]), "p": scores[:, ::-1]}
    assert check_parity(expected, other, gate, far).excused == 1
    with pytest.raises(ParityFailed):
        check_parity(expected, {"label": np.array([2]), "p": scores}, gate, far)


def test_what_is_beyond_float32_is_infinite_in_the_graph() -> None:
    expected = {"y": np.array([[1e300], [1.0]])}
    found = {"y": np.array([[np.inf], [1.0]])}
    assert check_parity(expected, found, far_gate()).excused == 1
    with pytest.raises(ParityFailed):
        check_parity(expected, {"y": np.array([[-np.inf], [1.0]])}, far_gate())


# --- what is shown -------------------------------------------------------------------------


def test_the_row_is_shown_only_where_it_was_asked_for() -> None:
    expected, found = {"y": np.zeros((2, 1))}, {"y": np.array([[0.0], [1.0]])}
    with pytest.raises(ParityFailed) as hidden:
        check_parity(expected, found, VALUES)
    assert "row" not in hidden.value.values
    assert "--show-rows" in str(hidden.value.hint)
    shown = Asked(show=lambda row: {"age": 41 + row, "city": "Köln"})
    with pytest.raises(ParityFailed, match="the row: age=42, city='Köln'") as caught:
        check_parity(expected, found, VALUES, shown)
    assert caught.value.values["row"] == {"age": 42, "city": "Köln"}
