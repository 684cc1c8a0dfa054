"""Every call that would change a store fails, or is the last one of its command."""

from __future__ import annotations

import shutil

import pytest
from power_faults import FAULTS, Failures, Saboteur
from power_operations import OPERATIONS, Operation

SHARE = 0.2
pytestmark = pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace is not installed"
)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_a_call_that_fails_leaves_a_store_that_works(
    saboteur: Saboteur, operation: Operation, fault: str, failures: list[Failures]
) -> None:
    found = saboteur.fail(operation, fault, SHARE)
    failures.append(found)
    assert found.faults == []
    assert found.tried == found.outcomes.total()
    assert found.points > 5
