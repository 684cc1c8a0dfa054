"""PyTorch programs: nets of many kinds answer as graphs, or are refused by their cause."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_nets
from tensor_models import OPSET, Children, furthest, rows_of
from torch_nets import ROWS, made, saved

from packager.errors import (
    ConversionFailed,
    SourceUnsupported,
)
from packager.sources.options import SourceOptions
from packager.stages.convert import open_source

STEPS = torch.export.Dim("steps")
IDS = torch.randint(1, 50, (2, 7), generator=torch.Generator().manual_seed(0))


def images(*shape: int) -> torch.Tensor:
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))


NETS: dict[str, tuple[Callable[[], torch.nn.Module], tuple[torch.Tensor, ...]]] = {
    "perceptron": (torch_nets.perceptron, (images(6),)),
    "convolutions": (lambda: made(torch_nets.ConvNet), (images(3, 8, 8),)),
    "separable convolutions": (lambda: made(torch_nets.Separable), (images(4, 8, 8),)),
    "residual": (lambda: made(torch_nets.Residual), (images(3, 8, 8),)),
    "lstm": (lambda: made(torch_nets.Lstm), (images(5, 4),)),
    "gru": (lambda: made(torch_nets.Gru), (images(5, 4),)),
    "transformer": (lambda: made(torch_nets.Encoder), (IDS, torch.ones_like(IDS))),
    "attention": (lambda: made(torch_nets.Attention), (images(6, 8),)),
    "autoencoder": (lambda: made(torch_nets.Autoencoder), (images(12),)),
    "many inputs": (
        lambda: made(torch_nets.ManyInputs),
        (images(3), torch.tensor([[1], [2]]), torch.tensor([[True], [False]])),
    ),
    "many outputs": (lambda: made(torch_nets.ManyOutputs), (images(5),)),
    "upsampler": (lambda: made(torch_nets.Upsampler), (images(2, 8, 8),)),
}
VARYING_STEPS = {"transformer", "attention"}


@pytest.fixture(scope="module")
def children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Children]:
    """Children that may read what the tests save."""
    with Children([tmp_path_factory.getbasetemp()]) as children:
        yield children


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small exported net, which attacks change."""
    return saved(tmp_path_factory.mktemp("plain"), torch_nets.perceptron(), (images(6),))


@pytest.mark.parametrize("name", NETS)
def test_a_net_answers_as_a_graph(children: Children, tmp_path: Path, name: str) -> None:
    make, inputs = NETS[name]
    axes = {0: ROWS, 1: STEPS} if name in VARYING_STEPS else {0: ROWS}
    path = saved(tmp_path, make(), inputs, tuple(axes for _ in inputs))

    source = children.open(path, "torch")
    graph = source.graph(OPSET)

    assert all(spec.shape[0] is None for spec in (*graph.inputs, *graph.outputs))
    assert [(entry.domain, entry.version) for entry in graph.model.opset_import] == [("", 18)]
    assert furthest(source, graph) <= 1e-5


def test_a_net_of_float16_answers_as_a_graph(children: Children, tmp_path: Path) -> None:
    net = torch_nets.perceptron().half()
    source = children.open(saved(tmp_path, net, (images(6).half(),)), "torch")
    graph = source.graph(OPSET)

    assert [spec.text() for spec in graph.inputs] == ["float16[?, 6]"]
    assert furthest(source, graph) <= 2e-3


def test_a_single_number_a_row_is_a_regression(children: Children, plain: Path) -> None:
    graph = children.open(plain, "torch").graph(OPSET)

    assert graph.task == "regression"
    assert graph.roles == {"value": "value"}


def test_other_outputs_keep_their_names(children: Children, tmp_path: Path) -> None:
    path = saved(tmp_path, made(torch_nets.Autoencoder), (images(12),))
    graph = children.open(path, "torch").graph(OPSET)

    assert graph.task == "tensors"
    assert [spec.name for spec in graph.outputs] == ["reconstruction", "error"]


def test_the_parts_are_named_by_the_file(children: Children, plain: Path) -> None:
    described = children.open(plain, "torch").describe()

    assert described.source.framework == "pytorch"
    assert described.source.kind == "Sequential"
    assert described.source.steps[0] == "0: Linear"


def test_nothing_of_the_authors_files_is_left_in_the_graph(
    children: Children, plain: Path
) -> None:
    data = children.open(plain, "torch").graph(OPSET).to_bytes()

    assert b".py" not in data
    assert b"pkg.torch" not in data


def test_a_frozen_batch_shows_and_is_told(children: Children, tmp_path: Path) -> None:
    path = saved(tmp_path, torch_nets.perceptron(), (images(6),), ())

    source = children.open(path, "torch")
    graph = source.graph(OPSET)

    assert graph.inputs[0].shape == (2, 6)
    assert "dynamic_shapes={'input': {0: torch.export.Dim('batch')}}" in graph.repairs[0]
    assert "dynamic_shapes" in source.diagnose()[0]["why"]
    assert furthest(source, graph, [2]) <= 1e-5
    rows = rows_of(graph.inputs[0], 2)
    np.testing.assert_allclose(source.reference({"input": rows})["value"].shape, (2, 1))


def test_the_command_opens_a_program_in_a_child_of_its_own(plain: Path) -> None:
    with open_source(plain, SourceOptions()) as source:
        graph = source.graph(OPSET)

    assert graph.source.containment.startswith(("contained:", "uncontained:"))


def test_the_doctor_names_an_operator_without_a_form(
    children: Children, tmp_path: Path
) -> None:
    source = children.open(saved(tmp_path, torch_nets.Eigen(), (images(3, 3),)), "torch")

    assert source.diagnose()[0]["verdict"] == "refused"
    with pytest.raises(ConversionFailed, match=r"aten\._linalg_eigh has no form in ONNX"):
        source.graph(OPSET)


def test_an_older_opset_than_the_exporter_writes_is_refused(
    children: Children, plain: Path
) -> None:
    with pytest.raises(ConversionFailed, match="takes opset 17, PyTorch exports from 18"):
        children.open(plain, "torch").graph({"": 17})


@pytest.mark.parametrize(
    ("net", "inputs", "error", "message"),
    [
        (torch_nets.Mixing(), (images(3),), ConversionFailed, "among 3 rows and among 1"),
        (torch_nets.Chance(), (images(3),), ConversionFailed, "when it is asked again"),
        (
            torch_nets.perceptron().train(),
            (images(6),),
            ConversionFailed,
            "when it is asked again",
        ),
        (torch_nets.StateOut(), (images(5, 3),), SourceUnsupported, "a row for each of 3 rows"),
        (
            torch_nets.perceptron().bfloat16(),
            (images(6).bfloat16(),),
            ConversionFailed,
            "bfloat16",
        ),
    ],
    ids=["mixes rows", "draws", "still training", "returns a state", "bfloat16"],
)
def test_a_net_without_a_faithful_form_is_refused(
    children: Children,
    tmp_path: Path,
    net: torch.nn.Module,
    inputs: tuple[torch.Tensor, ...],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        children.open(saved(tmp_path, net, inputs), "torch")


def test_inputs_of_other_rows_are_refused(children: Children, tmp_path: Path) -> None:
    class Scaled(torch.nn.Module):
        def forward(self, rows: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
            return rows * scale

    path = saved(tmp_path, Scaled(), (images(3), torch.ones(3)), ({0: ROWS}, None))
    with pytest.raises(SourceUnsupported, match="the first axis of every input must be its"):
        children.open(path, "torch")


def test_a_whole_module_is_refused_with_what_to_save(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save(torch_nets.perceptron(), path)

    with (
        pytest.raises(SourceUnsupported) as refusal,
        open_source(path, SourceOptions(trust_pickle=True)),
    ):
        pass
    assert "torch.export.save" in refusal.value.hint
