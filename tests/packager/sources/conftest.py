"""One child for many models, which spares its start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from sources import dumped

from packager.sources.sandbox import Sandbox
from packager.sources.sklearn_source import SklearnSource


class Children:
    """Gives a living child, the same one as long as no test has made it crash."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.child: Sandbox | None = None

    def living(self) -> Sandbox:
        if self.child is None or self.child._child.poll() is not None:
            self.child = self.stack.enter_context(Sandbox("model.joblib"))
        return self.child


@pytest.fixture(scope="session")
def children() -> Iterator[Children]:
    """Children that open one model after another."""
    children = Children()
    with children.stack:
        yield children


@pytest.fixture
def opened(children: Children) -> Callable[[Any], SklearnSource]:
    """Open a fitted estimator as the child would from a file."""
    return lambda estimator: SklearnSource(
        children.living(), "model.joblib", dumped(estimator), "pickle"
    )
