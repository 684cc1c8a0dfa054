"""What the child serves: one opened model, whatever its framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from edge_runtime.contract.tensors import Arrays


@dataclass(frozen=True)
class Converted:
    """A model as an ONNX file.

    Attributes:
        data: the file's bytes; it holds all its tensors.
        repairs: what was mended so that it answers as the model does, a sentence each.
    """

    data: bytes
    repairs: tuple[str, ...] = ()


class OpenedModel(Protocol):
    """A model in the child. What it returns crosses a pipe: JSON, ONNX bytes and arrays."""

    def describe(self) -> dict[str, Any]:
        """Return what it is.

        Keys: ``framework``, ``kind``, ``task``, ``roles`` (role → output name), ``labels``,
        ``steps`` (``path: Class``), ``versions``, ``feature_names``, and ``n_features`` where
        known. A model of bare tensors adds ``inputs``, each ``name``, ``dtype`` and ``shape``
        (None for an axis of any length); the parent then plans its columns.
        """

    def plan(self, kinds: Mapping[str, str] | None) -> dict[str, Any]:
        """Decide its columns and inputs for data of these columns and kinds.

        Keys: ``columns`` (``name``, ``kind``, ``input``, ``index`` where it has one) and
        ``inputs`` (``name``, ``dtype``, ``width``). A model of bare tensors is never asked.
        """

    def graph(self, opset: Mapping[str, int]) -> Converted:
        """Convert it for these operator sets, by domain."""

    def answers(self, rows: Arrays) -> Arrays:
        """Return its own answers by output name, floats as float64.

        Rows come by column name, or by input name for a model of bare tensors.
        """

    def probe(self, rows: Arrays) -> tuple[list[str], Arrays]:
        """Ask the rows again with one column missing, for each column that can be missing.

        Returns:
            The columns where the model answered, and all these answers, one block of rows
            after another in the order of the columns.
        """

    def diagnose(self) -> list[dict[str, str]]:
        """Say of each step what would become of it, without converting.

        Keys: ``path``, ``class``, ``form`` (its operators), ``verdict`` (``converts``,
        ``repaired``, ``refused`` or ``slower``) and ``why``.
        """
