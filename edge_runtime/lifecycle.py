"""What is done with installed versions: prove, go back, activate, remove.

Every function becomes the one writer of the store, takes into the record how loads on probation
ended, makes one change of the record, and lets go of what nothing needs any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_runtime.contract.bundle.installed import open_installed
from edge_runtime.contract.bundle.manifest import Manifest
from edge_runtime.contract.bundle.verify import VerifiedPackage
from edge_runtime.contract.errors import (
    BundleError,
    InterfaceChanged,
    NothingProven,
    ReleaseTooOld,
    StoreCorrupt,
    VersionServes,
)
from edge_runtime.contract.interfaces import differences
from edge_runtime.keys import check_signer
from edge_runtime.loading import matched
from edge_runtime.probe import probe
from edge_runtime.proofs import proven
from edge_runtime.state import garbage
from edge_runtime.state.model import ModelStore
from edge_runtime.state.record import Version
from edge_runtime.state.settings import Settings, changed, invalid
from edge_runtime.state.store import Store, StoreWriter

_BY_COMMAND = "by command"


@dataclass(frozen=True)
class Change:
    """What a change of the life cycle did.

    Attributes:
        name: the model.
        version: what serves now.
        digest: the same for machines.
        changed: False when it was so already.
        detail: why, or empty.
        removed: versions that went because nothing needs them any more.
    """

    name: str
    version: str
    digest: str
    changed: bool
    detail: str
    removed: tuple[str, ...] = ()


def mark_good(store: Store, name: str) -> Change:
    """Say that the active version is proven: it stays, and none older is installed any more.

    Raises:
        NotInstalled: when there is no such model.
        NothingProven: when none is active.
        StoreUnwritable: when it cannot be recorded.
    """
    model = store.model(name)
    with store.writing() as writer:
        before = model.read().state.generation
        state = writer.settle(name)
        if state.active is None:
            raise _nothing(model, "no version is active")
        if state.candidate is not None:
            writer.mark_good(name, _BY_COMMAND)
        return _ended(writer, model, before)


def roll_back(store: Store, name: str, reason: str) -> Change:
    """Let the last version that was proven serve again.

    The version that it takes the place of stays installed, for those who want to see why, until
    another one is activated.

    Raises:
        NotInstalled: when there is no such model.
        NothingProven: when there is no such version, or its files are damaged.
        BundleError: when nobody trusted has signed it any more.
        StoreUnwritable: when it cannot be recorded.
    """
    model = store.model(name)
    with store.writing() as writer:
        state = model.read().state
        before, active = state.generation, state.active
        if writer.settle(name).active == active:  # otherwise its probation ended that way
            _require_way_back(store, model)
            writer.roll_back(name, reason)
        return _ended(writer, model, before)


def activate(store: Store, ref: str, new_interface: bool = False) -> Change:
    """Let an installed version serve from now on, on probation.

    Args:
        store: where it is installed.
        ref: ``NAME@VERSION``.
        new_interface: allow other inputs or outputs than those of the version that serves.

    Raises:
        NotInstalled: when it is not installed.
        StoreCorrupt: when files of it are damaged.
        BundleError: when it cannot be believed, is too old, or is used in another way.
        DeviceError: when it does not fit this device or does not answer as it should.
    """
    name, _, version = ref.partition("@")
    model = store.model(name)
    package = _ready(store, model, version)  # a trial takes its time: not under the lock
    manifest, digest = package.manifest, package.digest
    with store.writing() as writer:
        before = model.read().state.generation
        state = writer.settle(name)
        model.choices(version)  # it may have gone in the meantime
        if state.active is None or state.active.digest != digest or model.standing().reason:
            _refuse_old(model, manifest, digest)
            if not new_interface:
                refuse_other_interface(model, manifest)
            writer.activate(manifest, digest, _BY_COMMAND)
        return _ended(writer, model, before)


def remove(store: Store, ref: str) -> Change:
    """Remove an installed version that nothing needs.

    Raises:
        NotInstalled: when it is not installed.
        VersionServes: when it serves, serving would go back to it, or a process runs it.
        StoreUnwritable: when it cannot be removed.
    """
    name, _, version = ref.partition("@")
    model = store.model(name)
    with store.writing() as writer:
        before = model.read().state.generation
        writer.settle(name)
        digests = model.choices(version)
        for digest in digests:
            _refuse_needed(model, version, digest)
        for item in model.installed():
            if item.digest in digests:
                gone = Version(item.digest, version, max(0, item.release), "")
                if not writer.remove(name, gone):
                    raise _serves(model, version, "a process has just begun to load it")
        return _ended(writer, model, before)


def set_values(store: Store, name: str, assignments: Sequence[str]) -> Settings:
    """Keep what the operator sets for a model on this device; the next load goes by it.

    Args:
        store: where the model is installed.
        name: the model.
        assignments: ``threads=2`` or ``variant=float32``; nothing after the ``=`` clears it.

    Returns:
        What is set now.

    Raises:
        NotInstalled: when there is no such model.
        SettingInvalid: when there is no such setting, or the version that serves has no such
            variant or fewer threads.
        StoreUnwritable: when it cannot be kept.
    """
    model = store.model(name)
    with store.writing() as writer:
        before, _ = model.settings()
        after = changed(before, assignments)
        served = _served_manifest(model)
        if served is not None:
            _require_holds(after, served)
        if after != before:
            writer.write_settings(name, after)
    return after


def _require_holds(settings: Settings, served: Manifest) -> None:
    most = min(served.target.threads, probe(engine=False).threads)
    if settings.threads is not None and not 1 <= settings.threads <= most:
        expected = f"a whole number within 1…{most}, as signed and as this device has"
        raise invalid("threads", expected, str(settings.threads))
    names = [variant.name for variant in served.variants]
    if settings.variant is not None and settings.variant not in names:
        expected = f"a variant of {served.version}: {', '.join(names)}"
        raise invalid("variant", expected, settings.variant)


def refuse_other_interface(model: ModelStore, manifest: Manifest) -> None:
    """Refuse other inputs or outputs than those that programs on this device were written for.

    Raises:
        InterfaceChanged: when they differ from those of the version that serves.
    """
    served = _served_manifest(model)
    if served is None:
        return
    before, after = differences(served.interface, manifest.interface)
    if before or after:
        raise InterfaceChanged(
            f"{manifest.name} {served.version} serves with {before}; "
            f"{manifest.version} has {after}",
            hint="Adapt the programs that use it, then say so with --new-interface.",
            expected=before,
            found=after,
        )


def _served_manifest(model: ModelStore) -> Manifest | None:
    """Return the manifest of the version that serves; None where there is none to be read."""
    active = model.standing().version
    for item in model.installed():
        if active is not None and item.digest == active.digest:
            return item.manifest
    return None


def _ready(store: Store, model: ModelStore, version: str) -> VerifiedPackage:
    """Return an installed version that is whole, signed, and proven on this very device."""
    packages = [
        open_installed(model.version(digest), digest) for digest in model.choices(version)
    ]
    facts = probe()
    index, found = matched([package.manifest for package in packages], facts)
    package = packages[index]
    package.check()
    check_signer(store, model, package.digest, None)
    proven(store, package, found.variants, facts, keep=True)
    return package


def _refuse_old(model: ModelStore, manifest: Manifest, digest: str) -> None:
    """Refuse a release below the floor, unless it is the proven one that served before."""
    state = model.read().state
    back = state.previous_good
    if manifest.release < state.floor and not (back and back.digest == digest):
        raise ReleaseTooOld(
            f"{manifest.name} must have release {state.floor} or higher here, "
            f"{manifest.version} has {manifest.release}",
            hint="Install a newer bundle, or build the old model again as a new release.",
            version=manifest.version,
            expected=state.floor,
            found=manifest.release,
        )


def _require_way_back(store: Store, model: ModelStore) -> None:
    back = model.read().state.previous_good
    if back is None:
        raise _nothing(model, "no other version was proven before it")
    check_signer(store, model, back.digest, None)
    try:
        open_installed(model.version(back.digest), back.digest).check()
    except (BundleError, StoreCorrupt) as error:
        raise _nothing(model, f"{back.version} is damaged: {error.message}") from None


def _nothing(model: ModelStore, reason: str) -> NothingProven:
    return NothingProven(
        f"{model.name} needs a proven version to serve, {reason}",
        hint="Install a bundle: edge-runtime install BUNDLE",
        model=model.name,
        reason=reason,
    )


def _refuse_needed(model: ModelStore, version: str, digest: str) -> None:
    reading = model.read()
    if reading.lost:
        raise _serves(model, version, "the record is lost, so any version may be the one")
    active = reading.state.active
    if active and digest == active.digest:
        raise _serves(model, version, "it is the active one")
    if digest in garbage.serving(reading.state):
        raise _serves(model, version, "it is what serving would go back to")
    pids = [str(load.pid) for load in model.loads.running() if load.digest == digest]
    if pids:
        raise _serves(model, version, f"pid {', '.join(pids)} runs it")


def _serves(model: ModelStore, version: str, reason: str) -> VersionServes:
    return VersionServes(
        f"{model.name} {version} is to be removed, but {reason}",
        hint="Activate another version, restart what runs it, then remove it.",
        model=model.name,
        version=version,
        reason=reason,
    )


def _ended(writer: StoreWriter, model: ModelStore, before: int) -> Change:
    """Let go of what nothing needs any more and tell what serves now."""
    names = {item.digest: item.manifest for item in model.installed()}
    gone = writer.collect_garbage(model.name)
    state = model.read().state
    other = state.generation != before
    return Change(
        name=model.name,
        version=state.active.version if state.active else "",
        digest=state.active.digest if state.active else "",
        changed=other,
        detail=state.history[-1].detail if other and state.history else "",
        removed=tuple(
            manifest.version if manifest else digest[:16]
            for digest, manifest in names.items()
            if digest in gone
        ),
    )
