"""One child for many models, which spares its start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from converters import as_before
from sources import saved_estimator

from packager.sources.child_source import ChildSource
from packager.sources.sandbox import Sandbox
from packager.sources.saved import open_saved


class Children:
    """Gives a living child, the same one as long as no test has made it crash."""

    def __init__(self, directory: Path) -> None:
        self.stack = ExitStack()
        self.directory = directory
        self.child: Sandbox | None = None

    def living(self) -> Sandbox:
        if self.child is None or self.child._child.poll() is not None:
            child = Sandbox("model.joblib", readable=[self.directory])
            self.child = self.stack.enter_context(child)
        return self.child

    def open(self, estimator: Any) -> ChildSource:
        """Open a fitted estimator from a file that the child may read."""
        return open_saved(self.living(), saved_estimator(estimator, self.directory))


@pytest.fixture(scope="session")
def children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Children]:
    """Children that open one model after another."""
    children = Children(tmp_path_factory.mktemp("models"))
    with children.stack:
        yield children


@pytest.fixture
def opened(children: Children) -> Callable[[Any], ChildSource]:
    """Open a fitted estimator as the child would from a file."""
    return children.open


@pytest.fixture(autouse=True, scope="module")
def _own_converters() -> Iterator[None]:
    """Conversions in this process register converters that other tests must not see."""
    with as_before():
        yield
