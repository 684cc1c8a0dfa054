"""Loading on one screen: resolve, check the signature, match, prove, enter the load, open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_runtime.contract.bundle.manifest import Manifest, Variant
from edge_runtime.contract.bundle.signature import Trusted
from edge_runtime.contract.bundle.verify import VerifiedPackage, verify_bundle
from edge_runtime.contract.errors import (
    EngineMissing,
    GoldenMismatch,
    NotInstalled,
    TrialFailed,
)
from edge_runtime.contract.facts import DeviceFacts
from edge_runtime.contract.match import Match, require_match
from edge_runtime.contract.segments import Subject
from edge_runtime.engine.golden import prove_first, session_plan
from edge_runtime.engine.isolated import Isolated, Task
from edge_runtime.engine.session import SessionPlan, engine_facts, open_session
from edge_runtime.entering import Entry, enter
from edge_runtime.keys import KeyFiles
from edge_runtime.metrics import Recorder
from edge_runtime.probe import probe
from edge_runtime.proofs import proven
from edge_runtime.serving import Runner, Served, Serving
from edge_runtime.state.store import Store

# Who decided how a version is run.
SET_HERE, ASKED_FOR = "set on this device", "asked for by this load"
BY_TRIAL, AS_SIGNED = "chosen by its trial", "as signed, or what this device has"


@dataclass(frozen=True)
class How:
    """How a version is loaded.

    Attributes:
        trust: public key files to believe instead of the store's keys.
        variant: serve this variant instead of the one that the trial chose.
        isolate: let a process of its own compute, which can be ended.
    """

    trust: KeyFiles | None = None
    variant: str | None = None
    isolate: bool = False


@dataclass(frozen=True)
class Chosen:
    """What of a package serves on this device.

    Attributes:
        variant: the one that passed its trial.
        plan: how it is opened.
        proof: how it was found to hold.
        origins: who decided on the ``variant`` and on the ``threads``.
        problem: why a setting of this device does not count; empty otherwise.
    """

    variant: Variant
    plan: SessionPlan
    proof: str
    origins: Mapping[str, str]
    problem: str


def serve_bundle(path: Path, keys: Sequence[Trusted], how: How) -> Serving:
    """Serve straight from a bundle: proven in this process, nothing written anywhere.

    Raises:
        BundleError: when it cannot be believed.
        DeviceError: when it does not fit or does not answer as proven.
        NotInstalled: when a process of its own is to serve it, which reads the store alone.
    """
    if how.isolate:
        raise NotInstalled(
            f"a process of its own serves what is installed, {path.name} is a bundle",
            hint="Install it first: edge-runtime install BUNDLE",
            expected="an installed version",
            found=path.name,
        )
    with verify_bundle(path, keys) as verified:
        facts = probe()
        index, found = matched([package.manifest for package in verified.packages], facts)
        package = verified.packages[index]
        named = how.variant
        variants = [named_variant(package.manifest, named)] if named else found.variants
        variant, session, failed = prove_first(package, variants, threads=facts.threads)
    proof = "; ".join(["golden vectors held at this load", *failed])
    served = _served(package, variant, facts, proof)
    served = replace(served, unrecorded="it is in no store")
    return Serving(session, served, _recorder(served, None))


def serve_installed(store: Store, ref: str | None, how: How) -> Serving:
    """Serve an installed version by the variant that its trial on this very device chose.

    Raises:
        BundleError: when anything cannot be believed.
        DeviceError: when it is not installed, does not fit, or does not answer as proven.
    """
    facts = probe()
    return enter(
        store,
        ref,
        lambda entry: _opened(store, entry, how, facts),
        trust=how.trust,
        watched=how.variant is None,
    )


def _opened(store: Store, entry: Entry, how: How, facts: DeviceFacts) -> Serving:
    model, package = entry.model, entry.package
    chosen = chosen_variant(store, package, how, facts)
    served = _served(package, chosen.variant, facts, chosen.proof)
    degraded = "; ".join(filter(None, [entry.degraded, chosen.problem]))
    threads, origins = chosen.plan.threads, chosen.origins
    served = replace(served, degraded=degraded, threads=threads, origins=origins)
    recorder = _recorder(served, model.metrics)
    runner: Runner
    if how.isolate:
        task = Task(model.version(package.digest), package, chosen.variant, chosen.plan.threads)
        runner = Isolated(task, lambda why: recorder.event("worker-replaced", reason=why))
    else:
        runner = open_session(package.model(chosen.variant), chosen.plan)
    return Serving(runner, served, recorder, entry.load, entry.probation)


def chosen_variant(
    store: Store, package: VerifiedPackage, how: How, facts: DeviceFacts
) -> Chosen:
    """Return the variant that passed its trial on this device, and how it is to be opened.

    What was set for this device counts where it can: a variant that is there and passed its
    trial, and no more threads than were signed.

    Raises:
        DeviceError: when none fits, or none answers as proven.
    """
    manifest = package.manifest
    settings, problem = store.model(manifest.name).settings()
    named, origin = how.variant, ASKED_FOR if how.variant else BY_TRIAL
    if settings.variant and not named:
        problem = problem or _unproven(store, package, settings.variant, facts)
        named, origin = (None, BY_TRIAL) if problem else (settings.variant, SET_HERE)
    _, found = matched([manifest], facts)
    variants = [named_variant(manifest, named)] if named else found.variants
    name, proof = proven(store, package, variants, facts, keep=not named)
    variant = named_variant(manifest, name)
    plan = session_plan(manifest, variant, threads=settings.limited(facts.threads))
    origins = {
        "variant": origin,
        "threads": SET_HERE if settings.threads == plan.threads else AS_SIGNED,
    }
    return Chosen(variant, plan, proof, origins, problem)


def _unproven(store: Store, package: VerifiedPackage, name: str, facts: DeviceFacts) -> str:
    """Return why a variant that was set for this device does not serve; empty where it may."""
    try:
        proven(store, package, [named_variant(package.manifest, name)], facts, keep=False)
    except (NotInstalled, GoldenMismatch, TrialFailed) as error:
        return f"variant={name} is set on this device, and does not count: {error.message}"
    return ""


def matched(manifests: Sequence[Manifest], facts: DeviceFacts) -> tuple[int, Match]:
    """Return the target for this device and its variants, best first.

    Raises:
        DeviceError: when none fits.
    """
    try:
        return require_match(manifests, facts)
    except EngineMissing:
        engine_facts()  # knows better: there may be two of them
        raise


def named_variant(manifest: Manifest, name: str) -> Variant:
    """Return the variant of that name.

    Raises:
        NotInstalled: when there is none.
    """
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


def _recorder(served: Served, metrics: Path | None) -> Recorder:
    subject = Subject(
        model=served.manifest.name,
        version=served.manifest.version,
        digest=served.digest,
        variant=served.variant.name,
        provider=served.variant.provider,
    )
    return Recorder(metrics, subject)
