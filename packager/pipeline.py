"""The host's journey on one screen: source, graph, parity, rungs, pack, sign, verify."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.contract.bundle.digests import sha256_file, sha256_hex
from edge_runtime.contract.bundle.manifest import Golden, Interface, Manifest, Target
from edge_runtime.contract.bundle.oci import TargetImage
from edge_runtime.contract.table import TableFormat
from packager.building import GOLDEN_FILE, TargetBuild, build_target, held_out_rows
from packager.config import BuildConfig
from packager.errors import BudgetExceeded
from packager.record import Record
from packager.release import AskPassphrase, file_signer, release
from packager.report.bom import FILE_NAME as BOM_NAME
from packager.report.bom import render_bom
from packager.report.card import FILE_NAME as CARD_NAME
from packager.report.card import render_card
from packager.report.facts import BuildFacts, Identity, PackedFacts, report_json
from packager.report.files import read_replay, write_report
from packager.stages.convert import open_source
from packager.stages.evaluate import choose_metric
from packager.stages.pack import target_parts
from packager.stages.sign import Signer
from packager.target import load_profile, lowest_opset
from packager.understanding import Say, Understood, understand
from packager.versions import library_versions

# The oldest edge runtime that reads what this packager writes.
MIN_RUNTIME = "0.1.0"


@dataclass(frozen=True)
class Built:
    """What a build left behind.

    Attributes:
        bundle: the file that ships.
        report: the same facts and the measured values as JSON, for people and for a replay.
        facts: what is known about the build.
        packed: the bundle's size, digests and signer.
    """

    bundle: Path
    report: Path
    facts: BuildFacts
    packed: PackedFacts


def build(config: BuildConfig, say: Say, ask: AskPassphrase) -> Built:
    """Build a bundle; nothing appears in ``config.out`` unless all of it is right.

    Args:
        config: what to build.
        say: told the name of each step and what it found.
        ask: asked for the passphrase of an encrypted key.

    Raises:
        EdgepackError: one leaf for each thing that a user can mend.
    """
    signer = None if config.unsigned else file_signer(config.key, config.passphrase_file, ask)
    profiles = [load_profile(target) for target in config.targets]
    record = Record(read_replay(config.replay) if config.replay else None)
    with open_source(config.model, trust_pickle=config.trust_pickle) as source:
        understood = understand(source, lowest_opset(profiles), config, say)
    built = [build_target(profile, understood, config, record, say) for profile in profiles]
    if record.replays:
        record.check_all_used()
    facts = _facts(config, understood, built)
    images = [_image(target, facts) for target in sorted(built, key=_order)]
    bundle = config.out / f"{config.name}-{config.version}.oci.tar"
    release(bundle, images, signer)
    packed = _packed(bundle, images, signer)
    report = config.out / f"{config.name}-{config.version}.report.json"
    write_report(report, report_json(facts, packed, record.values))
    say("bundle", f"{bundle}, verified by the device's own code")
    return Built(bundle, report, facts, packed)


def _facts(
    config: BuildConfig, understood: Understood, built: Sequence[TargetBuild]
) -> BuildFacts:
    graph, rows = understood.graph, understood.rows
    held_out = held_out_rows(graph, rows)
    return BuildFacts(
        identity=Identity(
            config.name, config.version, config.release, config.description, config.license
        ),
        source=graph.source,
        interface=Interface(
            inputs=graph.inputs,
            outputs=graph.outputs,
            columns=graph.columns,
            table=TableFormat(),
            task=graph.task,
            roles=graph.roles,
            labels=graph.labels,
        ),
        data=rows.facts if rows else None,
        parity=understood.parity,
        metric=choose_metric(config.metric, held_out) if held_out else "",
        targets=[target.facts for target in built],
        unchecked=understood.unchecked,
        versions={**graph.source.versions, **library_versions()},
    )


def _image(build: TargetBuild, facts: BuildFacts) -> TargetImage:
    """Return one target's files with its card, bill of materials and manifest."""
    profile = build.facts.profile
    files = {**build.files, CARD_NAME: render_card(facts, build.facts)}
    files[BOM_NAME] = render_bom(facts, build.facts, files)
    parts = target_parts(_manifest(build, facts), files)
    size = sum(len(part.data) for part in parts)
    if size > profile.bundle_bytes:
        raise BudgetExceeded(
            f"{profile.name} allows {profile.bundle_bytes:,} bytes, its files have {size:,}",
            hint="Raise bundle-mb in a target profile of your own, or build a smaller model.",
            target=profile.name,
            expected=profile.bundle_bytes,
            found=size,
        )
    return TargetImage(
        target=profile.name,
        os=profile.os,
        architecture=profile.architecture,
        model=facts.identity.name,
        version=facts.identity.version,
        parts=tuple(parts),
    )


def _order(build: TargetBuild) -> tuple[int, str]:
    """Put CPU targets first: a plain pull by platform takes the first that fits."""
    return build.facts.profile.priority, build.facts.profile.name


def _manifest(build: TargetBuild, facts: BuildFacts) -> Manifest:
    profile, identity = build.facts.profile, facts.identity
    data = facts.data
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
        ),
        interface=facts.interface,
        variants=build.variants,
        golden=Golden(GOLDEN_FILE, build.facts.golden_rows, build.facts.golden_synthetic),
        files=(),
        provenance={
            "source": {
                "framework": facts.source.framework,
                "kind": facts.source.kind,
                "sha256": facts.source.sha256,
            },
            "data": {"sha256": data.sha256, "rows": data.rows} if data else None,
            "versions": dict(facts.versions),
            "license": identity.license,
        },
    )


def _packed(bundle: Path, images: Sequence[TargetImage], signer: Signer | None) -> PackedFacts:
    return PackedFacts(
        bundle=bundle.name,
        size=bundle.stat().st_size,
        sha256=sha256_file(bundle),
        signer=signer.public_key.fingerprint if signer else "",
        packages={image.target: sha256_hex(image.parts[0].data) for image in images},
    )


def build_json(built: Built) -> dict[str, Any]:
    """Return what a build left behind, for machines."""
    return {
        "bundle": str(built.bundle),
        "report": str(built.report),
        "size": built.packed.size,
        "sha256": built.packed.sha256,
        "signer": built.packed.signer,
        "packages": dict(built.packed.packages),
        "targets": {
            target.profile.name: [variant.name for variant in target.ladder]
            for target in built.facts.targets
        },
        "unchecked": list(built.facts.unchecked),
    }
