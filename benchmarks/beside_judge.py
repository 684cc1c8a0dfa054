"""What a file's answers are worth, here and on an emulated Haswell, whoever made the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from variants_timing import File

from packager.emulation.answers import Job, Setting, answers_on
from packager.emulation.machines import HOST, find_machines
from packager.graphs.model_files import ModelFiles
from packager.measuring.work import products_a_row
from packager.scoring import HeldOut
from packager.target import CpuModel

HASWELL = "Haswell"
# With ranges measured at each call, an answer depends on what else is in the batch.
_SETTINGS = (Setting(1), Setting(32))
# An emulator multiplies a hundred million times a second: of slow models fewer rows judge.
_PRODUCTS = 30_000_000_000
_FEWEST_ROWS = 32


class Judge:
    """Counts right labels, or the variance explained, without the packager's own metrics.

    Args:
        rows: the rows that judge, with their truth.
        graph: the float32 graph, by which slow models are known.
        cpus: the processors, as QEMU calls them.
    """

    def __init__(
        self, rows: HeldOut, graph: bytes, cpus: Sequence[str] = (HOST, HASWELL)
    ) -> None:
        affordable = _PRODUCTS // max(1, products_a_row(graph, rows.feed))
        self._rows = rows.take(rows.evenly(min(rows.count, max(_FEWEST_ROWS, affordable))))
        self.metric = "accuracy" if "label" in rows.roles else "r2"
        self.count = self._rows.count
        models = [CpuModel(cpu, cpu) for cpu in cpus]
        self._machines, self._missing = find_machines("x86-64", models)

    def judged(self, file: File) -> dict[str, Any]:
        """Return the quality by processor, the worst over batches of 1 and 32.

        A file that does not run has its problem instead.
        """
        found: dict[str, Any] = {"problem": "; ".join(self._missing), "quality": {}}
        job = Job("file", ModelFiles(file.path.read_bytes()), file.entries, _SETTINGS)
        for machine in self._machines:
            ran = answers_on(machine, [job], self._rows.feed)["file"]
            if ran.problem:
                return {**found, "problem": f"{machine.cpu}: {ran.problem}"}
            found["quality"][machine.cpu] = min(map(self._quality, ran.answers))
        return found

    def _quality(self, answers: Mapping[str, Any]) -> float:
        name = self._rows.roles["label" if self.metric == "accuracy" else "value"]
        told, truth = np.ravel(answers[name]), np.ravel(self._rows.truth)
        if self.metric == "accuracy":
            return float((told.astype(str) == truth.astype(str)).mean())
        truth = truth.astype(np.float64)
        spread = np.square(truth - truth.mean()).sum()
        return float(1 - np.square(told - truth).sum() / spread)
