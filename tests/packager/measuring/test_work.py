"""How much a graph multiplies for one row, against sums done by hand."""

from __future__ import annotations

import numpy as np
import pytest
import trained
from onnx import TensorProto, helper, numpy_helper

from packager.measuring.work import products_a_row

FLOAT = TensorProto.FLOAT


def graph_of(nodes, inputs, constants):
    return helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info(name, FLOAT, dims) for name, dims in inputs.items()],
            [helper.make_tensor_value_info("y", FLOAT, None)],
            [
                numpy_helper.from_array(np.zeros(dims, np.float32), name)
                for name, dims in constants.items()
            ],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
    ).SerializeToString()


def test_a_network_of_matrices_multiplies_as_often_as_it_has_weights():
    model = trained.iris_network()
    assert (
        products_a_row(model.graph.SerializeToString(), model.feed)
        == 4 * 100 + 100 * 50 + 50 * 3
    )


def test_convolutions_count_once_for_each_pixel():
    model = trained.digits_convolutions()
    found = products_a_row(model.graph.SerializeToString(), model.feed)
    assert found == 64 * 8 * 8 * 9 + 256 * 10


@pytest.mark.parametrize(
    ("node", "inputs", "constants", "feed", "expected"),
    [
        (
            helper.make_node("MatMul", ["x", "w"], ["y"]),
            {"x": ["n", "time", 8]},
            {"w": (8, 5)},
            {"x": (2, 16, 8)},
            16 * 8 * 5,
        ),
        (
            helper.make_node("MatMul", ["a", "b"], ["y"]),
            {"a": ["n", 4, 6], "b": ["n", 6, 3]},
            {},
            {"a": (2, 4, 6), "b": (2, 6, 3)},
            4 * 6 * 3,
        ),
        (
            helper.make_node("ConvTranspose", ["x", "w"], ["y"]),
            {"x": ["n", 3, 5, 5]},
            {"w": (3, 7, 2, 2)},
            {"x": (1, 3, 5, 5)},
            3 * 25 * 7 * 4,
        ),
        (
            helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=2),
            {"x": [10, "n", 3]},
            {"w": (1, 8, 3), "r": (1, 8, 2)},
            {"x": (10, 1, 3)},
            8 * 3 + 8 * 2,
        ),
    ],
    ids=["steps", "two inputs", "transposed", "recurrent"],
)
def test_products_are_those_of_the_operator(node, inputs, constants, feed, expected):
    rows = {name: np.zeros(dims, np.float32) for name, dims in feed.items()}
    assert products_a_row(graph_of([node], inputs, constants), rows) == expected


def test_trees_multiply_nothing():
    model = trained.cancer_forest()
    assert products_a_row(model.graph.SerializeToString(), model.feed) == 0
