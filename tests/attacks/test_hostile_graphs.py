"""Graphs that ask for what no graph may have: validly signed, and refused before any engine."""

from __future__ import annotations

from pathlib import Path

import bundles
import devices
import hostile_graphs
import numpy as np
import pytest
from hostile_graphs import Hostile
from onnx import ModelProto

from edge_runtime.contract.bundle import graph_rules
from edge_runtime.contract.bundle.graph_rules import Allowed, check_graph
from edge_runtime.contract.bundle.verify import verify_bundle
from edge_runtime.contract.errors import GraphRefused
from edge_runtime.engine.session import SessionPlan, open_session
from edge_runtime.runtime import install
from edge_runtime.state.store import Store

SIGNED = Allowed({"": 18, "ai.onnx.ml": 3}, ir=10, files={})
CASES = pytest.mark.parametrize("hostile", hostile_graphs.LISTED, ids=lambda one: one.what)


def test_the_sound_graph_that_they_are_made_of_is_accepted() -> None:
    check_graph(hostile_graphs.sound().SerializeToString(), "m.onnx", SIGNED)


@CASES
def test_a_hostile_graph_is_refused_by_its_bytes_alone(hostile: Hostile) -> None:
    with pytest.raises(GraphRefused) as caught:
        check_graph(hostile.make(), "m.onnx", SIGNED)
    assert hostile.refusal in caught.value.message
    assert caught.value.message.isprintable()


@CASES
def test_a_hostile_graph_is_not_installed_although_it_is_signed(
    tmp_path: Path, hostile: Hostile
) -> None:
    subject, models = devices.lookup(), {"float32": hostile.make()}
    answers = {"float32": devices.answers_of(subject)}
    path = devices.packed(tmp_path / "b.oci.tar", subject, models, answers=answers)
    store = Store(Path(devices.trusting(tmp_path)[1]), "named by the test")
    before = devices.snapshot(store.root)
    with pytest.raises(GraphRefused):
        install(path, store)
    assert devices.snapshot(store.root) == before
    with verify_bundle(path, bundles.KEYS) as verified, pytest.raises(GraphRefused):
        verified.check()


def test_a_graph_by_the_name_of_the_other_format_is_refused() -> None:
    graph = hostile_graphs.sound().SerializeToString()
    for name in ("variants/m.ort", "variants/M.ORT"):
        with pytest.raises(GraphRefused, match="another format"):
            check_graph(graph, name, SIGNED)


def test_a_sound_file_that_engines_open_as_another_model_is_refused_by_its_mark_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without that rule every other one holds, and what answers was never walked."""
    graph = hostile_graphs.two_models()
    assert not ModelProto.FromString(graph).graph.node
    session = open_session(graph, SessionPlan())
    assert session.run({"x": np.ones(1, np.float32)})["y"].tolist() == [2.0]
    with pytest.raises(GraphRefused, match="another format"):
        check_graph(graph, "m.onnx", SIGNED)
    monkeypatch.setattr(graph_rules, "_FOREIGN", b"none")
    check_graph(graph, "m.onnx", SIGNED)
