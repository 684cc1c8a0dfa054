"""A source with more around it answers end to end, so that the parity gate holds it too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pictures
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import convert_model_to_external_data
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from sources import DEFAULT_OPSET

from edge_runtime.contract.columns import assemble
from edge_runtime.contract.tensors import Arrays, TensorSpec
from packager.answers import open_graph, run_rows
from packager.errors import ConfigInvalid, DataUnusable, ParityFailed
from packager.graph import Graph
from packager.graphs import external_data
from packager.sources.child_source import ChildSource
from packager.sources.onnx_source import OnnxSource
from packager.sources.processing.source import Processing, Source, processed
from packager.stages.parity import Gate, check_parity

OPSET = dict(DEFAULT_OPSET)
LABELS = pictures.COLOURS
IMAGE = Processing(image=pictures.SIZE, mean=pictures.MEAN, std=pictures.STD)
X, Y = load_iris(return_X_y=True)
KINDS = dict.fromkeys("abcd", "float")
ROWS: Arrays = {name: X[:, index] for index, name in enumerate(KINDS)}

Open = Callable[[Any], ChildSource]


def photos() -> Arrays:
    """Photos of all colours in turn, as the application has them."""
    return {"input": np.stack([pictures.photo(LABELS[n % 3], n) for n in range(30)])}


def saved(path: Path, model: bytes) -> OnnxSource:
    path.write_bytes(model)
    return OnnxSource(path)


def converted(source: Source, kinds: dict[str, str] | None) -> Graph:
    described = source.describe(kinds)
    graph = source.graph(OPSET)
    assert graph.inputs == described.inputs
    assert graph.columns == described.columns
    assert (graph.task, graph.labels) == (described.task, described.labels)
    return graph


def compared(source: Source, graph: Graph, rows: Arrays) -> Arrays:
    """Hold a graph against its source as a build does; return the graph's answers."""
    wanted = source.reference(rows)
    assert wanted is not None
    feed = assemble(graph.columns, graph.inputs, rows) if graph.columns else rows
    found = run_rows(open_graph(graph), feed)
    gate = Gate(graph.task, graph.roles, graph.outputs, threshold=graph.threshold)
    check_parity(wanted, found, gate)
    count = len(next(iter(rows.values())))
    answered, again = source.attempt(rows, [count])
    assert answered.all()
    for name, array in wanted.items():
        np.testing.assert_array_equal(again[name], array)
    return found


def test_nothing_asked_for_is_nothing_put_around(tmp_path: Path) -> None:
    source = saved(tmp_path / "net.onnx", pictures.net())
    assert processed(source, Processing(layout="nhwc")) is source


# --- an ONNX file, whose graph is the source -------------------------------------------------


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("batch", ["N", 4])
def test_photos_become_names_of_colours(tmp_path: Path, layout: str, batch: Any) -> None:
    inner = saved(tmp_path / "net.onnx", pictures.net(layout=layout, batch=batch))
    asked = Processing(LABELS, None, pictures.SIZE, pictures.MEAN, pictures.STD, layout)
    source = processed(inner, asked)
    graph = converted(source, {"X": "tensor"})
    axis = None if batch == "N" else batch
    assert graph.inputs == (TensorSpec("input", "uint8", (axis, *pictures.SIZE)),)
    assert graph.roles == {"label": "label", "probability": "probabilities"}
    found = compared(source, graph, photos())
    assert found["label"].tolist() == [LABELS[n % 3] for n in range(30)]
    scaled = pictures.scaled(photos()["input"]).astype(np.float32)
    scaled = scaled.transpose(0, 3, 1, 2) if layout == "nchw" else scaled
    own = run_rows(open_graph(inner.graph(OPSET)), {"input": scaled})["label"]
    np.testing.assert_allclose(found["probabilities"], own, atol=1e-5)


def test_a_graph_with_another_order_of_steps_does_not_pass(tmp_path: Path) -> None:
    source = processed(saved(tmp_path / "net.onnx", pictures.net()), IMAGE)
    graph = converted(source, {"X": "tensor"})
    constants = {tensor.name: tensor for tensor in graph.model.graph.initializer}
    mean, std = constants["input_mean"], constants["input_std"]
    mean.raw_data, std.raw_data = std.raw_data, mean.raw_data
    with pytest.raises(ParityFailed):
        compared(source, graph, photos())


def test_without_labels_the_outputs_stay_the_model_s_own(tmp_path: Path) -> None:
    source = processed(saved(tmp_path / "net.onnx", pictures.net()), IMAGE)
    graph = converted(source, None)
    assert (graph.task, graph.roles, graph.labels) == ("tensors", {}, ())
    assert list(compared(source, graph, photos())) == ["label"]


def test_a_table_s_columns_still_enter_a_graph_with_labels(tmp_path: Path) -> None:
    weights = np.arange(12, dtype=np.float32).reshape(4, 3) - 5
    ends = [("x", 4), ("y", 3)]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", w]) for n, w in ends]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["s"]),
        helper.make_node("Softmax", ["s"], ["y"]),
    ]
    weight = numpy_helper.from_array(weights, "w")
    body = helper.make_graph(nodes, "g", values[:1], values[1:], [weight])
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    inner = saved(tmp_path / "m.onnx", model.SerializeToString())
    source = processed(inner, Processing(labels=("a", "b", "c")))
    graph = converted(source, KINDS)
    assert [column.name for column in graph.columns] == list(KINDS)
    assert set(compared(source, graph, ROWS)["label"]) <= {"a", "b", "c"}


@pytest.mark.parametrize("outside", [True, False])
def test_many_weights_stay_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outside: bool
) -> None:
    small = processed(saved(tmp_path / "small.onnx", pictures.net()), IMAGE)
    wanted = compared(small, converted(small, None), photos())
    monkeypatch.setattr(external_data, "INLINE_LIMIT", 0)
    model = onnx.load_from_string(pictures.net())
    if outside:
        convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    onnx.save(model, tmp_path / "net.onnx")
    source = processed(OnnxSource(tmp_path / "net.onnx"), IMAGE)
    source.describe()
    assert source.graph(OPSET).beside == tmp_path
    found = source.reference(photos())
    assert found is not None
    np.testing.assert_array_equal(found["label"], wanted["label"])


def test_rows_that_the_graph_refuses_are_told_apart(tmp_path: Path) -> None:
    ends = [
        helper.make_tensor_value_info("x", TensorProto.INT64, ["N"]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2]),
    ]
    table = numpy_helper.from_array(np.array([[0, 1], [1, 0]], np.float32), "t")
    node = helper.make_node("Gather", ["t", "x"], ["y"])
    body = helper.make_graph([node], "g", ends[:1], ends[1:], [table])
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    inner = saved(tmp_path / "m.onnx", model.SerializeToString())
    source = processed(inner, Processing(labels=("no", "yes")))
    converted(source, {"x": "tensor"})
    answered, answers = source.attempt({"x": np.array([0, 9, 1])}, [3])
    assert answered.tolist() == [True, False, True]
    assert answers["label"].tolist() == ["yes", "no"]
    answered, answers = source.attempt({"x": np.array([9])}, [1])
    assert (answered.tolist(), answers) == ([False], {})


# --- a saved model ---------------------------------------------------------------------------


def test_a_classifier_s_classes_are_renamed(opened: Open) -> None:
    source = processed(
        opened(LogisticRegression(max_iter=500).fit(X, Y)), Processing(("a", "b", "c"))
    )
    graph = converted(source, KINDS)
    assert graph.outputs[0] == TensorSpec("label", "string", (None,))
    assert compared(source, graph, ROWS)["label"].tolist()[::50] == ["a", "b", "c"]


@pytest.mark.parametrize("labels", [(), ("calm", "alarm")])
def test_a_threshold_decides_where_the_tree_s_share_is_exactly_it(
    opened: Open, labels: tuple[str, ...]
) -> None:
    rows = np.repeat([[0.0], [1.0]], 10, axis=0)
    truth = np.r_[np.arange(10) < 3, np.arange(10) < 6].astype(int)
    tree = DecisionTreeClassifier().fit(rows, truth)
    for threshold, first in ((0.3, 1), (0.30001, 0)):
        source = processed(opened(tree), Processing(labels, threshold))
        graph = converted(source, {"x": "float"})
        found = compared(source, graph, {"x": np.array([0.0, 1.0])})
        names = labels or (0, 1)
        assert found["label"].tolist() == [names[first], names[1]]


def test_a_graph_with_another_threshold_does_not_pass(opened: Open) -> None:
    model = LogisticRegression().fit(X[:100], Y[:100])
    source = processed(opened(model), Processing(threshold=0.25))
    graph = converted(source, KINDS)
    limit = next(t for t in graph.model.graph.initializer if t.name == "threshold")
    limit.CopyFrom(numpy_helper.from_array(np.float32(0.75), "threshold"))
    between = {
        name: np.linspace(v[:50].mean(), v[50:100].mean(), 99) for name, v in ROWS.items()
    }
    with pytest.raises(ParityFailed, match="label differs"):
        compared(source, graph, between)


def test_the_answers_to_missing_values_are_labelled_too(opened: Open) -> None:
    model = HistGradientBoostingClassifier(max_iter=3).fit(X, Y)
    source = processed(opened(model), Processing(("a", "b", "c")))
    converted(source, KINDS)
    probes = source.missing_probe(ROWS)
    assert [probe.column for probe in probes] == list(KINDS)
    for probe in probes:
        assert probe.answers is not None
        assert set(probe.answers["label"]) <= {"a", "b", "c"}


def test_what_the_source_says_of_its_steps_is_passed_on(opened: Open) -> None:
    inner = opened(LogisticRegression(max_iter=500).fit(X, Y))
    assert processed(inner, Processing(("a", "b", "c"))).diagnose() == inner.diagnose()


# --- what is refused -------------------------------------------------------------------------


def refused(source: Source, kinds: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigInvalid) as caught:
        source.describe(kinds)
    assert caught.value.hint
    return str(caught.value)


def test_a_wrong_number_of_names_tells_both(opened: Open) -> None:
    inner = opened(LogisticRegression(max_iter=500).fit(X, Y))
    said = refused(processed(inner, Processing(("a", "b"))))
    assert "labels must be 3 names, one for each class of the model; it is 2: a, b" in said


def test_three_classes_have_no_threshold(opened: Open) -> None:
    inner = opened(LogisticRegression(max_iter=500).fit(X, Y))
    said = refused(processed(inner, Processing(threshold=0.5)))
    assert "unless the model has 2 classes; it is given for one with 3" in said


def test_a_regression_has_no_classes(opened: Open) -> None:
    inner = opened(LinearRegression().fit(X, Y))
    for asked in (Processing(("a", "b")), Processing(threshold=0.5)):
        assert "this scikit-learn model is for regression" in refused(processed(inner, asked))


def test_bare_scores_need_names_before_a_threshold(tmp_path: Path) -> None:
    inner = saved(tmp_path / "net.onnx", pictures.net())
    assert "it names no classes" in refused(processed(inner, Processing(threshold=0.5)))


def test_a_model_of_columns_takes_no_images(opened: Open) -> None:
    inner = opened(LogisticRegression(max_iter=500).fit(X, Y))
    assert "need one input of floats [?, 3, 12, 16]" in refused(processed(inner, IMAGE))


def test_no_image_comes_from_a_table(tmp_path: Path) -> None:
    source = processed(saved(tmp_path / "net.onnx", pictures.net()), IMAGE)
    with pytest.raises(DataUnusable, match=r"the graph takes input uint8\[\?, 12, 16, 3\]"):
        source.describe(KINDS)


def test_answers_before_a_graph_are_a_mistake_of_ours(tmp_path: Path) -> None:
    source = processed(saved(tmp_path / "net.onnx", pictures.net()), IMAGE)
    source.describe()
    with pytest.raises(RuntimeError, match="comes before"):
        source.reference(photos())
