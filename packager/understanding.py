"""From a source model and its rows to a graph that answers as the source does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_runtime.contract.columns import assemble
from edge_runtime.contract.errors import PredictionFailed
from edge_runtime.contract.table import Column
from edge_runtime.contract.tensors import Array, Arrays, Tolerance
from packager.answers import open_graph, run_rows
from packager.config import BuildConfig
from packager.errors import ConversionFailed, ParityFailed
from packager.graph import Description, Graph, MissingProbe
from packager.record import Record, fingerprint, within
from packager.replay import asked, difference
from packager.report.facts import DataFacts, ParityFacts
from packager.samples import Samples, Split, load_samples, split_samples
from packager.stages.convert import Source
from packager.stages.evaluate import HeldOut, choose_metric
from packager.stages.parity import check_parity, recorded_parity
from packager.target import TargetProfile, lowest_opset

Say = Callable[[str, str], None]

EXACT = Tolerance(rtol=0.0, atol=0.0)


@dataclass(frozen=True)
class Rows:
    """The user's rows as the graph takes them.

    Attributes:
        facts: which rows took part.
        calibration: a feed that ranges may be measured on.
        held_out: rows that only judge.
        metric: what they judge by.
    """

    facts: DataFacts
    calibration: Arrays
    held_out: HeldOut
    metric: str


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
    source: Source,
    profiles: Sequence[TargetProfile],
    config: BuildConfig,
    record: Record,
    say: Say,
) -> Understood:
    """Describe, convert and compare.

    Raises:
        InputError: when model or rows cannot serve.
        ParityFailed: when the graph does not answer as the source does.
        ReplayMismatch: when something else is to be built than the report tells, or the
            comparison does not agree with the recorded one.
    """
    samples, holdout = (_load(path, config.label) for path in (config.data, config.holdout))
    described = source.describe(samples.kinds if samples else None)
    facts = described.source
    say("source", f"{facts.framework} {facts.kind}, {facts.containment}")
    what = asked(config, profiles, facts, samples, holdout)
    record.measured("asked", lambda: what, difference)
    graph = _convert(source, lowest_opset(profiles), described, samples)
    say("graph", f"{len(graph.model.graph.node)} nodes, {len(graph.to_bytes()):,} bytes")
    if samples is None:
        return Understood(graph, None, None, ["parity, quality, speed: no rows (--data)"])
    split = _split(samples, holdout, described, config)
    columns = _typed(split.held_out, described)
    reference = source.reference(columns)
    graph, one_sided = _with_missing(graph, source.missing_probe(columns), record)
    rows = _rows(samples, holdout, split, graph, config)
    say("data", _data_text(rows.facts))
    parity = _parity(reference, graph, rows, one_sided, record)
    say("parity", _parity_text(parity) if parity else "the model is ONNX: its own source")
    return Understood(graph, rows, parity, _unchecked(rows, parity))


def _convert(
    source: Source, opset: Mapping[str, int], described: Description, samples: Samples | None
) -> Graph:
    """Convert, and where that fails over text look for the cell that made a column text."""
    try:
        return source.graph(opset)
    except ConversionFailed:
        if samples is not None:
            samples.refuse_stray_text([c.name for c in described.columns if c.kind == "text"])
        raise


# --- rows ----------------------------------------------------------------------------------


def _load(path: Path | None, label: str | None) -> Samples | None:
    return load_samples(path, label) if path else None


def _split(
    samples: Samples, holdout: Samples | None, described: Description, config: BuildConfig
) -> Split:
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


def _rows(
    samples: Samples, holdout: Samples | None, split: Split, graph: Graph, config: BuildConfig
) -> Rows:
    feed = split.held_out.feed(graph.columns, graph.inputs)
    truth = _truth(split.held_out, graph)
    held_out = HeldOut(feed, truth, graph.task, graph.roles, graph.labels)
    facts = DataFacts(
        file=samples.what,
        sha256=samples.digest,
        rows=samples.rows,
        holdout_file=holdout.what if holdout else "",
        holdout_sha256=holdout.digest if holdout else "",
        calibration=split.calibration.rows,
        held_out=split.held_out.rows,
        dropped=split.dropped,
        label=samples.label or "",
    )
    calibration = split.calibration.feed(graph.columns, graph.inputs)
    return Rows(facts, calibration, held_out, choose_metric(config.metric, held_out))


def _truth(held_out: Samples, graph: Graph) -> Array | None:
    """Return the labels as the model's classes or numbers; None where it has neither."""
    if held_out.label is None:
        return None
    if graph.task == "classification" and graph.labels:
        return held_out.label_classes(graph.labels)
    if graph.task == "regression":
        return held_out.label_numbers()
    return None


def _data_text(facts: DataFacts) -> str:
    text = f"{facts.calibration} rows calibrate, {facts.held_out} judge"
    return f"{text}, {facts.dropped} of the holdout do neither" if facts.dropped else text


# --- parity --------------------------------------------------------------------------------


def _with_missing(
    graph: Graph, probes: Sequence[MissingProbe], record: Record
) -> tuple[Graph, tuple[str, ...]]:
    """Let columns be missing where source and graph answer alike; name those where they do not.

    A column that the source itself refuses to miss is not worth a word.
    """
    session = open_graph(graph)
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
    allowed = record.measured("missing", lambda: sorted(agreeing), within(EXACT))
    return graph.accepting_missing(allowed), tuple(sorted(accepted.difference(allowed)))


def _parity(
    reference: Arrays | None,
    graph: Graph,
    rows: Rows,
    one_sided: tuple[str, ...],
    record: Record,
) -> ParityFacts | None:
    if reference is None:
        return None
    session = open_graph(graph)
    found = check_parity(
        reference, run_rows(session, rows.held_out.feed), task=graph.task, roles=graph.roles
    )
    mark = fingerprint(graph.to_bytes(), rows.held_out.feed)
    found = recorded_parity(found, record, mark)
    allowed = [column.name for column in graph.columns if column.missing == "allow"]
    return ParityFacts(found.rows, found.ties, found.largest, allowed, one_sided)


def _parity_text(facts: ParityFacts) -> str:
    worst = max(facts.largest.values(), default=0.0)
    return f"{facts.rows} held-out rows agree, the largest difference is {worst:.2g}"


def _unchecked(rows: Rows, parity: ParityFacts | None) -> list[str]:
    """Say in sentences what nobody looked at, and what was found wanting."""
    found = []
    if parity is None:
        found.append("parity: an ONNX file is its own source, there is nothing to compare")
    elif parity.missing_refused:
        found.append(
            "missing values: source and graph answer differently where one is missing in "
            f"{', '.join(parity.missing_refused)}, so devices refuse such rows"
        )
    if rows.held_out.truth is None:
        reason = "no label was named (--label)"
        if rows.facts.label:
            reason = f"nothing to hold {rows.facts.label!r} against"
        found.append(f"quality: {reason}; variants need only agree with float32")
    return found
