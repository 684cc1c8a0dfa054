"""Graphs inside graphs: every one is found, a branch without a node too."""

from __future__ import annotations

from onnx import GraphProto, helper

from packager.graphs.nested_graphs import every_graph, inner_graphs


def graph(name: str, *nodes: object) -> GraphProto:
    return helper.make_graph(list(nodes), name, [], [])


def test_every_graph_is_found_outermost_first() -> None:
    deep = helper.make_node("Loop", [], ["d"], body=graph("deep"))
    choice = helper.make_node(
        "If", ["c"], ["y"], then_branch=graph("then", deep), else_branch=graph("else")
    )
    plain = helper.make_node("Relu", ["x"], ["z"])
    whole = graph("whole", plain, choice)

    assert {one.name for one in every_graph(whole)} == {"whole", "then", "deep", "else"}
    assert next(iter(every_graph(whole))).name == "whole"
    assert {one.name for one in inner_graphs(choice)} == {"then", "else"}
    assert list(inner_graphs(plain)) == []
