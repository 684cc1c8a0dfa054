"""Installing on one screen: verify, match, stage, try, activate; what serves keeps serving."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.contract.bundle.installed import open_installed
from edge_runtime.contract.bundle.manifest import Manifest, Variant
from edge_runtime.contract.bundle.trust_file import TRUST_NAME
from edge_runtime.contract.bundle.verify import BundledPackage, verify_bundle
from edge_runtime.contract.errors import (
    BundleError,
    ReleaseTooOld,
    StoreCorrupt,
    VersionConflict,
)
from edge_runtime.contract.facts import DeviceFacts
from edge_runtime.contract.match import Refusal
from edge_runtime.engine.trial import run_trial
from edge_runtime.engine.verdict import Choice, Verdict, require_choice
from edge_runtime.keys import newer_trust
from edge_runtime.lifecycle import refuse_other_interface
from edge_runtime.loading import matched, named_variant
from edge_runtime.probe import probe
from edge_runtime.proofs import remember, remembered
from edge_runtime.state import garbage
from edge_runtime.state.model import ModelStore
from edge_runtime.state.record import reverified
from edge_runtime.state.store import Store, StoreWriter


@dataclass(frozen=True)
class Installation:
    """What an installation did.

    Attributes:
        manifest: what serves now.
        digest: the package's name.
        signer: fingerprint of the key that signed it.
        variant: the variant that its trial chose.
        changed: False when exactly this was active already, or waiting where it was to wait.
        refusals: why the other targets and variants do not fit.
        verdicts: what the trial found, in the order tried.
        notes: what was done with a ``trust.json`` that came along.
    """

    manifest: Manifest
    digest: str
    signer: str
    variant: Variant
    changed: bool
    refusals: Sequence[Refusal]
    verdicts: Sequence[Verdict]
    notes: Sequence[str] = ()

    @property
    def choice(self) -> Choice:
        """Which variant serves by these verdicts, and why no better one."""
        return require_choice(self.verdicts)


def install(
    bundle: Path, store: Store, *, new_interface: bool = False, stage_only: bool = False
) -> Installation:
    """Install a bundle: what serves now keeps serving until the new version is proven.

    Args:
        bundle: the file or layout directory.
        store: where it goes.
        new_interface: allow other inputs or outputs than those of the version that serves.
        stage_only: install and prove it, and let what serves now go on.

    Raises:
        BundleError: when the bundle cannot be believed; the store is as it was, but for a newer
            ``trust.json`` that came along.
        DeviceError: when no target fits, no variant passes, or the store cannot be written.
        StoreBusy: when another process is writing to the store.
    """
    notes = newer_trust(store, bundle, bundle.parent / TRUST_NAME)
    with verify_bundle(bundle, store.trust.keys()) as verified:
        facts = probe()
        index, found = matched([package.manifest for package in verified.packages], facts)
        package = verified.packages[index]
        with store.writing() as writer:
            writer.settle(package.manifest.name)
            _refuse_conflict(writer, package)
            _refuse_old(writer, package)
            if not new_interface:
                refuse_other_interface(writer.model(package.manifest.name), package.manifest)
            verdicts = _stage(writer, package, found.variants, facts)
            serve = _let_wait if stage_only else _activate
            changed = serve(store, writer, package)
            writer.collect_garbage(package.manifest.name)
    return Installation(
        manifest=package.manifest,
        digest=package.digest,
        signer=package.signer,
        variant=named_variant(package.manifest, require_choice(verdicts).variant),
        changed=changed,
        refusals=found.refusals,
        verdicts=verdicts,
        notes=notes,
    )


def _refuse_conflict(writer: StoreWriter, package: BundledPackage) -> None:
    """Refuse other content under an installed version: a version means one thing for ever."""
    manifest = package.manifest
    for item in writer.model(manifest.name).installed():
        if item.manifest is None or item.digest == package.digest:
            continue
        named = (item.manifest.version, item.manifest.target.name)
        if named == (manifest.version, manifest.target.name):
            raise VersionConflict(
                f"{manifest.name} {manifest.version} is installed as {item.digest[:16]}…, "
                f"the bundle holds {package.digest[:16]}… under the same version",
                hint="Build it again under a new --version.",
                version=manifest.version,
                expected=item.digest,
                found=package.digest,
            )


def _refuse_old(writer: StoreWriter, package: BundledPackage) -> None:
    """Refuse a release below the floor: the way back leads over what is installed, not here."""
    manifest = package.manifest
    state = writer.model(manifest.name).read().state
    floor, active = state.floor, state.active
    # After a rollback what serves lies below the floor; installing it again mends it.
    if manifest.release < floor and not (active and active.digest == package.digest):
        raise ReleaseTooOld(
            f"{manifest.name} must have release {floor} or higher here, "
            f"{manifest.version} has {manifest.release}",
            hint="Carry a newer bundle, or build the old model again as a new release.",
            version=manifest.version,
            expected=floor,
            found=manifest.release,
        )


def _stage(
    writer: StoreWriter,
    package: BundledPackage,
    variants: Sequence[Variant],
    facts: DeviceFacts,
) -> Sequence[Verdict]:
    """Copy the package while hashing it and prove it before it appears under its own name."""
    model, digest = writer.model(package.manifest.name), package.digest
    names = [variant.name for variant in variants]
    verdicts: Sequence[Verdict] = ()

    def fill(directory: Path) -> None:
        nonlocal verdicts
        package.extract(directory)
        verdicts = run_trial(directory, digest, names, threads=facts.threads)

    directory = writer.stage(
        model.name,
        digest,
        fill,
        size=sum(entry.size for entry in package.manifest.files),
        mend=not _is_sound(model, digest),
    )
    known = remembered(model, digest, facts)
    verdicts = verdicts or known or run_trial(directory, digest, names, threads=facts.threads)
    if verdicts != known:
        remember(writer, model.name, digest, facts, verdicts)
    return verdicts


def _is_sound(model: ModelStore, digest: str) -> bool:
    """Tell whether this very package is installed and every byte of it is as it was."""
    try:
        open_installed(model.version(digest), digest).check()
    except (BundleError, StoreCorrupt):
        return False
    return True


def _activate(store: Store, writer: StoreWriter, package: BundledPackage) -> bool:
    """Let the proven package serve, and tell whether something else served before."""
    name, trust = package.manifest.name, store.trust.digest()
    model = writer.model(name)
    active = model.read().state.active
    # One that failed on probation, with nothing to go back to, is given another one.
    if active is None or active.digest != package.digest or model.standing().reason:
        writer.activate(package.manifest, package.digest)
        return True
    if active.trust != trust:
        writer.update(name, lambda state: reverified(state, package.digest, trust))
    return False


def _let_wait(store: Store, writer: StoreWriter, package: BundledPackage) -> bool:
    """Let the proven package wait for its activation, and tell whether it did not before."""
    del store
    state = writer.model(package.manifest.name).read().state
    if package.digest in garbage.serving(state) | {garbage.waiting(state)}:
        return False
    writer.note_staged(package.manifest, package.digest)
    return True
