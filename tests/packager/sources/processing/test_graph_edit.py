"""Nodes around a graph: names stay apart, in inner graphs as well."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_runtime.contract.tensors import TensorSpec
from edge_runtime.engine.session import SessionPlan, open_session
from packager.errors import ConversionFailed
from packager.sources.processing.graph_edit import GraphEdit

SPEC = TensorSpec("x", "float32", (None, 2))


def branching(opset: int = 18, ir: int = 8) -> onnx.ModelProto:
    """A graph whose inner graphs read its input: ``-x`` where flagged, else ``x + 1``."""
    bare = helper.make_tensor_value_info("taken", TensorProto.FLOAT, None)
    parts = {
        "then_branch": helper.make_graph(
            [helper.make_node("Neg", ["x"], ["taken"])], "then", [], [bare]
        ),
        "else_branch": helper.make_graph(
            [helper.make_node("Add", ["x", "label"], ["taken"])], "else", [], [bare]
        ),
    }
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in ("x", "y")
    ]
    flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
    one = numpy_helper.from_array(np.ones(2, np.float32), "label")
    inputs = [ends[0], flag]
    if ir < 4:
        inputs.append(helper.make_tensor_value_info("label", TensorProto.FLOAT, [2]))
    node = helper.make_node("If", ["flag"], ["y"], **parts)
    body = helper.make_graph([node], "branching", inputs, ends[1:], [one])
    return helper.make_model(
        body, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir
    )


@pytest.mark.parametrize("ir", [3, 8])
def test_inner_graphs_follow_a_name_that_moves(ir: int) -> None:
    edit = GraphEdit(branching(ir=ir))
    inner = edit.rename("x", "x_inner")
    edit.set_input(inner, SPEC)
    half = edit.constant(np.float32(0.5).reshape(()), "half")
    edit.ahead("Mul", ["x", half], inner)
    if ir >= 4:
        edit.free("label")
    edit.behind("Neg", ["y"], edit.fresh("label" if ir >= 4 else "negative"))
    edit.set_outputs([TensorSpec("y", "float32", (None, 2))])
    onnx.checker.check_model(edit.model, full_check=True)
    session = open_session(edit.model.SerializeToString(), SessionPlan())
    rows = np.array([[2, 4]], np.float32)
    for flag, wanted in ((True, [[-1, -2]]), (False, [[2, 3]])):
        feed = {"x": rows, "flag": np.array(flag)}
        assert session.run(feed)["y"].tolist() == wanted


def test_a_name_that_is_taken_anywhere_is_not_given_again() -> None:
    edit = GraphEdit(branching())
    assert edit.fresh("taken") == "taken_2"
    assert edit.fresh("taken") == "taken_3"
    assert edit.fresh("free") == "free"


def test_the_model_handed_over_is_left_as_it_is() -> None:
    model = branching()
    before = model.SerializeToString(deterministic=True)
    edit = GraphEdit(model)
    edit.rename("x", "z")
    edit.constant(np.zeros(1), "c")
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("opset", [1, 8])
def test_an_old_operator_set_is_refused(opset: int) -> None:
    with pytest.raises(ConversionFailed, match=f"needs opset 9, the model uses {opset}"):
        GraphEdit(branching(opset))
