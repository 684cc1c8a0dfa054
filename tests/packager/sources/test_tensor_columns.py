"""How a table's columns enter graphs of bare tensors."""

from __future__ import annotations

import pytest

from edge_runtime.contract.tensors import TensorSpec
from packager.errors import DataUnusable
from packager.sources.tensor_columns import tensor_columns

MATRIX = (TensorSpec("x", "float32", (None, 2)),)
APART = (TensorSpec("my_age", "int64", (None, 1)), TensorSpec("city", "string", (None, 1)))


def test_one_input_takes_the_columns_in_their_order() -> None:
    columns = tensor_columns(MATRIX, {"b": "float", "a": "integer"})

    assert [(c.name, c.input, c.index) for c in columns] == [("b", "x", 0), ("a", "x", 1)]


def test_inputs_take_the_columns_of_their_names() -> None:
    columns = tensor_columns(APART, {"city": "text", "other": "float", "my age": "integer"})

    assert [(c.name, c.kind, c.input) for c in columns] == [
        ("my age", "integer", "my_age"),
        ("city", "text", "city"),
    ]


def test_bare_tensors_have_no_columns() -> None:
    assert tensor_columns(MATRIX, {"x": "tensor"}) == ()


@pytest.mark.parametrize("kinds", [{"a": "float"}, dict.fromkeys("abc", "float")])
def test_another_number_of_columns_is_refused(kinds: dict[str, str]) -> None:
    with pytest.raises(DataUnusable, match=f"the data have {len(kinds)} columns"):
        tensor_columns(MATRIX, kinds)


def test_text_for_a_number_is_refused_by_its_column() -> None:
    with pytest.raises(DataUnusable, match="column 'b' is text in the data"):
        tensor_columns(MATRIX, {"a": "float", "b": "text"})
