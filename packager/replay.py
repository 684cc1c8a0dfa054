"""Replaying: what a build must have in common with the build of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from packager.config import BuildConfig
from packager.errors import ReplayMismatch
from packager.graph import SourceFacts
from packager.report.files import Recorded
from packager.samples import Samples
from packager.target import TargetProfile
from packager.versions import library_versions


def asked(
    config: BuildConfig,
    profiles: Sequence[TargetProfile],
    source: SourceFacts,
    samples: Samples | None,
    holdout: Samples | None,
) -> dict[str, Any]:
    """Return what is to be built, as far as it decides the bundle's bytes.

    Neither where files lie nor who signs is part of it.
    """
    return {
        "name": config.name,
        "version": config.version,
        "release": config.release,
        "model": source.sha256,
        "data": samples.digest if samples else None,
        "holdout": holdout.digest if holdout else None,
        "label": samples.label if samples else None,
        "split-by": config.split_by,
        "target": [profile.name for profile in profiles],
        "golden": config.golden if isinstance(config.golden, str) else "rows of a file",
        "metric": config.metric,
        "max-drop": config.max_drop.text(),
        "max-size": config.max_size,
        "max-latency-ms": config.max_latency_ms,
        "max-memory": config.max_memory,
        "effort": config.effort,
        "single": config.single,
        "description": config.description,
        "license": config.license,
        "from-step": config.from_step,
        "labels": list(config.labels),
        "threshold": config.threshold,
        "image": [*config.image, *config.mean, *config.std, config.layout],
        "versions": library_versions(source.versions),
    }


def difference(recorded: Mapping[str, Any], fresh: Mapping[str, Any]) -> str | None:
    """Say in words what the build of the report had otherwise, if anything."""
    for key in sorted(recorded.keys() | fresh.keys()):
        before, now = recorded.get(key), fresh.get(key)
        if isinstance(before, dict) and isinstance(now, dict) and before != now:
            return f"{key}: {difference(before, now)}"
        if before != now:
            return f"the report was made with {key} {before!r}, this build with {now!r}"
    return None


def check_packages(recorded: Recorded, packages: Mapping[str, str]) -> None:
    """Require that every target's package came out as the report has it.

    Raises:
        ReplayMismatch: naming the first that did not.
    """
    found = difference(recorded.packages, packages)
    if found is not None:
        raise ReplayMismatch(
            f"a replay must make the report's packages: {found}",
            hint="Replay with the profiles and the packager of the report, or build anew.",
            expected=dict(recorded.packages),
            found=dict(packages),
        )
