"""Tensors in other files: found only where they may be, moved without being held."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edge_runtime.contract.bundle.content import chunks_of
from edge_runtime.contract.bundle.digests import sha256_file
from packager.errors import SourceUnreadable
from packager.graphs.external_data import (
    PAGE,
    locate,
    moved_out,
    reads_all,
    take_in,
    weights_size,
)

BIG = np.arange(2048, dtype=np.float32).reshape(4, 512)


def outside(name: str, array: np.ndarray, **told: object) -> TensorProto:
    tensor = TensorProto(name=name, dims=array.shape)
    tensor.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor.data_location = TensorProto.EXTERNAL
    entries = {"location": "w.bin", "offset": 0, "length": array.nbytes, **told}
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def model(*tensors: TensorProto) -> ModelProto:
    nodes = [helper.make_node("Identity", [t.name], [f"{t.name}_out"]) for t in tensors]
    ends = [helper.make_empty_tensor_value_info(f"{t.name}_out") for t in tensors]
    graph = helper.make_graph(nodes, "g", [], ends, list(tensors), doc_string="kept")
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    made.producer_name = "kept too"
    return made


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "w.bin").write_bytes(BIG.tobytes() + (BIG + 1).tobytes())
    return tmp_path


def arrays(found: ModelProto, base: Path) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t, str(base)) for t in found.graph.initializer}


# --- where tensors may lie -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"offset": 8193}, "16385 bytes in w.bin for 'w', it has 16384"),
        ({"offset": 10**17}, "bytes in w.bin"),
        ({"length": 8000}, "8192 bytes for 'w', it has 8000"),
        ({"length": 0}, "8192 bytes for 'w'"),
        ({"offset": -1}, "in digits"),
        ({"offset": "0x10"}, "in digits"),
        ({"offset": "٣"}, "in digits"),
        ({"offset": "1" * 30}, "in digits"),
        ({"location": "../w.bin"}, "must lie beside it"),
        ({"location": "/dev/zero"}, "must lie beside it"),
        ({"location": "link.bin"}, "must lie beside it"),
        ({"location": "none.bin"}, "is no file"),
        ({"location": "."}, "is no file"),
        ({"location": ""}, "is no file"),
        ({"location": "w\0.bin"}, "no valid ONNX"),
    ],
)
def test_a_tensor_lies_whole_in_a_file_beside_its_model(
    directory: Path,
    tmp_path_factory: pytest.TempPathFactory,
    told: dict[str, object],
    words: str,
) -> None:
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.bin"
    secret.write_bytes(BIG.tobytes())
    (directory / "link.bin").symlink_to(secret)
    with pytest.raises(SourceUnreadable, match=words):
        locate(model(outside("w", BIG, **told)), directory, "m.onnx")


def test_a_link_that_stays_inside_is_followed(directory: Path) -> None:
    (directory / "link.bin").symlink_to(directory / "w.bin")
    (found,) = locate(model(outside("w", BIG, location="link.bin")), directory, "m.onnx")
    assert found.file.name == "w.bin"


def test_tensors_that_overlap_are_refused_and_those_that_share_all_are_not(
    directory: Path,
) -> None:
    shared = model(outside("v", BIG), outside("w", BIG), outside("x", BIG, offset=8192))
    assert len(locate(shared, directory, "m.onnx")) == 3
    with pytest.raises(SourceUnreadable, match="do not overlap"):
        locate(model(outside("v", BIG), outside("w", BIG, offset=4)), directory, "m.onnx")


def test_text_and_unknown_elements_cannot_lie_outside(directory: Path) -> None:
    text = outside("t", BIG)
    text.data_type = TensorProto.STRING
    with pytest.raises(SourceUnreadable):
        locate(model(text), directory, "m.onnx")
    text.data_type = 77
    with pytest.raises(SourceUnreadable, match="a known type"):
        locate(model(text), directory, "m.onnx")


# --- moving --------------------------------------------------------------------------------


def test_weights_move_from_files_and_from_the_graph_into_one_file(directory: Path) -> None:
    small = np.arange(3, dtype=np.int64)
    typed = helper.make_tensor("typed", TensorProto.FLOAT, BIG.shape, BIG.ravel().tolist())
    source = model(
        outside("x", BIG, offset=8192),
        numpy_helper.from_array(small, "small"),
        typed,
        outside("again", BIG, offset=8192),
        numpy_helper.from_array(BIG * 2, "inside"),
    )
    before = source.SerializeToString()

    bare, weights = moved_out(source, directory, directory / "out.weights")

    assert source.SerializeToString() == before
    expected = {"x": BIG + 1, "small": small, "typed": BIG, "again": BIG + 1, "inside": BIG * 2}
    found = arrays(bare, directory)
    assert all(np.array_equal(found[name], array) for name, array in expected.items())
    assert [t.name for t in bare.graph.initializer] == list(expected)
    assert (bare.graph.doc_string, bare.producer_name) == ("kept", "kept too")
    assert [t.data_location for t in bare.graph.initializer] == [1, 0, 1, 1, 1]
    places = [{e.key: e.value for e in t.external_data} for t in bare.graph.initializer]
    assert places[0] == places[3]
    assert all(int(place["offset"]) % PAGE == 0 for place in places if place)
    assert weights.content.size == (directory / "out.weights").stat().st_size == 3 * 8192
    assert weights.content.sha256 == sha256_file(directory / "out.weights")
    assert b"".join(chunks_of(weights.content, "w")) == (directory / "out.weights").read_bytes()


def test_equal_weights_give_equal_files_wherever_they_lay(directory: Path) -> None:
    inside = model(numpy_helper.from_array(BIG, "w"), numpy_helper.from_array(BIG + 1, "x"))
    beside = model(outside("w", BIG), outside("x", BIG, offset=8192))
    for name in ("a", "b"):
        (directory / name).mkdir()
    one, first = moved_out(inside, None, directory / "a" / "f.weights")
    other, second = moved_out(beside, directory, directory / "b" / "f.weights")
    assert one == other
    assert first.content == second.content


def test_a_file_that_is_there_is_never_written_over(directory: Path) -> None:
    with pytest.raises(FileExistsError):
        moved_out(model(outside("w", BIG)), directory, directory / "w.bin")


def test_a_source_that_becomes_shorter_is_an_error(directory: Path) -> None:
    source = model(outside("w", BIG))
    (directory / "w.bin").write_bytes(b"short")
    with pytest.raises(SourceUnreadable, match=r"bytes in w\.bin"):
        moved_out(source, directory, directory / "out.weights")


def test_moving_holds_no_more_than_a_piece(directory: Path) -> None:
    many = np.zeros((64, 1 << 18), np.float32)
    (directory / "w.bin").write_bytes(many.tobytes())
    tracemalloc.start()
    try:
        moved_out(model(outside("w", many)), directory, directory / "out.weights")
        assert tracemalloc.get_traced_memory()[1] < many.nbytes / 8
    finally:
        tracemalloc.stop()


def test_what_a_graph_passes_over_is_noticed(directory: Path) -> None:
    source = model(outside("w", BIG), outside("x", BIG, offset=8192))
    bare, weights = moved_out(source, directory, directory / "out.weights")
    assert reads_all(bare, weights)
    del bare.graph.initializer[0]
    assert not reads_all(bare, weights)


def test_tensors_are_taken_in(directory: Path) -> None:
    inner = outside("c", BIG)
    source = model(outside("w", BIG), outside("x", BIG[0, :4], length=16, offset=8192))
    source.graph.node.append(helper.make_node("Constant", [], ["k"], value=inner))
    partly = ModelProto.FromString(source.SerializeToString())

    take_in(source, directory)
    take_in(partly, directory, weights=False)

    assert np.array_equal(arrays(source, Path())["w"], BIG)
    assert np.array_equal(onnx.numpy_helper.to_array(source.graph.node[-1].attribute[0].t), BIG)
    assert [t.data_location for t in partly.graph.initializer] == [1, 0]
    assert partly.graph.node[-1].attribute[0].t.data_location == 0


@pytest.mark.parametrize(
    ("kind", "count", "size"),
    [
        (TensorProto.FLOAT, 2048, 8192),
        (TensorProto.INT4, 9001, 4501),
        (TensorProto.BFLOAT16, 4096, 8192),
        (TensorProto.FLOAT, 1023, 0),
    ],
)
def test_weights_are_counted_in_bytes_and_small_ones_not_at_all(
    kind: int, count: int, size: int
) -> None:
    assert weights_size(model(TensorProto(name="w", data_type=kind, dims=[count]))) == size
