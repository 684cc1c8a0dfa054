"""From a source model and its rows to a graph that answers as the source does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from edge_runtime.contract.columns import assemble
from edge_runtime.contract.errors import PredictionFailed
from edge_runtime.contract.table import Column
from edge_runtime.contract.tensors import Array, Arrays
from edge_runtime.engine.session import SessionPlan, open_session
from packager.answers import run_rows
from packager.config import BuildConfig
from packager.errors import ParityFailed
from packager.graph import Description, Graph, MissingProbe
from packager.report.facts import DataFacts, ParityFacts
from packager.samples import Samples, Split, load_samples, split_samples
from packager.stages.convert import Source
from packager.stages.parity import check_parity

Say = Callable[[str, str], None]


@dataclass(frozen=True)
class Rows:
    """The user's rows as the graph takes them.

    Attributes:
        facts: which rows took part.
        calibration: a feed that ranges may be measured on.
        held_out: a feed that only judges.
        columns: the held-out rows by the user's column names.
        truth: the held-out labels as the model's classes or numbers; None without a label.
    """

    facts: DataFacts
    calibration: Arrays
    held_out: Arrays
    columns: Arrays
    truth: Array | None


@dataclass(frozen=True)
class Understood:
    """A graph, and what was found out on the way to it.

    Attributes:
        graph: answers as the source does on every row that was compared.
        rows: None where no data were given.
        parity: None where there was nothing to compare.
        unchecked: what could not be checked and why, as sentences.
    """

    graph: Graph
    rows: Rows | None
    parity: ParityFacts | None
    unchecked: Sequence[str]


def understand(
    source: Source, opset: Mapping[str, int], config: BuildConfig, say: Say
) -> Understood:
    """Describe, convert and compare.

    Raises:
        InputError: when model or rows cannot serve.
        ParityFailed: when the graph does not answer as the source does.
    """
    samples = load_samples(config.data, config.label) if config.data else None
    described = source.describe(samples.kinds if samples else None)
    facts = described.source
    say("source", f"{facts.framework} {facts.kind}, {facts.containment}")
    graph = source.graph(opset)
    say("graph", f"{len(graph.model.graph.node)} nodes, {len(graph.to_bytes()):,} bytes")
    if samples is None:
        return Understood(graph, None, None, ["parity and quality: no rows (--data)"])
    split = _split(samples, described, config)
    columns = _typed(split.held_out, described)
    reference = source.reference(columns)
    graph, missing_refused = _with_missing(graph, source.missing_probe(columns))
    rows = _rows(split, graph, columns, samples)
    say("data", f"{rows.facts.calibration} rows calibrate, {rows.facts.held_out} judge")
    unchecked = [] if rows.truth is not None else ["quality: no label was named (--label)"]
    if reference is None:
        unchecked.append("parity: an ONNX file is its own source, there is nothing to compare")
        return Understood(graph, rows, None, unchecked)
    session = open_session(graph.to_bytes(), SessionPlan())
    found = check_parity(
        reference, run_rows(session, rows.held_out), task=graph.task, roles=graph.roles
    )
    worst = max(found.largest.values(), default=0.0)
    say("parity", f"{found.rows} held-out rows agree, the largest difference is {worst:.2g}")
    allowed = [column.name for column in graph.columns if column.missing == "allow"]
    parity = ParityFacts(found.rows, found.ties, found.largest, allowed, missing_refused)
    return Understood(graph, rows, parity, unchecked)


def _split(samples: Samples, described: Description, config: BuildConfig) -> Split:
    holdout = load_samples(config.holdout, config.label) if config.holdout else None
    return split_samples(
        samples,
        _permissive(described),
        holdout=holdout,
        split_by=config.split_by,
        classification=described.task == "classification",
    )


def _permissive(described: Description) -> tuple[Column, ...]:
    """Return the columns as they are before anyone knows which may be missing."""
    return tuple(replace(column, missing="allow") for column in described.columns)


def _typed(samples: Samples, described: Description) -> Arrays:
    return samples.typed(_permissive(described)) if described.columns else {}


def _with_missing(
    graph: Graph, probes: Sequence[MissingProbe]
) -> tuple[Graph, tuple[str, ...]]:
    """Let columns be missing where source and graph answer alike; name those where they do not.

    A column that the source itself refuses to miss is not worth a word.
    """
    session = open_session(graph.to_bytes(), SessionPlan())
    accepted = {probe.column for probe in probes if probe.answers is not None}
    willing = graph.accepting_missing(accepted)
    agreeing = set()
    for probe in probes:
        if probe.answers is None:
            continue
        feed = assemble(willing.columns, willing.inputs, probe.rows)
        try:
            check_parity(
                probe.answers, run_rows(session, feed), task=graph.task, roles=graph.roles
            )
        except (ParityFailed, PredictionFailed):
            continue
        agreeing.add(probe.column)
    return graph.accepting_missing(agreeing), tuple(sorted(accepted - agreeing))


def _rows(split: Split, graph: Graph, columns: Arrays, samples: Samples) -> Rows:
    facts = DataFacts(
        file=samples.what,
        sha256=samples.digest,
        rows=samples.rows,
        calibration=split.calibration.rows,
        held_out=split.held_out.rows,
        label=samples.label or "",
    )
    return Rows(
        facts=facts,
        calibration=split.calibration.feed(graph.columns, graph.inputs),
        held_out=split.held_out.feed(graph.columns, graph.inputs),
        columns=columns,
        truth=_truth(split.held_out, graph),
    )


def _truth(held_out: Samples, graph: Graph) -> Array | None:
    if held_out.label is None:
        return None
    if graph.task == "classification" and graph.labels:
        return held_out.label_classes(graph.labels)
    if graph.task == "regression":
        return held_out.label_numbers()
    return None
