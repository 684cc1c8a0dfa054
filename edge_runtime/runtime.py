"""The device's journey on one screen: verify, match, stage, try, activate; load, predict."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeGuard

from edge_runtime.contract.bundle.installed import open_installed
from edge_runtime.contract.bundle.manifest import Manifest, Variant
from edge_runtime.contract.bundle.signature import PublicKey
from edge_runtime.contract.bundle.verify import (
    BundledPackage,
    VerifiedPackage,
    verify_bundle,
)
from edge_runtime.contract.errors import (
    BundleError,
    EngineMissing,
    NotInstalled,
    ReleaseTooOld,
    StoreCorrupt,
    VersionConflict,
)
from edge_runtime.contract.facts import DeviceFacts
from edge_runtime.contract.match import Match, Refusal, require_match
from edge_runtime.contract.segments import Subject
from edge_runtime.engine.golden import prove_first, session_plan
from edge_runtime.engine.session import Session, engine_facts, open_session
from edge_runtime.engine.trial import Verdict, run_trial
from edge_runtime.keys import KeyFiles, check_signer, read_keys
from edge_runtime.metrics import Recorder
from edge_runtime.model import Model, Served
from edge_runtime.probe import probe
from edge_runtime.proofs import proven, remember, remembered
from edge_runtime.state.model import ModelStore
from edge_runtime.state.record import reverified
from edge_runtime.state.store import Store, StoreWriter, locate_store

# --- install -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Installation:
    """What an installation did.

    Attributes:
        manifest: what serves now.
        digest: the package's name.
        signer: fingerprint of the key that signed it.
        variant: the variant that passed its trial.
        changed: False when exactly this was active already.
        refusals: why the other targets and variants do not fit.
        verdicts: what the trial found, in the order tried.
    """

    manifest: Manifest
    digest: str
    signer: str
    variant: Variant
    changed: bool
    refusals: Sequence[Refusal]
    verdicts: Sequence[Verdict]


def install(bundle: Path, store: Store) -> Installation:
    """Install a bundle: what serves now keeps serving until the new version is proven.

    Raises:
        BundleError: when the bundle cannot be believed; the store is as it was.
        DeviceError: when no target fits, no variant passes, or the store cannot be written.
        StoreBusy: when another process is writing to the store.
    """
    with verify_bundle(bundle, store.trust.keys()) as verified:
        facts = probe()
        index, found = _match([package.manifest for package in verified.packages], facts)
        package = verified.packages[index]
        with store.writing() as writer:
            _refuse_conflict(writer, package)
            _refuse_old(writer, package)
            verdicts = _stage(writer, package, found.variants, facts)
            changed = _activate(store, writer, package)
    return Installation(
        manifest=package.manifest,
        digest=package.digest,
        signer=package.signer,
        variant=_variant(package.manifest, verdicts[-1].variant),
        changed=changed,
        refusals=found.refusals,
        verdicts=verdicts,
    )


def _match(manifests: Sequence[Manifest], facts: DeviceFacts) -> tuple[int, Match]:
    try:
        return require_match(manifests, facts)
    except EngineMissing:
        engine_facts()  # knows better: there may be two of them
        raise


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
    floor = writer.model(manifest.name).read().state.floor
    if manifest.release < floor:
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
    active = writer.model(name).read().state.active
    if active is None or active.digest != package.digest:
        writer.activate(package.manifest, package.digest)
        return True
    if active.trust != trust:
        writer.update(name, lambda state: reverified(state, package.digest, trust))
    return False


# --- load ----------------------------------------------------------------------------------


def load(
    ref: str | os.PathLike[str] | None = None,
    *,
    store: str | os.PathLike[str] | Store | None = None,
    trust: KeyFiles | None = None,
    variant: str | None = None,
) -> Model:
    """Load what is installed, or a bundle file directly; verified either way.

    Args:
        ref: NAME or NAME@VERSION of an installed model; the path of a bundle (a ``Path``, or
            text that has a slash or ends in ``.tar``); None when one model is installed.
        store: the store or its directory; by default found as the command line finds it.
        trust: public key files to believe instead of the store's keys.
        variant: serve this variant instead of the one that the trial chose.

    Returns:
        The model, to be used as a context manager.

    Raises:
        BundleError: when anything cannot be believed.
        DeviceError: when it is not installed, does not fit, or does not answer as proven.
    """
    if ref is None or _is_name(ref):
        return _load_installed(_located(store), ref, trust, variant)
    keys = _located(store).trust.keys() if trust is None else read_keys(trust)
    return _load_bundle(Path(ref), keys, variant)


def _is_name(ref: str | os.PathLike[str]) -> TypeGuard[str]:
    return isinstance(ref, str) and os.sep not in ref and not ref.endswith(".tar")


def _located(store: str | os.PathLike[str] | Store | None) -> Store:
    return store if isinstance(store, Store) else locate_store(store, os.environ)


def _load_bundle(path: Path, keys: Sequence[PublicKey], wanted: str | None) -> Model:
    """Serve straight from a bundle: proven in this process, nothing written anywhere."""
    with verify_bundle(path, keys) as verified:
        facts = probe()
        index, found = _match([package.manifest for package in verified.packages], facts)
        package = verified.packages[index]
        variants = [_variant(package.manifest, wanted)] if wanted else found.variants
        variant, session, failed = prove_first(package, variants, threads=facts.threads)
    proof = "; ".join(["golden vectors held at this load", *failed])
    served = _served(package, variant, facts, proof)
    return _model(session, replace(served, unrecorded="it is in no store"), None)


def _load_installed(
    store: Store, ref: str | None, trust: KeyFiles | None, wanted: str | None
) -> Model:
    """Serve an installed version by the variant that its trial on this very device chose."""
    model, digests = store.resolve(ref)
    package = _first_sound(model, digests)
    manifest = package.manifest
    check_signer(store, model, package.digest, trust)
    facts = probe()
    _, found = _match([manifest], facts)
    variants = [_variant(manifest, wanted)] if wanted else found.variants
    name, proof = proven(store, package, variants, facts, keep=not wanted)
    variant = _variant(manifest, name)
    plan = session_plan(manifest, variant, threads=facts.threads)
    session = open_session(package.model(variant), plan)
    served = _served(package, variant, facts, proof)
    return _model(session, replace(served, degraded=model.read().degraded), model.metrics)


def _first_sound(model: ModelStore, digests: Sequence[str]) -> VerifiedPackage:
    """Open the first version that is as it was installed.

    There are several only where the record of what is active was lost, or where one version
    is installed for two targets.
    """
    for digest in digests[:-1]:
        try:
            package = open_installed(model.version(digest), digest)
            package.check()
        except (BundleError, StoreCorrupt):
            continue
        return package
    return open_installed(model.version(digests[-1]), digests[-1])


def _variant(manifest: Manifest, name: str) -> Variant:
    found = manifest.variant(name)
    if found is None:
        raise NotInstalled(
            f"variant {name!r} was asked for, {manifest.name} {manifest.version} has "
            f"{', '.join(item.name for item in manifest.variants)}",
            hint="Name one of its variants, or none to take the one that the trial chose.",
            expected=name,
            found=[item.name for item in manifest.variants],
        )
    return found


def _served(
    package: VerifiedPackage, variant: Variant, facts: DeviceFacts, proof: str
) -> Served:
    engine = facts.engine.text if facts.engine else "none"
    return Served(package.manifest, package.digest, variant, engine, proof)


def _model(session: Session, served: Served, metrics: Path | None) -> Model:
    subject = Subject(
        model=served.manifest.name,
        version=served.manifest.version,
        digest=served.digest,
        variant=served.variant.name,
        provider=served.variant.provider,
    )
    return Model(session, served, Recorder(metrics, subject))
