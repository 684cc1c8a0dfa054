"""ONNX files: what they say of themselves, how columns enter them, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.external_data_helper import convert_model_to_external_data
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from sources import DEFAULT_OPSET, engine_answers

from edge_runtime.contract.columns import assemble
from edge_runtime.engine.session import SessionPlan, open_session
from packager.errors import ConversionFailed, DataUnusable, SourceUnreadable
from packager.graphs import external_data
from packager.sources.onnx_source import OnnxSource

X, Y = load_iris(return_X_y=True)
OPSET = dict(DEFAULT_OPSET)


def saved(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def adder(
    inputs: Sequence[tuple[str, int, Sequence[Any]]], *, opset: int = 18, domain: str = ""
) -> onnx.ModelProto:
    """A graph that passes its first input on."""
    values = [helper.make_tensor_value_info(*each) for each in inputs]
    name, dtype, shape = inputs[0]
    out = helper.make_tensor_value_info("out", dtype, shape)
    node = helper.make_node("Identity", [name], ["out"], domain=domain)
    graph = helper.make_graph([node], "g", values, [out])
    sets = [helper.make_opsetid("", opset)]
    sets += [helper.make_opsetid(domain, 1)] if domain else []
    return helper.make_model(graph, opset_imports=sets, ir_version=8)


@pytest.mark.parametrize("classes", [[0, 1, 2], ["a", "b", "ü"]])
def test_a_classifier_s_maps_become_the_tensor_behind_them(
    tmp_path: Path, classes: list[Any]
) -> None:
    estimator = LogisticRegression(max_iter=500).fit(X, np.array(classes)[Y])
    path = saved(
        tmp_path / "m.onnx", to_onnx(estimator, X[:1].astype(np.float32), target_opset=OPSET)
    )
    source = OnnxSource(path)

    described = source.describe(dict.fromkeys("abcd", "float"))
    graph = source.graph(OPSET)

    assert described.task == "classification"
    assert described.labels == tuple(classes)
    assert graph.roles == {"label": "output_label", "probability": "output_probability"}
    assert graph.outputs[1].text() == "float32[?, 3]"
    assert [(c.name, c.index) for c in graph.columns] == [
        ("a", 0),
        ("b", 1),
        ("c", 2),
        ("d", 3),
    ]
    answers = engine_answers(graph, {name: X[:, i] for i, name in enumerate("abcd")})
    assert answers["output_label"].tolist() == estimator.predict(X).tolist()
    np.testing.assert_allclose(
        answers["output_probability"], estimator.predict_proba(X), atol=1e-6
    )
    assert source.reference({}) is None
    assert source.missing_probe({}) == ()


def test_a_single_value_is_a_regression(tmp_path: Path) -> None:
    model = to_onnx(LinearRegression().fit(X, Y), X[:1].astype(np.float32), target_opset=OPSET)

    described = OnnxSource(saved(tmp_path / "m.onnx", model)).describe()

    assert (described.task, described.columns, described.labels) == ("regression", (), ())


def test_inputs_of_one_column_are_found_by_their_names(tmp_path: Path) -> None:
    model = adder(
        [("my_age__y_", TensorProto.INT64, ["N", 1]), ("plan", TensorProto.STRING, [None, 1])]
    )
    source = OnnxSource(saved(tmp_path / "m.onnx", model))

    described = source.describe({"plan": "text", "other": "float", "my age (y)": "integer"})

    assert [(c.name, c.kind, c.input, c.index) for c in described.columns] == [
        ("my age (y)", "integer", "my_age__y_", None),
        ("plan", "text", "plan", None),
    ]
    assert described.task == "tensors"
    feed = assemble(described.columns, described.inputs, {"my age (y)": 3, "plan": "a"})
    graph = source.graph(OPSET)
    assert open_session(graph.to_bytes(), SessionPlan()).run(feed)["out"].tolist() == [[3]]


@pytest.mark.parametrize(
    ("shape", "kinds"),
    [
        (["N", 3, 8, 8], {"image": "tensor"}),
        (["N", 3], {"image": "tensor"}),
        ([1, 3], {"image": "float"}),
    ],
)
def test_other_inputs_are_bare_tensors(
    tmp_path: Path, shape: list[Any], kinds: dict[str, str]
) -> None:
    source = OnnxSource(
        saved(tmp_path / "m.onnx", adder([("image", TensorProto.FLOAT, shape)]))
    )

    described = source.describe(kinds)

    assert described.columns == ()
    assert described.inputs[0].shape == tuple(a if isinstance(a, int) else None for a in shape)


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        ({"a": "float", "b": "float"}, r"features float32\[\?, 3\]; the data have 2 columns"),
        ({"a": "float", "b": "text", "c": "float"}, "'b' is text in the data"),
    ],
)
def test_data_that_do_not_fit_are_refused(
    tmp_path: Path, kinds: dict[str, str], told: str
) -> None:
    model = adder([("features", TensorProto.FLOAT, ["N", 3])])

    with pytest.raises(DataUnusable, match=told):
        OnnxSource(saved(tmp_path / "m.onnx", model)).describe(kinds)


def test_a_newer_opset_than_the_target_s_is_refused(tmp_path: Path) -> None:
    model = adder([("a", TensorProto.FLOAT, ["N", 1])], opset=21)
    source = OnnxSource(saved(tmp_path / "m.onnx", model))

    with pytest.raises(ConversionFailed, match=r"up to opset 18, the model uses 21"):
        source.graph(OPSET)
    assert source.graph({"": 21}).outputs[0].name == "out"


def test_operators_of_a_stranger_are_refused(tmp_path: Path) -> None:
    model = adder([("a", TensorProto.FLOAT, ["N", 1])], domain="my.company")

    with pytest.raises(ConversionFailed, match=r"it needs my\.company"):
        OnnxSource(saved(tmp_path / "m.onnx", model))


def test_outputs_that_are_no_tensors_are_refused(tmp_path: Path) -> None:
    node = helper.make_node("SequenceConstruct", ["a"], ["out"])
    value = helper.make_tensor_value_info("a", TensorProto.FLOAT, ["N", 1])
    out = helper.make_tensor_sequence_value_info("out", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", [value], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])

    with pytest.raises(ConversionFailed, match=r"'out' must be .* it is sequence_type"):
        OnnxSource(saved(tmp_path / "m.onnx", model))


# --- external data -------------------------------------------------------------------------


def weighted() -> onnx.ModelProto:
    weights = helper.make_tensor(
        "w", TensorProto.FLOAT, [4, 2], np.arange(8, dtype=np.float32).tobytes(), raw=True
    )
    value = helper.make_tensor_value_info("a", TensorProto.FLOAT, ["N", 4])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", 2])
    node = helper.make_node("MatMul", ["a", "w"], ["out"])
    graph = helper.make_graph([node], "g", [value], [out], [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def with_external_data(directory: Path) -> Path:
    model = weighted()
    convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    onnx.save(model, directory / "m.onnx")
    return directory / "m.onnx"


def pointing_to(path: Path, location: str, **entries: str) -> Path:
    """Rewrite a model's external data entry as an attacker could."""
    model = onnx.load(path, load_external_data=False)
    tensor = model.graph.initializer[0]
    del tensor.external_data[:]
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return saved(path, model)


def test_external_data_beside_the_model_are_taken_in_and_count_in_the_digest(
    tmp_path: Path,
) -> None:
    path = with_external_data(tmp_path)
    source = OnnxSource(path)
    graph = source.graph(OPSET)

    taken = onnx.numpy_helper.to_array(graph.model.graph.initializer[0])
    assert taken.tolist() == np.arange(8).reshape(4, 2).tolist()
    (tmp_path / "weights.bin").write_bytes(np.ones(8, dtype=np.float32).tobytes())
    changed = OnnxSource(path).describe().source.sha256
    assert changed != graph.source.sha256


def test_external_data_elsewhere_are_refused(tmp_path: Path) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"s" * 32)
    (directory / "link.bin").symlink_to(secret)
    path = with_external_data(directory)

    for location in (
        "../secret.bin",
        str(secret),
        "link.bin",
        "x/../../secret.bin",
        "/dev/zero",
    ):
        with pytest.raises(SourceUnreadable, match="must lie beside it"):
            OnnxSource(pointing_to(path, location))


@pytest.mark.parametrize(
    ("location", "entries"),
    [
        ("absent.bin", {}),
        ("", {}),
        (".", {}),
        ("weights.bin", {"length": "1000000"}),
        ("weights.bin", {"offset": "9999"}),
        ("weights.bin", {"length": "-1"}),
        ("weights.bin", {"length": "many"}),
        ("weights.bin", {"offset": "0x1"}),
        ("weights\0.bin", {}),
    ],
)
def test_external_data_that_are_not_there_are_refused(
    tmp_path: Path, location: str, entries: dict[str, str]
) -> None:
    path = pointing_to(with_external_data(tmp_path), location, **entries)

    with pytest.raises(SourceUnreadable):
        OnnxSource(path)


def test_external_data_beyond_what_a_bundle_holds_are_refused_before_they_are_read(
    tmp_path: Path,
) -> None:
    path = with_external_data(tmp_path)
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].dims[:] = [1 << 16, 1 << 15]
    with (tmp_path / "weights.bin").open("r+b") as file:
        file.truncate(8 << 30)  # a hole, not data
    saved(path, model)

    with pytest.raises(ConversionFailed, match="of external data, it has 8589934592"):
        OnnxSource(pointing_to(path, "weights.bin"))


def test_many_weights_stay_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = np.ones((4, 2048), np.float32)
    model = weighted()
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights, "w"))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 2048
    convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    onnx.save(model, tmp_path / "m.onnx")
    inside = OnnxSource(tmp_path / "m.onnx").graph(OPSET)
    monkeypatch.setattr(external_data, "INLINE_LIMIT", 1000)

    beside = OnnxSource(tmp_path / "m.onnx").graph(OPSET)

    assert inside.beside is None
    assert beside.beside == tmp_path
    assert len(beside.to_bytes()) < 1000
    assert beside.source == inside.source


def test_many_weights_of_an_invalid_graph_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_data, "INLINE_LIMIT", 0)
    path = with_external_data(tmp_path)
    model = onnx.load(path, load_external_data=False)
    model.graph.node[0].op_type = "NoSuchThing"
    saved(path, model)
    with pytest.raises(SourceUnreadable, match="no valid ONNX model"):
        OnnxSource(path)


# --- damage --------------------------------------------------------------------------------


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = weighted().SerializeToString()

    for length in range(len(whole)):
        path = tmp_path / "m.onnx"
        path.write_bytes(whole[:length])
        with pytest.raises((SourceUnreadable, ConversionFailed)):
            OnnxSource(path)


@pytest.mark.parametrize("content", [b"", b"no model", b"\0" * 100, b"\xff" * 100])
def test_a_file_that_is_no_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)

    with pytest.raises(SourceUnreadable, match=r"m\.onnx is no valid ONNX model"):
        OnnxSource(path)
