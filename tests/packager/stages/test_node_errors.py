"""Sparing: the layer that errs is found, kept alone, and the choice replays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edge_runtime.contract.tensors import Arrays
from packager.errors import ReplayMismatch
from packager.recipes import RECIPES
from packager.record import Record
from packager.stages import node_errors
from packager.stages.calibrate import Calibrated, calibrate
from packager.stages.node_errors import spare, worst_first
from packager.stages.quantize import quantize
from packager.variant import Skipped

BY_NAME = {recipe.name: recipe for recipe in RECIPES}
SPARING = ["int8-static-sparing", "int8-dynamic-sparing"]
WIDTH = 32


def network(worst: int, layers: int = 4) -> ModelProto:
    """Return dense layers; one reads values so uneven that int8 loses all but a few."""
    generator = np.random.default_rng(0)
    nodes, tensors, name = [], [], "x"
    for layer in range(layers):
        matrix = generator.standard_normal((WIDTH, WIDTH)).astype(np.float32) / 6
        if layer == worst - 1:
            matrix[:, 0] *= 2000  # one column of large values, which the next layer ignores
        if layer == worst:
            matrix[0] = 0
        tensors.append(numpy_helper.from_array(matrix, f"w{layer}"))
        end = "y" if layer == layers - 1 else f"h{layer}"
        nodes.append(
            helper.make_node("MatMul", [name, f"w{layer}"], [end], name=f"layer{layer}")
        )
        name = end
    ends = [helper.make_tensor_value_info(key, TensorProto.FLOAT, ["n", WIDTH]) for key in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10)


def rows() -> Arrays:
    values = np.random.default_rng(1).standard_normal((100, WIDTH))
    return {"x": values.astype(np.float32)}


def spared(
    name: str, model: ModelProto, record: Record | None = None, feed: Arrays | None = None
) -> list[str] | Skipped:
    recipe, feed, record = BY_NAME[name], feed or rows(), record or Record()
    ranges = {}
    if recipe.ranges:
        found = calibrate(recipe, model, feed, weights=None, record=record)
        assert isinstance(found, Calibrated)
        ranges = found.ranges

    def make(kept: Sequence[str]) -> ModelProto | Skipped:
        return quantize(recipe, model, ranges=ranges, kept=kept, reduce_range=False)

    return spare(recipe, model, feed, make, weights=None, record=record)


@pytest.mark.parametrize("worst", [1, 2, 3])
@pytest.mark.parametrize("name", SPARING)
def test_the_layer_that_errs_is_spared_alone(name: str, worst: int) -> None:
    assert spared(name, network(worst)) == [f"layer{worst}"]


def test_neighbours_in_a_deep_graph_are_tried_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_errors, "MAX_GROUPS", 3)
    record = Record()
    found = spared("int8-dynamic-sparing", network(4, layers=9), record)
    assert found == ["layer3", "layer4", "layer5"]
    (errors,) = (found for key, found in record.values.items() if key.startswith("errors/"))
    assert sorted(errors) == ["layer0", "layer3", "layer6"]


@pytest.mark.parametrize("name", SPARING)
def test_the_choice_replays_from_the_recorded_errors(name: str) -> None:
    record = Record()
    first = spared(name, network(2), record)
    assert spared(name, network(2), Record(record.values)) == first
    (key,) = (key for key in record.values if key.startswith("errors/"))
    slight = {layer: error * 1.2 for layer, error in record.values[key].items()}
    assert spared(name, network(2), Record({**record.values, key: slight})) == first
    none = dict.fromkeys(record.values[key], 0.0)
    with pytest.raises(ReplayMismatch, match="errors/"):
        spared(name, network(2), Record({**record.values, key: none}))


def test_a_single_layer_cannot_be_spared() -> None:
    result = spared("int8-dynamic-sparing", network(9, layers=1))
    assert isinstance(result, Skipped)
    assert result.rule == "none-to-spare"


def test_where_every_layer_errs_sparing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_errors, "WANTED", 1.1)
    result = spared("int8-dynamic-sparing", network(2))
    assert isinstance(result, Skipped)
    assert "whichever layer" in result.reason


def test_without_rows_there_is_nothing_to_go_by() -> None:
    recipe, model = BY_NAME["int8-dynamic-sparing"], network(2)

    def make(kept: Sequence[str]) -> ModelProto | Skipped:
        return quantize(recipe, model, ranges={}, kept=kept, reduce_range=False)

    result = spare(recipe, model, None, make, weights=None, record=Record())
    assert isinstance(result, Skipped)
    assert "no calibration row" in result.reason


def test_a_recipe_that_cannot_be_made_says_why() -> None:
    recipe, model = BY_NAME["int8-dynamic-sparing"], network(2)
    why = Skipped(recipe.name, "no")
    assert spare(recipe, model, rows(), lambda _: why, weights=None, record=Record()) is why


def test_answers_that_are_labels_count_by_their_share() -> None:
    model = network(2)
    model.graph.node.add().CopyFrom(helper.make_node("ArgMax", ["y"], ["label"], axis=1))
    del model.graph.output[:]
    model.graph.output.append(
        helper.make_tensor_value_info("label", TensorProto.INT64, ["n", 1])
    )
    found = spared("int8-dynamic-sparing", model)
    assert not isinstance(found, Skipped)
    assert found[0] == "layer2"


@given(
    st.dictionaries(
        st.text("abc", min_size=1), st.tuples(st.floats(0, 1), st.integers(0, 10**9))
    ).filter(bool)
)
def test_the_order_is_whole_and_harmless_layers_come_last(
    found: dict[str, tuple[float, int]],
) -> None:
    errors = {name: error for name, (error, _) in found.items()}
    order = worst_first(errors, {name: size for name, (_, size) in found.items()})
    assert sorted(order) == sorted(found)
    harmless = [errors[name] < 0.02 * max(errors.values()) for name in order]
    assert harmless == sorted(harmless)
