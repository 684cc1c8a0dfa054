"""The sweep registers converters in this process; other tests must not see them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from converters import as_before


@pytest.fixture(autouse=True, scope="module")
def _own_converters() -> Iterator[None]:
    with as_before():
        yield
