"""Portable passes over a graph: small, pure, and the same bytes on any machine.

Nothing is folded by running it: a folded constant would depend on the processor.  What is best
for one chip the device makes for itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from edge_runtime.contract.errors import ModelLoadFailed
from edge_runtime.engine.session import SessionPlan
from packager.errors import ConversionFailed
from packager.graphs.external_data import is_outside
from packager.graphs.folding import folded
from packager.graphs.model_files import MAPPED, ModelFiles, Weights
from packager.graphs.nested_graphs import every_graph, inner_graphs
from packager.graphs.prepared import cleared
from packager.graphs.tree_ensembles import strip_trees

# What the engine may not do to a graph for all processors: compute constants, or new weights.
_WITHOUT = (
    "ConstantFolding",
    "ConvAddFusion",
    "ConvBNFusion",
    "ConvMulFusion",
    "MatMulBNFusion",
    "PadFusion",
)
# ONNX Runtime's own operators that it may put in: those that 1.20 has for the CPU.
_MICROSOFT = "com.microsoft"
_FUSED = frozenset(
    {
        "Attention",
        "BiasGelu",
        "EmbedLayerNormalization",
        "FastGelu",
        "FusedConv",
        "FusedGemm",
        "FusedMatMul",
        "Gelu",
        "QuickGelu",
        "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
    }
)


def optimise(model: ModelProto, *, opset: Mapping[str, int], ir: int) -> ModelProto:
    """Return a copy that says the same in fewer bytes and that the target's engine loads.

    Args:
        model: the graph; it is left as it is.
        opset: the newest operator sets that the target's oldest engine loads, by domain.
        ir: the newest IR version that it loads.

    Raises:
        ConversionFailed: when the graph needs a newer operator set.
    """
    result = ModelProto()
    result.CopyFrom(model)
    for apply in PASSES:
        apply(result)
    _check_opset(result, opset)
    result.ir_version = min(result.ir_version, ir)
    return result


def fused(model: ModelProto, weights: Weights | None) -> ModelProto | str:
    """Return the graph as the engine fuses it for every processor, or why it is not.

    These are the engine's extended rewritings, without memory layouts, which depend on the
    processor, and without any that computes weights: those are folded here, elementwise.

    Args:
        model: the optimised graph; it is left as it is.
        weights: what the graph reads beside it; the result reads it too.
    """
    source = folded(model, weights)
    with TemporaryDirectory() as room:
        home = weights.path.parent if weights else Path(room)
        written = home / f"{uuid4().hex}.onnx"
        plan = SessionPlan(
            session_options=MAPPED if weights else {},
            optimisation="extended",
            without=_WITHOUT,
            written=written,
        )
        try:
            ModelFiles.of(source, weights).open(plan)
            result = ModelProto.FromString(written.read_bytes())
        except ModelLoadFailed as error:
            return f"the engine cannot rewrite it: {error}"
        finally:
            written.unlink(missing_ok=True)
    reason = _unfit(result, source, before=model)
    if reason is not None:
        return reason
    _restore_head(result, model)
    return cleared(result)


def _unfit(result: ModelProto, source: ModelProto, *, before: ModelProto) -> str | None:
    """Say why a rewritten graph is not for every processor and engine, or not worth having."""
    known = {item.domain for item in source.opset_import}
    nodes = [node for graph in every_graph(result.graph) for node in graph.node]
    strange = {
        f"{node.domain}.{node.op_type}"
        for node in nodes
        if node.domain not in known
        and not (node.domain == _MICROSOFT and node.op_type in _FUSED)
    }
    if strange:
        return f"the engine fuses with {', '.join(sorted(strange))}, which older engines lack"
    if _float_constants(result) - _float_constants(source):
        return "the engine computes weights anew, which may differ between processors"
    if Counter(map(_kind, nodes)) == Counter(map(_kind, before.graph.node)):
        return "there is nothing to fuse"
    return None


def _kind(node: NodeProto) -> tuple[str, str]:
    return node.domain, node.op_type


def _float_constants(model: ModelProto) -> set[bytes]:
    return {
        numpy_helper.to_array(tensor).tobytes()
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and not is_outside(tensor)
    }


def _restore_head(result: ModelProto, model: ModelProto) -> None:
    """Tell of the graph what its source told; import the operator sets that it uses."""
    used = {node.domain for graph in every_graph(result.graph) for node in graph.node}
    result.ir_version = model.ir_version
    result.producer_name, result.producer_version = model.producer_name, model.producer_version
    result.graph.name = model.graph.name
    del result.opset_import[:]
    result.opset_import.extend(item for item in model.opset_import if item.domain in used)
    if _MICROSOFT in used and all(item.domain != _MICROSOFT for item in model.opset_import):
        result.opset_import.add(domain=_MICROSOFT, version=1)


def merge_opset_imports(model: ModelProto) -> None:
    """Keep one import a domain, the newest; some converters write the default domain twice."""
    newest: dict[str, int] = {}
    for item in model.opset_import:
        domain = "" if item.domain == "ai.onnx" else item.domain
        newest[domain] = max(item.version, newest.get(domain, 0))
    del model.opset_import[:]
    for domain, version in newest.items():
        model.opset_import.add(domain=domain, version=version)


def drop_documentation(model: ModelProto) -> None:
    """Clear documentation, metadata and inferred shapes, which no engine reads to predict."""
    model.ClearField("doc_string")
    model.ClearField("metadata_props")
    for graph in every_graph(model.graph):
        for field in ("doc_string", "metadata_props", "value_info"):
            graph.ClearField(field)
        parts = chain(graph.node, graph.initializer, graph.input, graph.output)
        for part in parts:
            part.ClearField("doc_string")
            part.ClearField("metadata_props")


def freeze_weights(model: ModelProto) -> None:
    """Make weights constants that are listed as inputs too, as old exporters did."""
    weights = {tensor.name for tensor in model.graph.initializer}
    kept = [item for item in model.graph.input if item.name not in weights]
    if len(kept) < len(model.graph.input):
        del model.graph.input[:]
        model.graph.input.extend(kept)


def drop_dead_nodes(model: ModelProto) -> None:
    """Drop nodes whose outputs reach no output of the graph."""
    maker = {name: node for node in model.graph.node for name in node.output if name}
    wanted = [item.name for item in model.graph.output]
    alive: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name in maker and name not in alive:
            alive.update(filter(None, maker[name].output))
            wanted.extend(_names_read(maker[name]))
    living = [node for node in model.graph.node if alive.intersection(node.output)]
    if len(living) < len(model.graph.node):
        del model.graph.node[:]
        model.graph.node.extend(living)


def drop_unused_weights(model: ModelProto) -> None:
    """Drop constants that nothing reads."""
    read = {item.name for item in model.graph.output}
    read.update(chain.from_iterable(_names_read(node) for node in model.graph.node))
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    if len(kept) < len(model.graph.initializer):
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)


PASSES: tuple[Callable[[ModelProto], None], ...] = (
    merge_opset_imports,
    drop_documentation,
    freeze_weights,
    drop_dead_nodes,
    drop_unused_weights,
    strip_trees,
)


def _names_read(node: NodeProto) -> Iterator[str]:
    """Yield the names a node reads, those that its inner graphs read from outside included."""
    yield from node.input
    for inner in inner_graphs(node):
        yield from (item.name for item in inner.output)
        for child in inner.node:
            yield from _names_read(child)


def _check_opset(model: ModelProto, ceiling: Mapping[str, int]) -> None:
    for item in model.opset_import:
        newest = ceiling.get(item.domain)
        if newest is not None and item.version > newest:
            domain = item.domain or "ai.onnx"
            raise ConversionFailed(
                f"the graph uses {domain} {item.version}, "
                f"the target's oldest engine loads up to {newest}",
                hint="Export the model at that operator set, or build for a newer engine.",
                domain=domain,
                expected=newest,
                found=item.version,
            )
