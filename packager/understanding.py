"""From a source model and its rows to a graph that answers as the source does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_runtime.contract.columns import assemble
from edge_runtime.contract.table import Column
from edge_runtime.contract.tensors import Array, Arrays
from packager.config import BuildConfig
from packager.errors import ConversionFailed
from packager.graph import Description, Graph
from packager.parity.compared import Compared
from packager.parity.comparing import compare, with_missing
from packager.record import Record
from packager.replay import asked, difference
from packager.report.facts import DataFacts, ParityFacts
from packager.samples import Samples, Split, load_samples, split_samples
from packager.scoring import MIN_ROWS, HeldOut, Metric, choose_metric, named_metric
from packager.sources.onnx_source import FRAMEWORK as ONNX
from packager.sources.source import Source
from packager.stages.raise_opset import raise_opset
from packager.target import TargetProfile, lowest_opset
from packager.workspace import Workspace

Say = Callable[[str, str], None]


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
    metric: Metric


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
    workspace: Workspace,
    say: Say,
) -> Understood:
    """Describe, convert and compare.

    Raises:
        ConfigInvalid: when there is no such metric, or it does not suit.
        InputError: when model or rows cannot serve.
        ParityFailed: when the graph does not answer as the source does.
        ReplayMismatch: when something else is to be built than the report tells, or the
            comparison does not agree with the recorded one.
    """
    if config.metric is not None:
        named_metric(config.metric)  # a slip must not cost a conversion
    samples, holdout = (_load(path, config) for path in (config.data, config.holdout))
    described = source.describe(samples.kinds if samples else None)
    facts = described.source
    say("source", f"{facts.framework} {facts.kind}, {facts.containment}")
    what = asked(config, profiles, facts, samples, holdout)
    record.measured("asked", lambda: what, difference)
    opset = lowest_opset(profiles)
    graph = raise_opset(_convert(source, opset, described, samples), opset)
    graph = workspace.settle(graph)
    say("graph", f"{len(graph.model.graph.node)} nodes, {graph.files.size:,} bytes")
    if samples is None:
        return _without_data(source, graph, record, say, show_rows=config.show_rows)
    split = _split(samples, holdout, described, config)
    columns = _typed(split.held_out, described)
    reference = source.reference(columns)
    graph, one_sided = with_missing(graph, source.missing_probe(columns), record)
    rows = _rows(samples, holdout, split, graph, config)
    say("data", _data_text(rows.facts))
    if reference is None:
        say("parity", "the model is ONNX: its own source")
        return Understood(graph, rows, None, _unchecked(rows, None))
    judged = Compared(columns, rows.held_out.feed, reference)
    parity, notes = compare(source, graph, judged, record, show_rows=config.show_rows)
    parity = replace(parity, missing_refused=one_sided)
    say("parity", _parity_text(parity))
    if facts.framework == ONNX:
        own = "parity of the ONNX file itself, its own source; what was put around it agrees"
        notes = (*notes, own)
    return Understood(graph, rows, parity, [*_unchecked(rows, parity), *notes])


def _without_data(
    source: Source, graph: Graph, record: Record, say: Say, *, show_rows: bool
) -> Understood:
    """Compare on the rows that came with the model, if any did; nothing else can be judged."""
    rows = source.example()
    reference = None if rows is None else source.reference(rows)
    if rows is None or reference is None:
        return Understood(graph, None, None, ["parity, quality, speed: no rows (--data)"])
    graph, one_sided = with_missing(graph, source.missing_probe(rows), record)
    feed = assemble(graph.columns, graph.inputs, rows) if graph.columns else rows
    judged = Compared(rows, feed, reference)
    parity, notes = compare(source, graph, judged, record, show_rows=show_rows)
    parity = replace(parity, missing_refused=one_sided)
    say("parity", f"on the example that came with the model: {_parity_text(parity)}")
    return Understood(graph, None, parity, ["quality, speed: no rows (--data)", *notes])


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


def _load(path: Path | None, config: BuildConfig) -> Samples | None:
    return load_samples(path, config.label, config.image) if path else None


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
    """Return rows as the source takes them: by column, or by input for bare tensors."""
    columns = _permissive(described)
    return samples.typed(columns) if columns else samples.feed((), described.inputs)


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
    if held_out.label is None or not _answers_once(graph):
        return None
    if graph.task == "classification" and graph.labels:
        return held_out.label_classes(graph.labels)
    if graph.task == "regression":
        return held_out.label_numbers()
    return None


def _answers_once(graph: Graph) -> bool:
    """Tell whether there is one label or number a row, which one column can be held against."""
    name = graph.roles.get("label", graph.roles.get("value"))
    shapes = (output.shape[1:] for output in graph.outputs if output.name == name)
    return all(length in (1, None) for shape in shapes for length in shape)


def _data_text(facts: DataFacts) -> str:
    text = f"{facts.calibration} rows calibrate, {facts.held_out} judge"
    return f"{text}, {facts.dropped} of the holdout do neither" if facts.dropped else text


# --- parity --------------------------------------------------------------------------------


def _parity_text(facts: ParityFacts) -> str:
    worst = max(facts.largest.values(), default=0.0)
    made = sum(one.rows for one in facts.kinds) - facts.rows
    probes = f"; so do {made} rows made to part them" if made else ""
    return f"{facts.rows} held-out rows agree, the largest difference is {worst:.2g}{probes}"


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
    if rows.held_out.count < MIN_ROWS:
        found.append(
            f"small losses of quality: only {rows.held_out.count} rows judge, "
            f"where {MIN_ROWS} would tell more"
        )
    return found
