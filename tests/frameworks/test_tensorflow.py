"""Models of TensorFlow and Keras 2, in their own environment: as graphs they answer alike."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import helper_pythons
import pytest
from tensor_models import OPSET, furthest

from packager.errors import (
    ConversionFailed,
    SourceUnreadable,
    SourceUnsupported,
    SourceUntrustedType,
)
from packager.sources.child_source import ChildSource, Saved
from packager.sources.environments.helper_libraries import is_keras_2, libraries_for
from packager.sources.environments.versions_inside import versions_inside
from packager.sources.sandbox import Sandbox
from packager.sources.saved import open_saved
from packager.stages.convert import open_source

MODELS = """
import tensorflow as tf

keras, layers = tf.keras, tf.keras.layers
keras.utils.set_random_seed(0)
dense = keras.Sequential(
    [layers.Input((6,)), layers.Dense(8, "relu"), layers.BatchNormalization(), layers.Dense(1)]
)
dense.save("dense.h5")
dense.save("dense.keras")
dense.save("dense")
keras.Sequential(
    [
        layers.Input((8, 8, 3)),
        layers.Conv2D(4, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.DepthwiseConv2D(3),
        layers.Flatten(),
        layers.Dense(3, "softmax"),
    ]
).save("images.h5")
keras.Sequential(
    [
        layers.Input((None,), dtype="int32"),
        layers.Embedding(20, 6),
        layers.LSTM(5, return_sequences=True),
        layers.Bidirectional(layers.GRU(4)),
        layers.Dense(2, "softmax"),
    ]
).save("recurrent.h5")
left, right = layers.Input((3,), name="left"), layers.Input((4,), name="right")
both = layers.Dense(5, "tanh")(layers.Concatenate()([left, right]))
keras.Model(
    [left, right], [layers.Dense(2, name="two")(both), layers.Dense(3, name="three")(left)]
).save("branches.h5")
keras.Sequential([layers.Input((3,)), layers.Lambda(lambda x: x * 2)]).save("code.h5")


class Module(tf.Module):
    def __init__(self, function):
        self.weights = tf.Variable(tf.random.normal((5, 2)))
        self.function = function

    @tf.function(input_signature=[tf.TensorSpec([None, 5], tf.float32, name="x")])
    def __call__(self, x):
        return self.function(self, x)


def save(name, function):
    module = Module(function)
    tf.saved_model.save(module, name, signatures=module.__call__)


save("module", lambda m, x: {"logits": x @ m.weights, "best": tf.argmax(x @ m.weights, 1)})
save("strange", lambda m, x: {"y": tf.math.bessel_i0(x)})
save("mixing", lambda m, x: {"y": x - tf.reduce_mean(x)})
save("counting", lambda m, x: {"y": tf.reduce_sum(x)})


def read(module, x):
    tf.io.write_file("/tmp/edgepack-was-here", tf.io.read_file("/etc/passwd"))
    return {"y": x}


save("reading", read)
tf.saved_model.save(tf.Module(), "unsigned")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with models that TensorFlow wrote."""
    directory = tmp_path_factory.mktemp("tensorflow")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in helper_pythons.kept().items():
            patch.setenv(name, value)
        saved = Saved("", directory, "tensorflow", "")
        helper_pythons.run(helper_pythons.python_with(libraries_for(saved)), MODELS, directory)
        yield directory


@pytest.fixture(scope="module")
def child(made: Path) -> Iterator[Sandbox]:
    """One child for many models."""
    python = helper_pythons.python_with(libraries_for(Saved("", made, "tensorflow", "")))
    with Sandbox("a model", readable=[made], python=python) as sandbox:
        assert sandbox.containment.split(":")[0] == "contained"
        yield sandbox


def opened(child: Sandbox, path: Path) -> ChildSource:
    return open_saved(child, Saved(path.name, path, "tensorflow", "0" * 64))


@pytest.mark.parametrize(
    ("name", "framework", "kind"),
    [
        ("dense.h5", "keras", "Sequential"),
        ("dense.keras", "keras", "Sequential"),
        ("images.h5", "keras", "Sequential"),
        ("recurrent.h5", "keras", "Sequential"),
        ("branches.h5", "keras", "Functional"),
        ("dense", "tensorflow", "SavedModel"),
        ("module", "tensorflow", "SavedModel"),
    ],
)
def test_the_graph_answers_as_the_model(
    made: Path, child: Sandbox, name: str, framework: str, kind: str
) -> None:
    source = opened(child, made / name)
    described = source.describe()
    graph = source.graph(OPSET)

    assert (described.source.framework, described.source.kind) == (framework, kind)
    assert described.source.versions["tensorflow"] == "2.21.0"
    assert all(spec.shape[0] is None for spec in graph.inputs)
    assert furthest(source, graph) < 1e-5


def test_outputs_keep_their_names_and_one_number_is_a_value(made: Path, child: Sandbox) -> None:
    assert opened(child, made / "dense.h5").describe().task == "regression"
    branches = opened(child, made / "branches.h5").graph(OPSET)
    assert [spec.name for spec in branches.inputs] == ["left", "right"]
    assert [spec.name for spec in branches.outputs] == ["two", "three"]
    module = opened(child, made / "module").graph(OPSET)
    assert [(spec.name, spec.dtype) for spec in module.outputs] == [
        ("best", "int64"),
        ("logits", "float32"),
    ]


def test_the_same_model_gives_the_same_bytes(made: Path) -> None:
    graphs = []
    for _ in range(2):
        with open_source(made / "recurrent.h5") as source:
            graphs.append(source.graph(OPSET).to_bytes())

    assert graphs[0] == graphs[1]
    assert str(made).encode() not in graphs[0]


@pytest.mark.parametrize("name", ["images.h5", "dense"])
def test_a_file_finds_its_environment_by_itself(made: Path, name: str) -> None:
    said: list[str] = []
    with open_source(made / name, say=lambda _, text: said.append(text)) as source:
        assert furthest(source, source.graph(OPSET), [2]) < 1e-5

    assert "the model opens with tensorflow" in said[-1]


def test_its_versions_are_read_off_its_bytes(made: Path) -> None:
    assert versions_inside(made / "recurrent.h5", "keras") == {"keras": "2.21.0"}
    assert versions_inside(made / "dense.keras", "keras") == {"keras": "2.21.0"}
    assert versions_inside(made / "module", "tensorflow") == {"tensorflow": "2.21.0"}
    assert is_keras_2(made / "recurrent.h5")


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("code.h5", SourceUntrustedType, "holds a Lambda layer"),
        ("strange", ConversionFailed, "BesselI0 has none"),
        ("mixing", ConversionFailed, "answer a row alike"),
        ("counting", SourceUnsupported, "row"),
        ("reading", SourceUnsupported, "denied"),
        ("unsigned", SourceUnsupported, "signature 'serving_default'"),
    ],
)
def test_what_cannot_be_a_graph_or_should_not_run_is_refused(
    made: Path, child: Sandbox, name: str, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        opened(child, made / name).graph(OPSET)

    assert not Path("/tmp/edgepack-was-here").exists()  # noqa: S108 - where it was to write


@pytest.mark.parametrize("name", ["dense.h5", "dense.keras", "dense/saved_model.pb"])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9])
def test_a_file_cut_short_is_refused(
    made: Path, child: Sandbox, name: str, kept: float
) -> None:
    copy = made / f"cut-{kept}-{Path(name).parts[0]}"
    whole = made / Path(name).parts[0]
    shutil.copytree(whole, copy) if whole.is_dir() else shutil.copy(whole, copy)
    file = copy / Path(name).name if copy.is_dir() else copy
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * kept)])

    with pytest.raises((SourceUnreadable, SourceUnsupported)):
        opened(child, copy)
