"""Making candidates: a pure function of what pickles, several at once, nothing left behind."""

from __future__ import annotations

import logging
import pickle
import threading
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import pytest
import trained
from hunts import ALONE, task_of
from onnx import ModelProto

from edge_runtime.contract.bundle.content import Stored
from edge_runtime.engine.session import CPU
from packager.graphs.model_files import MAPPED, ModelFiles, Weights
from packager.recipes import RECIPES, Recipe
from packager.search import making
from packager.search.making import Maker, Order, carry_out, session_options
from packager.variant import Skipped
from packager.workspace import Workspace

DYNAMIC = Recipe("int8-dynamic", "int8-dynamic")


@pytest.fixture
def maker(tmp_path: Path):
    with Workspace(tmp_path) as workspace:
        task = task_of(trained.cancer_network(), workspace)
        assert task.rows is not None
        yield Maker(
            profile=ALONE,
            model=task.graph.model,
            weights=None,
            calibration=task.rows.calibration,
            effort="normal",
            jobs=2,
            record=task.record,
            workspace=workspace,
        )


def sent(value: Any) -> Any:
    """Return what another process would get of it."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own bytes


def order(recipe: Recipe = DYNAMIC) -> Order:
    return Order(recipe, trained.cancer_network().graph, None, reduce_range=True)


def test_an_order_gives_the_same_graph_wherever_it_is_carried_out():
    here, other = carry_out(order()), sent(carry_out(sent(order())))
    assert isinstance(here, ModelProto)
    assert isinstance(other, ModelProto)
    assert here.SerializeToString(deterministic=True) == other.SerializeToString(
        deterministic=True
    )


@pytest.mark.parametrize("form", ["trees", "fused"])
def test_a_form_that_a_graph_does_not_have_is_told(form):
    recipe = Recipe(f"float32-{form}", "float32", form=form)
    bare = ModelProto()
    bare.CopyFrom(trained.cancer_forest().graph if form == "fused" else order().model)
    found = carry_out(replace(order(recipe), model=bare))
    assert isinstance(found, Skipped)
    assert found.reason in ("there are no trees in the graph", "there is nothing to fuse")


def test_recipes_are_worked_on_in_threads_at_once(maker, monkeypatch):
    met = threading.Barrier(2, timeout=60)

    def together(one: Order) -> Skipped:
        met.wait()
        return Skipped(one.recipe.name, "met")

    monkeypatch.setattr(making, "carry_out", together)
    chosen = [one for one in RECIPES if one.name in ("int8-static", "int8-dynamic")]
    made, skipped = maker.make(chosen)
    assert made == []
    assert [one.reason for one in skipped] == ["met", "met"]


def test_a_users_own_backend_takes_over(maker):
    with joblib.parallel_config("multiprocessing", n_jobs=2):
        found, _ = maker.make([DYNAMIC])
    assert [one.name for one in found] == ["int8-dynamic"]


def test_what_was_made_once_is_not_made_again(maker):
    maker.plain()
    first, _ = maker.make([DYNAMIC])
    again, skipped = maker.make([replace(DYNAMIC, name="int8-twin")])
    assert len(first) == 1
    assert again == []
    assert (skipped[0].rule, skipped[0].reason) == (
        "same-graph",
        "its graph is that of int8-dynamic",
    )


def test_warnings_and_logging_are_left_as_they_were(maker):
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        before = (list(warnings.filters), logging.root.manager.disable)
        maker.make([one for one in RECIPES if one.family.startswith("int8")])
        assert (list(warnings.filters), logging.root.manager.disable) == before


def test_weights_are_left_mapped_where_a_copy_takes_more_than_half_the_memory(tmp_path):
    def options(size: int, provider: str) -> dict[str, str]:
        content = Stored(size, "0" * 64, lambda: iter(()))
        files = ModelFiles(b"graph", Weights(tmp_path / "float32.weights", content))
        return session_options(ALONE, files, provider)

    half, usual = ALONE.memory_bytes // 2, dict(ALONE.session_options)
    assert session_options(ALONE, ModelFiles(b"graph"), CPU) == usual
    assert options(half, CPU) == usual
    assert options(half + 1, CPU) == {**usual, **MAPPED}
    assert options(half + 1, "CUDAExecutionProvider") == usual
