"""Quantities are written as people read them."""

from __future__ import annotations

import pytest

from edge_runtime.contract.units import size


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536 << 10, "1.5 MiB"),
        (3 << 30, "3.0 GiB"),
        (5 << 40, "5120.0 GiB"),
    ],
)
def test_a_size_has_the_unit_that_keeps_it_short(count: int, shown: str) -> None:
    assert size(count) == shown
