"""The gate as a whole: sound graphs pass, wrong ones are caught by the rows made for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sources import saved_estimator

from edge_runtime.contract.columns import assemble
from edge_runtime.contract.tensors import Arrays
from packager.answers import open_graph, run_rows
from packager.errors import ParityFailed, ReplayMismatch
from packager.graph import Graph, SourceFacts, tensor_specs
from packager.parity.compared import Compared
from packager.parity.comparing import compare, with_missing
from packager.record import Record
from packager.report.facts import ParityFacts
from packager.sources.attempts import attempt
from packager.sources.sandbox import Sandbox
from packager.sources.saved import open_saved
from packager.synthetic import learned_values

OPSET = {"": 18, "ai.onnx.ml": 3}
FLOAT_STEP = np.float32(np.inf)


@dataclass(frozen=True)
class Bench:
    """A source, its faithful graph and held-out rows, all that a comparison takes."""

    source: Any
    graph: Graph
    rows: Compared

    def compare(
        self, edit: Callable[[onnx.ModelProto], None] | None = None, **how: Any
    ) -> tuple[ParityFacts, tuple[str, ...]]:
        graph = self.graph
        if edit is not None:
            model = onnx.ModelProto()
            model.CopyFrom(graph.model)
            edit(model)
            graph = replace(graph, model=model)
        return compare(self.source, graph, self.rows, how.pop("record", Record()), **how)

    def kinds(self) -> dict[str, int]:
        facts, _ = self.compare()
        return {one.kind: one.rows for one in facts.kinds}


@pytest.fixture(scope="module")
def child(tmp_path_factory) -> Iterator[tuple[Sandbox, Path]]:
    directory = tmp_path_factory.mktemp("models")
    with Sandbox("model.joblib", readable=[directory]) as sandbox:
        yield sandbox, directory


@pytest.fixture
def bench(child) -> Callable[..., Bench]:
    """Open a fitted estimator in the child, convert it, and let columns be missing."""
    sandbox, directory = child

    def make(model: Any, columns: Arrays) -> Bench:
        source = open_saved(sandbox, saved_estimator(model, directory))
        source.describe({name: _kind(values) for name, values in columns.items()})
        graph, _ = with_missing(source.graph(OPSET), source.missing_probe(columns), Record())
        feed = assemble(graph.columns, graph.inputs, columns)
        return Bench(source, graph, Compared(columns, feed, source.reference(columns)))

    return make


def _kind(values: Any) -> str:
    return {"f": "float", "i": "integer", "O": "text"}[values.dtype.kind]


def matrix(rows: Any) -> Arrays:
    rows = np.asarray(rows, dtype=np.float64)
    return {f"x{index}": rows[:, index] for index in range(rows.shape[1])}


def cancer(columns: int = 6) -> tuple[Any, Any, Arrays]:
    """Rows to fit on, their labels, and held-out rows by column."""
    rows, labels = load_breast_cancer(return_X_y=True)
    rows = rows[:, :columns].astype(np.float32).astype(np.float64)
    return rows[:400], labels[:400], matrix(rows[400:])


def node_of(model: onnx.ModelProto, *operators: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type in operators)


def attribute(node: onnx.NodeProto, name: str) -> onnx.AttributeProto:
    return next(item for item in node.attribute if item.name == name)


def before(model: onnx.ModelProto, operator: str, *more: str, **attributes: Any) -> None:
    """Put an operator between the first input and all that reads it."""
    name = model.graph.input[0].name
    for node in model.graph.node:
        node.input[:] = ["changed" if one == name else one for one in node.input]
    node = helper.make_node(operator, [name, *more], ["changed"], **attributes)
    model.graph.node.insert(0, node)


def constant(model: onnx.ModelProto, name: str, values: Any) -> str:
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
    return name


def refused(bench: Bench, edit: Callable[[onnx.ModelProto], None], **how: Any) -> ParityFailed:
    with pytest.raises(ParityFailed) as caught:
        bench.compare(edit, **how)
    return caught.value


# --- sound graphs --------------------------------------------------------------------------


def test_a_network_of_numbers_is_asked_for_extremes_ties_and_batches(bench):
    rows, labels, held_out = cancer()
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, labels)
    kinds = bench(model, held_out).kinds()
    assert list(kinds) == ["held-out", "batches", "ties", "extremes"]
    assert kinds["batches"] == 4 * 33
    assert kinds["ties"] == 64


@pytest.mark.parametrize(
    "model",
    [
        DecisionTreeClassifier(random_state=0),
        RandomForestClassifier(10, random_state=0),
        HistGradientBoostingClassifier(max_iter=10),
        make_pipeline(StandardScaler(), DecisionTreeClassifier(max_depth=4, random_state=0)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_trees_are_asked_at_their_thresholds_and_for_missing_values(bench, model):
    rows, labels, held_out = cancer()
    kinds = bench(model.fit(rows, labels), held_out).kinds()
    assert {"thresholds", "missing values", "ties"} <= kinds.keys()
    assert kinds["thresholds"] % 3 == 0


@pytest.mark.parametrize("model", [KNeighborsClassifier(4), KNeighborsRegressor()])
def test_nearest_neighbours_pass_although_float32_cannot_tell_far_ones_apart(bench, model):
    rows, targets = load_diabetes(return_X_y=True)
    targets = targets if isinstance(model, KNeighborsRegressor) else targets > 140
    facts, _ = bench(model.fit(rows[:300], targets[:300]), matrix(rows[300:])).compare()
    assert facts.kinds[0].excused == 0


def test_each_kind_tells_its_worst_row_as_differences(bench):
    rows, labels, held_out = cancer()
    model = RandomForestClassifier(10, random_state=0).fit(rows, labels)
    facts, _ = bench(model, held_out).compare()
    for one in facts.kinds:
        assert set(one.differences) == {"label", "probabilities"}
        assert one.differences["label"] is False
        assert 0 <= one.share <= 1
        assert 0 <= one.worst < one.rows
        assert one.row == {}


# --- wrong graphs --------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("way", [-1, 1])
def test_one_threshold_moved_by_one_step_of_float32_is_caught(bench, place, way):
    rows, labels, held_out = cancer()
    model = DecisionTreeClassifier(random_state=0).fit(rows, labels)

    def edit(model: onnx.ModelProto) -> None:
        tree = node_of(model, "TreeEnsembleClassifier")
        modes, values = attribute(tree, "nodes_modes"), attribute(tree, "nodes_values")
        inner = [index for index, mode in enumerate(modes.strings) if mode != b"LEAF"]
        index = inner[int(place * (len(inner) - 1))]
        moved = np.nextafter(np.float32(values.floats[index]), way * FLOAT_STEP)
        values.floats[index] = float(moved)

    error = refused(bench(model, held_out), edit)
    assert error.values["rows"] == "rows at tree thresholds"


def test_a_threshold_behind_a_scaler_and_categories_is_caught_too(bench):
    generator = np.random.default_rng(0)
    rows = {
        "age": generator.normal(40, 9, 400).round(1),
        "income": generator.normal(3e4, 9e3, 400).round(0),
        "city": generator.choice(np.array(["Köln", "Roma", "北京"], dtype=object), 400),
    }
    labels = ((rows["age"] > 41) & (rows["city"] != "Roma")) | (rows["income"] > 4e4)
    columns = ColumnTransformer(
        [("n", StandardScaler(), [0, 1]), ("c", OneHotEncoder(handle_unknown="ignore"), [2])],
        sparse_threshold=0,
    )
    tree = DecisionTreeClassifier(random_state=0)
    import pandas as pd

    model = make_pipeline(columns, tree).fit(pd.DataFrame(rows)[:250], labels[:250])
    made = bench(model, {name: values[250:] for name, values in rows.items()})
    assert made.kinds()["thresholds"] > 0

    def edit(model: onnx.ModelProto) -> None:
        node = node_of(model, "TreeEnsembleClassifier")
        ids = attribute(node, "nodes_featureids").ints
        modes = attribute(node, "nodes_modes").strings
        values = attribute(node, "nodes_values").floats
        for index, mode in enumerate(modes):
            if mode != b"LEAF" and ids[index] < 2:
                values[index] = values[index] * 1.0001 + 1e-5

    assert refused(made, edit).values["rows"] != "held-out rows"


def test_a_lost_exp_is_caught(bench):
    rows, targets = load_diabetes(return_X_y=True)
    model = HistGradientBoostingRegressor(loss="poisson", max_iter=10)
    made = bench(model.fit(rows[:300], targets[:300]), matrix(rows[300:]))

    def edit(model: onnx.ModelProto) -> None:
        node_of(model, "Exp").op_type = "Identity"

    assert refused(made, edit).values["rows"] == "held-out rows"


def test_swapped_columns_are_caught(bench):
    rows, targets = load_diabetes(return_X_y=True)
    made = bench(LinearRegression().fit(rows[:300], targets[:300]), matrix(rows[300:]))

    def edit(model: onnx.ModelProto) -> None:
        order = constant(model, "order", [1, 0, *range(2, rows.shape[1])])
        before(model, "Gather", order, axis=1)

    assert refused(made, edit).values["rows"] == "held-out rows"


def test_the_other_label_of_a_tie_is_caught(bench):
    rows, labels, held_out = cancer()
    model = KNeighborsClassifier(2).fit(rows, labels)
    scores = model.predict_proba(np.column_stack(list(held_out.values())))
    clear = np.abs(scores[:, 0] - scores[:, 1]) > 0.1
    made = bench(model, {name: values[clear] for name, values in held_out.items()})

    def edit(model: onnx.ModelProto) -> None:
        best = node_of(model, "ArgMax")
        best.attribute.append(helper.make_attribute("select_last_index", 1))

    error = refused(made, edit)
    assert error.values["rows"] == "rows between two labels"
    assert error.values["differences"]["label"] is True


def test_one_branch_that_a_missing_value_takes_wrongly_is_caught(bench):
    rows, labels, held_out = cancer()
    rows, held_out = rows.copy(), {name: values.copy() for name, values in held_out.items()}
    rows[::5, 0] = rows[::7, 3] = np.nan
    held_out["x0"][::9] = np.nan
    made = bench(DecisionTreeClassifier(random_state=0).fit(rows, labels), held_out)

    def edit(model: onnx.ModelProto) -> None:
        tree = node_of(model, "TreeEnsembleClassifier")
        ids, modes = attribute(tree, "nodes_featureids").ints, attribute(tree, "nodes_modes")
        asked = [i for i, m in enumerate(modes.strings) if m != b"LEAF" and ids[i] == 5]
        tracks = attribute(tree, "nodes_missing_value_tracks_true")
        for index in asked:
            tracks.ints[index] = 1 - tracks.ints[index]

    assert refused(made, edit).values["rows"] == "rows with missing values"


WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")


def texts(count: int = 400) -> Any:
    generator = np.random.default_rng(0)
    drawn = [" ".join(generator.choice(WORDS, 4)) for _ in range(count)]
    return np.array(drawn, dtype=object)


def documents(bench, held_out: Any = None) -> Bench:
    rows = texts()
    labels = np.array(["beta" in text for text in rows])
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(rows[:250], labels[:250])
    return bench(model, {"text": rows[250:] if held_out is None else held_out})


def test_a_tokenizer_of_ascii_letters_alone_is_caught(bench):
    def edit(model: onnx.ModelProto) -> None:
        expression = attribute(node_of(model, "Tokenizer"), "tokenexp")
        expression.s = b"[a-zA-Z0-9_][a-zA-Z0-9_]+"

    made = documents(bench)
    assert made.kinds()["text"] > 20
    error = refused(made, edit)
    assert error.values["rows"] == "rows of foreign text"


def test_letters_that_devices_fold_otherwise_are_told(bench):
    _, notes = documents(bench).compare()
    assert [note for note in notes if "İ" in note] == [
        "text: words with the letter İ in 'text' are answered otherwise than by the source; "
        "no held-out row has one"
    ]


def test_they_are_refused_where_the_rows_have_them(bench):
    held_out = texts(60)
    held_out[0] = "İzmir alpha"
    with pytest.raises(ParityFailed, match="rows of foreign text"):
        documents(bench, held_out).compare()


@pytest.mark.parametrize("size", [1, 32])
def test_a_frozen_batch_is_caught(bench, size):
    rows, labels, held_out = cancer()
    held_out = {name: values[:64] for name, values in held_out.items()}
    made = bench(LogisticRegression(max_iter=5000).fit(rows, labels), held_out)

    def edit(model: onnx.ModelProto) -> None:
        shape = constant(model, "frozen", np.array([size, rows.shape[1]]))
        before(model, "Reshape", shape)

    if size == 1:
        with pytest.raises(ParityFailed, match="held-out rows"):
            made.compare(edit)
        return
    error = refused(made, edit)
    assert error.values["rows"] == "rows in batches of other sizes"
    assert error.message.startswith("the graph fails on rows in batches")


def test_answers_that_depend_on_the_rest_of_the_batch_are_caught(bench):
    rows, targets = load_diabetes(return_X_y=True)
    made = bench(LinearRegression().fit(rows[:300], targets[:300]), matrix(rows[300:332]))

    def edit(model: onnx.ModelProto) -> None:
        """Add the sum over the batch, less what it is over all held-out rows."""
        known = made.rows.feed[model.graph.input[0].name].sum(axis=0, keepdims=True)
        before(model, "Add", "more")
        axes = constant(model, "axes", np.array([0]))
        names = [model.graph.input[0].name, axes]
        model.graph.node.insert(0, helper.make_node("ReduceSum", names, ["sum"]))
        less = ["sum", constant(model, "known", known)]
        model.graph.node.insert(1, helper.make_node("Sub", less, ["more"]))

    assert refused(made, edit).values["rows"] == "rows in batches of other sizes"


def test_a_clip_to_the_known_range_is_caught(bench):
    rows, targets = load_diabetes(return_X_y=True)
    made = bench(LinearRegression().fit(rows[:300], targets[:300]), matrix(rows[300:]))
    low, high = (np.float32(end) for end in (rows.min(), rows.max()))

    def edit(model: onnx.ModelProto) -> None:
        before(model, "Clip", constant(model, "low", low), constant(model, "high", high))

    assert refused(made, edit).values["rows"] == "rows at the columns' extremes"


# --- what the source refuses ---------------------------------------------------------------


def cities(handle: str) -> tuple[Any, Arrays]:
    generator = np.random.default_rng(0)
    city = generator.choice(np.array(["Köln", "Roma", "北京"], dtype=object), 300)
    labels = (city == "Roma") ^ (generator.random(300) < 0.1)
    model = make_pipeline(OneHotEncoder(handle_unknown=handle), LogisticRegression())
    return model.fit(city[:200, None], labels[:200]), {"city": city[200:]}


def unknown_is_first(model: onnx.ModelProto) -> None:
    """Let categories that nobody knows count as the first one."""
    attribute(node_of(model, "LabelEncoder"), "default_int64").i = 0


def test_what_source_and_graph_both_refuse_is_counted(bench):
    facts, notes = bench(*cities("error")).compare()
    assert notes == ()
    (unseen,) = [one for one in facts.kinds if one.kind == "unseen categories"]
    assert unseen.rows == 0
    assert unseen.refused >= 5


def test_where_the_graph_answers_what_the_source_refuses_the_column_is_named(bench):
    _, notes = bench(*cities("error")).compare(unknown_is_first)
    assert notes == (
        "unseen categories: the source refuses some in 'city', the graph answers, and so will "
        "devices",
        "text: the source refuses some in 'city', the graph answers, and so will devices",
    )


def test_unseen_categories_that_the_source_takes_are_compared(bench):
    made = bench(*cities("ignore"))
    _, notes = made.compare()
    assert notes == ()
    assert made.kinds()["unseen categories"] >= 5
    assert refused(made, unknown_is_first).values["rows"] == "rows of unseen categories"


# --- replays and privacy -------------------------------------------------------------------


def test_a_replay_tells_what_the_build_told(bench):
    rows, labels, held_out = cancer()
    made = bench(DecisionTreeClassifier(random_state=0).fit(rows, labels), held_out)
    build = Record()
    told, _ = made.compare(record=build)
    (key,) = build.values
    build.values[key][0]["differences"]["probabilities"] = 7e-9
    again, _ = made.compare(record=Record(build.values))
    assert again.kinds[0].differences["probabilities"] == 7e-9
    assert again.kinds[1:] == told.kinds[1:]
    del build.values[key][-1]
    with pytest.raises(ReplayMismatch):
        made.compare(record=Record(build.values))


def test_no_value_is_told_unless_it_was_asked_for(bench):
    rows, labels, held_out = cancer()
    made = bench(DecisionTreeClassifier(random_state=0).fit(rows, labels), held_out)
    hidden, _ = made.compare()
    shown, _ = made.compare(show_rows=True)
    assert all(one.row == {} for one in hidden.kinds)
    values = {value for column in held_out.values() for value in column.tolist()}
    for one in shown.kinds:
        assert list(one.row) == list(held_out)
    assert set(shown.kinds[0].row.values()) <= values
    record = Record()
    made.compare(record=record, show_rows=True)
    told = repr(record.values)
    assert not any(repr(value) in told for value in values if value > 1.5)
    assert asdict(hidden)["kinds"][0]["row"] == {}


# --- bare tensors --------------------------------------------------------------------------


class Network:
    """A source of bare tensors: a graph as it was before anybody edited it."""

    def __init__(self, graph: Graph) -> None:
        self._session = open_graph(graph)

    def answers(self, rows: Mapping[str, Any]) -> Arrays:
        found = run_rows(self._session, rows)
        return {name: array.astype(np.float64) for name, array in found.items()}

    def attempt(self, rows: Mapping[str, Any], blocks: Sequence[int]) -> tuple[Any, Arrays]:
        refused, answers = attempt(self.answers, dict(rows), blocks)
        answered = np.ones(sum(blocks), dtype=bool)
        answered[refused] = False
        return answered, answers


def network() -> Bench:
    """Pictures of 4 by 4 go through a rectifier and are summed to three figures."""
    generator = np.random.default_rng(0)
    nodes = [
        helper.make_node("Identity", ["picture"], ["seen"]),
        helper.make_node("Relu", ["seen"], ["active"]),
        helper.make_node("Flatten", ["active"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["value"]),
    ]
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["n", 4, 4])
    value = helper.make_tensor_value_info("value", TensorProto.FLOAT, ["n", 3])
    weights = generator.normal(size=(16, 3)).astype(np.float32)
    named = [numpy_helper.from_array(weights, "weights")]
    graph = helper.make_graph(nodes, "net", [picture], [value], named)
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    whole = Graph(
        model=model,
        inputs=tensor_specs(model.graph.input),
        outputs=tensor_specs(model.graph.output),
        columns=(),
        task="tensors",
        roles={},
        labels=(),
        source=SourceFacts("pytorch", "Net", "0" * 64, {}, (), "contained"),
    )
    rows = {"picture": generator.random((40, 4, 4)).astype(np.float32)}
    source = Network(whole)
    return Bench(source, whole, Compared(rows, rows, source.answers(rows)))


def test_bare_tensors_are_asked_for_their_ends_and_batches():
    made = network()
    facts, notes = made.compare(show_rows=True)
    assert {one.kind: (one.rows, one.refused) for one in facts.kinds} == {
        "held-out": (40, 0),
        "batches": (132, 0),
        "missing values": (0, 2),
        "extremes": (5, 0),
    }
    assert notes == ()
    assert len(facts.kinds[0].row["picture"]) == 16


def test_a_rectifier_lost_where_held_out_rows_are_positive_is_caught_at_the_ends():
    def edit(model: onnx.ModelProto) -> None:
        node_of(model, "Relu").op_type = "Identity"

    assert refused(network(), edit).values["rows"] == "rows at the columns' extremes"


def test_a_graph_that_answers_numbers_where_the_source_answers_none_is_told():
    def edit(model: onnx.ModelProto) -> None:
        node_of(model, "Identity").op_type = "Relu"
        zero = constant(model, "zero", np.float32(0))
        hole = helper.make_node("IsNaN", ["picture"], ["hole"])
        filled = helper.make_node("Where", ["hole", zero, "picture"], ["filled"])
        model.graph.node[0].input[0] = "filled"
        model.graph.node.insert(0, filled)
        model.graph.node.insert(0, hole)

    _, notes = network().compare(edit)
    assert notes == (
        "missing values: the source refuses some in 'picture', the graph answers, and so will "
        "devices",
    )


def test_learned_words_are_what_foreign_text_is_made_of(bench):
    graph = documents(bench).graph
    assert set(WORDS) <= set(learned_values(graph.model)["text"].tolist())
