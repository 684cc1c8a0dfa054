"""One target's part of a build: rungs made, measured, judged, and proven by golden vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from edge_runtime.contract.bundle.content import Content
from edge_runtime.contract.bundle.manifest import VARIANT_DIRECTORY, Variant
from edge_runtime.contract.tensors import Arrays
from edge_runtime.engine.session import CPU
from packager.answers import take_rows
from packager.config import BuildConfig
from packager.errors import LabelMissing
from packager.graph import Graph
from packager.model_files import MAPPED, ModelFiles, Weights
from packager.record import Record
from packager.report.facts import TargetFacts
from packager.report.manifest import GOLDEN_NAME
from packager.samples import Samples, load_samples
from packager.stages.admit import admit
from packager.stages.evaluate import evaluate
from packager.stages.golden import POOL, GoldenVectors, make_golden
from packager.stages.optimise import optimise
from packager.stages.quantize import quantize
from packager.synthetic import draw_rows, learned_values
from packager.target import TargetProfile
from packager.understanding import Rows, Say, Understood
from packager.variant import Candidate, Measured, Skipped
from packager.workspace import Workspace

FLOAT32 = "float32"


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
    model = optimise(graph.model, opset=profile.opset, ir=profile.ir)
    candidates, skipped = _candidates(
        _Maker(profile, model, graph.weights, rows, record, workspace)
    )
    metric = rows.metric if rows else ""
    measured = evaluate(
        candidates,
        rows.held_out if rows else None,
        metric=metric,
        architecture=profile.architecture,
        record=record,
    )
    verdicts = admit(measured, metric=metric, max_drop=config.max_drop)
    admitted = {verdict.name for verdict in verdicts if verdict.admitted}
    ladder = [candidate for candidate in candidates if candidate.name in admitted]
    pool = _pool(graph, model, rows, config)
    golden = make_golden(
        ladder,
        pool,
        task=graph.task,
        roles=graph.roles,
        record=record,
        threshold=graph.threshold,
    )
    say(profile.name, _outcome(profile, [candidate.name for candidate in ladder]))
    variants = tuple(_variant(candidate, golden) for candidate in ladder)
    facts = TargetFacts(
        profile=profile,
        ladder=variants,
        measured=measured,
        verdicts=verdicts,
        skipped=skipped,
        notes=_notes(profile, measured[-1], golden),
        golden_rows=golden.rows,
        golden_synthetic=config.golden == "synthetic",
    )
    files = {path: content for one in ladder for path, content in _files(one).items()}
    return TargetBuild(facts, {**files, GOLDEN_NAME: golden.to_npz()})


def _outcome(profile: TargetProfile, shipped: Sequence[str]) -> str:
    """Say which rungs ship and which do not; why is for the summary."""
    left = [rung for rung in profile.precisions if rung not in shipped]
    return f"ships {', '.join(shipped)}" + (f"; not {', '.join(left)}" if left else "")


@dataclass(frozen=True)
class _Maker:
    """What every rung of a target is made from."""

    profile: TargetProfile
    model: ModelProto
    weights: Weights | None
    rows: Rows | None
    record: Record
    workspace: Workspace

    def rung(self, rung: str) -> Candidate | Skipped:
        """Make one rung on the target's first provider."""
        model, weights = self.model, self.weights
        if rung != FLOAT32:
            made = quantize(
                rung,
                self.model,
                calibration=self.rows.calibration if self.rows else None,
                reduce_range=self.profile.reduce_range,
                record=self.record,
                weights=self.weights,
            )
            if isinstance(made, Skipped):
                return made
            model, weights = made, None
        target = self.profile.name
        files = self.workspace.files(model, weights, target=target, rung=rung)
        provider = self.profile.providers[0]
        return Candidate(
            name=rung,
            precision=rung.partition("-")[0],
            provider=provider,
            model=files,
            session_options=self.session_options(files, provider),
            provider_options=self.profile.provider_options,
        )

    def session_options(self, files: ModelFiles, provider: str) -> dict[str, str]:
        """Return the profile's, and leave weights mapped that a private copy of is too large.

        The CPU's kernels want weights packed in their own way. For small batches that gains
        nothing, and where it takes more than half of the memory granted it is not worth it.
        """
        size = files.weights.content.size if files.weights else 0
        mapped = provider == CPU and 2 * size > self.profile.memory_bytes
        return {**self.profile.session_options, **(MAPPED if mapped else {})}


def _candidates(maker: _Maker) -> tuple[list[Candidate], list[Skipped]]:
    """Make every rung that the profile asks for, float32 last."""
    profile = maker.profile
    made = [maker.rung(rung) for rung in profile.precisions]
    found = [one for one in made if isinstance(one, Candidate)]
    if profile.cpu_rung:
        float32 = found[-1].model
        found.append(
            Candidate(
                name=f"{FLOAT32}-cpu",
                precision=FLOAT32,
                provider=CPU,
                model=float32,
                session_options=maker.session_options(float32, CPU),
            )
        )
    return found, [one for one in made if isinstance(one, Skipped)]


def _pool(graph: Graph, model: ModelProto, rows: Rows | None, config: BuildConfig) -> Arrays:
    """Return the rows that golden vectors are chosen from."""
    if config.golden == "real" and rows is not None:
        return take_rows(rows.held_out.feed, slice(POOL))
    if isinstance(config.golden, Path):
        samples = _golden_file(config.golden, config)
        return take_rows(samples.feed(graph.columns, graph.inputs), slice(POOL))
    return draw_rows(
        graph.inputs,
        POOL,
        known=rows.held_out.feed if rows else None,
        private=[rows.held_out.feed, rows.calibration] if rows else (),
        learned=learned_values(model),
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


def _notes(profile: TargetProfile, float32: Measured, golden: GoldenVectors) -> list[str]:
    """Say in words what was not measured for this target."""
    notes = []
    if float32.quality is not None:
        promised = ", ".join(cpu.qemu for cpu in profile.cpu_models)
        speed = "" if float32.latency else "; speed, as this host is another chip"
        notes.append(f"not measured: quality on {promised}{speed}")
    if not golden.steady:
        notes.append("no golden row holds still when nudged: a sound device may fail its trial")
    return notes
