"""Images at a graph's front: the steps, their order, and numpy's answers bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper

from edge_runtime.contract.tensors import TensorSpec
from packager.answers import open_graph
from packager.errors import ConfigInvalid, ConversionFailed
from packager.graph import Graph, SourceFacts
from packager.sources.processing.image_input import ImageInput, image_input

SIZE = (4, 6, 3)
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
FACTS = SourceFacts("onnx", "test", "0" * 64, {}, (), "contained: test")

DTYPES = {
    "float16": TensorProto.FLOAT16,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
}


def through(spec: TensorSpec, *, opset: int = 13) -> Graph:
    """A graph that gives back what the model's own input was."""
    axes = ["N", *spec.shape[1:]]
    values = [
        helper.make_tensor_value_info(name, DTYPES[spec.dtype], axes)
        for name in (spec.name, "given_back")
    ]
    node = helper.make_node("Identity", [spec.name], ["given_back"])
    body = helper.make_graph([node], "through", values[:1], values[1:])
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", opset)], ir_version=8
    )
    outputs = (TensorSpec("given_back", spec.dtype, spec.shape),)
    return Graph(model, (spec,), outputs, (), "tensors", {}, (), FACTS)


def images(rows: int = 5, size: tuple[int, ...] = SIZE) -> np.ndarray[Any, Any]:
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (rows, *size)).astype(np.uint8)


def spec_of(layout: str, dtype: str = "float32") -> TensorSpec:
    height, width, channels = SIZE
    axes = (channels, height, width) if layout == "nchw" else SIZE
    return TensorSpec("input", dtype, (None, *axes))


def asked(spec: TensorSpec, layout: str = "nchw", **changes: Any) -> ImageInput:
    return image_input((spec,), SIZE, **{"mean": MEAN, "std": STD, "layout": layout, **changes})


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("scaling", [{}, {"mean": ()}, {"std": ()}, {"mean": (), "std": ()}])
def test_the_graph_scales_as_numpy_does_bit_for_bit(
    layout: str, dtype: str, scaling: dict[str, Any]
) -> None:
    spec = spec_of(layout, dtype)
    added = asked(spec, layout, **scaling)
    graph = added.put_before(through(spec))
    onnx.checker.check_model(graph.model, full_check=True)
    found = open_graph(graph).run({"input": images()})["given_back"]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, added.scaled(images()))


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_the_formula_is_the_one_that_training_libraries_use(layout: str) -> None:
    spec = spec_of(layout)
    values = images()[..., ::-1].astype(np.float32) / np.float32(255)
    wanted = np.empty_like(values)
    for channel in range(3):
        centred = values[..., channel] - np.float32(MEAN[channel])
        wanted[..., channel] = centred / np.float32(STD[channel])
    if layout == "nchw":
        wanted = np.moveaxis(wanted, 3, 1)
    found = asked(spec, layout).scaled(images()[..., ::-1])
    np.testing.assert_array_equal(found, wanted)
    assert found.flags.c_contiguous


@given(
    arrays.arrays(np.uint8, (2, 2, 3, 1)),
    st.floats(-2, 2),
    st.floats(1e-3, 10),
)
def test_any_figures_agree(pixels: np.ndarray[Any, Any], mean: float, std: float) -> None:
    spec = TensorSpec("x", "float32", (None, 1, 2, 3))
    added = image_input((spec,), (2, 3, 1), mean=(mean,), std=(std,), layout="nchw")
    found = open_graph(added.put_before(through(spec))).run({"x": pixels})["given_back"]
    np.testing.assert_array_equal(found, added.scaled(pixels))


def test_the_application_sees_bytes_under_the_model_s_own_name() -> None:
    graph = asked(spec_of("nchw")).put_before(through(spec_of("nchw")))
    wanted = TensorSpec("input", "uint8", (None, *SIZE))
    assert graph.inputs == (wanted,)
    assert open_graph(graph).inputs == (wanted,)


def test_a_batch_of_fixed_length_stays_one() -> None:
    spec = TensorSpec("input", "float32", (2, 3, 4, 6))
    assert asked(spec).spec.shape == (2, *SIZE)


def test_axes_of_any_length_become_the_image_s() -> None:
    spec = TensorSpec("input", "float32", (None, None, None, None))
    graph = asked(spec).put_before(through(spec))
    assert graph.inputs[0].shape == (None, *SIZE)


def test_names_that_the_model_uses_itself_are_left_to_it() -> None:
    spec = TensorSpec("x", "float32", (None, 3, 4, 6))
    given = through(spec)
    given.model.graph.node[0].output[0] = "x_scaled"
    given.model.graph.node.append(helper.make_node("Neg", ["x_scaled"], ["x_div"]))
    given.model.graph.node.append(helper.make_node("Neg", ["x_div"], ["given_back"]))
    graph = asked(spec).put_before(given)
    onnx.checker.check_model(graph.model, full_check=True)
    found = open_graph(graph).run({"x": images()})["given_back"]
    np.testing.assert_array_equal(found, asked(spec).scaled(images()))


def test_the_model_itself_is_left_as_it_is() -> None:
    given = through(spec_of("nchw"))
    before = given.to_bytes()
    asked(spec_of("nchw")).put_before(given)
    assert given.to_bytes() == before


def test_constants_have_one_axis_so_that_no_rung_takes_them_for_weights() -> None:
    graph = asked(spec_of("nchw")).put_before(through(spec_of("nchw")))
    assert [list(tensor.dims) for tensor in graph.model.graph.initializer] == [[], [3], [3]]


def test_only_a_few_images_become_floats_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("packager.sources.processing.image_input._CHUNK_BYTES", 2 * 4 * 72)
    parts = list(asked(spec_of("nchw")).chunks(images(5)))
    assert [len(part) for part in parts] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(parts), images(5))


# --- what is refused -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "inputs",
    [
        (TensorSpec("x", "float32", (None, 4, 6, 3)),),
        (TensorSpec("x", "float32", (None, 3, 6, 4)),),
        (TensorSpec("x", "float32", (None, 72)),),
        (TensorSpec("x", "uint8", (None, 3, 4, 6)),),
        (TensorSpec("x", "float32", (None, 3, 4, 6)), TensorSpec("y", "float32", (None, 1))),
        (),
    ],
)
def test_a_model_of_other_inputs_is_told_both(inputs: tuple[TensorSpec, ...]) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        image_input(inputs, SIZE, mean=(), std=(), layout="nchw")
    assert "images of 4x6x3 as nchw need one input of floats [?, 3, 4, 6]" in str(caught.value)
    assert all(spec.text() in str(caught.value) for spec in inputs)


@pytest.mark.parametrize("std", [0.0, -1.0])
def test_nothing_is_divided_by_zero_or_turned_over(std: float) -> None:
    with pytest.raises(ConfigInvalid, match="std must be greater than zero"):
        asked(spec_of("nchw"), std=(1.0, std, 1.0))


def test_an_operator_set_from_before_broadcasting_is_refused() -> None:
    with pytest.raises(ConversionFailed, match="needs opset 9, the model uses 6"):
        asked(spec_of("nchw")).put_before(through(spec_of("nchw"), opset=6))
