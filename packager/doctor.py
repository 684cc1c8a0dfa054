"""The doctor: what would become of a model, told in seconds and before any build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from edge_runtime.contract.errors import EdgepackError
from edge_runtime.contract.terminal import note
from packager.config import BuildConfig
from packager.errors import (
    ConversionFailed,
    ParityFailed,
    SourceUnsupported,
    SourceVersionSkew,
)
from packager.graph import Description
from packager.pipeline import opened_source
from packager.record import Record
from packager.report.diagnosis import Diagnosis, Reach, Version, diagnosis_text
from packager.samples import load_samples
from packager.sources.environments.versions_inside import versions_inside
from packager.sources.source import Source
from packager.stages.convert import FORMS
from packager.stages.optimise import optimise
from packager.target import TargetProfile, list_profiles, load_profile
from packager.understanding import Say, Understood, understand
from packager.workspace import Workspace

# Which files need which library, and the extra that brings it; "" where [host] does.
_KINDS = (
    (".skops .joblib .pkl", "scikit-learn", ""),
    (".onnx", "onnx", ""),
    (".json .ubj", "xgboost", "xgboost"),
    (".txt", "lightgbm", "lightgbm"),
    (".cbm", "catboost", "catboost"),
    (".pt2 module.py:function", "torch", "torch"),
    (".keras .h5", "keras", "keras"),
)


_OF_THE_MODEL = frozenset(
    leaf.code for leaf in (ConversionFailed, ParityFailed, SourceUnsupported, SourceVersionSkew)
)


def diagnose(config: BuildConfig, say: Say, refusal: EdgepackError | None = None) -> Diagnosis:
    """Open, convert and compare a model as a build would, and go on where a build would stop.

    Args:
        config: what a build would be asked to do.
        say: told the name of each step and what it found.
        refusal: why a build has refused it already; then nothing is compared again.
    """
    found = Diagnosis(config.model.name, versions=_versions(config))
    try:
        profiles = [load_profile(name) for name in config.targets]
        label, image = config.label, config.image
        samples = load_samples(config.data, label, image) if config.data else None
        with opened_source(config, say) as source:
            described = source.describe(samples.kinds if samples else None)
            found = replace(found, what=_what(described), steps=source.diagnose())
            found = replace(found, reach=_reach(source, profiles))
            if refusal is not None:
                return replace(found, refusal=refusal)
            with TemporaryDirectory() as room, Workspace(Path(room)) as workspace:
                understood = understand(source, profiles, config, Record(), workspace, say)
    except EdgepackError as error:
        return replace(found, refusal=refusal or error)
    return _understood(found, understood)


def explain(config: BuildConfig, refusal: EdgepackError) -> None:
    """Say on stderr what the doctor finds, where a build refuses a model for its own sake."""
    if refusal.code in _OF_THE_MODEL:
        note(diagnosis_text(diagnose(config, _unheard, refusal), verdict=False) + "\n")


def _unheard(_: str, __: str) -> None:
    """Say nothing: the build has said it."""


def kinds_here() -> list[dict[str, str]]:
    """Say which kinds of models open here: their names' ends, library and its version."""
    return [
        {"files": files, "library": library, "version": _here(library), "extra": extra}
        for files, library, extra in _KINDS
    ]


def _versions(config: BuildConfig) -> list[Version]:
    form = FORMS.get(config.model.suffix.lower(), "")
    inside = versions_inside(config.model, form) if config.model.exists() else {}
    return [Version(name, version, _here(name)) for name, version in inside.items()]


def _here(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "not installed"


def _what(described: Description) -> str:
    facts = described.source
    parts = [f"{facts.framework} {facts.kind}"]
    if described.task != "tensors":
        parts.append(described.task)
    if described.labels:
        parts.append(f"{len(described.labels)} classes")
    if described.n_features is not None:
        parts.append(f"{described.n_features} columns")
    else:
        parts += [f"{spec.name} {spec.text()}" for spec in described.inputs]
    return f"{', '.join(parts)}; {facts.containment}"


def _reach(source: Source, chosen: Sequence[TargetProfile]) -> list[Reach]:
    """Say of every target that comes with us, and of those asked for, whether it takes it."""
    profiles = {profile.name: profile for profile in [*list_profiles(), *chosen]}
    obstacles: dict[str, str] = {}
    for profile in profiles.values():
        asked = _asked(profile)
        if asked not in obstacles:
            obstacles[asked] = _obstacle(source, profile)
    return [Reach(name, obstacles[_asked(profile)]) for name, profile in profiles.items()]


def _asked(profile: TargetProfile) -> str:
    """Name what a graph must fit into, which is the same for many targets."""
    return f"{sorted(profile.opset.items())} {profile.ir} {profile.bundle_bytes}"


def _obstacle(source: Source, profile: TargetProfile) -> str:
    """Say why the model cannot become a graph for this target, if it cannot."""
    try:
        graph = source.graph(profile.opset)
        model = optimise(graph.model, opset=profile.opset, ir=profile.ir)
    except EdgepackError as error:
        return error.message
    size = model.ByteSize()
    if size > profile.bundle_bytes:
        return f"takes {profile.bundle_bytes:,} bytes, float32 alone has {size:,}"
    return ""


def _understood(found: Diagnosis, understood: Understood) -> Diagnosis:
    return replace(
        found,
        repairs=understood.graph.repairs,
        parity=understood.parity,
        unchecked=understood.unchecked,
    )
