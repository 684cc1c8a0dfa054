"""An ONNX graph in the order and with the names that its structure alone decides.

For converters whose order follows the addresses of objects: the same model, the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count

from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from packager.graphs.nested_graphs import inner_graphs


def canonical(model: ModelProto) -> None:
    """Order and name what is inside a model's graph anew; what no output needs is left out.

    Equal constants become one. Inputs and outputs keep their names and places.
    """
    own = {value.name: value.name for value in (*model.graph.input, *model.graph.output)}
    free = (number for number in count() if not own.keys() & {f"v{number}", f"c{number}"})
    _Scope(model.graph, own, free).tidy()


class _Scope:
    """One graph under work; the graphs inside it are scopes that also see its names.

    Args:
        graph: the graph.
        known: the new names of the values around it, and of what keeps its name.
        numbers: those not used yet.
    """

    def __init__(
        self, graph: GraphProto, known: Mapping[str, str], numbers: Iterator[int]
    ) -> None:
        self._graph = graph
        self._numbers = numbers
        self._names = dict(known)
        self._constants: dict[bytes, str] = {}

    def tidy(self) -> None:
        """Do it."""
        graph = self._graph
        constants = {tensor.name: tensor for tensor in graph.initializer}
        nodes = _in_order(graph)
        kept: list[TensorProto] = []
        for value in graph.input:
            self._name(value.name)
        for node in nodes:
            kept += self._placed(constants, _read(node))
            for name in node.output:
                self._name(name)
        kept += self._placed(constants, (value.name for value in graph.output))
        for node in nodes:
            self._rename(node)
        for value in (*graph.input, *graph.output):
            value.name = self._names[value.name]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(nodes)
        graph.initializer.extend(kept)

    def _name(self, name: str) -> None:
        if name and name not in self._names:
            self._names[name] = f"v{next(self._numbers)}"

    def _placed(
        self, constants: dict[str, TensorProto], names: Iterable[str]
    ) -> Iterator[TensorProto]:
        """Name the constants among names that have no place yet, and yield what has to stay.

        What leaves the graph stays under its own name; of equal others one is enough.
        """
        for name in names:
            tensor = constants.pop(name, None)
            if tensor is None:
                continue
            if name not in self._names:
                tensor.name = ""
                content = tensor.SerializeToString(deterministic=True)
                known = self._constants.get(content)
                self._names[name] = tensor.name = known or f"c{next(self._numbers)}"
                self._constants[content] = tensor.name
                if known:
                    continue
            yield tensor

    def _rename(self, node: NodeProto) -> None:
        node.name, node.doc_string = "", ""
        node.input[:] = [self._names.get(name, name) for name in node.input]
        node.output[:] = [self._names.get(name, name) for name in node.output]
        for graph in inner_graphs(node):
            _Scope(graph, self._names, self._numbers).tidy()


def _in_order(graph: GraphProto) -> list[NodeProto]:
    """Return copies of the nodes that outputs need, each after those that it reads from."""
    makers = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    order: list[int] = []
    seen: set[int] = set()
    waiting = [(value.name, False) for value in reversed(graph.output)]
    while waiting:
        name, ready = waiting.pop()
        index = makers.get(name)
        if index is None or (index in seen and not ready):
            continue
        if ready:
            order.append(index)
            continue
        seen.add(index)
        waiting.append((name, True))
        waiting.extend((read, False) for read in reversed(list(_read(graph.node[index]))))
    found = []
    for index in order:
        found.append(NodeProto())
        found[-1].CopyFrom(graph.node[index])
    return found


def _read(node: NodeProto) -> Iterator[str]:
    """Yield the values that a node reads, those of the graphs inside it too."""
    yield from node.input
    for graph in inner_graphs(node):
        for part in graph.node:
            yield from _read(part)
        yield from (value.name for value in graph.output)
