"""The device's journey on one screen: verify, match, stage, try, activate; load, predict."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.contract.bundle.manifest import Manifest, Variant
from edge_runtime.contract.bundle.signature import PublicKey
from edge_runtime.contract.bundle.verify import (
    BundledPackage,
    VerifiedPackage,
    open_installed,
    verify_bundle,
)
from edge_runtime.contract.errors import (
    BundleError,
    BusyError,
    KeyInvalid,
    NotInstalled,
    StoreCorrupt,
    StoreUnwritable,
    VersionConflict,
)
from edge_runtime.contract.facts import DeviceFacts
from edge_runtime.contract.match import Refusal, require_match
from edge_runtime.contract.segments import Subject
from edge_runtime.engine.golden import prove, session_plan
from edge_runtime.engine.session import Session, open_session
from edge_runtime.engine.trial import Verdict, run_trial
from edge_runtime.metrics import Recorder
from edge_runtime.model import Model, Served
from edge_runtime.probe import probe
from edge_runtime.proofs import remember, remembered
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
    variant: str
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
        index, found = require_match([p.manifest for p in verified.packages], facts)
        package = verified.packages[index]
        with store.writing() as writer:
            _refuse_conflict(store, package)
            verdicts = _stage(store, writer, package, found.variants, facts)
            changed = _activate(store, writer, package)
    return Installation(
        manifest=package.manifest,
        digest=package.digest,
        signer=package.signer,
        variant=verdicts[-1].variant,
        changed=changed,
        refusals=found.refusals,
        verdicts=verdicts,
    )


def _refuse_conflict(store: Store, package: BundledPackage) -> None:
    """Refuse other content under an installed version: a version means one thing for ever."""
    manifest = package.manifest
    installed = (
        store.model(manifest.name).installed() if manifest.name in store.models() else ()
    )
    for item in installed:
        same_version = item.manifest is not None and item.manifest.version == manifest.version
        if same_version and item.digest != package.digest:
            raise VersionConflict(
                f"{manifest.name} {manifest.version} is installed as {item.digest[:16]}…, "
                f"the bundle holds {package.digest[:16]}… under the same version",
                hint="Build it again under a new --version.",
                version=manifest.version,
                expected=item.digest,
                found=package.digest,
            )


def _stage(
    store: Store,
    writer: StoreWriter,
    package: BundledPackage,
    variants: Sequence[Variant],
    facts: DeviceFacts,
) -> Sequence[Verdict]:
    """Copy the package while hashing it and prove it before it appears under its own name."""
    name, digest = package.manifest.name, package.digest
    names = [variant.name for variant in variants]
    verdicts: Sequence[Verdict] = ()

    def fill(directory: Path) -> None:
        nonlocal verdicts
        package.extract(directory)
        verdicts = run_trial(directory, digest, names, threads=facts.threads)

    directory = writer.stage(
        name,
        digest,
        fill,
        size=sum(entry.size for entry in package.manifest.files),
        mend=not _is_sound(store, name, digest),
    )
    if not verdicts:
        verdicts = remembered(store.model(name), digest, facts) or run_trial(
            directory, digest, names, threads=facts.threads
        )
    remember(writer, package.manifest.name, package.digest, facts, verdicts)
    return verdicts


def _activate(store: Store, writer: StoreWriter, package: BundledPackage) -> bool:
    """Let the proven package serve, and tell whether something else served before."""
    name, trust = package.manifest.name, store.trust.digest()
    active = store.model(name).read().state.active
    if active is None or active.digest != package.digest:
        writer.activate(package.manifest, package.digest)
        return True
    if active.trust != trust:
        writer.update(name, lambda state: reverified(state, trust))
    return False


def _is_sound(store: Store, name: str, digest: str) -> bool:
    """Tell whether this very package is installed and every byte of it is as it was."""
    if name not in store.models():
        return False
    try:
        open_installed(store.model(name).version(digest), digest).check()
    except (BundleError, StoreCorrupt):
        return False
    return True


# --- load ----------------------------------------------------------------------------------


def load(
    ref: str | Path | None = None,
    *,
    store: str | Path | Store | None = None,
    trust: Sequence[str | Path] | str | Path | None = None,
    variant: str | None = None,
) -> Model:
    """Load what is installed, or a bundle file directly; verified either way.

    Args:
        ref: NAME or NAME@VERSION of an installed model; the path of a bundle (anything that
            has a slash or ends in ``.tar``); None when exactly one model is installed.
        store: the store or its directory; by default found as the command line finds it.
        trust: public key files to believe for a bundle file, instead of the store's keys.
        variant: serve this variant instead of the one that the trial chose.

    Returns:
        The model, to be used as a context manager.

    Raises:
        BundleError: when anything cannot be believed.
        DeviceError: when it is not installed, does not fit, or does not answer as proven.
    """
    where = store if isinstance(store, Store) else locate_store(_path(store), os.environ)
    if ref is not None and (os.sep in str(ref) or str(ref).endswith(".tar")):
        return _load_bundle(Path(ref), trusted_keys(where, trust), variant)
    return _load_installed(where, None if ref is None else str(ref), variant)


def trusted_keys(
    store: Store, trust: Sequence[str | Path] | str | Path | None
) -> Sequence[PublicKey]:
    """Return the keys of these files, or the store's where none are named.

    Raises:
        KeyInvalid: when a file holds no public key.
        NoTrustedKey: when no file is named and the store trusts none.
    """
    if trust is None:
        return store.trust.keys()
    files = [trust] if isinstance(trust, str | Path) else trust
    return [PublicKey.load(read_key(Path(file))) for file in files]


def read_key(path: Path) -> bytes:
    """Return a key file's bytes.

    Raises:
        KeyInvalid: when it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise KeyInvalid(
            f"a public key is read from {path}, which cannot be read: {error.strerror}",
            hint="Check the path; packager keygen writes release.pub.",
            path=str(path),
            reason=error.strerror,
        ) from None


def _path(store: str | Path | None) -> Path | None:
    return None if store is None else Path(store)


def _load_bundle(path: Path, keys: Sequence[PublicKey], variant: str | None) -> Model:
    """Serve straight from a bundle: proven in this process, nothing written anywhere."""
    with verify_bundle(path, keys) as verified:
        facts = probe()
        index, found = require_match([p.manifest for p in verified.packages], facts)
        package = verified.packages[index]
        chosen = _variant(package.manifest, variant or found.variants[0].name)
        plan = session_plan(package.manifest, chosen, threads=facts.threads)
        session = prove(package, chosen, plan)
    served = _served(package, chosen, facts, "golden vectors held at this load")
    return Model(session, served, _recorder(served, None))


def _load_installed(store: Store, ref: str | None, variant: str | None) -> Model:
    model, digests = store.resolve(ref)
    package = _first_sound(model, digests)
    facts = probe()
    _, found = require_match([package.manifest], facts)
    names = [item.name for item in found.variants]
    verdicts: Sequence[Verdict] = remembered(model, package.digest, facts)
    proof = "trial at install"
    if not verdicts:
        verdicts = _repeat_trial(store, model, package, names, facts)
        proof = "trial repeated at this load, for this engine and processor"
    chosen = _variant(package.manifest, variant or verdicts[-1].variant)
    plan = session_plan(package.manifest, chosen, threads=facts.threads)
    session: Session
    if chosen.name == verdicts[-1].variant:
        session = open_session(package.read(chosen.model_file), plan)
    else:
        session, proof = prove(package, chosen, plan), "golden vectors held at this load"
    served = _served(package, chosen, facts, proof)
    return Model(session, served, _recorder(served, model.metrics))


def _first_sound(model: ModelStore, digests: Sequence[str]) -> VerifiedPackage:
    """Open the first version that is as it was installed.

    There are several only where the record of what is active was lost.
    """
    for digest in digests[:-1]:
        try:
            package = open_installed(model.version(digest), digest)
            package.check()
        except (BundleError, StoreCorrupt):
            continue
        return package
    return open_installed(model.version(digests[-1]), digests[-1])


def _repeat_trial(
    store: Store,
    model: ModelStore,
    package: VerifiedPackage,
    names: Sequence[str],
    facts: DeviceFacts,
) -> Sequence[Verdict]:
    """Try again under another engine or CPU, and keep the verdict where this user may."""
    directory = model.version(package.digest)
    verdicts = run_trial(directory, package.digest, names, threads=facts.threads)
    try:
        with store.writing() as writer:
            remember(writer, package.manifest.name, package.digest, facts, verdicts)
    except (StoreUnwritable, BusyError):
        pass  # an unprivileged service proves it at each start instead
    return verdicts


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
    engine = f"{facts.engine.name} {facts.engine.version}" if facts.engine else "none"
    return Served(package.manifest, package.digest, variant, engine, proof)


def _recorder(served: Served, directory: Path | None) -> Recorder:
    subject = Subject(
        model=served.manifest.name,
        version=served.manifest.version,
        digest=served.digest,
        variant=served.variant.name,
        provider=served.variant.provider,
    )
    return Recorder(directory, subject)
