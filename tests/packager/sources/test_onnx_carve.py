"""Large ONNX files are read without their weights, and say the same as when parsed whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edge_runtime.contract.errors import GraphRefused
from packager.errors import SourceUnreadable
from packager.graphs import external_data
from packager.graphs.external_data import take_in
from packager.sources import onnx_model
from packager.sources.onnx_carve import carved

BIG = np.arange(2048, dtype=np.float32).reshape(32, 64)


def model() -> ModelProto:
    tensors = [
        numpy_helper.from_array(BIG, "big"),
        numpy_helper.from_array(np.arange(3), "small"),
        helper.make_tensor("typed", TensorProto.FLOAT, BIG.shape, BIG.ravel().tolist()),
        numpy_helper.from_array(BIG + 1, "other"),
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "big"], ["y"], name="location", doc_string="a node"),
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(BIG, "inner")),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", axis])
        for name, axis in (("x", 32), ("y", 64))
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors, doc_string="a graph")
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    made.producer_name = "somebody"
    made.metadata_props.add(key="k", value="v")
    return made


def saved(directory: Path, data: bytes) -> Path:
    path = directory / "m.onnx"
    path.write_bytes(data)
    return path


def test_all_but_the_weights_is_read_and_they_are_found_in_the_file(tmp_path: Path) -> None:
    whole = model()
    found = carved(saved(tmp_path, whole.SerializeToString()))
    assert [t.data_location for t in found.graph.initializer] == [1, 0, 0, 1]
    saving = len(whole.SerializeToString()) - len(found.SerializeToString())
    assert saving > 2 * BIG.nbytes - 500
    take_in(found, tmp_path)
    assert found == whole


def test_a_graph_in_several_parts_counts_as_one(tmp_path: Path) -> None:
    whole = model()
    parts = ModelProto.FromString(whole.SerializeToString())
    last = ModelProto()
    last.graph.initializer.append(parts.graph.initializer[-1])
    del parts.graph.initializer[-1]
    data = parts.SerializeToString() + last.SerializeToString()
    found = carved(saved(tmp_path, data))
    take_in(found, tmp_path)
    assert found == whole == ModelProto.FromString(data)


def test_a_file_cut_anywhere_is_refused_or_was_whole(tmp_path: Path) -> None:
    data = model().SerializeToString()
    for length in range(1, len(data), 97):
        path = saved(tmp_path, data[:length])
        try:
            found = carved(path)
        except (GraphRefused, DecodeError):
            continue
        take_in(found, tmp_path)
        assert found == ModelProto.FromString(data[:length])


def test_the_source_is_the_same_however_it_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, model().SerializeToString())
    whole, digest, nowhere = onnx_model.load(path)
    monkeypatch.setattr(external_data, "INLINE_LIMIT", 10_000)
    found, again, beside = onnx_model.load(path)
    assert (digest, nowhere, beside) == (again, None, tmp_path)
    take_in(found, tmp_path)
    assert found == whole


def test_a_link_to_a_large_file_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_data, "INLINE_LIMIT", 10_000)
    (tmp_path / "deep").mkdir()
    path = saved(tmp_path / "deep", model().SerializeToString())
    (tmp_path / "link.onnx").symlink_to(path)
    assert onnx_model.load(tmp_path / "link.onnx")[2] == path.parent


def test_large_nonsense_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external_data, "INLINE_LIMIT", 10)
    for data in (b"\xff" * 100, b"no model at all", b"\x3a\x05hello"):
        with pytest.raises(SourceUnreadable, match=r"m\.onnx is no valid ONNX model"):
            onnx_model.load(saved(tmp_path, data))


def test_a_weight_of_another_size_than_its_shape_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_data, "INLINE_LIMIT", 10)
    bent = model()
    bent.graph.initializer[0].dims[0] = 31
    with pytest.raises(SourceUnreadable, match="7936 bytes for 'big', it has 8192"):
        onnx_model.load(saved(tmp_path, bent.SerializeToString()))
    assert onnx.load(tmp_path / "m.onnx") == bent
