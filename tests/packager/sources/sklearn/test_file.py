"""Which estimators open and which are refused, here in this process on files of our own."""

from __future__ import annotations

import io
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
from sklearn import __version__ as installed
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sources import dumped

from packager.errors import SourceUnsupported, SourceUntrustedType, SourceVersionSkew
from packager.sources.sklearn.file import load_estimator
from packager.sources.sklearn.skops_types import TRUSTED

X, Y = load_iris(return_X_y=True)
OTHER = "0" + installed[1:]


def load(form: str, data: bytes) -> Any:
    """Open a file of these bytes."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model"
        path.write_bytes(data)
        return load_estimator(form, path)


@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(StandardScaler(), LinearRegression()),
        RandomForestClassifier(3),
        HistGradientBoostingClassifier(max_iter=2),
        KNeighborsClassifier(),
        MLPClassifier(max_iter=2),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_scikit_learn_s_own_types_open_from_skops(estimator: Any) -> None:
    saved = skops.io.dumps(estimator.fit(X, Y))

    opened = load("skops", saved)

    np.testing.assert_array_equal(opened.predict(X), estimator.predict(X))


class Own(StandardScaler):
    """A class that no allow-list names."""


def harmful(_: Any) -> Any:
    """A function that no allow-list names."""
    raise AssertionError


@pytest.mark.parametrize(
    ("part", "named"),
    [(Own(), "Own"), (FunctionTransformer(harmful), "harmful")],
    ids=["class", "function"],
)
def test_a_skops_file_with_other_types_is_refused_by_their_names(part: Any, named: str) -> None:
    model = make_pipeline(part, LinearRegression())
    model.steps[1][1].fit(X, Y)

    with pytest.raises(SourceUntrustedType, match=named) as caught:
        load("skops", skops.io.dumps(model))

    assert any(named in name for name in caught.value.values["found"])


@pytest.mark.parametrize(
    "name", ["builtins.eval", "os.system", "numpy.testing._private.utils.runstring"]
)
def test_a_skops_file_that_names_a_helper_that_runs_code_is_refused(name: str) -> None:
    module, function = name.rsplit(".", 1)
    saved = skops.io.dumps(FunctionTransformer(harmful))
    text = f'"__class__": "{harmful.__name__}"', f'"__class__": "{function}"'
    places = f'"{harmful.__module__}"', f'"{module}"'

    with pytest.raises(SourceUntrustedType, match=function):
        load("skops", rewritten(saved, text, places))


def rewritten(saved: bytes, *changes: tuple[str, str]) -> bytes:
    """Change a skops file's schema, as its writer could."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved)) as old, zipfile.ZipFile(out, "w") as new:
        for item in old.infolist():
            data = old.read(item)
            if item.filename == "schema.json":
                text = data.decode()
                for before, after in changes:
                    assert before in text
                    text = text.replace(before, after)
                data = text.encode()
            new.writestr(item, data)
    return out.getvalue()


def test_the_allow_list_names_only_things_that_exist() -> None:
    of_older_versions = {"sklearn.compose._column_transformer._RemainderColsList"}
    for name in sorted(TRUSTED - of_older_versions):
        if find_spec(name.partition(".")[0]) is None:
            continue  # a booster's library; tests/frameworks opens its files
        module, _, attribute = name.rpartition(".")
        assert hasattr(__import__(module, fromlist=[attribute]), attribute), name


@pytest.mark.parametrize("form", ["pickle", "skops"])
def test_a_file_of_another_version_is_refused_with_both_versions(form: str) -> None:
    model = LinearRegression().fit(X, Y)
    if form == "pickle":
        saved = dumped(model).replace(installed.encode(), OTHER.encode())
    else:
        saved = rewritten(skops.io.dumps(model), (installed, OTHER))

    with pytest.raises(SourceVersionSkew) as caught:
        load(form, saved)

    assert (caught.value.values["expected"], caught.value.values["found"]) == (OTHER, installed)
    assert "--allow-version-skew" in caught.value.hint


@pytest.mark.parametrize("content", [{"a": 1}, [1, 2], 7, np.zeros(3), LinearRegression])
def test_a_pickle_of_something_else_is_refused_by_its_type(content: Any) -> None:
    buffer = io.BytesIO()
    joblib.dump(content, buffer)

    with pytest.raises(SourceUnsupported, match="must hold a scikit-learn estimator"):
        load("pickle", buffer.getvalue())


def test_a_model_that_was_never_fitted_is_refused() -> None:
    with pytest.raises(SourceUnsupported, match="LinearRegression must be fitted"):
        load("pickle", dumped(LinearRegression()))


@pytest.mark.parametrize("compress", [0, 3, ("xz", 3), ("gzip", 3), ("bz2", 3)])
def test_joblib_s_compressions_open(compress: Any) -> None:
    buffer = io.BytesIO()
    joblib.dump(LinearRegression().fit(X, Y), buffer, compress=compress)

    assert isinstance(load("pickle", buffer.getvalue()), LinearRegression)
