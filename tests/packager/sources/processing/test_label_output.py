"""Labels at a graph's end: the engine answers what numpy answers, names and ties included."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sources import DEFAULT_OPSET

from edge_runtime.contract.tensors import Arrays
from packager.answers import label_margins, open_graph
from packager.errors import ConfigInvalid
from packager.graph import Graph, Label, SourceFacts, tensor_specs
from packager.sources.processing.label_choice import label_output
from packager.sources.processing.label_output import LabelOutput

FACTS = SourceFacts("onnx", "test", "0" * 64, {}, (), "contained: test")
X, Y = load_iris(return_X_y=True)
X = X.astype(np.float32)
OPSET = dict(DEFAULT_OPSET)


def net(
    *ops: tuple[str, dict[str, Any]],
    width: int | str = 3,
    dtype: int = TensorProto.FLOAT,
    names: tuple[str, str] = ("x", "out"),
    opset: int = 18,
) -> Graph:
    """A graph of operators in a row, from ``[N, width]`` to the same."""
    nodes, value = [], names[0]
    for number, (kind, attributes) in enumerate(ops, start=1):
        output = names[1] if number == len(ops) else f"inner_{number}"
        inputs = [value, "shape"] if kind == "Reshape" else [value]
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        value = output
    ends = [helper.make_tensor_value_info(name, dtype, ["N", width]) for name in names]
    columns = width if isinstance(width, int) else 3
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [-1, columns])
    body = helper.make_graph(nodes, "net", ends[:1], ends[1:], [shape])
    sets = [helper.make_opsetid("", opset)]
    return graph_of(helper.make_model(body, opset_imports=sets, ir_version=8))


def graph_of(
    model: onnx.ModelProto,
    task: str = "tensors",
    roles: dict[str, str] | None = None,
    labels: tuple[Label, ...] = (),
) -> Graph:
    inputs, outputs = tensor_specs(model.graph.input), tensor_specs(model.graph.output)
    return Graph(model, inputs, outputs, (), task, roles or {}, labels, FACTS)


def classifier(
    classes: list[Any], *, opset: dict[str, int] = OPSET, rows: int = 150, **form: Any
) -> Graph:
    """A logistic regression as skl2onnx converts it."""
    names = np.array(classes)
    fitted = LogisticRegression(max_iter=500).fit(X[:rows], names[Y[:rows] % len(names)])
    options = {"zipmap": False, **form}
    model = to_onnx(fitted, X[:1], target_opset=opset, options=options)
    name = "score" if form else "probability"
    roles = dict(zip(("label", name), [o.name for o in model.graph.output], strict=True))
    return graph_of(model, "classification", roles, tuple(fitted.classes_.tolist()))


def agreeing(graph: Graph, output: LabelOutput, rows: Any) -> Arrays:
    """Return what the graph answers, having required that numpy answers the same."""
    made = output.put_behind(graph, OPSET)
    onnx.checker.check_model(made.model, full_check=True)
    session = open_graph(made)
    found = session.run({graph.inputs[0].name: rows})
    wanted = output.answers(open_graph(graph).run({graph.inputs[0].name: rows}))
    assert list(found) == list(wanted) == [spec.name for spec in made.outputs]
    for name, array in wanted.items():
        assert array.dtype == found[name].dtype
        np.testing.assert_array_equal(array, found[name])
    assert [spec.shape[1:] for spec in session.outputs] == [s.shape[1:] for s in made.outputs]
    assert made.task == "classification"
    assert made.labels == output.labels
    return found


# --- scores become labels ------------------------------------------------------------------

LOGITS = np.array([[1, 5, 2], [7, -1, 0], [0, 1, 9], [2, 2, 1]], np.float32)


@pytest.mark.parametrize(
    ("ops", "role"),
    [
        ([("Softmax", {"axis": 1})], "probability"),
        ([("Softmax", {"axis": -1}), ("Identity", {})], "probability"),
        ([("Softmax", {}), ("Reshape", {}), ("Cast", {"to": 1})], "probability"),
        ([("LogSoftmax", {})], "score"),
        ([("Softmax", {"axis": 0})], "score"),
        ([("Softmax", {}), ("Neg", {})], "score"),
        ([("Sigmoid", {})], "score"),
        ([("Identity", {})], "score"),
    ],
)
def test_the_greatest_score_names_the_class(ops: list[Any], role: str) -> None:
    graph = net(*ops)
    output = label_output(graph, ["cat", "dog", "eel"], None)
    name = {"probability": "probabilities", "score": "scores"}[role]
    assert output.roles == {"label": "label", role: name}
    found = agreeing(graph, output, LOGITS)
    assert list(found) == ["label", name]
    best = found[name].argmax(axis=1)
    assert found["label"].tolist() == [["cat", "dog", "eel"][one] for one in best]


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_other_floats_keep_their_scores_as_they_are(dtype: int) -> None:
    graph = net(("Softmax", {}), dtype=dtype)
    rows = LOGITS.astype(helper.tensor_dtype_to_np_dtype(dtype))
    found = agreeing(graph, label_output(graph, ["a", "b", "c"], None), rows)
    assert found["probabilities"].dtype == rows.dtype


def test_labels_made_of_digits_stay_text() -> None:
    graph = net(("Identity", {}))
    output = label_output(graph, ["0", "1", "2"], None)
    assert agreeing(graph, output, LOGITS)["label"].tolist() == ["1", "0", "2", "0"]
    assert output.labels == ("0", "1", "2")


def test_a_sigmoid_is_the_second_class_s_probability() -> None:
    graph = net(("Sigmoid", {}), width=1)
    output = label_output(graph, ["no", "yes"], None)
    found = agreeing(graph, output, np.array([[-1], [0], [1]], np.float32))
    assert found["label"].tolist() == ["no", "yes", "yes"]
    np.testing.assert_array_equal(found["probabilities"].sum(axis=1), np.ones(3))
    assert output.threshold == 0.5


@pytest.mark.parametrize(("threshold", "yes"), [(0.0, 2), (-1.0, 3), (0.5, 1), (1.5, 0)])
def test_one_score_decides_by_the_threshold_given(threshold: float, yes: int) -> None:
    graph = net(("Identity", {}), width=1)
    output = label_output(graph, ["no", "yes"], threshold)
    found = agreeing(graph, output, np.array([[-1], [0], [1]], np.float32))
    assert found["label"].tolist() == ["no"] * (3 - yes) + ["yes"] * yes
    assert found["scores"].tolist() == [[1, -1], [0, 0], [-1, 1]]


def test_two_probabilities_decide_by_the_threshold_given() -> None:
    graph = net(("Softmax", {}), width=2)
    rows = np.log(np.array([[0.5, 0.5], [0.75, 0.25], [0.9, 0.1]], np.float32))
    found = agreeing(graph, label_output(graph, ["no", "yes"], 0.2), rows)
    assert found["label"].tolist() == ["yes", "yes", "no"]


def test_names_that_the_graph_uses_itself_move_out_of_the_way() -> None:
    graph = net(("Neg", {}), ("Neg", {}), ("Softmax", {}), names=("x", "label"))
    for old, new in (("inner_1", "probabilities"), ("inner_2", "labels")):
        for node in graph.model.graph.node:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]
    found = agreeing(graph, label_output(graph, ["a", "b", "c"], None), LOGITS)
    assert list(found) == ["label", "probabilities"]


def test_an_input_keeps_its_name_and_the_output_takes_another() -> None:
    graph = net(("Softmax", {}), names=("label", "probabilities"))
    found = agreeing(graph, label_output(graph, ["a", "b", "c"], None), LOGITS)
    assert list(found) == ["label_out", "probabilities"]


@given(
    arrays.arrays(np.float32, (7, 2), elements=st.floats(-4, 4, width=32)),
    st.floats(0.01, 0.99),
)
def test_any_scores_and_threshold_agree(rows: np.ndarray[Any, Any], threshold: float) -> None:
    graph = net(("Softmax", {}), width=2)
    agreeing(graph, label_output(graph, ["no", "yes"], threshold), rows)


def test_a_score_exactly_at_the_threshold_is_the_second_class() -> None:
    graph = net(("Identity", {}), width=1)
    rows = np.array([[np.nextafter(np.float32(0.3), np.float32(0))], [0.3]], np.float32)
    found = agreeing(graph, label_output(graph, ["no", "yes"], 0.3), rows)
    assert found["label"].tolist() == ["no", "yes"]


def test_a_tie_is_where_the_score_meets_the_threshold() -> None:
    answers = {"p": np.array([[0.7, 0.3], [0.5, 0.5]])}
    roles = {"label": "l", "probability": "p"}
    margins = label_margins("classification", roles, answers, 0.3)
    np.testing.assert_allclose(margins, [0, 0.2], atol=1e-15)


# --- classes of a classifier ---------------------------------------------------------------


@pytest.mark.parametrize("ml", [1, 3])
@pytest.mark.parametrize("classes", [[0, 1, 2], [-5, 3, 40], ["a", "ü", "c"]])
def test_classes_are_renamed_in_their_order(classes: list[Any], ml: int) -> None:
    graph = classifier(classes, opset={"": 18 if ml > 1 else 9, "ai.onnx.ml": ml})
    output = label_output(graph, ["one", "two", "three"], None)
    found = agreeing(graph, output, X)
    names = dict(zip(graph.labels, ["one", "two", "three"], strict=True))
    own = open_graph(graph).run({graph.inputs[0].name: X})[graph.roles["label"]]
    assert found[graph.roles["label"]].tolist() == [names[label] for label in own.tolist()]
    assert len(set(found[graph.roles["label"]])) == 3


@pytest.mark.parametrize("classes", [[0, 1], [3, 7], ["no", "yes"], [False, True]])
@pytest.mark.parametrize("labels", [[], ["calm", "alarm"]])
@pytest.mark.parametrize("form", [{}, {"raw_scores": True}])
def test_a_threshold_moves_the_border_of_a_classifier(
    classes: list[Any], labels: list[str], form: dict[str, Any]
) -> None:
    graph = classifier(classes, rows=100, **form)
    output = label_output(graph, labels, 0.25)
    found = agreeing(graph, output, X[40:60])
    scores = found[list(graph.roles.values())[1]]
    second = scores[:, 1] >= np.float32(0.25)
    wanted = [(labels or classes)[int(one)] for one in second]
    assert found[graph.roles["label"]].tolist() == wanted
    assert 0 < second.sum() < 20


def test_a_threshold_of_the_model_s_own_stays_when_classes_are_renamed() -> None:
    graph = classifier([0, 1], rows=100)
    renamed = label_output(graph, ["no", "yes"], None)
    assert renamed.put_behind(graph, OPSET).threshold is None
    assert label_output(graph, [], 0.3).put_behind(graph, OPSET).threshold == 0.3


# --- what is refused -----------------------------------------------------------------------


def refused(graph: Graph, labels: list[str], threshold: float | None = None) -> str:
    with pytest.raises(ConfigInvalid) as caught:
        label_output(graph, labels, threshold)
    assert caught.value.hint
    return str(caught.value)


def test_a_wrong_number_of_labels_tells_both() -> None:
    assert "labels must be 3 names, one for each class of the model; it is 2: a, b" in refused(
        net(("Softmax", {})), ["a", "b"]
    )
    assert "labels must be 2 names" in refused(net(("Sigmoid", {}), width=1), ["a", "b", "c"])


@pytest.mark.parametrize(
    "graph",
    [
        net(("Identity", {}), dtype=TensorProto.INT64),
        net(("Identity", {}), width="K"),
    ],
)
def test_other_outputs_are_no_scores(graph: Graph) -> None:
    assert "one output of floats [?, number of classes]" in refused(graph, ["a", "b", "c"])


def test_two_outputs_are_not_chosen_from() -> None:
    graph = net(("Softmax", {}))
    two = graph_of(graph.model)
    two.model.graph.output.append(two.model.graph.input[0])
    assert "it is one with out float32[?, 3], x float32[?, 3]" in refused(
        graph_of(two.model), ["a", "b", "c"]
    )


def test_one_score_that_is_no_probability_needs_a_threshold() -> None:
    graph = net(("Identity", {}), width=1)
    assert "threshold must be given where one score decides" in refused(graph, ["a", "b"])


def test_two_raw_scores_have_no_threshold() -> None:
    graph = net(("Identity", {}), width=2)
    assert "threshold must be left out where two scores" in refused(graph, ["a", "b"], 0.5)


@pytest.mark.parametrize("threshold", [0.0, 1.0, 1.5, -3.0])
def test_a_probability_lies_between_its_ends(threshold: float) -> None:
    said = refused(net(("Sigmoid", {}), width=1), ["a", "b"], threshold)
    assert f"a probability between 0 and 1; it is {threshold!r}" in said
    assert "between 0 and 1" in refused(classifier([0, 1], rows=100), [], threshold)


def test_labels_alone_have_no_threshold() -> None:
    graph = classifier([0, 1], rows=100)
    del graph.model.graph.output[1]
    bare = graph_of(graph.model, "classification", {"label": "label"}, (0, 1))
    assert "answers probabilities or scores" in refused(bare, [], 0.3)
