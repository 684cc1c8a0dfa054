"""A model of an older scikit-learn is built with that scikit-learn, and answers alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import helper_pythons
import host
import pytest
from sources import DEFAULT_OPSET, engine_answers, worst_difference

from packager.sources.environments.helper_libraries import (
    OLDEST_SCIKIT_LEARN,
    installed,
    with_scikit_learn,
)
from packager.sources.options import SourceOptions
from packager.stages.convert import open_source

VERSIONS = (".".join(map(str, OLDEST_SCIKIT_LEARN)) + ".2", "1.5.2")
MODELS = """
import joblib, pandas as pd, skops.io
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

rows = pd.read_csv("rows.csv")
truth = rows.pop("diagnosis")
numbers = rows.drop(columns="mean texture")
columns = make_column_transformer(
    (StandardScaler(), list(numbers)), (OneHotEncoder(), ["mean texture"])
)
models = {
    "columns": make_pipeline(columns, LogisticRegression()).fit(rows, truth),
    "forest": RandomForestClassifier(20, random_state=0).fit(numbers, truth),
    "boosting": HistGradientBoostingClassifier(max_iter=20).fit(numbers, truth),
}
for name, model in models.items():
    joblib.dump(model, name + ".joblib")
skops.io.dump(models["columns"], "columns.skops")
"""


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    assert installed("scikit-learn") not in VERSIONS
    return str(request.param)


@pytest.fixture(scope="module")
def older(version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with rows, a key, and models that the older scikit-learn wrote."""
    directory = tmp_path_factory.mktemp("older")
    host.cancer().to_csv(directory / "rows.csv", index=False)
    host.packager("keygen", cwd=directory)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in helper_pythons.kept().items():
            patch.setenv(name, value)
        python = helper_pythons.python_with(with_scikit_learn(version, ()))
        helper_pythons.run(python, MODELS, directory)
        yield directory


def test_it_is_built_with_its_own_version_and_the_report_says_so(
    older: Path, version: str
) -> None:
    said = host.packager(
        *("build", "columns.joblib", "--trust-pickle", "--data", "rows.csv"),
        *("--label", host.LABEL, "--target", "x86-64-cpu"),
        cwd=older,
    ).err

    assert f"the model opens with scikit-learn {version}" in " ".join(said.split())
    report = json.loads((older / "dist/columns-1.0.0.report.json").read_bytes())
    assert report["source"]["versions"]["scikit-learn"] == version
    assert "contained" in report["source"]["containment"]


@pytest.mark.parametrize("name", ["columns.skops", "forest.joblib", "boosting.joblib"])
def test_the_graph_answers_as_it_does(older: Path, version: str, name: str) -> None:
    frame = host.cancer().drop(columns=host.LABEL)
    frame = frame if name.startswith("columns") else frame[list(host.NUMBERS)]
    rows = {column: frame[column].to_numpy() for column in frame}
    kinds = dict.fromkeys(host.NUMBERS, "float") | {host.TEXT_COLUMN: "text"}

    with open_source(older / name, SourceOptions(trust_pickle=True)) as source:
        described = source.describe({column: kinds[column] for column in frame})
        expected = source.reference(rows)
        graph = source.graph(DEFAULT_OPSET)

    assert described.source.versions["scikit-learn"] == version
    assert expected is not None
    assert worst_difference(expected, engine_answers(graph, rows)) < 1e-5
