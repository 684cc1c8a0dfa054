"""What stands in the environment of a file: by its version and imports, and nothing more."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.version import Version
from sklearn import __version__ as installed
from sklearn.linear_model import LinearRegression
from sources import saved_estimator

from packager.sources.child_source import Saved
from packager.sources.environments.helper_env import NO_DEPS
from packager.sources.environments.helper_libraries import (
    is_keras_2,
    libraries_for,
    with_scikit_learn,
)


def allowed(requirements: tuple[str, ...], name: str, version: str) -> bool:
    """Return whether all requirements of a library together allow a version of it."""
    found = [Requirement(text.removesuffix(NO_DEPS)) for text in requirements]
    return all(version in item.specifier for item in found if item.name == name)


@pytest.mark.parametrize(
    ("version", "name", "fits", "does_not"),
    [
        ("1.2.2", "numpy", "1.26.4", "2.0.0"),
        ("1.4.1.post1", "numpy", "1.26.4", "2.0.0"),
        ("1.4.2", "numpy", "2.2.0", "3.0.0"),
        ("1.3.2", "scipy", "1.12.0", "1.13.0"),
        ("1.7.2", "pandas", "2.3.3", "3.0.0"),
        ("1.8.0", "pandas", "3.1.0", "4.0.0"),
        ("1.9.0rc1", "scikit-learn", "1.9.0rc1", "1.9.0"),
    ],
)
def test_each_version_has_libraries_of_its_time(
    version: str, name: str, fits: str, does_not: str
) -> None:
    requirements = with_scikit_learn(version, ())

    assert requirements[0] == f"scikit-learn=={version}"
    assert allowed(requirements, name, fits)
    assert not allowed(requirements, name, does_not)


@pytest.mark.parametrize("version", ["1.2", "1.5.2", "1.10.0"])
def test_graphs_are_made_by_the_converters_that_stand_here(version: str) -> None:
    requirements = with_scikit_learn(version, ())

    for name in ("onnx", "protobuf", "skl2onnx"):
        assert f"{name}=={metadata.version(name)}" in requirements


@pytest.mark.parametrize("version", ["0.24.0", "1.1.3", "01.9.1", "pre-0.18", "", "None"])
def test_what_is_too_old_or_no_version_has_none(version: str) -> None:
    assert with_scikit_learn(version, ()) == ()


@given(version=st.one_of(st.text(), st.from_regex(re.compile(r"1\.[0-9]+.*"))))
def test_a_stranger_s_text_never_becomes_anything_but_a_version(version: str) -> None:
    requirements = with_scikit_learn(version, ())

    if requirements:
        assert Version(version) >= Version("1.2")
        assert "\n" not in requirements[0]
        assert str(Requirement(requirements[0])) == requirements[0]


def test_what_else_the_file_imports_comes_no_newer_than_it_stands_here() -> None:
    modules = ["sklearn.pipeline", "numpy", "collections", "hypothesis.core", "nowhere.at.all"]

    beside = set(with_scikit_learn("1.5.2", modules)) - set(with_scikit_learn("1.5.2", ()))

    assert beside == {f"hypothesis<={metadata.version('hypothesis')}"}


def test_ours_opens_what_ours_wrote_and_what_does_not_say(tmp_path: Path) -> None:
    saved = saved_estimator(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), tmp_path)
    assert libraries_for(saved) == ()

    other = written_by("1.5.0", saved)
    assert libraries_for(other)[0] == "scikit-learn==1.5.0"
    assert libraries_for(told(other, allow_skew=True)) == ()

    saved.path.write_bytes(b"no version")
    assert libraries_for(saved) == ()


def written_by(version: str, saved: Saved) -> Saved:
    """Let a file say that another version, with a name of the same length, wrote it."""
    data = saved.path.read_bytes()
    assert len(version) == len(installed)
    saved.path.write_bytes(data.replace(installed.encode(), version.encode()))
    return saved


def told(saved: Saved, **options: Any) -> Saved:
    return Saved(saved.name, saved.path, saved.form, saved.sha256, options)


def test_tensorflow_opens_what_it_alone_opens(tmp_path: Path) -> None:
    requirements = libraries_for(Saved("m", tmp_path, "tensorflow", "", {"allow_skew": True}))

    assert requirements[0].startswith("tensorflow")
    assert allowed(requirements, "tf-keras", "2.21.0")


@pytest.mark.parametrize(
    ("version", "old"), [(b"2.15.0", True), (b"1.0.8", True), (b"3.15.1", False), (b"", False)]
)
def test_keras_2_is_known_by_what_its_file_says(
    tmp_path: Path, version: bytes, old: bool
) -> None:
    path = tmp_path / "m.h5"
    heap = len(version).to_bytes(8, "little") + version + bytes(8)
    path.write_bytes(b"\x89HDF\r\n\x1a\nkeras_version\0" + heap)

    assert is_keras_2(path) is old
