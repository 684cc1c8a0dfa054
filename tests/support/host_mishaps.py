"""Ways to bring about each error of the host: models, rows, keys and files not in order."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import bundles
import joblib
import numpy as np
import onnx
import pytest
import sklearn.base
import skops.io
from host import LABEL, NUMBERS, cancer
from onnx import TensorProto, helper, numpy_helper
from sklearn.decomposition import NMF
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from edge_runtime.contract import errors as shared
from edge_runtime.contract.bundle.archive import write_layout
from edge_runtime.contract.errors import EdgepackError
from edge_runtime.engine import session
from packager import errors as own
from packager.sources.environments.helper_env import CACHE


@dataclass(frozen=True)
class Scene:
    """A copy of the workshop in which one thing goes wrong.

    Attributes:
        path: the directory that the command runs in.
        patch: changes what the command finds in its process.
    """

    path: Path
    patch: pytest.MonkeyPatch

    def write(self, name: str, text: str) -> str:
        (self.path / name).write_text(text, "utf-8")
        return name

    def lines(self) -> list[str]:
        return (self.path / "numbers.csv").read_text("utf-8").splitlines()

    def pickled(self, model: object) -> str:
        joblib.dump(model, self.path / "odd.pkl")
        return "build odd.pkl --trust-pickle"

    def graph(
        self, node: onnx.NodeProto, kind: int, shape: list[object], **weights: object
    ) -> str:
        """Save a graph of one node from X to Y; return the command that builds it."""
        ends = [helper.make_tensor_value_info(name, kind, shape) for name in ("X", "Y")]
        tensors = [numpy_helper.from_array(np.asarray(w), n) for n, w in weights.items()]
        body = helper.make_graph([node], "odd", ends[:1], ends[1:], tensors)
        domains = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(body, opset_imports=domains, ir_version=10)
        onnx.save(model, self.path / "odd.onnx")
        return "build odd.onnx"

    def bundle(self, **changes: object) -> str:
        bundles.bundle(self.path / "b.oci.tar", **changes)
        return "b.oci.tar"

    def bent(self, bend: Callable[[dict[str, bytes]], None]) -> str:
        """Write a bundle with some of its entries changed; return the command that reads it."""
        entries = bundles.entries(bundles.bundle(self.path / "b.oci.tar"))
        bend(entries)
        write_layout(self.path / "b.oci.tar", entries.items())
        return "inspect b.oci.tar"

    def trusted(self) -> str:
        """Write the test key as a file; return the flag that trusts it."""
        (self.path / "test.pub").write_bytes(bundles.SIGNER.public_key.pem)
        return "--trust test.pub"


Act = Callable[[Scene], str]


@dataclass(frozen=True)
class Case:
    """An act, and what its error's message must name: the expected and the found."""

    act: Act
    words: tuple[str, ...]


CASES: dict[str, list[Case]] = {}
ROWS = f"--data numbers.csv --label {LABEL}"


def brings_about(error: type[EdgepackError], *words: str) -> Callable[[Act], Act]:
    """Register a function that prepares a scene and returns the command that must fail."""

    def register(act: Act) -> Act:
        CASES.setdefault(error.code, []).append(Case(act, words))
        return act

    return register


# --- the command line and its file ---------------------------------------------------------


@brings_about(shared.UsageError, "a build needs a model", "none is named")
def no_model(_: Scene) -> str:
    return "build"


@brings_about(shared.UsageError, "either --key, or --sign-with", "--key and --public-key")
def two_signers(_: Scene) -> str:
    return "sign b.oci.tar --key k --public-key p"


@brings_about(own.ConfigUnknownKey, "'lable'", "did you mean 'label'")
def a_misspelt_key(scene: Scene) -> str:
    scene.write("packager.toml", 'model = "line.onnx"\nlable = "x"\n')
    return "build"


@brings_about(own.ConfigInvalid, "a number from 0 to 1", "found '7'")
def a_drop_beyond_all(_: Scene) -> str:
    return "build line.onnx --max-drop 7"


@brings_about(own.ConfigInvalid, "the metric r2", "balanced_accuracy, average_precision")
def a_metric_that_does_not_suit(_: Scene) -> str:
    return f"build line.onnx {ROWS} --metric r2"


@brings_about(own.UnknownTarget, "'x86-64-cup'", "did you mean 'x86-64-cpu'")
def a_misspelt_target(_: Scene) -> str:
    return "build line.onnx --target x86-64-cup"


@brings_about(own.TargetInvalid, "engine.minimum must be a version", "found '0.9'")
def a_profile_of_another_age(scene: Scene) -> str:
    profile = own_profile(scene, 'minimum *= *"1.21"', 'minimum = "0.9"')
    return f"build line.onnx --target {profile}"


def own_profile(scene: Scene, pattern: str, new: str) -> str:
    text = (Path(shared.__file__).parents[3] / "targets" / "x86-64-cpu.toml").read_text("utf-8")
    changed, count = re.subn(pattern, new, text)
    assert count == 1
    return scene.write("own.toml", changed)


# --- source models -------------------------------------------------------------------------


@brings_about(own.PickleRefused, "without running code", "line.joblib is a pickle")
def a_pickle(_: Scene) -> str:
    return "build line.joblib"


@brings_about(own.SourceUnreadable, "must be a readable file", "No such file")
def an_absent_model(_: Scene) -> str:
    return "build absent.onnx"


@brings_about(own.SourceUnsupported, ".skops, .joblib", "'rows.csv'")
def rows_as_a_model(_: Scene) -> str:
    return "build rows.csv"


@brings_about(own.SourceUntrustedType, "posixpath.abspath", "scikit-learn's own types")
def a_skops_file_with_a_function(scene: Scene) -> str:
    odd = make_pipeline(FunctionTransformer(os.path.abspath))
    skops.io.dump(odd, scene.path / "odd.skops")
    return "build odd.skops"


@brings_about(own.SourceVersionSkew, "0.24.0", sklearn.__version__)
def a_model_of_an_old_library(scene: Scene) -> str:
    frame = cancer()
    model = LinearRegression().fit(frame[list(NUMBERS[:-1])], frame[NUMBERS[-1]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sklearn.base, "__version__", "0.24.0")
        return scene.pickled(model)


@brings_about(own.HelperEnvFailed, "must name a Python", "/no/python")
def a_model_of_another_library_without_a_python_for_it(scene: Scene) -> str:
    frame = cancer()
    model = LinearRegression().fit(frame[list(NUMBERS[:-1])], frame[NUMBERS[-1]])
    scene.patch.setenv("EDGEPACK_PYTHON", "/no/python")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sklearn.base, "__version__", "1.5.2")
        return scene.pickled(model)


class Bomb:
    """Ends whoever opens it."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (3,)


@brings_about(own.SourceFailed, "must answer", "status 3")
def a_pickle_that_ends_its_reader(scene: Scene) -> str:
    return scene.pickled(Bomb())


@brings_about(own.ConversionFailed, "no exact form in ONNX", "every row")
def a_model_without_a_form_in_onnx(scene: Scene) -> str:
    return scene.pickled(NMF(2, max_iter=500).fit(cancer()[list(NUMBERS)]))


@brings_about(own.ParityFailed, "held-out rows unlike the source", "probabilities is off by")
def a_model_that_converts_wrongly(scene: Scene) -> str:
    """Words begin with a letter that the engine makes small otherwise than Python does."""
    texts = ["İzmir was fine", "a fine day", "a dull night", "dull was İstanbul"] * 10
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 1, 0, 0] * 10)
    scene.write(
        "texts.csv", "text\n" + "\n".join(f"{text} {i}" for i, text in enumerate(texts))
    )
    return f"{scene.pickled(model)} --data texts.csv"


@brings_about(shared.ModelLoadFailed, "the engine", "Nope")
def a_graph_with_an_unknown_operator(scene: Scene) -> str:
    node = helper.make_node("Nope", ["X"], ["Y"], domain="com.microsoft")
    return scene.graph(node, TensorProto.FLOAT, ["n", 5])


@brings_about(shared.PredictionFailed, "[-3,2]", "idx=")
def a_graph_that_fails_on_the_rows(scene: Scene) -> str:
    node = helper.make_node("Gather", ["table", "X"], ["Y"])
    command = scene.graph(node, TensorProto.INT64, ["n", 2], table=np.zeros(3, np.int64))
    scene.write("odd.csv", "a,b\n" + "1,20\n2,30\n3,40\n4,50\n" * 5)
    return f"{command} --data odd.csv"


@brings_about(own.NoGoldenRows, "need 1024 rows", "the graph takes")
def a_batch_longer_than_any_draw(scene: Scene) -> str:
    return scene.graph(helper.make_node("Relu", ["X"], ["Y"]), TensorProto.FLOAT, [1024, 5])


@brings_about(own.BudgetExceeded, "allows 1,000,000 bytes", "its files have 1,6")
def a_model_above_the_budget(scene: Scene) -> str:
    node = helper.make_node("Gather", ["table", "X"], ["Y"])
    table = np.arange(200_000, dtype=np.int64)
    command = scene.graph(node, TensorProto.INT64, ["n", 2], table=table)
    profile = own_profile(scene, "bundle-mb *= *[0-9]+", "bundle-mb = 1")
    return f"{command} --target {profile}"


@brings_about(own.BudgetExceeded, "the nearest is float32", "--max-size allows 10")
def a_size_that_nothing_keeps(_: Scene) -> str:
    return "build line.onnx --target x86-64-cpu --max-size 10"


# --- rows ----------------------------------------------------------------------------------


@brings_about(shared.InputUnreadable, "absent.csv", "No such file")
def absent_rows(_: Scene) -> str:
    return "build line.onnx --data absent.csv"


@brings_about(shared.TableMalformed, "line 1", "names 'x' more than once")
def a_column_twice(scene: Scene) -> str:
    rows = scene.write("odd.csv", "x,x\n1,2\n")
    return f"build line.onnx --data {rows}"


@brings_about(own.DataUnusable, "'.txt'", ".csv, .parquet, .pq, .npz")
def rows_in_no_known_format(scene: Scene) -> str:
    return f"build line.onnx --data {scene.write('rows.txt', 'x')}"


@brings_about(own.LabelMissing, "'diagnosys'", "did you mean 'diagnosis'")
def a_misspelt_label(_: Scene) -> str:
    return "build line.onnx --data numbers.csv --label diagnosys"


@brings_about(own.LabelMissing, "label 'mean texture' is", "'benign', 'malignant'")
def a_label_of_other_classes(scene: Scene) -> str:
    frame = cancer()[[*NUMBERS, "mean texture"]]
    frame.to_csv(scene.path / "odd.csv", index=False)
    return "build line.onnx --data odd.csv --label 'mean texture'"


@brings_about(own.ColumnMissing, "'customer'", "it has")
def a_group_that_is_no_column(_: Scene) -> str:
    return f"build line.onnx {ROWS} --split-by customer"


@brings_about(shared.InputMissing, "line 5: column 'mean radius'", "no value")
def a_cell_without_a_value(scene: Scene) -> str:
    lines = scene.lines()
    lines[4] = lines[4][lines[4].index(",") :]
    scene.write("odd.csv", "\n".join(lines) + "\n")
    return f"build line.skops --data odd.csv --label {LABEL}"


@brings_about(shared.InputValue, "takes a finite decimal number", "found 'malignant'")
def words_for_a_regression(scene: Scene) -> str:
    frame = cancer()
    model = LinearRegression().fit(frame[list(NUMBERS)], frame[LABEL] == "benign")
    return f"{scene.pickled(model)} {ROWS}"


@brings_about(shared.InputShape, "'a' has 3", "'b' has 4")
def arrays_of_different_lengths(scene: Scene) -> str:
    np.savez(scene.path / "odd.npz", a=np.zeros(3), b=np.zeros(4))
    return "build line.onnx --data odd.npz"


@brings_about(shared.InputDtype, "int64", "float64")
def fractions_for_an_input_of_integers(scene: Scene) -> str:
    np.savez(scene.path / "odd.npz", X=np.full((20, 2, 2), 0.5))
    node = helper.make_node("Identity", ["X"], ["Y"])
    return f"{scene.graph(node, TensorProto.INT64, ['n', 2, 2])} --golden odd.npz"


# --- libraries -----------------------------------------------------------------------------


@brings_about(own.HostExtraMissing, "pyarrow", "not installed")
def no_pyarrow(scene: Scene) -> str:
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        scene.patch.delitem(sys.modules, name)
    scene.patch.setitem(sys.modules, "pyarrow", None)
    scene.patch.setitem(sys.modules, "pyarrow.parquet", None)
    scene.write("rows.parquet", "")
    return "build line.onnx --data rows.parquet"


def engines(scene: Scene, *distributions: str) -> str:
    """Let only these distributions be known to install the engine."""
    forget_the_engine()
    scene.patch.setattr(session, "_DISTRIBUTIONS", distributions)
    scene.patch.setattr("importlib.metadata.packages_distributions", dict)
    return "build line.onnx"


def forget_the_engine() -> None:
    """Let the engine be looked for again."""
    session._engine.cache_clear()
    session._distribution.cache_clear()


@brings_about(shared.EngineMissing, "needs ONNX Runtime", "found no distribution")
def no_engine(scene: Scene) -> str:
    return engines(scene)


@brings_about(shared.EngineConflict, "one engine must be installed", "onnxruntime 1", "onnx 1")
def two_engines(scene: Scene) -> str:
    return engines(scene, "onnxruntime", "onnx")


@brings_about(own.EmulatorsFailed, "emulators must be made", "needs apt-get")
def no_apt(scene: Scene) -> str:
    programs = scene.path.parent / "programs"
    programs.mkdir()
    (programs / "bash").symlink_to("/bin/bash")
    scene.patch.setenv("PATH", str(programs))
    scene.patch.setenv(CACHE, str(scene.path.parent / "cache"))
    return "emulators --make"


def words_of(command: str) -> list[str]:
    """Split a command as a shell would."""
    return shlex.split(command)
