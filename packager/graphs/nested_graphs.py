"""The graphs inside a graph: the branches and bodies that nodes such as If and Loop hold."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import GraphProto, NodeProto


def every_graph(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield a graph and every graph inside its nodes, outermost first."""
    yield graph
    for node in graph.node:
        for inner in inner_graphs(node):
            yield from every_graph(inner)


def inner_graphs(node: NodeProto) -> Iterator[GraphProto]:
    """Yield the graphs that a node itself holds."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
