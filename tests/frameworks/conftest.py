"""One child for many models of boosters, which spares its start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import pytest
from tensor_models import Children

from packager.sources.child_source import ChildSource


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def children(directory: Path) -> Iterator[Children]:
    """Children that may read the directory."""
    with Children([directory]) as children:
        yield children


@pytest.fixture
def pickled(children: Children, directory: Path) -> Callable[[Any], ChildSource]:
    """Open a model from a pickle of it."""

    def opened(model: Any) -> ChildSource:
        path = directory / f"{len(list(directory.iterdir()))}.joblib"
        joblib.dump(model, path)
        return children.open(path, "pickle")

    return opened
