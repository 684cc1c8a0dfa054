"""The comparison of a graph with its source, as facts that a replay tells again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge_runtime.contract.columns import assemble
from edge_runtime.contract.errors import PredictionFailed
from edge_runtime.contract.tensors import Tolerance
from packager.answers import open_graph, run_rows
from packager.errors import ParityFailed
from packager.graph import Graph, MissingProbe
from packager.parity.compared import Compared, Kind
from packager.parity.comparison import Comparison
from packager.record import Record, fingerprint, within
from packager.report.facts import KindFacts, ParityFacts
from packager.sources.source import Source
from packager.stages.parity import Gate, check_parity, recorded_parity

EXACT = Tolerance(rtol=0.0, atol=0.0)


def with_missing(
    graph: Graph, probes: Sequence[MissingProbe], record: Record
) -> tuple[Graph, tuple[str, ...]]:
    """Let columns be missing where source and graph answer alike; name those where they do not.

    A column that the source itself refuses to miss is not worth a word.
    """
    session = open_graph(graph)
    gate = Gate(graph.task, graph.roles, threshold=graph.threshold)
    accepted = {probe.column for probe in probes if probe.answers is not None}
    willing = graph.accepting_missing(accepted)
    agreeing = set()
    for probe in probes:
        if probe.answers is None:
            continue
        feed = assemble(willing.columns, willing.inputs, probe.rows)
        try:
            check_parity(probe.answers, run_rows(session, feed), gate)
        except (ParityFailed, PredictionFailed):
            continue
        agreeing.add(probe.column)
    allowed = record.measured("missing", lambda: sorted(agreeing), within(EXACT))
    return graph.accepting_missing(allowed), tuple(sorted(accepted.difference(allowed)))


def compare(
    source: Source, graph: Graph, rows: Compared, record: Record, *, show_rows: bool = False
) -> tuple[ParityFacts, tuple[str, ...]]:
    """Compare the graph's answers with the source's, kind by kind.

    Args:
        source: the source, which has answered the held-out rows.
        graph: its graph, whose columns say which may be missing.
        rows: the held-out rows.
        record: where the figures are kept.
        show_rows: whether errors and facts hold values of the rows that differ most.

    Returns:
        The facts, and what was found wanting, as sentences.

    Raises:
        ParityFailed: when the graph does not answer as the source does; the kind is named.
        ReplayMismatch: when the report tells of another comparison.
    """
    comparison = Comparison(source, graph, rows, show_rows=show_rows)
    comparison.held_out()
    comparison.batches()
    comparison.probes()
    found = [{"kind": one.kind, **one.figures()} for one in comparison.found]
    told = recorded_parity(found, record, fingerprint(graph.files.mark, rows.feed))
    pairs = zip(comparison.found, told, strict=True)
    facts = ParityFacts(
        rows=told[0]["rows"],
        ties=told[0]["ties"],
        largest=told[0]["largest"],
        missing_allowed=[c.name for c in graph.columns if c.missing == "allow"],
        missing_refused=(),
        kinds=[_facts(one, figures, show=show_rows) for one, figures in pairs],
    )
    return facts, tuple(comparison.notes)


def _facts(kind: Kind, figures: Mapping[str, Any], *, show: bool) -> KindFacts:
    told = {name: value for name, value in figures.items() if name != "largest"}
    last = kind.parity.rows - 1
    row = kind.row(max(0, min(told["worst"], last))) if show and last >= 0 else {}
    return KindFacts(**told, row=row)
