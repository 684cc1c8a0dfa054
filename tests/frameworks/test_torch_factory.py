"""A function of the user's own makes a PyTorch model: its weights, inputs and containment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch_nets
from tensor_models import OPSET, Children, furthest

from edge_runtime.contract.errors import EdgepackError
from packager.errors import (
    ConversionFailed,
    SourceUnreadable,
    SourceUnsupported,
    SourceUntrustedType,
)
from packager.sources.child_source import ChildSource
from packager.sources.options import SourceOptions
from packager.stages.convert import open_source

NETS = Path(torch_nets.__file__)
IMAGE = "image:float32[N,3,8,8]"
ROWS = "rows:float32[N,4]"


@pytest.fixture(scope="module")
def children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Children]:
    """Children that may read the nets and what the tests save."""
    with Children([NETS, tmp_path_factory.getbasetemp()]) as children:
        yield children


def opened(
    children: Children, factory: str, *inputs: str, weights: Path | None = None
) -> ChildSource:
    told: dict[str, Any] = {"weights": weights and str(weights), "inputs": list(inputs)}
    return children.open(NETS, "factory", factory=factory, **told)


def test_a_function_and_its_weights_answer_as_a_graph(
    children: Children, tmp_path: Path
) -> None:
    net = torch_nets.conv_net()
    with torch.no_grad():
        net.head.bias += 1
    torch.save(net.state_dict(), tmp_path / "weights.pt")

    source = opened(children, "conv_net", IMAGE, weights=tmp_path / "weights.pt")
    graph = source.graph(OPSET)

    assert furthest(source, graph) <= 1e-5
    assert [spec.text() for spec in graph.inputs] == ["float32[?, 3, 8, 8]"]
    image = np.ones((2, 3, 8, 8), np.float32)
    with torch.no_grad():
        expected = net(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(source.reference({"image": image})["output"], expected, 1e-6)


def test_the_command_opens_a_function_with_its_weights(tmp_path: Path) -> None:
    torch.save(torch_nets.conv_net().state_dict(), tmp_path / "weights.pt")
    options = SourceOptions(weights=tmp_path / "weights.pt", inputs=(IMAGE,))

    with open_source(NETS.with_name("torch_nets.py:conv_net"), options) as source:
        described = source.describe()

    assert described.source.kind == "ConvNet"
    assert described.source.steps == ("features: Sequential", "head: Linear")


def test_inputs_may_have_names_of_their_own(children: Children) -> None:
    graph = opened(children, "perceptron", "measured:float32[N,6]").graph(OPSET)

    assert [spec.name for spec in graph.inputs] == ["measured"]


def test_a_fixed_batch_is_kept_and_told(children: Children) -> None:
    source = opened(children, "counting", "rows:float32[2,4]")
    graph = source.graph(OPSET)

    assert "the 2 rows" in graph.repairs[0]
    assert furthest(source, graph, [2]) <= 1e-6


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("counting", "differs among 3 rows and among 1"),
        ("mixing", "differs among 3 rows and among 1"),
        ("deciding", "torch.export refuses it"),
        ("two_faced", "is another once exported"),
    ],
)
def test_a_net_that_has_no_single_form_is_refused(
    children: Children, factory: str, message: str
) -> None:
    with pytest.raises(ConversionFailed, match=message):
        opened(children, factory, ROWS)


@pytest.mark.parametrize(
    ("factory", "inputs", "message"),
    [
        ("conv_net", [], "needs its inputs told"),
        ("conv_net", ["image:float32[N,3,8,10]"], "it raised RuntimeError"),
        ("conv_nets", [IMAGE], "did you mean 'conv_net'"),
        ("no_module", [IMAGE], "must return a torch.nn.Module, it returned str"),
        ("conv_net", [IMAGE, "other:float32[N,2]"], "'other' is none"),
        ("conv_net", ["image:float32[N,3,8,8]", "image:float32[N]"], "is twice"),
    ],
)
def test_what_cannot_be_called_is_refused_by_its_cause(
    children: Children, factory: str, inputs: list[str], message: str
) -> None:
    with pytest.raises(SourceUnsupported, match=message):
        opened(children, factory, *inputs)


def test_the_refusal_without_inputs_shows_one(children: Children) -> None:
    with pytest.raises(SourceUnsupported) as refusal:
        opened(children, "conv_net")
    assert "image:float32[N,3,224,224]" in refusal.value.hint


class Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def test_weights_that_run_code_are_refused(children: Children, tmp_path: Path) -> None:
    torch.save({"head.bias": Payload(tmp_path / "mark")}, tmp_path / "weights.pt")

    with pytest.raises(SourceUntrustedType, match="must hold tensors by name only"):
        opened(children, "conv_net", IMAGE, weights=tmp_path / "weights.pt")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("share", [0, 0.4, 0.95])
def test_truncated_weights_are_refused(
    children: Children, tmp_path: Path, share: float
) -> None:
    path = tmp_path / "weights.pt"
    torch.save(torch_nets.conv_net().state_dict(), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    with pytest.raises(SourceUnreadable, match=r"must be a file of torch\.save"):
        opened(children, "conv_net", IMAGE, weights=path)


def test_weights_of_another_net_are_refused(children: Children, tmp_path: Path) -> None:
    torch.save(torch_nets.perceptron().state_dict(), tmp_path / "weights.pt")

    with pytest.raises(SourceUnsupported, match="must be the state_dict of the model made"):
        opened(children, "conv_net", IMAGE, weights=tmp_path / "weights.pt")


def program(directory: Path, text: str) -> Path:
    path = directory / "own.py"
    path.write_text(f"import torch\nfrom torch import nn\n\n{text}\n")
    return path


def told(path: Path, options: SourceOptions) -> EdgepackError:
    with (
        pytest.raises(EdgepackError) as refusal,
        open_source(path.with_name("own.py:make"), options),
    ):
        pass
    return refusal.value


def test_a_function_that_writes_is_contained(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = program(tmp_path, f"def make():\n    open({str(mark)!r}, 'w').write('x')")

    error = told(path, SourceOptions(inputs=(ROWS,)))
    assert isinstance(error, SourceUnsupported)
    assert "PermissionError" in error.message
    assert not mark.exists()


def test_a_function_that_opens_a_socket_is_contained(tmp_path: Path) -> None:
    text = "import socket\ndef make():\n    socket.create_connection(('127.0.0.1', 9))"

    error = told(program(tmp_path, text), SourceOptions(inputs=(ROWS,)))
    assert isinstance(error, SourceUnsupported)
    assert "PermissionError" in error.message


def test_modules_beside_it_need_path(tmp_path: Path) -> None:
    (tmp_path / "layers_of_mine.py").write_text("SIZE = 4\n")
    text = "from layers_of_mine import SIZE\ndef make():\n    return nn.Linear(SIZE, 1)"
    path = program(tmp_path, text)

    error = told(path, SourceOptions(inputs=(ROWS,)))
    assert "No module named 'layers_of_mine'" in error.message
    assert "--path" in error.hint

    options = SourceOptions(inputs=(ROWS,), modules=(tmp_path,))
    with open_source(path.with_name("own.py:make"), options) as source:
        assert source.describe().task == "regression"
