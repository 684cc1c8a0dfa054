"""Models of Keras 3, computed by PyTorch: as graphs they answer alike, and code stays shut."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tensor_models import OPSET, Children, furthest

from packager.errors import (
    ConversionFailed,
    SourceUnreadable,
    SourceUnsupported,
    SourceUntrustedType,
    SourceVersionSkew,
)
from packager.sources.options import SourceOptions
from packager.stages.convert import open_source

os.environ["KERAS_BACKEND"] = "torch"
h5py = pytest.importorskip("h5py")
keras = pytest.importorskip("keras")


@pytest.fixture(scope="module")
def children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Children]:
    """Children that may read what the tests save."""
    with Children([tmp_path_factory.getbasetemp()]) as children:
        yield children


@pytest.fixture(autouse=True)
def _seeded() -> None:
    keras.utils.set_random_seed(0)


def dense() -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(8, activation="relu"),
            layers.BatchNormalization(moving_variance_initializer="he_normal"),
            layers.Dropout(0.5),
            layers.Dense(3, activation="softmax"),
        ]
    )


def convolutions() -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((12, 12, 1)),
            layers.Conv2D(4, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.DepthwiseConv2D(3),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )


def added() -> Any:
    layers = keras.layers
    left, right = keras.Input((5,), name="left side"), keras.Input((3,), name="right")
    both = layers.Add()([layers.Dense(6)(left), layers.Dense(6)(right)])
    outputs = [layers.Dense(2, name="two")(both), layers.Dense(1, name="one")(both)]
    return keras.Model([left, right], outputs)


def recurrent() -> Any:
    layers = keras.layers
    ids = keras.Input((6,), dtype="int32")
    return keras.Model(ids, layers.Dense(2)(layers.LSTM(5)(layers.Embedding(9, 4)(ids))))


def attentive() -> Any:
    layers = keras.layers
    steps = keras.Input((6, 8))
    mixed = layers.LayerNormalization()(layers.MultiHeadAttention(2, 4)(steps, steps) + steps)
    return keras.Model({"steps": steps}, {"mean": layers.GlobalAveragePooling1D()(mixed)})


@pytest.mark.parametrize(
    ("make", "name", "inputs", "outputs"),
    [
        (dense, "dense.keras", ["float32[?, 4]"], ["output"]),
        (dense, "dense.h5", ["float32[?, 4]"], ["output"]),
        (convolutions, "convolutions.h5", ["float32[?, 12, 12, 1]"], ["value"]),
        (added, "added.keras", ["float32[?, 5]", "float32[?, 3]"], ["two", "one"]),
        (recurrent, "recurrent.keras", ["int32[?, 6]"], ["output"]),
        (attentive, "attentive.keras", ["float32[?, 6, 8]"], ["mean"]),
    ],
)
def test_a_model_answers_as_a_graph(
    children: Children,
    tmp_path: Path,
    make: Callable[[], Any],
    name: str,
    inputs: list[str],
    outputs: list[str],
) -> None:
    make().save(tmp_path / name)

    source = children.open(tmp_path / name, "keras")
    graph = source.graph(OPSET)

    assert [spec.text() for spec in graph.inputs] == inputs
    assert [spec.name for spec in graph.outputs] == outputs
    assert furthest(source, graph) <= 1e-5


def test_inputs_get_names_that_are_identifiers_and_layers_are_steps(tmp_path: Path) -> None:
    added().save(tmp_path / "added.keras")

    with open_source(tmp_path / "added.keras") as source:
        described = source.describe()

    assert [spec.name for spec in described.inputs] == ["left_side", "right"]
    assert described.source.framework == "keras"
    assert described.source.kind == "Functional"
    assert described.source.steps[4].endswith(": Add")


@pytest.mark.parametrize("name", ["lambda.keras", "lambda.h5"])
def test_a_layer_that_is_code_is_refused(children: Children, tmp_path: Path, name: str) -> None:
    rows = keras.Input((4,))
    doubled = keras.layers.Lambda(lambda values: values * 2)(rows)
    keras.Model(rows, doubled).save(tmp_path / name)

    with pytest.raises(SourceUntrustedType, match="must not hold Python code"):
        children.open(tmp_path / name, "keras")


@pytest.mark.parametrize("share", [0, 0.5, 0.95])
@pytest.mark.parametrize("name", ["cut.keras", "cut.h5"])
def test_a_truncated_model_is_refused(
    children: Children, tmp_path: Path, name: str, share: float
) -> None:
    path = tmp_path / name
    dense().save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    with pytest.raises(SourceUnreadable):
        children.open(path, "keras")


def test_a_file_of_keras_2_that_keras_3_cannot_read_names_both(
    children: Children, tmp_path: Path
) -> None:
    path = tmp_path / "old.h5"
    dense().save(path)
    with h5py.File(path, "r+") as file:
        file.attrs["keras_version"] = "2.15.0"
        config = file.attrs["model_config"]
        file.attrs["model_config"] = config.replace('"Dense"', '"DenseOfOld"')

    with pytest.raises(SourceVersionSkew, match=r"written by Keras 2\.15\.0") as refusal:
        children.open(path, "keras")
    assert refusal.value.as_json()["error"]["values"]["expected"] == "2.15.0"


def test_a_variable_length_that_a_layer_unrolls_is_refused(
    children: Children, tmp_path: Path
) -> None:
    series = keras.Input((None, 3))
    keras.Model(series, keras.layers.LSTM(4)(series)).save(tmp_path / "series.keras")

    with pytest.raises(ConversionFailed, match="one form for any"):
        children.open(tmp_path / "series.keras", "keras")


def test_a_model_that_does_not_say_its_inputs_is_refused(
    children: Children, tmp_path: Path
) -> None:
    keras.Sequential([keras.layers.Dense(3)]).save(tmp_path / "unbuilt.keras")

    with pytest.raises(SourceUnsupported, match="must say its inputs"):
        children.open(tmp_path / "unbuilt.keras", "keras")


LAYER = """
import keras

@keras.saving.register_keras_serializable(package="mine")
class Twice(keras.layers.Layer):
    def call(self, rows):
        return rows * 2
"""


def test_a_layer_of_the_users_own_opens_with_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "twice_layer.py").write_text(LAYER)
    monkeypatch.syspath_prepend(str(tmp_path))
    from twice_layer import Twice

    rows = keras.Input((4,))
    path = tmp_path / "own.keras"
    keras.Model(rows, Twice()(rows)).save(path)
    monkeypatch.delitem(sys.modules, "twice_layer")

    with pytest.raises(SourceUnreadable) as refusal, open_source(path):
        pass
    assert "--path" in refusal.value.hint
    with open_source(path, SourceOptions(modules=(tmp_path,))) as source:
        assert furthest(source, source.graph(OPSET)) <= 1e-6
