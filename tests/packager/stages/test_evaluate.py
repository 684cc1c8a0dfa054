"""What a candidate is worth: quality here and on promised CPUs, bytes, memory, time."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import trained
from onnx import ModelProto, helper, numpy_helper
from sklearn.metrics import average_precision_score, balanced_accuracy_score, r2_score
from trained import Trained, candidate

from edge_runtime.contract.bundle.packing import packed_size
from packager.budgets import Drop
from packager.emulation.machines import HOST, Machine, find_machines
from packager.errors import ReplayMismatch
from packager.graphs.model_files import ModelFiles
from packager.recipes import RECIPES
from packager.record import Record
from packager.scoring import HeldOut, choose_metric, named_metric
from packager.stages import evaluate as module
from packager.stages.evaluate import Bar, asked_rows, evaluate, evaluate_on, host_is
from packager.stages.quantize import quantize
from packager.target import CpuModel
from packager.variant import Candidate, Measured

HERE, OTHER = sorted(["arm64", "x86-64"], key=host_is, reverse=True)
DROP = Drop(0.01)


def graph_of(model: Trained, name: str) -> ModelProto:
    (recipe,) = (one for one in RECIPES if one.name == name)
    made = quantize(recipe, model.graph, ranges={}, reduce_range=False)
    assert isinstance(made, ModelProto)
    return made


def rungs(model: Trained) -> list[Candidate]:
    int8 = graph_of(model, "int8-dynamic")
    return [candidate(model.graph), candidate(int8, "int8-dynamic")]


def judged(
    candidates: list[Candidate],
    rows: HeldOut,
    metric: str | None = None,
    *,
    chip: str = OTHER,
    record: Record | None = None,
) -> tuple[Measured, ...]:
    return evaluate(
        candidates,
        rows,
        metric=choose_metric(metric, rows),
        drop=DROP,
        architecture=chip,
        record=record or Record(),
    )


# --- quality -------------------------------------------------------------------------------


def test_balanced_accuracy_is_scikit_learn_s() -> None:
    model = trained.iris_network()
    expected = balanced_accuracy_score(model.truth, model.source.predict(model.rows))
    float32, _ = judged(rungs(model), model.held_out(), "balanced_accuracy")
    assert float32.quality == pytest.approx(expected)
    assert float32.agreement == 1.0


def test_average_precision_is_scikit_learn_s_for_the_rarer_class() -> None:
    model = trained.cancer_network()
    scores = model.source.predict_proba(model.rows)
    assert (model.truth == 0).sum() < (model.truth == 1).sum()
    expected = average_precision_score(model.truth == 0, scores[:, 0])
    float32, _ = judged(rungs(model), model.held_out(), "average_precision")
    assert float32.quality == pytest.approx(expected, abs=1e-6)


def test_r2_is_scikit_learn_s() -> None:
    model = trained.diabetes_network()
    expected = r2_score(model.truth, model.source.predict(model.rows))
    float32, int8 = judged(rungs(model), model.held_out())
    assert float32.quality == pytest.approx(expected, abs=1e-4)
    assert 0.99 < (int8.agreement or 0) < 1.0


def test_classes_that_are_text_are_judged_as_text() -> None:
    model = trained.iris_names()
    expected = balanced_accuracy_score(model.truth, model.source.predict(model.rows))
    (found,) = judged([candidate(model.graph)], model.held_out(), "balanced_accuracy")
    assert found.quality == pytest.approx(expected)


def test_float32_loses_nothing_and_int8_has_an_interval() -> None:
    model = trained.cancer_network()
    float32, int8 = judged(rungs(model), model.held_out(), "log_loss")
    (plain,), (score,) = float32.scores, int8.scores
    assert (plain.cpu, plain.drop, plain.low, plain.high) == (HOST, 0.0, 0.0, 0.0)
    assert score.low < score.drop < score.high
    assert score.drop == pytest.approx((score.quality - plain.quality) / plain.quality)


def test_without_truth_the_agreement_with_float32_is_the_quality() -> None:
    model = trained.cancer_network()
    float32, int8 = judged(rungs(model), model.held_out(truth=False))
    assert float32.quality == float32.agreement == 1.0
    assert 0.9 < (int8.quality or 0) <= 1.0
    assert int8.quality == int8.agreement


def _answering_nan(model: Trained) -> ModelProto:
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
    return graph


def test_a_variant_that_answers_nan_has_no_quality() -> None:
    model = trained.iris_network()
    broken = candidate(_answering_nan(model), "int8-static")
    float32, found = judged([candidate(model.graph), broken], model.held_out())
    assert np.isnan(found.quality or 0)
    assert found.scores[0].drop == np.inf
    assert np.isfinite(float32.quality or np.nan)


@pytest.mark.parametrize("bytes_of", [b"no graph", None], ids=["refused", "of other rows"])
def test_a_candidate_that_the_engine_refuses_is_a_problem_and_no_end(
    bytes_of: bytes | None,
) -> None:
    model = trained.iris_network()
    other = trained.cancer_network().graph.SerializeToString()
    strange = replace(
        candidate(model.graph, "int8-static"), model=ModelFiles(bytes_of or other)
    )
    float32, found = judged([candidate(model.graph), strange], model.held_out(), chip=HERE)
    assert found.scores[0].problem
    assert (found.latency, found.memory) == ({}, None)
    assert float32.latency


def test_dynamic_ranges_are_judged_alone_and_in_a_crowd() -> None:
    model = trained.cancer_network()
    rows = model.held_out()
    crowd = {"features": rows.feed["features"].copy()}
    crowd["features"][::32] *= 1e4  # one wild row a batch ruins its neighbours' ranges
    float32, int8 = judged(rungs(model), replace(rows, feed=crowd), "balanced_accuracy")
    assert (int8.quality or 0) < (float32.quality or 0) - 0.05


# --- bytes and memory ----------------------------------------------------------------------


def test_without_rows_only_the_bytes_are_known() -> None:
    one = candidate(trained.cancer_forest().graph)
    found = evaluate([one], None, metric=None, drop=DROP, architecture=HERE, record=Record())
    size = len(one.model.graph)
    packed = packed_size("variants/float32.onnx", one.model.graph)
    assert packed < size
    assert found == (Measured("float32", "float32", size, packed),)


@pytest.mark.skipif(sys.platform != "linux", reason="no other system tells")
def test_memory_is_told_and_a_replay_tells_the_same() -> None:
    model, build = trained.digits_convolutions(), Record()
    one = [candidate(model.graph)]
    (first,) = judged(one, model.held_out(), record=build)
    assert 10_000 < (first.memory or 0) < 50_000_000
    (again,) = judged(one, model.held_out(), record=Record(build.values))
    assert again.memory == first.memory


# --- time ----------------------------------------------------------------------------------


def test_figures_are_replayed_and_quality_that_moved_stops_the_replay() -> None:
    model, build = trained.iris_network(), Record()
    candidates, rows = rungs(model), model.held_out()
    first = judged(candidates, rows, chip=HERE, record=build)
    assert all(set(one.latency) == {1, 32} for one in first)
    assert judged(candidates, rows, chip=HERE, record=Record(build.values)) == first
    key = next(key for key in build.values if key.startswith("quality/int8-dynamic"))
    build.values[key]["quality"] -= 0.15
    with pytest.raises(ReplayMismatch, match="quality: recorded"):
        judged(candidates, rows, chip=HERE, record=Record(build.values))


def test_time_is_told_for_this_chip_alone_and_a_replay_elsewhere_tells_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, build = trained.iris_network(), Record()
    candidates, rows = rungs(model), model.held_out()
    here, other = (judged(candidates, rows, chip=chip, record=build) for chip in (HERE, OTHER))
    assert all(one.latency for one in here)
    assert not any(one.latency for one in other)
    machine = {"arm64": "aarch64", "x86-64": "x86_64"}[OTHER]
    monkeypatch.setattr("platform.machine", lambda: machine)
    replay = Record(build.values)
    assert judged(candidates, rows, chip=HERE, record=replay) == here
    assert judged(candidates, rows, chip=OTHER, record=replay) == other
    replay.check_all_used()


def test_time_and_memory_of_an_accelerator_are_not_guessed_on_the_cpu() -> None:
    model = trained.iris_network()
    float32 = replace(candidate(model.graph), provider="CUDAExecutionProvider")
    (found,) = judged([float32], model.held_out(), chip=HERE)
    assert (found.latency, found.memory) == ({}, None)
    assert found.quality is not None


def test_the_host_is_of_one_architecture() -> None:
    assert [host_is("x86-64"), host_is("arm64")].count(True) == 1


# --- the promised CPUs ---------------------------------------------------------------------


def standing_in_for(*cpus: str) -> list[Machine]:
    """Return this very chip, under the names of others; what it answers is known."""
    (host,), _ = find_machines(HERE, [CpuModel("here", HOST)])
    return [replace(host, cpu=cpu) for cpu in cpus]


def bar_of(model: Trained, record: Record) -> Bar:
    return Bar(model.held_out(), named_metric("balanced_accuracy"), DROP, record)


def asked_on(machines: list[Machine], cpus: list[str], record: Record) -> tuple[Measured, ...]:
    model = trained.iris_network()
    candidates = rungs(model)
    found = judged(candidates, model.held_out(), "balanced_accuracy", record=record)
    return evaluate_on(machines, candidates, found, bar_of(model, record), cpus=cpus)


def test_each_promised_cpu_adds_a_score_and_the_chip_itself_none() -> None:
    machines = standing_in_for("Nehalem", HOST, "Haswell")
    for one in asked_on(machines, ["Nehalem", HOST, "Haswell"], Record()):
        here, nehalem, haswell = one.scores
        assert [score.cpu for score in one.scores] == [HOST, "Nehalem", "Haswell"]
        assert nehalem == replace(here, cpu="Nehalem")
        assert haswell == replace(here, cpu="Haswell")


def test_without_promised_cpus_nothing_is_run() -> None:
    (float32, _) = asked_on([], [HOST], Record())
    assert [score.cpu for score in float32.scores] == [HOST]


def test_what_crashes_there_is_a_problem_and_the_worst_score() -> None:
    (broken,) = standing_in_for("Nehalem")
    broken = replace(broken, python=("/bin/sh", "-c", "kill -ILL $$"))
    float32, int8 = asked_on(
        [broken, *standing_in_for("Haswell")], ["Nehalem", "Haswell"], Record()
    )
    for one in (float32, int8):
        assert "SIGILL" in one.scores[1].problem
        assert one.worst == one.scores[1]
        assert not one.scores[2].problem


def test_a_replay_goes_by_the_record_where_a_machine_is_not_here() -> None:
    build = Record()
    machines = standing_in_for("Nehalem", "Haswell")
    cpus = ["Nehalem", "Haswell"]
    first = asked_on(machines, cpus, build)
    key = next(key for key in build.values if key.startswith("quality/Nehalem/int8"))
    build.values[key]["quality"] = 0.25
    replay = Record(build.values)
    float32, int8 = asked_on(machines[1:], cpus, replay)
    replay.check_all_used()
    assert float32 == first[0]
    assert int8.scores[1].quality == 0.25
    with pytest.raises(ReplayMismatch, match=r"quality: recorded 0\.25"):
        asked_on(machines, cpus, Record(build.values))


@pytest.mark.parametrize("damaged", [{}, {"quality": 1.0}, "good", None])
def test_a_damaged_score_of_a_machine_that_is_not_here_stops_the_replay(damaged: Any) -> None:
    build = Record()
    asked_on(standing_in_for("Haswell"), ["Haswell"], build)
    build.values[next(key for key in build.values if key.startswith("quality/Haswell"))] = (
        damaged
    )
    with pytest.raises(ReplayMismatch):
        asked_on([], ["Haswell"], Record(build.values))


def test_what_the_record_knows_is_not_run_again() -> None:
    record = Record()
    machines = standing_in_for("Haswell")
    first = asked_on(machines, ["Haswell"], record)
    idle = [replace(machines[0], python=("/bin/false",))]
    assert asked_on(idle, ["Haswell"], record) == first


def test_machines_may_be_asked_side_by_side() -> None:
    asked: list[str] = []

    def run(ask, machines):
        asked.extend(machine.cpu for machine in machines)
        return map(ask, machines)

    model, record = trained.iris_network(), Record()
    found = judged(rungs(model), model.held_out(), record=record)
    evaluate_on(
        standing_in_for("Nehalem", "Haswell"),
        rungs(model),
        found,
        bar_of(model, record),
        cpus=["Nehalem", "Haswell"],
        run=run,
    )
    assert asked == ["Nehalem", "Haswell"]


def test_slow_models_are_asked_about_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained.digits_convolutions()
    plain, rows = candidate(model.graph), model.held_out()
    assert asked_rows(plain, rows) == rows.count == 450
    products = 64 * 64 * 9 + 256 * 10
    monkeypatch.setattr(module, "EMULATED_PRODUCTS", 100 * products)
    assert asked_rows(plain, rows) == 100
    monkeypatch.setattr(module, "EMULATED_PRODUCTS", products)
    assert asked_rows(plain, rows) == module.FEWEST_ROWS
    monkeypatch.setattr(module, "EMULATED_PRODUCTS", 10**12)
    monkeypatch.setattr(module, "EMULATED_BYTES", 64 * 4 * 50)
    assert asked_rows(plain, rows) == 50
