"""What a candidate is worth: metrics against scikit-learn's, agreement, interleaved time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import trained
from onnx import ModelProto, helper, numpy_helper
from sklearn.metrics import average_precision_score, balanced_accuracy_score, r2_score
from trained import Trained, candidate

from packager.errors import ConfigInvalid, ReplayMismatch
from packager.record import Record
from packager.stages.evaluate import (
    HeldOut,
    choose_metric,
    evaluate,
    host_is,
    interleaved_medians,
)
from packager.stages.quantize import quantize
from packager.variant import Candidate, Measured

HERE, OTHER = sorted(["arm64", "x86-64"], key=host_is, reverse=True)


def rungs(model: Trained) -> list[Candidate]:
    made = quantize(
        "int8-dynamic", model.graph, calibration=None, reduce_range=False, record=Record()
    )
    assert isinstance(made, ModelProto)
    return [candidate(made, "int8-dynamic"), candidate(model.graph)]


def judged(
    model: Trained, rows: HeldOut, metric: str, record: Record | None = None
) -> tuple[Measured, ...]:
    return evaluate(
        rungs(model), rows, metric=metric, architecture=OTHER, record=record or Record()
    )


def measured_on(chip: str, model: Trained, record: Record) -> tuple[Measured, ...]:
    rows = model.held_out()
    return evaluate(
        rungs(model), rows, metric="balanced_accuracy", architecture=chip, record=record
    )


def judged_alone(model: Trained, rows: HeldOut, metric: str) -> Measured:
    float32 = [candidate(model.graph)]
    (found,) = evaluate(float32, rows, metric=metric, architecture=OTHER, record=Record())
    return found


def test_balanced_accuracy_is_scikit_learn_s() -> None:
    model = trained.iris_network()
    expected = balanced_accuracy_score(model.truth, model.source.predict(model.rows))
    float32 = judged(model, model.held_out(), "balanced_accuracy")[-1]
    assert float32.quality == pytest.approx(expected)
    assert float32.agreement == 1.0


def test_average_precision_is_scikit_learn_s_for_the_rarer_class() -> None:
    model = trained.cancer_network()
    scores = model.source.predict_proba(model.rows)
    assert (model.truth == 0).sum() < (model.truth == 1).sum()
    expected = average_precision_score(model.truth == 0, scores[:, 0])
    float32 = judged(model, model.held_out(), "average_precision")[-1]
    assert float32.quality == pytest.approx(expected, abs=1e-6)


def test_average_precision_of_several_classes_is_their_mean() -> None:
    model = trained.iris_network()
    expected = average_precision_score(model.truth, model.source.predict_proba(model.rows))
    float32 = judged(model, model.held_out(), "average_precision")[-1]
    assert float32.quality == pytest.approx(expected, abs=1e-6)


def test_r2_is_scikit_learn_s() -> None:
    model = trained.diabetes_network()
    expected = r2_score(model.truth, model.source.predict(model.rows))
    int8, float32 = judged(model, model.held_out(), "r2")
    assert float32.quality == pytest.approx(expected, abs=1e-4)
    assert 0.99 < (int8.agreement or 0) < 1.0


@pytest.mark.parametrize("form", [int, float, bool])
def test_classes_are_the_same_in_whatever_type_they_are_told(
    form: Callable[[int], Any],
) -> None:
    model = trained.cancer_logistic()
    truth = np.array([form(label) for label in model.truth], dtype=object)
    told = replace(model.held_out(), truth=truth, labels=[form(0), form(1)])
    for metric in ("average_precision", "balanced_accuracy"):
        expected = judged_alone(model, model.held_out(), metric).quality
        assert judged_alone(model, told, metric).quality == expected


def test_classes_that_are_text_are_judged_as_text() -> None:
    model = trained.iris_names()
    expected = balanced_accuracy_score(model.truth, model.source.predict(model.rows))
    found = judged_alone(model, model.held_out(), "balanced_accuracy")
    assert found.quality == pytest.approx(expected)
    assert judged_alone(model, model.held_out(), "average_precision").quality > 0.9


def test_without_truth_the_agreement_with_float32_is_the_quality() -> None:
    model = trained.cancer_network()
    rows = model.held_out(truth=False)
    assert choose_metric(None, rows) == "agreement"
    int8, float32 = judged(model, rows, "agreement")
    assert float32.quality == float32.agreement == 1.0
    assert 0.9 < (int8.quality or 0) <= 1.0
    assert int8.quality == int8.agreement


def test_without_rows_only_the_bytes_are_known() -> None:
    (one,) = evaluate(
        [candidate(trained.iris_network().graph)],
        None,
        metric="agreement",
        architecture=HERE,
        record=Record(),
    )
    size = trained.iris_network().graph.ByteSize()
    assert one == Measured("float32", "float32", size, None, None, {})


def test_the_metric_follows_the_rarest_class() -> None:
    model = trained.cancer_network()
    rows = model.held_out()
    assert choose_metric(None, rows) == "balanced_accuracy"
    rare = np.zeros(200, dtype=int)
    rare[:10] = 1
    assert choose_metric(None, replace(rows, truth=rare)) == "average_precision"
    assert choose_metric("average_precision", rows) == "average_precision"
    assert choose_metric(None, trained.diabetes_network().held_out()) == "r2"
    labels_alone = replace(rows, roles={"label": "label"}, truth=rare)
    assert choose_metric(None, labels_alone) == "balanced_accuracy"


def test_a_metric_that_does_not_suit_is_refused_and_the_suitable_ones_are_named() -> None:
    with pytest.raises(ConfigInvalid, match=r"r2 does not suit .* balanced_accuracy or av"):
        choose_metric("r2", trained.cancer_network().held_out())
    with pytest.raises(ConfigInvalid, match="agreement would"):
        choose_metric("r2", trained.diabetes_network().held_out(truth=False))


def test_a_variant_that_answers_nan_has_no_quality() -> None:
    model = trained.iris_network()
    graph = ModelProto()
    graph.CopyFrom(model.graph)
    for node in graph.graph.node:
        if node.output[0] == "probabilities":
            node.output[0] = "before"
    gap = numpy_helper.from_array(np.array(np.nan, np.float32), "gap")
    graph.graph.initializer.append(gap)
    graph.graph.node.append(helper.make_node("Add", ["before", "gap"], ["probabilities"]))
    for node in graph.graph.node:
        for index, name in enumerate(node.input):
            if name == "probabilities":
                node.input[index] = "before"
    broken, float32 = evaluate(
        [candidate(graph, "int8-static"), candidate(model.graph)],
        model.held_out(),
        metric="balanced_accuracy",
        architecture=OTHER,
        record=Record(),
    )
    assert np.isnan(broken.quality or 0)
    assert np.isfinite(float32.quality or np.nan)


def test_dynamic_ranges_are_judged_alone_and_in_a_crowd() -> None:
    model = trained.cancer_network()
    rows = model.held_out()
    crowd = {"features": rows.feed["features"].copy()}
    crowd["features"][::32] *= 1e4  # one wild row a batch ruins its neighbours' ranges
    int8, float32 = judged(model, replace(rows, feed=crowd), "balanced_accuracy")
    assert (int8.quality or 0) < (float32.quality or 0) - 0.05


def test_figures_are_replayed_and_quality_that_moved_stops_the_replay() -> None:
    model, build = trained.iris_network(), Record()
    first = measured_on(HERE, model, build)
    assert all(set(one.latency) == {1, 32} for one in first)
    assert measured_on(HERE, model, Record(build.values)) == first
    key = next(key for key in build.values if key.startswith("quality/int8-dynamic"))
    build.values[key]["quality"] -= 0.05
    with pytest.raises(ReplayMismatch, match="quality: recorded"):
        judged(model, model.held_out(), "balanced_accuracy", Record(build.values))


def test_time_is_told_for_this_chip_alone_and_a_replay_elsewhere_tells_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, build = trained.iris_network(), Record()
    here, other = (measured_on(chip, model, build) for chip in (HERE, OTHER))
    assert all(one.latency for one in here)
    assert not any(one.latency for one in other)
    machine = {"arm64": "aarch64", "x86-64": "x86_64"}[OTHER]
    monkeypatch.setattr("platform.machine", lambda: machine)
    replay = Record(build.values)
    assert measured_on(HERE, model, replay) == here
    assert measured_on(OTHER, model, replay) == other
    replay.check_all_used()


def test_the_time_of_an_accelerator_is_not_guessed_on_the_cpu() -> None:
    model = trained.iris_network()
    float32 = replace(candidate(model.graph), provider="CUDAExecutionProvider")
    (found,) = evaluate(
        [float32],
        model.held_out(),
        metric="balanced_accuracy",
        architecture=HERE,
        record=Record(),
    )
    assert found.latency == {}
    assert found.quality is not None


def test_calls_take_turns_and_their_medians_rank_them() -> None:
    order: list[str] = []

    def call(name: str, steps: int) -> Callable[[], None]:
        def run() -> None:
            order.append(name)
            sum(range(steps))

        return run

    medians = interleaved_medians({"short": call("short", 2_000), "long": call("long", 40_000)})
    assert medians["long"] > 4 * medians["short"]
    turns = [name for name, before in zip(order[1:], order, strict=False) if name != before]
    assert len(turns) > 40


def test_the_host_is_of_one_architecture() -> None:
    assert [host_is("x86-64"), host_is("arm64")].count(True) == 1
