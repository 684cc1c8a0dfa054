"""What a comparison starts from, and what it finds out about one kind of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edge_runtime.contract.tensors import Arrays
from packager.stages.parity import Parity

# How many values of a tensor are shown of a row.
_SHOWN = 16


@dataclass(frozen=True)
class Compared:
    """The held-out rows as source and graph take them, and what the source answers.

    Attributes:
        columns: held-out rows by column name, as typed; by input name for bare tensors.
        feed: the same as the graph takes them.
        reference: the source's answers to them.
    """

    columns: Arrays
    feed: Arrays
    reference: Arrays


@dataclass(frozen=True)
class Kind:
    """One kind of rows: what was compared, and what the source refused."""

    kind: str
    rows: Arrays
    columns: Sequence[str]
    parity: Parity
    refused: int = 0

    def figures(self) -> dict[str, Any]:
        """Return what a replay compares and then takes from the report."""
        column = self.columns[self.parity.worst] if self.columns else ""
        figures = {**asdict(self.parity), "refused": self.refused, "column": column}
        return {**figures, "largest": dict(self.parity.largest)}

    def row(self, number: int) -> dict[str, Any]:
        """Return a row's values by column; of a tensor the first ones."""
        return {name: _shown(values[number]) for name, values in self.rows.items()}


def _shown(value: Any) -> Any:
    array = np.asarray(value)
    return array.item() if array.ndim == 0 else array.ravel()[:_SHOWN].tolist()
