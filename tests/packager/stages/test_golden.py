"""Golden vectors: nobody's rows, steady answers, tolerances that catch saturation."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache

import numpy as np
import onnx
import pictures
import pytest
import trained
from onnx import ModelProto, TensorProto, numpy_helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import StringTensorType
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from trained import Trained, candidate

from edge_runtime.contract.npz import read_npz
from edge_runtime.contract.tensors import Arrays, TensorSpec, Tolerance, compare
from packager.answers import label_margins, row_count
from packager.errors import NoGoldenRows, ReplayMismatch
from packager.golden_vectors.limits import MEDIANS
from packager.golden_vectors.pool import golden_pool
from packager.graph import Graph, SourceFacts
from packager.graphs.prepared import Ranges
from packager.recipes import RECIPES
from packager.record import Record
from packager.sources.processing.image_input import image_input
from packager.stages.calibrate import Calibrated, calibrate
from packager.stages.golden import NUDGE, ROWS, GoldenVectors, Meaning, make_golden
from packager.stages.quantize import quantize
from packager.variant import Candidate

FACTS = SourceFacts("onnx", "test", "0" * 64, {}, (), "contained: test")
MODELS = [
    trained.cancer_network,
    trained.cancer_forest,
    trained.cancer_logistic,
    trained.iris_network,
    trained.iris_clusters,
    trained.diabetes_network,
]


def graph_of(model: Trained) -> Graph:
    width = model.rows.shape[1]
    spec = TensorSpec("features", "float32", (None, width))
    return Graph(model.graph, (spec,), (), (), model.task, model.roles, (), FACTS)


def pool(model: Trained) -> Arrays:
    return golden_pool(graph_of(model), model.feed, [model.feed, model.calibration])


def ladder(model: Trained, *, reduce_range: bool = True) -> list[Candidate]:
    """Make every rung that the model has something for, best first."""
    rungs = []
    for name in ("int8-static", "int8-dynamic"):
        (recipe,) = (one for one in RECIPES if one.name == name)
        ranges: Ranges = {}
        if recipe.ranges:
            found = calibrate(
                recipe, model.graph, model.calibration, weights=None, record=Record()
            )
            ranges = found.ranges if isinstance(found, Calibrated) else {}
        made = quantize(recipe, model.graph, ranges=ranges, reduce_range=reduce_range)
        if isinstance(made, ModelProto):
            rungs.append(candidate(made, name))
    return [*rungs, candidate(model.graph)]


def golden(
    model: Trained, record: Record | None = None, *, reduce_range: bool = True
) -> GoldenVectors:
    rungs = ladder(model, reduce_range=reduce_range)
    meaning = Meaning(model.task, model.roles)
    return make_golden(rungs, rungs[-1], pool(model), meaning, record or Record(), ())


@cache
def found(model: Callable[[], Trained]) -> GoldenVectors:
    """Return a model's golden vectors, made once."""
    return golden(model())


def alone(
    one: Candidate, rows: Arrays, meaning: Meaning, record: Record | None = None
) -> GoldenVectors:
    return make_golden([one], one, rows, meaning, record or Record(), ())


@pytest.mark.parametrize("model", MODELS)
def test_every_variant_reproduces_its_golden_answers(model: Callable[[], Trained]) -> None:
    vectors = found(model)
    assert vectors.rows == ROWS
    assert vectors.steady
    for one in ladder(model()):
        answers = one.open_here().run(vectors.inputs)
        assert answers.keys() == vectors.outputs[one.name].keys()
        assert answers.keys() == vectors.tolerances[one.name].keys()
        for name, expected in vectors.outputs[one.name].items():
            exact = Tolerance(0.0, 0.0)
            assert compare(name, expected, answers[name], exact) is None


@pytest.mark.parametrize("model", MODELS)
def test_no_row_of_the_data_stands_in_the_golden_inputs(model: Callable[[], Trained]) -> None:
    drawn = found(model).inputs["features"]
    for rows in (model().feed["features"], model().calibration["features"]):
        assert {row.tobytes() for row in rows}.isdisjoint(row.tobytes() for row in drawn)


@pytest.mark.parametrize("model", MODELS)
def test_rounding_elsewhere_turns_no_label_and_leaves_no_tolerance(
    model: Callable[[], Trained],
) -> None:
    vectors = found(model)
    generator = np.random.default_rng(99)
    noise = generator.normal(size=vectors.inputs["features"].shape) * 2e-7
    elsewhere = {"features": (vectors.inputs["features"] * (1 + noise)).astype(np.float32)}
    for one in ladder(model()):
        answers = one.open_here().run(elsewhere)
        for name, expected in vectors.outputs[one.name].items():
            limit = vectors.tolerances[one.name][name]
            assert compare(name, expected, answers[name], limit) is None, one.name


@pytest.mark.parametrize("model", [trained.cancer_network, trained.iris_network])
def test_a_label_can_turn_only_when_a_score_leaves_its_tolerance(
    model: Callable[[], Trained],
) -> None:
    vectors = found(model)
    for name, answers in vectors.outputs.items():
        margins = label_margins("classification", model().roles, answers)
        limit = vectors.tolerances[name]["probabilities"]
        assert margins is not None
        assert margins.min() > 2 * (limit.atol + limit.rtol)
        assert vectors.tolerances[name]["label"] == Tolerance(0.0, 0.0)


@pytest.mark.parametrize("model", [trained.cancer_network, trained.diabetes_network])
def test_tolerances_are_far_narrower_than_what_saturation_does(
    model: Callable[[], Trained],
) -> None:
    vectors = found(model)
    base = vectors.outputs["float32"]
    for name, answers in vectors.outputs.items():
        for output, array in answers.items():
            if array.dtype.kind != "f":
                continue
            atol = vectors.tolerances[name][output].atol
            noise = np.abs(array - base[output]).max()
            assert atol < (max(0.51 * noise, 5e-4 * np.abs(array).max()))


def test_int8_answers_with_clipped_sums_are_caught() -> None:
    model = trained.cancer_network()
    rungs = ladder(model, reduce_range=False)
    vectors = golden(model, reduce_range=False)
    (static,) = [one for one in rungs if one.name == "int8-static"]
    graph = ModelProto.FromString(static.model.graph)
    for tensor in graph.graph.initializer:  # what saturated sums amount to: smaller products
        if tensor.data_type == TensorProto.INT8 and len(tensor.dims) == 2:
            weights = np.frombuffer(tensor.raw_data, np.int8)
            tensor.raw_data = np.clip(weights, -96, 96).tobytes()
    answers = candidate(graph, static.name).open_here().run(vectors.inputs)
    limit = vectors.tolerances[static.name]["probabilities"]
    expected = vectors.outputs[static.name]["probabilities"]
    assert compare("p", expected, answers["probabilities"], limit) is not None


def test_the_file_holds_inputs_and_answers_by_variant_and_is_the_same_each_time() -> None:
    model = trained.iris_network()
    data = found(trained.iris_network).to_npz()
    assert data == golden(model).to_npz()
    arrays = read_npz(data, what="golden.npz")
    variants = ["int8-static", "int8-dynamic", "float32"]
    outputs = [f"out/{one}/{name}" for one in variants for name in ("label", "probabilities")]
    assert list(arrays) == ["in/features", *outputs]


def test_a_replay_on_another_processor_writes_the_recorded_bits() -> None:
    model, build = trained.cancer_network(), Record()
    golden(model, build)
    values = json.loads(json.dumps(build.values))
    report = Record(values)
    for key, value in values.items():  # a report from elsewhere differs in the last bits
        if key.startswith("golden/answers/float32"):
            wrapped = Record({"k": value["probabilities"]})
            array = wrapped.measured("k", lambda: np.zeros(0), lambda *_: None)
            other = Record()
            other.measured("k", lambda a=array: np.nextafter(a, np.float32(2)), lambda *_: None)
            value["probabilities"] = other.values["k"]
    first = golden(model, report).to_npz()
    assert first != found(trained.cancer_network).to_npz()
    assert golden(model, Record(report.values)).to_npz() == first
    assert report.values == values


def test_answers_that_do_not_agree_stop_the_replay() -> None:
    build = Record()
    golden(trained.iris_network(), build)
    labels = next(key for key in build.values if key.startswith("golden/answers/int8-static"))
    forged = Record()
    forged.measured("k", lambda: np.zeros(ROWS, np.int64), lambda *_: None)
    build.values[labels]["label"] = forged.values["k"]
    with pytest.raises(ReplayMismatch, match="label: row"):
        golden(trained.iris_network(), Record(build.values))


@pytest.mark.parametrize(
    "rows", [[], [1000], [-1], [0.5], "0", None, {"rows": [0]}, {"rows": [0], "steady": 1}]
)
def test_a_recorded_choice_that_is_none_is_refused(rows: object) -> None:
    build = Record()
    golden(trained.iris_network(), build)
    choice = next(key for key in build.values if key.startswith("golden/rows"))
    build.values[choice] = rows if isinstance(rows, dict) else {"rows": rows, "steady": True}
    with pytest.raises(ReplayMismatch):
        golden(trained.iris_network(), Record(build.values))


def test_where_every_row_is_a_tie_all_rows_serve_and_it_is_said() -> None:
    model = trained.iris_network()
    same = {"features": np.zeros((40, 4), np.float32)}
    graph = ModelProto()
    graph.CopyFrom(model.graph)
    for tensor in graph.graph.initializer:  # no weights, no biases: every class alike
        if tensor.data_type == tensor.FLOAT:
            nothing = np.zeros(tensor.dims, np.float32)
            tensor.CopyFrom(numpy_helper.from_array(nothing, tensor.name))
    vectors = alone(candidate(graph), same, Meaning(model.task, model.roles))
    assert not vectors.steady
    assert vectors.rows == ROWS


def test_rows_that_the_graph_refuses_are_passed_over() -> None:
    plans = np.array(["basic", "pro"] * 30, dtype=object).reshape(-1, 1)
    source = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(plans, [0, 1] * 30)
    graph = to_onnx(
        source,
        initial_types=[("plan", StringTensorType([None, 1]))],
        options={"zipmap": False},
        target_opset=trained.OPSET,
    )
    offered = {"plan": np.array(["pro", "gold", "basic"], dtype=object).reshape(-1, 1)}
    roles = {"label": "label", "probability": "probabilities"}

    def chosen(rows: Arrays) -> GoldenVectors:
        return alone(candidate(graph), rows, Meaning("classification", roles))

    assert chosen(offered).inputs["plan"].ravel().tolist() == ["pro", "basic"]
    with pytest.raises(NoGoldenRows, match="need 1 rows, the graph takes 0 of the 1 offered"):
        chosen({"plan": offered["plan"][1:2]})


def test_a_graph_of_fixed_batch_gets_just_that_many_rows() -> None:
    model = trained.digits_convolutions()
    graph = ModelProto()
    graph.CopyFrom(model.graph)
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    meaning = Meaning(model.task, model.roles)
    vectors = alone(candidate(graph), {"features": model.feed["features"][:50]}, meaning)
    assert vectors.rows == 4
    assert vectors.steady
    with pytest.raises(NoGoldenRows, match="need 4 rows, the graph takes 3"):
        alone(candidate(graph), {"features": model.feed["features"][:3]}, meaning)
    assert row_count(vectors.inputs) == 4


# --- images, which cannot be nudged --------------------------------------------------------


def test_images_prove_a_device_within_what_a_nudge_would_do() -> None:
    model = onnx.load_from_string(pictures.net())
    spec = TensorSpec("input", "float32", (None, 3, 12, 16))
    graph = Graph(model, (spec,), (), (), "tensors", {}, (), FACTS)
    asked = image_input((spec,), pictures.SIZE, mean=(), std=(), layout="nchw")
    taking = asked.put_before(graph)
    rows = golden_pool(taking, None, ())
    vectors = alone(candidate(taking.model), rows, Meaning("tensors", {}))
    assert vectors.steady
    assert vectors.inputs["input"].shape == (ROWS, *pictures.SIZE)
    limit = vectors.tolerances["float32"]["label"]
    size = np.abs(vectors.outputs["float32"]["label"]).max()
    assert limit.atol == pytest.approx(MEDIANS * NUDGE * size)


def test_golden_rows_keep_away_from_a_threshold() -> None:
    model = trained.cancer_logistic()
    one = candidate(model.graph)
    rows = pool(model)
    shares = one.open_here().run(rows)["probabilities"][:, 1]
    threshold = float(shares[np.abs(shares[:ROWS] - 0.3).argmin()])  # would be taken else
    vectors = alone(one, rows, Meaning(model.task, model.roles, threshold))
    answers, limits = vectors.outputs["float32"], vectors.tolerances["float32"]
    margins = label_margins("classification", model.roles, answers, threshold)
    assert margins is not None
    assert margins.min() > 2 * (limits["probabilities"].atol + limits["probabilities"].rtol)
