"""Does a conversion hold? The product's own gate says so, and a judge of our own doubts it.

The gate is that of ``packager build``, on the model in this process instead of a child. The
judge shares no code with it: he asks the estimator itself, on rows that neither the converter
nor the gate saw. Where the gate passes and the judge finds the answers off, the conversion is
silently wrong.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sweep_data import Table

from edge_runtime.contract.columns import assemble
from edge_runtime.contract.errors import EdgepackError
from packager.answers import open_graph
from packager.config import BuildConfig
from packager.graph import Graph
from packager.record import Record
from packager.sources.child import Server
from packager.sources.child_source import Saved
from packager.sources.sandbox import CrashError, Sandbox
from packager.sources.saved import open_saved
from packager.sources.wire import Message
from packager.target import load_profile
from packager.understanding import understand
from packager.workspace import Workspace

AGREES, REFUSED, WRONG = "agrees", "refused", "silently wrong"
NOTHING_TO_CONVERT, BROKEN = "not applicable", "broken"

# What the judge allows: probabilities by this much, other figures by a share of their column's
# spread or a few steps of float32 at their size; labels not at all, but where the estimator's
# own two best figures are as close as float32 can tell.
_PROBABILITY = 1e-4
_SPREAD = 1e-3
_FLOAT32_STEPS = 16 * float(np.finfo(np.float32).eps)
_TIE = 2e-6
_SINGLE_ROWS = 5


@dataclass(frozen=True)
class Verdict:
    """What became of one estimator on one table.

    Attributes:
        verdict: one of the four words above.
        reason: why, where it does not agree.
        rows: how many rows the judge compared.
        largest: the largest difference of a float that he saw.
    """

    verdict: str
    reason: str = ""
    rows: int = 0
    largest: float = 0.0


class _Here(Sandbox):
    """Answers as the child would, in this process, which spares its start."""

    def __init__(self) -> None:
        self._server = Server()
        self.containment = "uncontained: a benchmark's own estimator"

    def ask(self, head: Mapping[str, Any], payload: bytes = b"") -> Message:
        """Answer a request; whatever would end a child is told in the same way."""
        try:
            answer = self._server.answer(Message(json.loads(json.dumps(head)), payload))
        except EdgepackError:
            raise
        except Exception as error:  # the child's boundary: any library may raise anything
            raise CrashError(type(error).__name__, str(error)) from None
        return Message(json.loads(json.dumps(answer.head)), answer.payload)


def verdict(fitted: Any, seen: Table, fresh: Table) -> Verdict:
    """Convert a fitted estimator and judge it.

    Args:
        fitted: the estimator.
        seen: rows for the gate, as a user would hand them to ``packager build``.
        fresh: rows for the judge alone.
    """
    if not (hasattr(fitted, "predict") or hasattr(fitted, "transform")):
        return Verdict(NOTHING_TO_CONVERT, "it has no predict or transform for new rows")
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory)
        try:
            with Workspace(out) as workspace:
                return judge(fitted, _through_the_gate(fitted, seen, out, workspace), fresh)
        except EdgepackError as refusal:
            return Verdict(REFUSED, str(refusal))


def _through_the_gate(fitted: Any, seen: Table, out: Path, workspace: Workspace) -> Graph:
    """Do with a file of the estimator what ``packager build`` does before its stages."""
    rows, model = out / "rows.npz", out / "model.joblib"
    columns = seen.columns()
    matrix = isinstance(seen.rows, np.ndarray)
    arrays = {"X": np.column_stack(list(columns.values()))} if matrix else columns
    np.savez(rows, **{name: _storable(array) for name, array in arrays.items()})
    joblib.dump(fitted, model)
    config = BuildConfig(model, "sweep", "1.0.0", 1, data=rows)
    source = open_saved(_Here(), Saved(model.name, model, "pickle", ""))
    profiles = [load_profile(name) for name in config.targets]
    return understand(source, profiles, config, Record(), workspace, lambda *_: None).graph


def _storable(array: Any) -> Any:
    return array.astype(str) if array.dtype.kind == "O" else array


# --- the judge -----------------------------------------------------------------------------


def judge(fitted: Any, graph: Graph, fresh: Table) -> Verdict:
    """Compare the graph with the estimator itself on rows that nobody else saw."""
    found = _engine_answers(graph, fresh)
    try:
        wanted = answers(fitted, fresh.rows)
    except ValueError as refusal:
        return Verdict(WRONG, f"the graph answers what the estimator refuses: {refusal}")
    absent = [role for role in wanted if role not in graph.roles]
    if absent:
        return Verdict(WRONG, f"the graph lacks the {' and the '.join(absent)}")
    found = {role: found[graph.roles[role]] for role in wanted}
    return compared(wanted, found, nearest=graph.task == "clustering")


def compared(wanted: Mapping[str, Any], found: Mapping[str, Any], *, nearest: bool) -> Verdict:
    """Compare answers by role; ``nearest`` tells that the smallest score gives the label."""
    rows = len(next(iter(wanted.values())))
    if not _varied(wanted):
        return Verdict(REFUSED, "the estimator answers the same for every row", rows)
    faults, largest = [], 0.0
    tied = _tied(wanted, nearest=nearest)
    for role, own in wanted.items():
        fault, difference = _compare(role, own, found[role], tied)
        largest = max(largest, difference)
        faults += [fault] if fault else []
    return Verdict(WRONG if faults else AGREES, "; ".join(faults), rows, largest)


def answers(fitted: Any, rows: Any) -> dict[str, Any]:
    """Return what the estimator's own methods answer, by role."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not hasattr(fitted, "predict"):
            return {"value": _plain(fitted.transform(rows))}
        kind = (
            getattr(fitted, "_estimator_type", None) or fitted.__sklearn_tags__().estimator_type
        )
        if kind in (None, "transformer"):
            return {"value": _plain(fitted.transform(rows))}
        if kind == "regressor":
            return {"value": _plain(fitted.predict(rows))}
        found = {"label": np.asarray(fitted.predict(rows)).reshape(-1)}
        if kind != "outlier_detector" and hasattr(fitted, "predict_proba"):
            found["probability"] = _plain(fitted.predict_proba(rows))
        elif kind == "clusterer" and hasattr(fitted, "transform"):
            found["score"] = _plain(fitted.transform(rows))
        elif kind != "clusterer" and hasattr(fitted, "decision_function"):
            found["score"] = _plain(fitted.decision_function(rows))
        return found


def _plain(values: Any) -> Any:
    values = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
    return values.reshape(len(values), -1).astype(np.float64)


def _engine_answers(graph: Graph, fresh: Table) -> dict[str, Any]:
    """Run all rows at once; and a few alone, which must not change them."""
    given = fresh.columns()
    rows = {column.name: _typed(column.kind, given[column.name]) for column in graph.columns}
    feed = assemble(graph.columns, graph.inputs, rows)
    session = open_graph(graph)
    together = session.run(feed)
    for row in range(_SINGLE_ROWS):
        alone = session.run({name: array[row : row + 1] for name, array in feed.items()})
        for name, array in alone.items():
            together[name][row] = array[0]
    return together


def _typed(kind: str, column: Any) -> Any:
    return column.astype(np.int64) if kind == "integer" else column


def _varied(wanted: Mapping[str, Any]) -> bool:
    first = next(iter(wanted.values()))
    if "label" in wanted:
        return len(set(first.tolist())) > 1
    return bool(np.nanstd(first, axis=0).max() > 0)


def _compare(role: str, own: Any, found: Any, tied: Any) -> tuple[str, float]:
    """Return what is wrong with one output, or nothing, and its largest difference."""
    if role == "label":
        off = (own != found.reshape(-1)) & ~tied
        return (f"{off.mean():.2%} of the labels are off" if off.any() else ""), 0.0
    found = found.reshape(len(found), -1).astype(np.float64)
    if role == "score" and own.shape[1] == 1 and found.shape[1] == 2:
        found = found[:, 1:]
    if own.shape != found.shape:
        return f"the {role} is {found.shape[1]} wide, not {own.shape[1]}", 0.0
    apart = np.isnan(own) != np.isnan(found)
    distance = np.abs(np.nan_to_num(own) - np.nan_to_num(found))
    limit = _PROBABILITY if role == "probability" else _limits(own)
    wrong = (apart | (distance > limit)).any(axis=1)
    largest = float(distance.max(initial=0.0))
    told = f"the {role} is off by up to {largest:.2g} in {wrong.mean():.2%} of the rows"
    return (told if wrong.any() else ""), largest


def _limits(own: Any) -> Any:
    spread = np.nanstd(own, axis=0)
    return np.maximum(_SPREAD * spread, _FLOAT32_STEPS * np.nanmax(np.abs(own), axis=0))


def _tied(wanted: Mapping[str, Any], *, nearest: bool) -> Any:
    """Mark rows where the estimator itself can hardly tell its two best labels apart."""
    figures = wanted.get("probability", wanted.get("score"))
    if figures is None or "label" not in wanted:
        return False
    if figures.shape[1] == 1:
        margin = np.abs(figures[:, 0])
    else:
        distances = nearest and "score" in wanted
        best = np.sort(figures if distances else -figures, axis=1)
        margin = best[:, 1] - best[:, 0]
    return margin <= _TIE * max(1.0, float(np.nanmax(np.abs(figures))))
