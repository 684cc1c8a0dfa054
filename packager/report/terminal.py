"""What a person reads on the terminal: builds, bundles and targets as short tables."""

from __future__ import annotations

from collections.abc import Sequence

from edge_runtime.contract.terminal import harmless
from edge_runtime.contract.units import size
from packager.bundle_file import PackedTarget
from packager.console import wrapped
from packager.report.facts import BuildFacts, KindFacts, PackedFacts, ParityFacts, TargetFacts
from packager.target import TargetProfile
from packager.variant import Measured


def table(rows: Sequence[Sequence[str]], head: Sequence[str] = (), indent: str = "  ") -> str:
    """Return rows in columns of even width; a column in which nothing stands is left out."""
    columns = list(zip(*rows, strict=True))
    filled = [column for column in columns if any(column)]
    if head:
        titled = zip(head, columns, strict=True)
        filled = [(title, *column) for title, column in titled if any(column)]
    widths = [max(map(len, column)) for column in filled]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in zip(*filled, strict=True)
    )
    return "\n".join(indent + line for line in lines)


def _lines(texts: Sequence[str]) -> list[str]:
    return [line for text in texts for line in wrapped(text, "  ")]


# --- build ---------------------------------------------------------------------------------


def build_text(facts: BuildFacts, packed: PackedFacts) -> str:
    """Return the summary of a build."""
    blocks = [parity_text(facts.parity)] if facts.parity and facts.parity.kinds else []
    blocks += [_target_text(facts, target) for target in facts.targets]
    if facts.repairs:
        blocks.append("\n".join(["repaired in the graph", *_lines(facts.repairs)]))
    if facts.unchecked:
        blocks.append("\n".join(["not checked", *_lines(facts.unchecked)]))
    signed = f"signed by {packed.signer}" if packed.signer else "unsigned"
    blocks.append(f"{packed.bundle}  {size(packed.size)}\n  sha256 {packed.sha256}\n  {signed}")
    return "\n\n".join(blocks)


def parity_text(parity: ParityFacts) -> str:
    """Return the worst row of each kind as differences, and as values where asked for."""
    rows = [
        (
            one.kind,
            f"{one.rows:,}",
            ", ".join(_differences(one)),
            f"{one.share:.1%}" if one.rows else "",
            "; ".join(one.asides()),
        )
        for one in parity.kinds
    ]
    head = ("rows", "compared", "the worst differs by", "of what is allowed", "")
    shown = [
        f"{one.kind}: the worst is row {one.worst}: "
        + ", ".join(f"{name}={value!r}" for name, value in one.row.items())
        for one in parity.kinds
        if one.row
    ]
    return "\n".join(["source and graph agree", table(rows, head), *_lines(shown)])


def _differences(kind: KindFacts) -> list[str]:
    return [
        f"{name} {value:.2g}"
        for name, value in kind.differences.items()
        if type(value) is float  # whatever is no float agrees, or there is no bundle
    ]


def _target_text(facts: BuildFacts, target: TargetFacts) -> str:
    """Return one target as a table; a rung that does not ship has its reason below it."""
    shipped = {variant.name for variant in target.ladder}
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
    reasons = [f"{one.name} {one.reason}" for one in target.verdicts if not one.admitted]
    reasons += [f"{one.name} was not made: {one.reason}" for one in target.skipped]
    lines = [target.profile.name, table(rows, head)]
    return "\n".join([*lines, *_lines([*reasons, *target.notes])])


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
    # Nobody vouches for an unsigned bundle's words: they must not draw on the terminal.
    words = [harmless(first.description)] if first.description else []
    return "\n\n".join(["\n".join([head, *words]), *map(_packed_text, targets)])


def _packed_text(target: PackedTarget) -> str:
    manifest = target.manifest
    needs, golden = manifest.target, manifest.golden
    sizes = {entry.path: entry.size for entry in manifest.files}
    variants = [
        (variant.name, size(sizes[variant.model_file]), harmless(variant.provider))
        for variant in manifest.variants
    ]
    facts = [
        ("files", f"{len(sizes)}, {size(sum(sizes.values()))}"),
        ("needs", f"onnxruntime {needs.min_engine}, edge-runtime {manifest.min_runtime}"),
        ("golden", f"{golden.rows} {'drawn' if golden.synthetic else 'real'} rows"),
        ("package", target.digest),
        ("signature", "there; packager verify checks it" if target.signature else "none"),
    ]
    head = ("variant", "size", "execution provider")
    name = manifest.target.name
    return f"{name}\n{table(variants, head)}\n{table(facts)}"


def targets_text(profiles: Sequence[TargetProfile]) -> str:
    """Return the target profiles that ``--target`` takes."""
    rows = [(one.name, " ".join(one.precisions), one.description) for one in profiles]
    return table(rows, ("target", "variants, best first", "for"), indent="")
