"""The values that pass between the stages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from packager.errors import ConversionFailed
from packager.graph import OUTPUT_NAMES, legal_names, tensor_specs


@given(st.lists(st.text(max_size=8), max_size=8))
def test_legal_names_are_distinct_identifiers_that_no_output_has(names: list[str]) -> None:
    legal = legal_names(names)

    assert len(set(legal)) == len(names)
    assert all(name.isidentifier() and name.isascii() for name in legal)
    assert not set(legal) & set(OUTPUT_NAMES.values())


def test_legal_names_stay_readable() -> None:
    names = ["my age (y)", "my-age (y)", "2fast", "年齢", "label", "plain"]

    assert legal_names(names) == [
        "my_age__y_",
        "my_age__y__2",
        "_2fast",
        "__",
        "label_2",
        "plain",
    ]


def test_only_declared_lengths_are_fixed() -> None:
    values = [
        helper.make_tensor_value_info("a", TensorProto.FLOAT, ["N", 3]),
        helper.make_tensor_value_info("b", TensorProto.STRING, [None, 0, -1, 2]),
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
    ]

    assert [spec.text() for spec in tensor_specs(values)] == [
        "float32[?, 3]",
        "string[?, ?, ?, 2]",
        "bool[]",
    ]


@pytest.mark.parametrize(
    ("element", "told"),
    [(TensorProto.BFLOAT16, "bfloat16"), (TensorProto.UNDEFINED, "UNDEFINED")],
)
def test_element_types_that_no_device_takes_are_refused(element: int, told: str) -> None:
    value = helper.make_tensor_value_info("a", element, ["N"])

    with pytest.raises(ConversionFailed, match=told):
        tensor_specs([value])
