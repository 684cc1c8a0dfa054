"""What a person reads on the terminal: builds, bundles and targets as short tables."""

from __future__ import annotations

from collections.abc import Sequence

from packager.bundle_file import PackedTarget
from packager.report.facts import BuildFacts, PackedFacts, TargetFacts
from packager.target import TargetProfile
from packager.variant import Measured


def size(count: float) -> str:
    """Return a number of bytes for people: 1.5 MiB."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:  # noqa: PLR2004 - what a KiB is
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def columns(rows: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """Return rows with every column but the last padded to one width."""
    widths = [max(map(len, column)) for column in zip(*(row[:-1] for row in rows), strict=True)]
    return "\n".join(
        indent
        + "".join(f"{cell:<{width}}  " for cell, width in zip(row[:-1], widths, strict=True))
        + row[-1]
        for row in rows
    ).rstrip()


# --- build ---------------------------------------------------------------------------------


def build_text(facts: BuildFacts, packed: PackedFacts) -> str:
    """Return the summary of a build."""
    blocks = [_target_text(facts, target) for target in facts.targets]
    if facts.unchecked:
        blocks.append("not checked\n" + "\n".join(f"  {line}" for line in facts.unchecked))
    signed = f"signed by {packed.signer}" if packed.signer else "unsigned: packager sign it"
    blocks.append(f"{packed.bundle}  {size(packed.size)}\n  sha256 {packed.sha256}\n  {signed}")
    return "\n\n".join(blocks)


def _target_text(facts: BuildFacts, target: TargetFacts) -> str:
    """Return one target as a table; a rung that does not ship has its reason below it."""
    shipped = {variant.name for variant in target.ladder}
    rejected = {verdict.name: verdict.reason for verdict in target.verdicts}
    base = target.measured[-1]
    rows = [
        (
            "ships" if item.name in shipped else "-",
            item.name,
            size(item.size),
            f"{item.size / base.size:.2f}",
            "" if item.quality is None else f"{item.quality:.4f}",
            _time_shares(item, base),
        )
        for item in target.measured
    ]
    head = ("", "variant", "size", "share", facts.metric, "time against float32")
    lines = [target.profile.name, columns([head, *rows])]
    lines += [f"  - {name}: {rejected[name]}" for name in rejected if name not in shipped]
    lines += [f"  - {item.name}: {item.reason}" for item in target.skipped]
    return "\n".join([*lines, *(f"  {note}" for note in target.notes)])


def _time_shares(item: Measured, base: Measured) -> str:
    """Return by batch size how much of float32's time a call takes on this machine."""
    return ", ".join(
        f"{duration / base.latency[batch]:.2f} at batch {batch}"
        for batch, duration in item.latency.items()
    )


# --- bundles and targets --------------------------------------------------------------------


def bundle_text(targets: Sequence[PackedTarget]) -> str:
    """Return what a bundle holds."""
    first = targets[0].manifest
    head = f"{first.name} {first.version} (release {first.release}), {first.interface.task}"
    return "\n\n".join([head, *(_packed_text(target) for target in targets)])


def _packed_text(target: PackedTarget) -> str:
    manifest = target.manifest
    signed = "signed" if target.signature else "unsigned"
    rows = [
        (variant.name, variant.provider, size(_file_size(target, variant.model_file)))
        for variant in manifest.variants
    ]
    total = sum(entry.size for entry in manifest.files)
    head = f"{manifest.target.name}  {len(manifest.files)} files, {size(total)}, {signed}"
    facts = [
        ("package", target.digest),
        (
            "needs",
            f"onnxruntime {manifest.target.min_engine}, edge-runtime {manifest.min_runtime}",
        ),
        ("golden", f"{manifest.golden.rows} vectors"),
    ]
    return f"{head}\n{columns(rows)}\n{columns(facts)}"


def _file_size(target: PackedTarget, path: str) -> int:
    entry = target.manifest.file(path)
    return entry.size if entry else 0


def targets_text(profiles: Sequence[TargetProfile]) -> str:
    """Return the target profiles that ``--target`` takes."""
    rows = [
        (profile.name, ", ".join(profile.precisions), profile.description)
        for profile in profiles
    ]
    return columns(rows, indent="")
