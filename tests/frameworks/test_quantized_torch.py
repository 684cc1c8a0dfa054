"""PyTorch nets made small: of each kind what is rounded, what stays, and how answers hold."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto
from torch import nn
from trained import OPSET, answers

from edge_runtime.contract.tensors import Array, Arrays
from packager.graphs.prepared import Ranges
from packager.recipes import RECIPES
from packager.record import Record
from packager.stages.calibrate import Calibrated, calibrate
from packager.stages.node_errors import spare
from packager.stages.optimise import fused, optimise
from packager.stages.quantize import quantize
from packager.variant import Skipped

BY_NAME = {recipe.name: recipe for recipe in RECIPES}
IMAGES, STEPS = (3, 16, 16), (12, 32)


class Block(nn.Module):
    """Two convolutions with batch normalisation, and what goes around them."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(after), nn.BatchNorm2d(after)])
        self.around = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.norms[0](self.first(x)).relu()
        return (self.norms[1](self.second(inner)) + self.around(x)).relu()


def pooled() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(512, 10),
    )


def residual() -> nn.Module:
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
    blocks = nn.Sequential(Block(16, 16), Block(16, 32))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    return nn.Sequential(stem, nn.ReLU(), blocks, head)


def depthwise() -> nn.Module:
    def separable(before: int, after: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False),
            nn.BatchNorm2d(before),
            nn.ReLU6(),
            nn.Conv2d(before, after, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.Hardswish(),
        )

    return nn.Sequential(
        nn.Conv2d(3, 32, 3, stride=2, padding=1),
        separable(32, 64),
        separable(64, 64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 128, batch_first=True, activation="gelu")
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(x).mean(1))


@dataclass(frozen=True)
class Net:
    """A net's graph, rows that calibrate and rows that judge."""

    graph: ModelProto
    feed: Arrays
    rows: Arrays


def drawn(shape: tuple[int, ...], count: int, seed: int) -> Array:
    """Draw smooth noise, as images and series are."""
    values = np.random.default_rng(seed).standard_normal((count, *shape))
    for axis in (-1, -2):
        values = (values + np.roll(values, 1, axis) + np.roll(values, 2, axis)) / 3**0.5
    return values.astype(np.float32)


def made(kind: str) -> Net:
    torch.manual_seed(3)
    builders = {"pooled": pooled, "residual": residual, "depthwise": depthwise}
    net = builders[kind]() if kind in builders else Encoder()
    shape = IMAGES if kind in builders else STEPS
    feed, rows = drawn(shape, 96, 0), drawn(shape, 64, 1)
    net.train()(torch.tensor(feed))  # statistics of batch normalisation as data leave them
    net.eval()
    axes = ({0: torch.export.Dim("rows")},)
    program = torch.onnx.export(
        net,
        (torch.tensor(feed[:2]),),
        dynamo=True,
        dynamic_shapes=axes,
        input_names=["x"],
        output_names=["y"],
        opset_version=18,
        verbose=False,
    )
    assert program is not None
    graph = optimise(program.model_proto, opset=OPSET, ir=10)
    return Net(graph, {"x": feed}, {"x": rows})


@pytest.fixture(scope="module")
def nets() -> dict[str, Net]:
    return {kind: made(kind) for kind in ("pooled", "residual", "depthwise", "encoder")}


def small(net: Net, name: str, **how: object) -> ModelProto:
    recipe, ranges = BY_NAME[name], {}
    if recipe.ranges:
        ranges = measured(net, name)
    result = quantize(recipe, net.graph, ranges=ranges, reduce_range=True, **how)
    assert isinstance(result, ModelProto), result
    return result


def measured(net: Net, name: str) -> Ranges:
    found = calibrate(BY_NAME[name], net.graph, net.feed, weights=None, record=Record())
    assert isinstance(found, Calibrated), found
    return found.ranges


def explained(net: Net, graph: ModelProto) -> float:
    """Return the share of the answers' variance that a graph keeps."""
    wanted, found = (answers(one, net.rows)["y"] for one in (net.graph, graph))
    return float(1 - np.square(found - wanted).sum() / np.square(wanted - wanted.mean(0)).sum())


def operators(graph: ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in graph.graph.node)


KEEPS = {
    "int8-static": 0.95,
    "int8-static-percentile": 0.95,
    "int8-static-entropy": 0.8,
    "int8-static-dense": 0.95,
    "int8-dynamic": 0.95,
    "int8-weights": 0.98,
    "int4": 0.7,
}


@pytest.mark.parametrize("kind", ["pooled", "residual", "depthwise", "encoder"])
@pytest.mark.parametrize("name", list(KEEPS))
def test_answers_hold(nets: dict[str, Net], kind: str, name: str) -> None:
    graph = small(nets[kind], name)
    assert explained(nets[kind], graph) > KEEPS[name]


@pytest.mark.parametrize(
    ("kind", "name", "share"),
    [
        ("pooled", "int8-static", 0.4),
        ("residual", "int8-static", 0.4),
        ("pooled", "int8-weights", 0.35),
        ("residual", "int8-weights", 0.35),
        ("depthwise", "int8-weights", 0.5),
        ("encoder", "int8-dynamic", 0.45),
        ("encoder", "int8-static", 0.45),
        ("encoder", "int4", 0.4),
    ],
)
def test_graphs_become_small(nets: dict[str, Net], kind: str, name: str, share: float) -> None:
    assert small(nets[kind], name).ByteSize() < share * nets[kind].graph.ByteSize()


def test_no_batch_normalisation_is_left_between_int8_layers(nets: dict[str, Net]) -> None:
    for kind in ("residual", "depthwise"):
        assert "BatchNormalization" not in operators(small(nets[kind], "int8-static"))


def test_attention_s_products_and_its_softmax_stay_float32(nets: dict[str, Net]) -> None:
    graph = small(nets["encoder"], "int8-static")
    makers = {name: node.op_type for node in graph.graph.node for name in node.output}
    for node in graph.graph.node:
        if node.op_type == "Softmax":
            assert makers[node.input[0]] != "DequantizeLinear"
    products = [node for node in graph.graph.node if node.op_type == "MatMul"]
    mixed = [node for node in products if makers.get(node.input[1]) != "DequantizeLinear"]
    assert len(mixed) == 4  # two layers: queries by keys, and shares by values
    for node in mixed:
        assert "DequantizeLinear" not in [makers.get(name) for name in node.input]


def test_a_pool_behind_a_float32_convolution_is_fenced(nets: dict[str, Net]) -> None:
    assert operators(small(nets["pooled"], "int8-static"))["Max"] == 1
    assert operators(small(nets["residual"], "int8-static"))["Max"] == 0


def test_weights_stay_in_eight_bits_in_the_file_alone(nets: dict[str, Net]) -> None:
    graph = small(nets["depthwise"], "int8-weights")
    assert not operators(graph).keys() & {"QuantizeLinear", "DequantizeLinear"}
    floats = sum(
        tensor.data_type == TensorProto.FLOAT
        and len(tensor.dims) > 1
        and min(tensor.dims[0], int(np.prod(tensor.dims[1:]))) > 1
        for tensor in graph.graph.initializer
    )
    assert floats == 0


@pytest.mark.parametrize("kind", ["pooled", "residual", "depthwise", "encoder"])
def test_fused_graphs_answer_alike(nets: dict[str, Net], kind: str) -> None:
    graph = fused(nets[kind].graph, None)
    assert isinstance(graph, ModelProto), graph
    one, other = (answers(each, nets[kind].rows)["y"] for each in (nets[kind].graph, graph))
    np.testing.assert_allclose(other, one, atol=1e-5)


def test_an_encoder_s_gelus_are_fused(nets: dict[str, Net]) -> None:
    assert operators(nets["encoder"].graph)["Erf"] == 2
    graph = fused(nets["encoder"].graph, None)
    assert isinstance(graph, ModelProto)
    found = operators(graph)
    assert found["Gelu"] + found["BiasGelu"] == 2
    assert found["Erf"] == 0


def test_sparing_the_worst_layer_of_a_net_helps(nets: dict[str, Net]) -> None:
    net, name = nets["depthwise"], "int8-static-sparing"
    ranges = measured(net, name)

    def make(kept: object) -> ModelProto | Skipped:
        return quantize(BY_NAME[name], net.graph, ranges=ranges, kept=kept, reduce_range=True)

    kept = spare(BY_NAME[name], net.graph, net.feed, make, weights=None, record=Record())
    assert isinstance(kept, list), kept
    assert kept
    plain, better = make(()), make(kept)
    assert isinstance(plain, ModelProto)
    assert isinstance(better, ModelProto)
    assert explained(net, better) > explained(net, plain)


def test_every_graph_is_sound(nets: dict[str, Net]) -> None:
    for net in nets.values():
        for name in ("int8-static", "int8-dynamic", "int8-weights"):
            graph = small(net, name)
            onnx.checker.check_model(io.BytesIO(graph.SerializeToString()).getvalue())
