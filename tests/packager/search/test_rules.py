"""Rules: each hopeless recipe is skipped by a rule with a name, and a sentence says why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trained
from onnx import ModelProto

from edge_runtime.contract.bundle.content import Stored
from packager.graphs.model_files import Weights
from packager.recipes import EFFORTS, RECIPES, Recipe
from packager.record import Record
from packager.search import rules
from packager.search.rules import RULES, Case, against
from packager.target import load_profile

STATIC = Recipe("int8-static", "int8-static", ranges="minmax")
DYNAMIC = Recipe("int8-dynamic", "int8-dynamic")
SPARING = Recipe("int8-static-sparing", "int8-static", "full", ranges="minmax", sparing=True)
FUSED = Recipe("float32-fused", "float32", form="fused")
HALF = Recipe("float16", "float16")


def case(model: ModelProto, target: str = "x86-64-cpu", **changed: Any) -> Case:
    one = Case(load_profile(target), model, None, "normal", (), Record())
    return replace(one, **changed)


def told(recipe: Recipe, asked: Case) -> tuple[str, str]:
    skipped = against(recipe, asked)
    assert skipped is not None
    assert skipped.name == recipe.name
    return skipped.rule, skipped.reason


def network() -> ModelProto:
    return trained.cancer_network().graph


def weights(size: int) -> Weights:
    return Weights(Path("float32.weights"), Stored(size, "0" * 64, lambda: iter(())))


def test_nothing_speaks_against_int8_of_a_network() -> None:
    assert against(STATIC, case(network())) is None
    assert against(DYNAMIC, case(network())) is None


def test_a_family_that_the_profile_does_not_list_is_skipped() -> None:
    rule, reason = told(HALF, case(network()))
    assert (rule, reason) == (
        "not-in-profile",
        "the profile x86-64-cpu does not list float16",
    )


def test_forms_made_for_the_cpu_are_none_for_an_accelerator() -> None:
    rule, reason = told(FUSED, case(network(), "x86-64-cuda"))
    assert rule == "accelerator"
    assert reason.endswith("the target runs on CUDAExecutionProvider")
    assert against(FUSED, case(network())) is None


def test_trees_have_nothing_to_quantize() -> None:
    rule, reason = told(STATIC, case(trained.cancer_forest().graph))
    assert rule == "nothing-to-quantize"
    assert "no MatMul or Gemm or Conv or ConvTranspose carries weights" in reason
    assert "TreeEnsembleClassifier" in reason


def test_a_graph_of_integers_is_quantized_already() -> None:
    model = network()
    graph = ModelProto()
    graph.CopyFrom(model)
    graph.graph.node[0].op_type = "QuantizeLinear"
    assert told(STATIC, case(graph))[0] == "quantized-already"


def test_weights_per_channel_need_an_operator_set_that_has_them() -> None:
    graph = ModelProto()
    graph.CopyFrom(network())
    for item in graph.opset_import:
        item.version = min(item.version, 12)
    rule, reason = told(STATIC, case(graph))
    assert (rule, reason) == (
        "old-opset",
        "int8 weights per channel need opset 13, the graph has 12",
    )


# --- effort --------------------------------------------------------------------------------


@pytest.mark.parametrize("effort", EFFORTS)
def test_a_recipe_is_tried_from_its_effort_on(effort: str) -> None:
    recipe = Recipe("int8-static-dense", "int8-static", "normal", ranges="minmax")
    skipped = against(recipe, case(network(), effort=effort))
    assert (skipped is None) == (effort != "quick")
    if skipped:
        assert skipped.reason == ("it is tried with --effort normal, this build has quick")


def test_a_remedy_waits_until_something_is_lost() -> None:
    rule, reason = told(SPARING, case(network()))
    assert rule == "no-need"
    assert "what int8-static loses, which did not miss the quality budget" in reason
    assert against(SPARING, case(network(), losing={"int8-static"})) is None
    assert told(SPARING, case(network(), losing={"int8-dynamic"}))[0] == "no-need"


def test_a_full_search_tries_remedies_all_the_same_and_a_quick_one_never() -> None:
    assert against(SPARING, case(network(), effort="full")) is None
    rule, reason = told(SPARING, case(network(), effort="quick", losing={"int8-static"}))
    assert rule == "effort"
    assert reason == (
        "it is tried with --effort normal where int8-static loses too much, "
        "this build has quick"
    )


# --- room ----------------------------------------------------------------------------------


def free(monkeypatch: pytest.MonkeyPatch, memory: int) -> None:
    told = SimpleNamespace(available=memory)
    monkeypatch.setattr(rules.psutil, "virtual_memory", lambda: told)


def test_weights_that_the_tools_cannot_hold_are_left_as_they_are(monkeypatch) -> None:
    free(monkeypatch, 3_900_000_000)
    rule, reason = told(STATIC, case(network(), weights=weights(1_000_000_000)))
    assert rule == "no-room"
    assert "need about 4.0 GB of memory for 1.0 GB of weights" in reason
    free(monkeypatch, 4_000_000_000)
    assert against(STATIC, case(network(), weights=weights(1_000_000_000))) is None


def test_weights_that_would_stay_too_many_for_one_message_are_left_as_they_are() -> None:
    rule, reason = told(STATIC, case(network(), weights=weights(9_000_000_000)))
    assert rule == "no-room"
    assert "9.0 GB of weights would stay more than the 2,147,483,647 bytes" in reason


def test_a_replay_takes_the_room_that_the_build_had(monkeypatch) -> None:
    record = Record()
    free(monkeypatch, 1)
    assert told(STATIC, case(network(), weights=weights(1_000), record=record))[0] == "no-room"
    free(monkeypatch, 1 << 40)
    replay = case(network(), weights=weights(1_000), record=Record(record.values))
    assert told(STATIC, replay)[0] == "no-room"


# --- all of them ---------------------------------------------------------------------------


def test_recipes_have_names_of_their_own_and_a_plain_one_each_family() -> None:
    names = [recipe.name for recipe in RECIPES]
    assert len(set(names)) == len(names)
    for recipe in RECIPES:
        assert recipe.effort in EFFORTS
        if recipe.remedy:
            assert recipe.family in names
            assert not next(one for one in RECIPES if one.name == recipe.family).remedy


def test_every_rule_has_a_name_that_the_page_tells(checkout: Path) -> None:
    page = (checkout / "docs" / "search.md").read_text()
    for rule in RULES:
        assert f"`{rule}`" in page, rule
