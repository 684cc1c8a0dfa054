"""Programs of PyTorch that are damaged, or that would run code when they are loaded."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_nets
from tensor_models import Children
from torch_nets import saved

from packager.errors import SourceUnreadable, SourceUntrustedType


@pytest.fixture(scope="module")
def children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Children]:
    """Children that may read what the tests save."""
    with Children([tmp_path_factory.getbasetemp()]) as children:
        yield children


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small exported net, which attacks change."""
    directory = tmp_path_factory.mktemp("plain")
    return saved(directory, torch_nets.perceptron(), (torch.zeros(2, 6),))


@pytest.mark.parametrize("share", [0, 0.3, 0.7, 0.99])
def test_a_truncated_program_is_refused(
    children: Children, tmp_path: Path, plain: Path, share: float
) -> None:
    data = plain.read_bytes()
    path = tmp_path / "cut.pt2"
    path.write_bytes(data[: int(len(data) * share)])

    with pytest.raises(SourceUnreadable):
        children.open(path, "torch")


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def rewritten(source: Path, path: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """Copy an archive with members changed, or left out where there is None."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = change(name.partition("/")[2], old.read(name))
            if data is not None:
                new.writestr(name, data)
    return path


def program_with(plain: Path, path: Path, old: str, new: str) -> Path:
    """Copy a program with a text of its graph replaced."""

    def change(name: str, data: bytes) -> bytes:
        if name != "models/model.json":
            return data
        assert old in data.decode()
        return data.decode().replace(old, new).encode()

    return rewritten(plain, path, change)


CODE = "__import__('pathlib').Path('MARK').touch()"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Symbol('s", f"[{CODE}] or Symbol('s"),
        ("Symbol('s", "Symbol('__class__')*exec('s"),
        ('"guards_code": [', f'"guards_code": ["{CODE}"'),
        ("torch.ops.aten.relu.default", "torch.os.system"),
        ("torch.ops.aten.relu.default", "torch.ops.aten.relu.default.__globals__"),
        ("torch.ops.aten.relu.default", "torch.ops.load_library"),
        ('{"name": "input"}', f'{{"name": "input={CODE}"}}'),
        ('"forward_arg_names": ["input"]', f'"forward_arg_names": ["input={CODE}"]'),
        ("builtins.dict", f"builtins.dict{CODE}"),
    ],
    ids=[
        "a size that calls",
        "a size that executes",
        "a guard that calls",
        "another function of the library",
        "an attribute of an operator",
        "a loader of libraries",
        "an input that is code",
        "an argument that is code",
        "a structure that is code",
    ],
)
def test_text_that_would_run_is_refused_before_it_is_loaded(
    children: Children, tmp_path: Path, plain: Path, old: str, new: str
) -> None:
    mark = tmp_path / "mark"
    path = program_with(plain, tmp_path / "bad.pt2", old, new.replace("MARK", str(mark)))

    with pytest.raises(SourceUntrustedType, match="tensors and named operators only"):
        children.open(path, "torch")
    assert not mark.exists()


def test_a_pickled_weight_is_refused(children: Children, tmp_path: Path, plain: Path) -> None:
    def change(name: str, data: bytes) -> bytes:
        if name == "data/weights/model_weights_config.json":
            return data.replace(b'"use_pickle": false', b'"use_pickle": true', 1)
        return data

    path = rewritten(plain, tmp_path / "bad.pt2", change)
    with pytest.raises(SourceUntrustedType, match="use_pickle True"):
        children.open(path, "torch")


@pytest.mark.parametrize(
    "member",
    ["data/constants/opaque_obj_0", "data/aotinductor/model/a.so", "data/weights/model.pt"],
)
def test_a_member_that_runs_is_refused(
    children: Children, tmp_path: Path, plain: Path, member: str
) -> None:
    path = rewritten(plain, tmp_path / "bad.pt2", lambda _, data: data)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"net/{member}", b"code")

    with pytest.raises(SourceUntrustedType, match=member):
        children.open(path, "torch")


def test_example_inputs_that_run_code_are_not_opened(
    children: Children, tmp_path: Path, plain: Path
) -> None:
    mark, buffer = tmp_path / "mark", io.BytesIO()
    torch.save((Payload(mark), {}), buffer)

    def change(name: str, data: bytes) -> bytes:
        return buffer.getvalue() if name == "data/sample_inputs/model.pt" else data

    path = rewritten(plain, tmp_path / "bad.pt2", change)
    with pytest.raises(SourceUnreadable):
        children.open(path, "torch")
    assert not mark.exists()


def test_a_program_without_its_model_is_refused(
    children: Children, tmp_path: Path, plain: Path
) -> None:
    path = rewritten(
        plain,
        tmp_path / "bad.pt2",
        lambda name, data: None if name == "models/model.json" else data,
    )
    with pytest.raises(SourceUnreadable, match=r"holds no models/model\.json"):
        children.open(path, "torch")


def test_a_program_of_another_schema_is_refused(
    children: Children, tmp_path: Path, plain: Path
) -> None:
    def change(name: str, data: bytes) -> bytes:
        if name != "models/model.json":
            return data
        return json.dumps(
            json.loads(data) | {"schema_version": {"major": 99, "minor": 0}}
        ).encode()

    with pytest.raises(SourceUnreadable, match="cannot load"):
        children.open(rewritten(plain, tmp_path / "bad.pt2", change), "torch")
