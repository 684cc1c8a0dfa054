"""The facts of a small build, made by hand, so that each report can be looked at alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import reports

from packager.report.facts import BuildFacts, PackedFacts, TargetFacts


@pytest.fixture
def make_target() -> Callable[..., TargetFacts]:
    """Make a target's facts; fields are changed by name."""
    return reports.target


@pytest.fixture
def make_facts() -> Callable[..., BuildFacts]:
    """Make a build's facts with one target; fields are changed by name."""

    def make(target: TargetFacts | None = None, **changes: Any) -> BuildFacts:
        return reports.facts(*([target] if target else []), **changes)

    return make


@pytest.fixture
def packed() -> PackedFacts:
    return reports.packed()
