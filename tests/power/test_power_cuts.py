"""The power is cut at every call of every command that changes a store."""

from __future__ import annotations

import pytest
from power_cuts import MOUNTS, Findings, Yard
from power_operations import OPERATIONS, Operation


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_a_cut_at_any_call_leaves_a_store_that_works(
    yard: Yard, operation: Operation, cuts: list[Findings]
) -> None:
    for mount in MOUNTS:
        found = yard.cut(operation, mount)
        cuts.append(found)
        assert found.faults == [], mount
        # One cut after each call and one at the end, on each of two disks.
        assert found.cuts.total() == 2 * (found.calls.total() + 1)
        assert found.calls.total() > 5
