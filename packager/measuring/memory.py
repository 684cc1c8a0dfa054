"""How much memory models take on this machine, beyond an engine without one."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from edge_runtime.contract.tensors import Arrays
from edge_runtime.engine.session import CPU
from packager.answers import BATCH
from packager.emulation.answers import Job, Setting, answers_on
from packager.emulation.machines import HOST, find_machines, host_architecture
from packager.record import Record, fingerprint
from packager.target import CpuModel
from packager.variant import Candidate

# Larger models are opened one at a time.
LARGE = 64_000_000


def peaks(
    candidates: Sequence[Candidate], part: Arrays, record: Record
) -> dict[str, int | None]:
    """Return the most private bytes that a process took to open each and to run it once.

    Args:
        candidates: those that run here.
        part: a batch of rows.
        record: keeps the figures; a replay has the recorded ones, or none.

    Returns:
        By name; None or nothing where no system tells: only Linux does, and of the CPU alone.
    """
    asked = {_key(one, part): one for one in candidates}
    told = [
        (key, one)
        for key, one in asked.items()
        if one.provider == CPU and record.will_hold(key, fresh=sys.platform == "linux")
    ]
    # Each runs in a process of its own, most of which is its start.
    many = all(one.model.size <= LARGE for one in candidates)
    with ThreadPoolExecutor(os.cpu_count() if many else 1) as pool:
        found = pool.map(
            lambda item: record.taken(item[0], partial(_peak, item[1], part), _is_size), told
        )
        return {one.name: peak for (_, one), peak in zip(told, found, strict=True)}


def _is_size(found: Any) -> bool:
    return found is None or type(found) is int


def _key(candidate: Candidate, part: Arrays) -> str:
    options = "".join(f"{key}={value} " for key, value in candidate.session_options.items())
    return f"memory/{candidate.name}/{fingerprint(candidate.model.mark, options, part)}"


def _peak(candidate: Candidate, part: Arrays) -> int | None:
    machines, _ = find_machines(host_architecture(), [CpuModel("this machine", HOST)])
    settings = (Setting(BATCH),)
    job = Job(candidate.name, candidate.model, candidate.session_options, settings)
    return answers_on(machines[0], [job], part)[candidate.name].peak_bytes
