"""The harness that finds our store sound catches four that are not."""

from __future__ import annotations

import pytest
from power_broken import SHOWN_BY_KILLS, STYLES
from power_cuts import JOURNAL, RAW, Yard
from power_faults import KILL, Saboteur
from power_operations import broken


@pytest.mark.parametrize("style", STYLES)
def test_a_store_written_with_one_mistake_is_caught_on_both_disks(
    whole_yard: Yard, style: str
) -> None:
    found = whole_yard.cut(broken(style))
    assert found.faults_of(RAW)
    assert found.faults_of(JOURNAL)


@pytest.mark.parametrize("style", STYLES)
def test_kills_alone_would_find_two_of_them_sound(saboteur: Saboteur, style: str) -> None:
    assert bool(saboteur.fail(broken(style), KILL).faults) == (style in SHOWN_BY_KILLS)
