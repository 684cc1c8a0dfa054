"""Which target of a bundle fits a device, which variants run there, and why others do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_runtime.contract.bundle.manifest import Manifest, Target, Variant
from edge_runtime.contract.cpuinfo import lacking
from edge_runtime.contract.errors import (
    DeviceError,
    EngineMissing,
    EngineTooOld,
    ExecutionProviderMissing,
    NoMatchingTarget,
)
from edge_runtime.contract.facts import DeviceFacts
from edge_runtime.contract.versions import at_least


@dataclass(frozen=True)
class Refusal:
    """Why a target, or one variant of the chosen target, does not fit.

    Attributes:
        target: the target's name.
        variant: the variant's name; empty when the whole target is meant.
        error: the error that this reason alone would be.
        reason: one sentence with both values.
        hint: one imperative sentence that mends it.
    """

    target: str
    variant: str
    error: type[DeviceError]
    reason: str
    hint: str


@dataclass(frozen=True)
class Match:
    """What a bundle means to a device.

    Attributes:
        index: the position of the chosen target; None when none fits.
        variants: the chosen target's variants that run here, in the ladder's order.
        refusals: one for every target that does not serve here, be it that it does not fit or
            that another one fits better, and for every variant of the chosen one that cannot
            run here.
    """

    index: int | None
    variants: tuple[Variant, ...]
    refusals: tuple[Refusal, ...]


def match(manifests: Sequence[Manifest], facts: DeviceFacts) -> Match:
    """Choose the target for a device.

    A target whose every variant runs here goes before one that would serve by a lower rung
    only; then the higher priority, then the name decides.
    """
    refusals: list[Refusal] = []
    fitting: list[tuple[bool, int, str, int]] = []
    for index, manifest in enumerate(manifests):
        refusal = _refusal(manifest, facts)
        if refusal is not None:
            refusals.append(refusal)
            continue
        whole = len(_runnable(manifest, facts)) == len(manifest.variants)
        fitting.append((not whole, -manifest.target.priority, manifest.target.name, index))
    if not fitting:
        return Match(index=None, variants=(), refusals=tuple(refusals))
    index = min(fitting)[-1]
    chosen = manifests[index]
    refusals += [
        _passed_over(manifests[other], chosen, lower_rung_only=lower)
        for lower, _, _, other in sorted(fitting)[1:]
    ]
    variants = _runnable(chosen, facts)
    refusals += [
        _provider_refusal(chosen.target, variant.name, [variant.provider], facts)
        for variant in chosen.variants
        if variant not in variants
    ]
    return Match(index=index, variants=variants, refusals=tuple(refusals))


def _passed_over(manifest: Manifest, chosen: Manifest, *, lower_rung_only: bool) -> Refusal:
    """Return why a target that fits is not the one that serves."""
    ours, theirs = manifest.target, chosen.target
    reason = f"{ours.name} would serve by a lower rung only, {theirs.name} runs whole"
    if not lower_rung_only:
        ranks = f"priority {ours.priority} against {theirs.priority}"
        reason = f"{ours.name} fits too and ranks behind {theirs.name}: {ranks}"
    return Refusal(
        target=ours.name,
        variant="",
        error=NoMatchingTarget,
        reason=reason,
        hint=f"Build the bundle for {ours.name} alone to have it serve.",
    )


def require_match(manifests: Sequence[Manifest], facts: DeviceFacts) -> tuple[int, Match]:
    """Choose the target for a device, or say what keeps it from running any.

    Where a target fits the machine and only its engine is at fault, that is the error; a bundle
    made for other machines is ``NoMatchingTarget``.

    Returns:
        The chosen target's position, and everything that was found.

    Raises:
        EngineMissing: when there is no engine.
        EngineTooOld: when the engine is older than the target needs.
        ExecutionProviderMissing: when no variant's execution provider is there.
        NoMatchingTarget: when no target is for this kind of machine.
    """
    found = match(manifests, facts)
    if found.index is not None:
        return found.index, found
    values = {
        "expected": [item.target for item in found.refusals],
        "found": f"{facts.os} {facts.architecture}",
        "refusals": [item.reason for item in found.refusals],
    }
    by_engine = [item for item in found.refusals if item.error in _NEARNESS]
    if by_engine:
        nearest = min(by_engine, key=lambda item: _NEARNESS.index(item.error))
        raise nearest.error(nearest.reason, hint=nearest.hint, **values)
    raise NoMatchingTarget(
        f"no target fits this device ({facts.os} {facts.architecture}): "
        + "; ".join(item.reason for item in found.refusals),
        hint=f"Build the bundle for it too: packager build --target {facts.architecture}-cpu",
        **values,
    )


# The engine's faults, from the one nearest to running.
_NEARNESS: tuple[type[DeviceError], ...] = (
    ExecutionProviderMissing,
    EngineTooOld,
    EngineMissing,
)


def _runnable(manifest: Manifest, facts: DeviceFacts) -> tuple[Variant, ...]:
    providers = facts.engine.providers if facts.engine else ()
    return tuple(variant for variant in manifest.variants if variant.provider in providers)


def _refusal(manifest: Manifest, facts: DeviceFacts) -> Refusal | None:
    """Return the first reason why a target does not fit: the machine's before the engine's."""
    for reason in _REASONS:
        refusal = reason(manifest, facts)
        if refusal is not None:
            return refusal
    return None


def _wrong_platform(manifest: Manifest, facts: DeviceFacts) -> Refusal | None:
    target = manifest.target
    wanted, found = (target.os, target.architecture), (facts.os, facts.architecture)
    if wanted == found:
        return None
    return Refusal(
        target=target.name,
        variant="",
        error=NoMatchingTarget,
        reason=f"{target.name} is for {' '.join(wanted)}, this device is {' '.join(found)}",
        hint=f"Build the bundle for it too: packager build --target {facts.architecture}-cpu",
    )


def _lacks_instructions(manifest: Manifest, facts: DeviceFacts) -> Refusal | None:
    target = manifest.target
    groups = lacking(target.cpu_flags, facts.cpu_flags)
    if not groups:
        return None
    wanted = " and ".join(" or ".join(group) for group in groups)
    return Refusal(
        target=target.name,
        variant="",
        error=NoMatchingTarget,
        reason=f"{target.name} needs a processor with {wanted}, "
        f"this device has one without: {facts.cpu_model or 'it has no name'}",
        hint=f"Build the bundle for it too: packager build --target {facts.architecture}-cpu",
    )


def _too_little_memory(manifest: Manifest, facts: DeviceFacts) -> Refusal | None:
    target = manifest.target
    if facts.usable_memory_bytes >= target.memory_bytes:
        return None
    sizes = (target.memory_bytes, facts.usable_memory_bytes)
    needed, there = (f"{size / (1 << 20):.0f} MiB" for size in sizes)
    return Refusal(
        target=target.name,
        variant="",
        error=NoMatchingTarget,
        reason=f"{target.name} needs {needed} of memory, this process may have {there}",
        hint="Raise the memory limit, or build for a target profile with a smaller budget.",
    )


def _no_engine(manifest: Manifest, facts: DeviceFacts) -> Refusal | None:
    if facts.engine is not None:
        return None
    name = manifest.target.name
    return Refusal(
        target=name,
        variant="",
        error=EngineMissing,
        reason=f"{name} needs ONNX Runtime {manifest.target.min_engine}, "
        f"this device has none: {facts.engine_problem}",
        hint="Install edgepack[cpu], edgepack[cuda] or the vendor's onnxruntime wheel.",
    )


def _old_engine(manifest: Manifest, facts: DeviceFacts) -> Refusal | None:
    target, engine = manifest.target, facts.engine
    if engine is None or at_least(engine.version, target.min_engine):
        return None
    return Refusal(
        target=target.name,
        variant="",
        error=EngineTooOld,
        reason=f"{target.name} needs ONNX Runtime {target.min_engine} or newer, "
        f"this device has {engine.name} {engine.version}",
        hint=f"Install {engine.name} {target.min_engine}, or build for an older engine.",
    )


def _no_provider(manifest: Manifest, facts: DeviceFacts) -> Refusal | None:
    if _runnable(manifest, facts):
        return None
    wanted = list(dict.fromkeys(variant.provider for variant in manifest.variants))
    return _provider_refusal(manifest.target, "", wanted, facts)


def _provider_refusal(
    target: Target, variant: str, wanted: Sequence[str], facts: DeviceFacts
) -> Refusal:
    found = ", ".join(facts.engine.providers) if facts.engine else "no engine"
    what = f"variant {variant} of {target.name}" if variant else target.name
    return Refusal(
        target=target.name,
        variant=variant,
        error=ExecutionProviderMissing,
        reason=f"{what} runs on {' or '.join(wanted)}, this device has {found}",
        hint=f"Install an engine wheel with {wanted[0]}, or build the target for the CPU.",
    )


_REASONS: tuple[Callable[[Manifest, DeviceFacts], Refusal | None], ...] = (
    _wrong_platform,
    _lacks_instructions,
    _too_little_memory,
    _no_engine,
    _old_engine,
    _no_provider,
)
