"""The host's journey on one screen: source, graph, parity, rungs, pack, sign, verify."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from edge_runtime.contract.bundle.digests import sha256_file
from edge_runtime.contract.bundle.manifest import Interface
from edge_runtime.contract.bundle.manifest_json import parse_manifest
from edge_runtime.contract.bundle.oci import TargetImage
from edge_runtime.contract.table import TableFormat
from packager.building import TargetBuild, build_target
from packager.config import BuildConfig
from packager.errors import BudgetExceeded, TargetInvalid
from packager.output import appearing, require_writable
from packager.record import Record
from packager.release import AskPassphrase, file_signer, write_release
from packager.replay import check_packages
from packager.report.bom import FILE_NAME as BOM_NAME
from packager.report.bom import render_bom
from packager.report.card import FILE_NAME as CARD_NAME
from packager.report.card import render_card
from packager.report.facts import BuildFacts, Identity, PackedFacts, report_json
from packager.report.files import read_report, write_page, write_report
from packager.report.html import render_page
from packager.report.manifest import make_manifest
from packager.sources.options import SourceOptions
from packager.sources.processing.source import Processing, processed
from packager.sources.source import Source
from packager.stages.convert import open_source
from packager.stages.pack import target_parts
from packager.stages.sign import Signer
from packager.target import TargetProfile, load_profile
from packager.understanding import Say, Understood, understand
from packager.versions import library_versions
from packager.workspace import Workspace


@dataclass(frozen=True)
class Built:
    """What a build left behind.

    Attributes:
        bundle: the file that ships.
        report: the facts and the measured values as JSON, for machines and for a replay.
        page: the same facts as a page for people.
        facts: what is known about the build.
        packed: the bundle's size, digests and signer.
    """

    bundle: Path
    report: Path
    page: Path
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
    require_writable(config.out)
    signer = None if config.unsigned else file_signer(config.key, config.passphrase_file, ask)
    recorded = read_report(config.replay) if config.replay else None
    record = Record(recorded.values if recorded else None)
    profiles = _profiles(config.targets)
    with Workspace(config.out) as workspace:
        with opened_source(config, say) as source:
            understood = understand(source, profiles, config, record, workspace, say)
        built = [
            build_target(profile, understood, config, record, workspace, say)
            for profile in profiles
        ]
        facts = _facts(config, understood, built)
        images = [_image(target, facts) for target in built]
        packages = {image.target: image.parts[0].sha256 for image in images}
        if recorded is not None:
            record.check_all_used()
            check_packages(recorded, packages)
        stem = f"{config.name}-{config.version}"
        bundle = config.out / f"{stem}.oci.tar"
        report, page = (config.out / f"{stem}.report.{kind}" for kind in ("json", "html"))
        with appearing(report, page, bundle) as (new_report, new_page, new_bundle):
            write_release(new_bundle, images, signer)
            packed = _packed(new_bundle, images, signer)
            write_report(new_report, report_json(facts, packed, record.values))
            write_page(new_page, render_page(facts, packed))
    say("bundle", _verdict(signer))
    return Built(bundle, report, page, facts, packed)


@contextmanager
def opened_source(config: BuildConfig, say: Say) -> Iterator[Source]:
    """Open the model of a build for as long as the context lasts.

    Raises:
        EdgepackError: one leaf for each thing that a user can mend; see ``open_source``.
    """
    options = SourceOptions(
        trust_pickle=config.trust_pickle,
        modules=config.path,
        converters=config.converter,
        from_step=config.from_step,
        allow_version_skew=config.allow_version_skew,
        weights=config.weights,
        inputs=config.input,
    )
    processing = Processing(
        labels=config.labels,
        threshold=config.threshold,
        image=config.image,
        mean=config.mean,
        std=config.std,
        layout=config.layout,
    )
    with open_source(config.model, options, say=say) as source:
        yield processed(source, processing)


def _profiles(names: Sequence[str]) -> list[TargetProfile]:
    """Load the targets in the bundle's order: a plain pull takes the first that fits, a CPU."""
    profiles = sorted(map(load_profile, names), key=lambda one: (one.priority, one.name))
    for one, other in pairwise(profiles):
        if one.name == other.name:
            raise TargetInvalid(
                f"the targets of a bundle must differ in name, found {one.name!r} twice",
                hint="Give a profile of your own another name.",
                key="name",
                expected="names that differ",
                found=list(names),
            )
    return profiles


def _facts(
    config: BuildConfig, understood: Understood, built: Sequence[TargetBuild]
) -> BuildFacts:
    graph, rows = understood.graph, understood.rows
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
        metric=rows.metric if rows else None,
        budgets=config.budgets,
        targets=[target.facts for target in built],
        unchecked=understood.unchecked,
        versions=library_versions(graph.source.versions),
        repairs=graph.repairs,
    )


def _image(build: TargetBuild, facts: BuildFacts) -> TargetImage:
    """Return one target's files with its card, bill of materials and manifest."""
    profile = build.facts.profile
    files = {**build.files, CARD_NAME: render_card(facts, build.facts)}
    files[BOM_NAME] = render_bom(facts, build.facts, files)
    parts = target_parts(make_manifest(facts, build.facts), files)
    size = sum(part.size for part in parts)
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


def _packed(bundle: Path, images: Sequence[TargetImage], signer: Signer | None) -> PackedFacts:
    manifests = {image.target: image.parts[0] for image in images}
    return PackedFacts(
        bundle=bundle.name,
        size=bundle.stat().st_size,
        sha256=sha256_file(bundle),
        signer=signer.public_key.fingerprint if signer else "",
        packages={name: part.sha256 for name, part in manifests.items()},
        contents={name: parse_manifest(part.data).files for name, part in manifests.items()},
    )


def _verdict(signer: Signer | None) -> str:
    if signer is None:
        return "unsigned: devices refuse it until packager sign has signed it"
    return "signed, and verified by the device's own code"


def build_json(built: Built) -> dict[str, Any]:
    """Return what a build left behind, for machines."""
    return {
        "bundle": str(built.bundle),
        "report": str(built.report),
        "page": str(built.page),
        "size": built.packed.size,
        "sha256": built.packed.sha256,
        "signer": built.packed.signer or None,
        "packages": dict(built.packed.packages),
        "targets": {
            target.profile.name: [variant.name for variant in target.ladder]
            for target in built.facts.targets
        },
        "unchecked": list(built.facts.unchecked),
    }
