"""One door for every saved model: what opens, what is refused, and how it is told."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn.base
import skops.io
from skl2onnx import to_onnx
from sklearn import __version__ as installed
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer
from sources import DEFAULT_OPSET, engine_answers, worst_difference

from packager.errors import (
    ColumnMissing,
    ConversionFailed,
    HelperEnvFailed,
    PickleRefused,
    SourceUnreadable,
    SourceUnsupported,
    SourceUntrustedType,
    SourceVersionSkew,
)
from packager.sources.environments.helper_env import Say
from packager.sources.options import SourceOptions
from packager.stages.convert import open_source

TRUSTED = SourceOptions(trust_pickle=True)
DATA = load_iris(as_frame=True)
MODEL = LogisticRegression(max_iter=500).fit(DATA.data, DATA.target)
ROWS = {name: DATA.data[name].to_numpy() for name in DATA.data}


def saved(directory: Path, suffix: str, model: Any = MODEL) -> Path:
    path = directory / f"iris{suffix}"
    if suffix == ".skops":
        skops.io.dump(model, path)
    elif suffix == ".onnx":
        sample = DATA.data[:1].to_numpy(dtype=np.float32)
        opset = dict(DEFAULT_OPSET)
        path.write_bytes(to_onnx(model, sample, target_opset=opset).SerializeToString())
    else:
        joblib.dump(model, path)
    return path


@pytest.mark.parametrize("suffix", [".skops", ".joblib", ".pkl"])
def test_a_saved_model_becomes_a_graph_that_answers_as_it_does(
    tmp_path: Path, suffix: str
) -> None:
    options = SourceOptions(trust_pickle=suffix != ".skops")
    with open_source(saved(tmp_path, suffix), options) as source:
        described = source.describe(dict.fromkeys(ROWS, "float"))
        graph = source.graph(DEFAULT_OPSET)
        expected = source.reference(ROWS)
        probes = source.missing_probe(ROWS)

    assert expected is not None
    assert worst_difference(expected, engine_answers(graph, ROWS)) < 1e-5
    assert expected["label"].tolist() == MODEL.predict(DATA.data).tolist()
    assert [probe.answers for probe in probes] == [None] * 4
    assert described.source.framework == "scikit-learn"
    assert described.source.kind == "LogisticRegression"
    assert described.source.versions["scikit-learn"] == installed
    assert described.source.containment.split(":")[0] in {"contained", "uncontained"}
    assert described.feature_names == tuple(ROWS)
    assert described.n_features == 4


def test_an_onnx_file_opens_without_a_child(tmp_path: Path) -> None:
    with open_source(saved(tmp_path, ".onnx")) as source:
        graph = source.graph(DEFAULT_OPSET)
        assert source.reference(ROWS) is None

    assert graph.task == "classification"
    assert graph.source.containment == "contained: an ONNX file runs no code of its own"


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    path = saved(tmp_path, ".skops")
    graphs = []
    for _ in range(2):
        with open_source(path) as source:
            source.describe(dict.fromkeys(ROWS, "float"))
            graphs.append(source.graph(DEFAULT_OPSET).to_bytes())

    assert graphs[0] == graphs[1]


@pytest.mark.parametrize("suffix", [".joblib", ".pkl", ".PKL", ".pickle"])
def test_a_pickle_is_refused_without_trust_and_never_opened(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"evil{suffix}"

    with pytest.raises(PickleRefused, match="is a pickle") as caught, open_source(path):
        pytest.fail("it opened")

    assert "skops.io.dump(model, 'evil.skops')" in caught.value.hint
    assert "--trust-pickle" in caught.value.hint


def test_a_name_of_no_known_form_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(SourceUnsupported, match=r"\.skops, \.joblib"),
        open_source(tmp_path / "m.pmml"),
    ):
        pytest.fail("it opened")


@pytest.mark.parametrize("suffix", [".skops", ".joblib", ".onnx"])
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, suffix: str) -> None:
    with (
        pytest.raises(SourceUnreadable, match="No such file"),
        open_source(tmp_path / f"m{suffix}", TRUSTED),
    ):
        pytest.fail("it opened")
    (tmp_path / f"d{suffix}").mkdir()
    with (
        pytest.raises(SourceUnreadable, match="must be a readable file"),
        open_source(tmp_path / f"d{suffix}", TRUSTED),
    ):
        pytest.fail("it opened")


@pytest.mark.parametrize("suffix", [".skops", ".joblib"])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_file_cut_short_is_refused(tmp_path: Path, suffix: str, kept: float) -> None:
    path = saved(tmp_path, suffix)
    os.truncate(path, int(path.stat().st_size * kept))

    with (
        pytest.raises(SourceUnreadable, match=f"iris{suffix} cannot be opened as a model"),
        open_source(path, TRUSTED),
    ):
        pytest.fail("it opened")


def test_the_child_s_own_errors_come_through_with_their_values(tmp_path: Path) -> None:
    path = saved(tmp_path, ".joblib")
    other = "0" + installed[1:]
    path.write_bytes(path.read_bytes().replace(installed.encode(), other.encode()))

    with pytest.raises(SourceVersionSkew) as caught, open_source(path, TRUSTED):
        pytest.fail("it opened")

    assert caught.value.values == {"expected": other, "found": installed}
    json.dumps(caught.value.as_json())


def written_by(version: str, path: Path) -> Path:
    """Let a model's file say that another scikit-learn wrote it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sklearn.base, "__version__", version)
        return saved(path, ".joblib")


def test_a_file_of_another_version_asks_for_an_environment_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written_by("1.5.2", tmp_path)
    made: list[Sequence[str]] = []

    def unavailable(requirements: Sequence[str], say: Say) -> Path:
        say("environment", "nothing can be fetched")
        made.append(requirements)
        raise HelperEnvFailed("no wheel", hint="Get one.", expected="1.5.2", found=None)

    monkeypatch.setattr("packager.sources.saved.environment", unavailable)
    said: list[str] = []
    with (
        pytest.raises(HelperEnvFailed),
        open_source(path, TRUSTED, say=lambda *told: said.extend(told)),
    ):
        pytest.fail("it opened")

    assert [requirements[0] for requirements in made] == ["scikit-learn==1.5.2"]
    assert said == ["environment", "nothing can be fetched"]
    allowed = SourceOptions(trust_pickle=True, allow_version_skew=True)
    with open_source(path, allowed) as source:
        assert source.describe().source.versions["scikit-learn"] == installed


def test_a_version_that_only_opening_shows_asks_for_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Sequence[str]] = []

    def ours(requirements: Sequence[str], _: Say) -> Path:
        made.append(requirements)
        return Path(sys.executable)

    monkeypatch.setattr("packager.sources.saved.environment", ours)
    monkeypatch.setattr(
        "packager.sources.environments.helper_libraries.versions_inside", lambda *_: {}
    )
    with (
        pytest.raises(SourceVersionSkew, match=r"saved by scikit-learn 1\.5\.2"),
        open_source(written_by("1.5.2", tmp_path), TRUSTED),
    ):
        pytest.fail("it opened")

    assert [requirements[0] for requirements in made] == ["scikit-learn==1.5.2"]


def test_a_skops_file_with_another_type_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, ".skops", FunctionTransformer(os.path.basename))

    with pytest.raises(SourceUntrustedType, match="basename"), open_source(path):
        pytest.fail("it opened")


def test_a_model_without_a_form_in_onnx_is_refused_by_name(tmp_path: Path) -> None:
    from sklearn.decomposition import NMF

    path = saved(tmp_path, ".joblib", NMF(2).fit(DATA.data))

    with open_source(path, TRUSTED) as source:
        source.describe(dict.fromkeys(ROWS, "float"))
        with pytest.raises(ConversionFailed, match=r"NMF has no exact form"):
            source.graph(DEFAULT_OPSET)


def test_rows_without_a_column_of_the_model_are_refused(tmp_path: Path) -> None:
    with open_source(saved(tmp_path, ".skops")) as source:
        with pytest.raises(ColumnMissing, match="'petal width"):
            source.describe(dict.fromkeys(list(ROWS)[:3], "float"))
        source.describe(dict.fromkeys(ROWS, "float"))
        with pytest.raises(ColumnMissing):
            source.reference({})
