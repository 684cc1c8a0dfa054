"""One target's part of a build: rungs made, measured, judged, and proven by golden vectors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_runtime.contract.bundle.content import Content
from edge_runtime.contract.bundle.manifest import VARIANT_DIRECTORY, Variant
from edge_runtime.contract.tensors import Arrays
from packager.answers import take_rows
from packager.config import BuildConfig
from packager.effect import effect_of
from packager.errors import LabelMissing
from packager.golden_vectors.pool import GIVEN, golden_pool
from packager.graph import Graph
from packager.record import Record
from packager.report.facts import TargetFacts
from packager.report.manifest import GOLDEN_NAME
from packager.samples import Samples, load_samples
from packager.search.target_search import search
from packager.search.task import Task
from packager.stages.golden import GoldenVectors
from packager.target import TargetProfile
from packager.understanding import Rows, Say, Understood
from packager.variant import Candidate
from packager.workspace import Workspace


@dataclass(frozen=True)
class TargetBuild:
    """What was built for one target.

    Attributes:
        facts: for manifest, report, card and bill of materials.
        files: graphs, weights and golden vectors by their path in the package.
    """

    facts: TargetFacts
    files: dict[str, Content]


def build_target(
    profile: TargetProfile,
    understood: Understood,
    config: BuildConfig,
    record: Record,
    workspace: Workspace,
    say: Say,
) -> TargetBuild:
    """Make, measure and judge the rungs of one target.

    Raises:
        ReplayMismatch: when a value does not agree with the one to be replayed.
        NoGoldenRows: when there are no rows that devices could prove themselves with.
    """
    graph, rows = understood.graph, understood.rows
    found = search(
        Task(
            profile=profile,
            graph=graph,
            rows=rows,
            pool=_pool(graph, rows, config),
            budgets=config.budgets,
            effort=config.effort,
            jobs=config.jobs,
            single=config.single,
            record=record,
            workspace=workspace,
            say=say,
        )
    )
    say(profile.name, f"ships {', '.join(one.name for one in found.ladder)}")
    facts = TargetFacts(
        profile=profile,
        ladder=tuple(_variant(candidate, found.golden) for candidate in found.ladder),
        measured=found.measured,
        verdicts=found.verdicts,
        skipped=found.skipped,
        notes=found.notes,
        golden_rows=found.golden.rows,
        golden_synthetic=config.golden == "synthetic",
        effect=effect_of(found.plain, found.ladder[0], rows.held_out, record) if rows else None,
    )
    files = {path: content for one in found.ladder for path, content in _files(one).items()}
    return TargetBuild(facts, {**files, GOLDEN_NAME: found.golden.to_npz()})


def _pool(graph: Graph, rows: Rows | None, config: BuildConfig) -> Arrays:
    """Return the rows that golden vectors are chosen from."""
    if config.golden == "real" and rows is not None:
        return take_rows(rows.held_out.feed, slice(GIVEN))
    if isinstance(config.golden, Path):
        samples = _golden_file(config.golden, config)
        return take_rows(samples.feed(graph.columns, graph.inputs), slice(GIVEN))
    return golden_pool(
        graph,
        rows.held_out.feed if rows else None,
        [rows.held_out.feed, rows.calibration] if rows else (),
    )


def _golden_file(path: Path, config: BuildConfig) -> Samples:
    """Load rows of the user's own choice; the label may stand in them, and need not."""
    try:
        return load_samples(path, config.label, config.image)
    except LabelMissing:
        return load_samples(path, None, config.image)


def _model_file(candidate: Candidate) -> str:
    return f"{VARIANT_DIRECTORY}/{candidate.name}.onnx"


def _files(candidate: Candidate) -> dict[str, Content]:
    """Return what a rung brings into the package; two rungs may share their weights."""
    files: dict[str, Content] = {_model_file(candidate): candidate.model.graph}
    if candidate.model.weights is not None:
        weights = candidate.model.weights
        files[f"{VARIANT_DIRECTORY}/{weights.path.name}"] = weights.content
    return files


def _variant(candidate: Candidate, golden: GoldenVectors) -> Variant:
    return Variant(
        name=candidate.name,
        precision=candidate.precision,
        provider=candidate.provider,
        model_file=_model_file(candidate),
        session_options=candidate.session_options,
        provider_options=candidate.provider_options,
        tolerances=golden.tolerances[candidate.name],
        weights=tuple(path for path in _files(candidate) if path != _model_file(candidate)),
    )
