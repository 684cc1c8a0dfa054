"""A trial by command: repeat it for an installed version, or tell what the last one found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_runtime.contract.bundle.installed import open_installed
from edge_runtime.contract.bundle.verify import VerifiedPackage
from edge_runtime.contract.errors import NotInstalled
from edge_runtime.contract.facts import DeviceFacts
from edge_runtime.engine.trial import Trial, try_variants
from edge_runtime.engine.verdict import Choice, Verdict, require_choice
from edge_runtime.keys import check_signer
from edge_runtime.loading import matched
from edge_runtime.probe import probe
from edge_runtime.proofs import remember, remembered
from edge_runtime.state.model import ModelStore
from edge_runtime.state.store import Store


@dataclass(frozen=True)
class Tried:
    """What a trial found.

    Attributes:
        package: what was tried.
        identity: the engine, processor and driver that it holds for.
        verdicts: one a variant that fits this device, best first.
        choice: what serves by them.
        refusals: why other variants do not fit.
        problem: why it was not kept; empty where it was.
    """

    package: VerifiedPackage
    identity: str
    verdicts: Sequence[Verdict]
    choice: Choice
    refusals: Sequence[str] = ()
    problem: str = ""


def repeat_trial(store: Store, ref: str | None) -> Tried:
    """Try every variant of an installed version anew; what is found counts from now on.

    Args:
        store: where it is installed.
        ref: ``NAME``, ``NAME@VERSION``, or None for the only model.

    Raises:
        GoldenMismatch: when none passes and the first gave wrong answers; that is kept too.
        TrialFailed: when none passes for another reason; that is kept too.
        BundleError: when it cannot be believed any more.
        NotInstalled: when there is no such version.
    """
    model, package = _resolved(store, ref)
    facts, digest = probe(), package.digest
    _, found = matched([package.manifest], facts)
    trial = Trial(model.version(digest), digest, facts.threads)
    verdicts = try_variants(trial, [variant.name for variant in found.variants])
    problem = store.keep(lambda w: remember(w, model.name, digest, facts, verdicts))
    return Tried(
        package,
        facts.identity,
        verdicts,
        require_choice(verdicts),
        [refusal.reason for refusal in found.refusals],
        problem,
    )


def kept_trial(store: Store, ref: str | None) -> Tried:
    """Return what the last trial of an installed version found on this device.

    Raises:
        NotInstalled: when there is no such version, or nothing is kept that proves it.
    """
    model, package = _resolved(store, ref)
    facts = probe()
    verdicts = remembered(model, package.digest, facts)
    if not verdicts:
        raise _nothing_kept(package, facts)
    return Tried(package, facts.identity, verdicts, require_choice(verdicts))


def _resolved(store: Store, ref: str | None) -> tuple[ModelStore, VerifiedPackage]:
    model, digests = store.resolve(ref)
    package = open_installed(model.version(digests[0]), digests[0])
    check_signer(store, model, package.digest, None)
    return model, package


def _nothing_kept(package: VerifiedPackage, facts: DeviceFacts) -> NotInstalled:
    manifest = package.manifest
    return NotInstalled(
        f"a passed trial of {manifest.name} {manifest.version} on {facts.identity} was asked "
        "for, none is kept",
        hint="Repeat it: edge-runtime trial, without --kept.",
        expected=facts.identity,
        found=None,
    )
