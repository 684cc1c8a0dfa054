"""Another form of a float32 graph ships only where it answers as the plain one does."""

from __future__ import annotations

import numpy as np
import pytest
import trained
from onnx import ModelProto, numpy_helper

from edge_runtime.contract.tensors import Arrays
from packager.errors import ReplayMismatch
from packager.graphs.model_files import ModelFiles
from packager.recipes import PLAIN, Recipe
from packager.record import Record
from packager.stages.forms import other_answers
from packager.variant import Candidate

FUSED = Recipe("float32-fused", "float32", form="fused")


@pytest.fixture(scope="module")
def plain() -> Candidate:
    graph = trained.cancer_network().graph
    return Candidate(PLAIN.name, PLAIN, trained.CPU, ModelFiles.of(graph, None))


@pytest.fixture(scope="module")
def feed() -> Arrays:
    return trained.cancer_network().feed


def bent(by: float) -> Candidate:
    """The network with one weight changed by a share of itself."""
    graph = ModelProto()
    graph.CopyFrom(trained.cancer_network().graph)
    tensor = next(one for one in graph.graph.initializer if one.name == "coefficient1")
    values = numpy_helper.to_array(tensor) * np.float32(1 + by)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return Candidate(FUSED.name, FUSED, trained.CPU, ModelFiles.of(graph, None))


def test_the_same_graph_answers_alike(plain: Candidate, feed: Arrays) -> None:
    assert other_answers(plain, bent(0.0), feed, Record()) == ""


def test_the_grain_of_float32_is_no_difference(plain: Candidate, feed: Arrays) -> None:
    assert other_answers(plain, bent(1e-7), feed, Record()) == ""


def test_other_answers_are_counted_by_output(plain: Candidate, feed: Arrays) -> None:
    told = other_answers(plain, bent(0.05), feed, Record())
    assert "of 286 values of 'probabilities' are not those of float32 as it was" in told


def test_a_replay_that_finds_the_same_goes_on_with_the_recorded_words(
    plain: Candidate, feed: Arrays
) -> None:
    record = Record()
    other_answers(plain, bent(0.05), feed, record)
    (key,) = record.values
    earlier = Record({key: "7 values differed on the machine that built"})
    assert other_answers(plain, bent(0.05), feed, earlier).startswith("7 values")


def test_a_replay_that_finds_the_contrary_is_refused(plain: Candidate, feed: Arrays) -> None:
    record = Record()
    other_answers(plain, bent(0.0), feed, record)
    (key,) = record.values
    with pytest.raises(ReplayMismatch, match="this machine gives ''"):
        other_answers(plain, bent(0.0), feed, Record({key: "3 values differ"}))
