"""Portable passes: fewer bytes, the same answers, and what a target's engine can load."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import trained
from onnx import ModelProto, TensorProto, helper, numpy_helper
from trained import OPSET, Trained

from edge_runtime.engine.session import SessionPlan, open_session
from packager.answers import run_rows
from packager.errors import ConversionFailed
from packager.graphs import external_data
from packager.stages.optimise import fused, optimise

FLOAT = TensorProto.FLOAT
MODELS = [trained.cancer_network, trained.cancer_forest, trained.diabetes_network]


def small(*nodes: onnx.NodeProto, weights: tuple[TensorProto, ...] = ()) -> ModelProto:
    x = helper.make_tensor_value_info("x", FLOAT, [None, 2])
    y = helper.make_tensor_value_info("y", FLOAT, None)
    graph = helper.make_graph(list(nodes), "g", [x], [y], list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def weight(name: str) -> TensorProto:
    return numpy_helper.from_array(np.ones((2, 2), np.float32), name)


@pytest.mark.parametrize("model", MODELS)
def test_an_optimised_graph_gives_the_same_bits(model: Callable[[], Trained]) -> None:
    graph, feed = model().graph, model().feed
    before = graph.SerializeToString()
    after = optimise(graph, opset=OPSET, ir=10)
    onnx.checker.check_model(after)
    assert graph.SerializeToString() == before
    assert after.ByteSize() <= graph.ByteSize()
    first, second = (
        run_rows(open_session(one.SerializeToString(), SessionPlan()), feed)
        for one in (graph, after)
    )
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)


def test_optimising_twice_changes_nothing_more() -> None:
    once = optimise(trained.cancer_network().graph, opset=OPSET, ir=10)
    assert optimise(once, opset=OPSET, ir=10) == once


def test_an_import_that_stands_twice_is_kept_once_and_the_newest() -> None:
    model = small(helper.make_node("Relu", ["x"], ["y"]))
    model.opset_import.extend([helper.make_opsetid("ai.onnx", 17), helper.make_opsetid("a", 1)])
    found = {
        item.domain: item.version for item in optimise(model, opset={}, ir=10).opset_import
    }
    assert found == {"": 18, "a": 1}


def test_documentation_and_metadata_go_at_every_depth() -> None:
    inner = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["inner"], doc_string="secret")],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", FLOAT, None)],
        doc_string="secret",
    )
    condition = helper.make_tensor("c", TensorProto.BOOL, [], [True])
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    model = small(node, weights=(condition,))
    model.doc_string = model.graph.doc_string = node.doc_string = "secret"
    helper.set_model_props(model, {"path": "secret"})
    model.graph.value_info.append(helper.make_tensor_value_info("secret", FLOAT, None))
    assert b"secret" not in optimise(model, opset=OPSET, ir=10).SerializeToString()


def test_nodes_and_weights_that_reach_no_output_go() -> None:
    model = small(
        helper.make_node("MatMul", ["x", "used"], ["y"]),
        helper.make_node("MatMul", ["x", "unused"], ["dead"]),
        helper.make_node("Relu", ["dead"], ["deader"]),
        weights=(weight("used"), weight("unused")),
    )
    after = optimise(model, opset=OPSET, ir=10)
    assert [node.op_type for node in after.graph.node] == ["MatMul"]
    assert [tensor.name for tensor in after.graph.initializer] == ["used"]


def test_what_only_an_inner_graph_reads_stays() -> None:
    inner = helper.make_graph(
        [helper.make_node("MatMul", ["outer", "used"], ["inner"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", FLOAT, None)],
    )
    model = small(
        helper.make_node("Relu", ["x"], ["outer"]),
        helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner),
        weights=(helper.make_tensor("c", TensorProto.BOOL, [], [True]), weight("used")),
    )
    after = optimise(model, opset=OPSET, ir=10)
    assert [node.op_type for node in after.graph.node] == ["Relu", "If"]
    assert [tensor.name for tensor in after.graph.initializer] == ["c", "used"]


def test_weights_listed_as_inputs_become_constants() -> None:
    model = small(helper.make_node("MatMul", ["x", "w"], ["y"]), weights=(weight("w"),))
    model.graph.input.append(helper.make_tensor_value_info("w", FLOAT, [2, 2]))
    assert [item.name for item in optimise(model, opset=OPSET, ir=10).graph.input] == ["x"]


def test_the_ir_version_is_lowered_to_the_ceiling_and_never_raised() -> None:
    model = small(helper.make_node("Relu", ["x"], ["y"]))
    model.ir_version = 14
    assert optimise(model, opset=OPSET, ir=10).ir_version == 10
    model.ir_version = 8
    assert optimise(model, opset=OPSET, ir=10).ir_version == 8


def test_a_newer_operator_set_is_refused_and_both_versions_are_named() -> None:
    model = small(helper.make_node("Relu", ["x"], ["y"]))
    with pytest.raises(ConversionFailed, match=r"uses ai\.onnx 18, .* up to 17") as caught:
        optimise(model, opset={"": 17}, ir=10)
    assert caught.value.values == {"domain": "ai.onnx", "expected": 17, "found": 18}


# --- what the engine fuses ------------------------------------------------------------------

BUILD_FUSED = """
import hashlib, sys, onnx
from packager.stages.optimise import fused
for name in sys.argv[1:]:
    made = fused(onnx.load(name), None)
    print(hashlib.sha256(made.SerializeToString(deterministic=True)).hexdigest())
"""


def operators(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def convolutions() -> ModelProto:
    return optimise(trained.digits_convolutions().graph, opset=OPSET, ir=10)


def test_the_engine_s_own_operators_take_the_place_of_several() -> None:
    before, feed = convolutions(), trained.digits_convolutions().feed
    after = fused(before, None)
    assert isinstance(after, ModelProto), after
    assert "FusedConv" in operators(after)
    assert len(after.graph.node) < len(before.graph.node)
    assert {item.domain: item.version for item in after.opset_import} == {
        "": 18,
        "com.microsoft": 1,
    }
    assert (after.ir_version, after.producer_name) == (before.ir_version, before.producer_name)
    first, second = (
        run_rows(open_session(one.SerializeToString(), SessionPlan()), feed)
        for one in (before, after)
    )
    np.testing.assert_array_equal(first["label"], second["label"])
    np.testing.assert_allclose(first["probabilities"], second["probabilities"], atol=1e-6)


def test_batch_normalisation_is_folded_here_and_not_by_the_engine() -> None:
    parts = {"scale": 2.0, "shift": 1.0, "mean": 0.5, "variance": 4.0}
    vectors = [
        numpy_helper.from_array(np.full(2, value, np.float32), name)
        for name, value in parts.items()
    ]
    model = small(
        helper.make_node("Gemm", ["x", "w"], ["a"]),
        helper.make_node("BatchNormalization", ["a", *parts], ["b"], epsilon=0.0),
        helper.make_node("Relu", ["b"], ["y"]),
        weights=(weight("w"), *vectors),
    )
    after = fused(model, None)
    assert isinstance(after, ModelProto), after
    assert operators(after) == ["FusedGemm"]
    found = {tuple(t.dims): numpy_helper.to_array(t) for t in after.graph.initializer}
    assert (found[2, 2] == 1.0).all()
    assert (found[2,] == 0.5).all()


def test_where_there_is_nothing_to_fuse_that_is_said() -> None:
    model = small(helper.make_node("MatMul", ["x", "w"], ["y"]), weights=(weight("w"),))
    assert fused(model, None) == "there is nothing to fuse"


def test_a_graph_that_the_engine_refuses_is_an_answer() -> None:
    told = fused(small(helper.make_node("Odd", ["x"], ["y"])), None)
    assert isinstance(told, str)
    assert told.startswith("the engine cannot rewrite it: ")


def test_an_operator_that_older_engines_may_lack_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("packager.stages.optimise._FUSED", frozenset())
    told = fused(convolutions(), None)
    assert isinstance(told, str)
    assert "fuses with com.microsoft.FusedConv" in told


def test_weights_that_the_engine_computes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("packager.stages.optimise._WITHOUT", ())
    model = small(
        helper.make_node("Exp", ["w"], ["v"]),
        helper.make_node("Gemm", ["x", "v"], ["a"]),
        helper.make_node("Relu", ["a"], ["y"]),
        weights=(weight("w"),),
    )
    told = fused(model, None)
    assert isinstance(told, str)
    assert "computes weights anew" in told


def test_fusing_leaves_the_graph_and_the_directory_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_data, "PAGE", 64)
    bare, weights = external_data.moved_out(convolutions(), None, tmp_path / "all.weights")
    before = bare.SerializeToString()
    after = fused(bare, weights)
    assert isinstance(after, ModelProto), after
    assert bare.SerializeToString() == before
    assert "FusedConv" in operators(after)
    # The result reads the same file; nothing large came into the graph.
    assert after.ByteSize() < 2 * bare.ByteSize()
    assert any(map(external_data.is_outside, after.graph.initializer))
    assert [path.suffix for path in tmp_path.iterdir() if path.suffix != ".onnx"] == [
        ".weights"
    ]


@pytest.mark.parametrize("environment", [{"PYTHONHASHSEED": "1"}, {"OMP_NUM_THREADS": "1"}])
def test_another_process_fuses_to_the_same_bytes(
    environment: dict[str, str], python_at: Callable[..., Any], tmp_path: Path
) -> None:
    onnx.save(convolutions(), tmp_path / "graph.onnx")
    made = fused(convolutions(), None)
    assert isinstance(made, ModelProto)
    here = hashlib.sha256(made.SerializeToString(deterministic=True)).hexdigest()
    done = python_at(sys.executable, environment).run(
        "-c", BUILD_FUSED, tmp_path / "graph.onnx"
    )
    assert done.stdout.split() == [here]
