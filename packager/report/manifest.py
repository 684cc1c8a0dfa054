"""The manifest of one target, out of the facts of a build."""

from __future__ import annotations

from edge_runtime.contract.bundle.manifest import Golden, Manifest, Target
from packager.report.facts import BuildFacts, TargetFacts

# The oldest edge runtime that reads what this packager writes.
MIN_RUNTIME = "0.1.0"
GOLDEN_NAME = "golden.npz"


def make_manifest(facts: BuildFacts, target: TargetFacts) -> Manifest:
    """Return everything but what packing fills in: the table of files, ``must_understand``."""
    profile, identity, source = target.profile, facts.identity, facts.source
    data = {"sha256": facts.data.sha256, "rows": facts.data.rows} if facts.data else None
    return Manifest(
        name=identity.name,
        version=identity.version,
        release=identity.release,
        description=identity.description,
        min_runtime=MIN_RUNTIME,
        must_understand=(),
        target=Target(
            name=profile.name,
            os=profile.os,
            architecture=profile.architecture,
            priority=profile.priority,
            min_engine=profile.min_engine,
            opset=profile.opset,
            ir=profile.ir,
            memory_bytes=profile.memory_bytes,
            threads=profile.threads,
            cpu_flags=profile.cpu_flags,
        ),
        interface=facts.interface,
        variants=tuple(target.ladder),
        golden=Golden(GOLDEN_NAME, target.golden_rows, target.golden_synthetic),
        files=(),
        provenance={
            "source": {
                "framework": source.framework,
                "kind": source.kind,
                "sha256": source.sha256,
            },
            "data": data,
            "versions": dict(facts.versions),
            "license": identity.license,
        },
    )
