"""int8 whose sums saturate on a promised CPU is rejected by its golden vectors there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trained
from hunts import task_of

from packager.budgets import Budgets, Drop
from packager.search.promised import VNNI, processor_flags
from packager.search.target_search import Found, search
from packager.stages.evaluate import host_is
from packager.target import CpuModel, load_profile
from packager.workspace import Workspace

pytestmark = [
    pytest.mark.usefixtures("emulators"),
    pytest.mark.skipif(not host_is("x86-64"), reason="only x86 emulates x86"),
]

HASWELL = (CpuModel("Intel Haswell (2013): AVX2, no VNNI", "Haswell"),)
# Any drop of quality may pass, so that nothing but golden vectors judges.
BUDGETS = Budgets(Drop(1.0))


@pytest.fixture
def hunt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Found]]:
    """Search for int8 of a convolutional network for Haswell, with weights of 7 or 8 bits."""
    # No candidate is to be turned down for a time taken on a busy machine.
    monkeypatch.setattr("packager.stages.evaluate.host_is", lambda _: False)
    with Workspace(tmp_path) as workspace:

        def run(*, reduce_range: bool) -> Found:
            profile = replace(
                load_profile("x86-64-cpu"), reduce_range=reduce_range, cpu_models=HASWELL
            )
            changed = {"profile": profile, "budgets": BUDGETS, "effort": "quick"}
            return search(task_of(trained.digits_convolutions(), workspace, **changed))

        yield run


def test_weights_of_8_bits_do_not_ship_and_the_report_says_where_they_fail(hunt) -> None:
    found = hunt(reduce_range=False)
    verdicts = {one.name: one for one in found.verdicts}
    for name in ("int8-static", "int8-dynamic"):
        if VNNI.isdisjoint(processor_flags()):
            assert verdicts[name].rule == "not-scored"
        else:
            assert verdicts[name].rule == "golden"
            assert verdicts[name].reason.startswith("does not ship: on Haswell 'probabilities'")
        assert not verdicts[name].admitted
    assert found.ladder[-1].name == "float32"


def test_weights_of_7_bits_ship(hunt) -> None:
    found = hunt(reduce_range=True)
    assert {"int8-static", "int8-dynamic"} <= {one.name for one in found.ladder}
