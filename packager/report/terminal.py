"""What a person reads on the terminal: builds, bundles and targets as short tables."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import shorten

from edge_runtime.contract.terminal import harmless
from edge_runtime.contract.units import size
from packager.bundle_file import PackedTarget
from packager.console import WIDTH, wrapped
from packager.report.facts import BuildFacts, KindFacts, PackedFacts, ParityFacts, TargetFacts
from packager.report.words import (
    cpu_words,
    drop_figure,
    drop_words,
    is_relative,
    judged_on,
    listed,
    quality_figure,
    time_shares,
)
from packager.target import TargetProfile
from packager.variant import Measured, Score, Skipped


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


def build_text(facts: BuildFacts, packed: PackedFacts, page: str) -> str:
    """Return the summary of a build.

    Args:
        facts: what is known of it.
        packed: the file that came out.
        page: where the whole report lies.
    """
    blocks = [parity_text(facts.parity)] if facts.parity and facts.parity.kinds else []
    blocks += [_target_text(facts, target) for target in facts.targets]
    if facts.repairs:
        blocks.append("\n".join(["repaired in the graph", *_lines(facts.repairs)]))
    if facts.unchecked:
        blocks.append("\n".join(["not checked", *_lines(facts.unchecked)]))
    signed = f"signed by {packed.signer}" if packed.signer else "unsigned"
    blocks.append(
        f"{packed.bundle}  {size(packed.size)}\n  sha256 {packed.sha256}\n  {signed}\n"
        f"  every candidate and reason: {page}"
    )
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
    """Return what ships and float32 as a table, and a line for each other candidate."""
    ladder = [variant.name for variant in target.ladder]
    measured = {item.name: item for item in target.measured}
    base = target.measured[0]
    rows = [_row(facts, measured[name], base) for name in dict.fromkeys([*ladder, base.name])]
    times = f"time at {', '.join(map(str, base.latency))}"
    head = ("variant", "size", "share", times, "quality", "drop")
    reasons = [f"{one.name} {one.reason}" for one in target.verdicts if not one.admitted]
    reasons += [
        f"{one.name} was not made: {one.reason}" for one in target.skipped if not one.rule
    ]
    asides = [*_short_of(target.skipped), *_left_out(target.skipped), *target.notes]
    lines = [*wrapped(_headline(facts, target), ""), table(rows, head)]
    # A page for people lies beside the bundle: it has every reason whole.
    lines += [f"  {shorten(reason, WIDTH - 2, placeholder=' …')}" for reason in reasons]
    return "\n".join([*lines, *_lines(asides)])


# Rules that other rows or another machine would change: who builds is told them whole.
_SHORT = ("few-calibration-rows", "constant-rows", "few-finite-rows", "no-room")


def _short_of(skipped: Sequence[Skipped]) -> list[str]:
    """Return what the rows or the machine did not suffice for."""
    short = [one for one in skipped if one.rule in _SHORT]
    return [
        f"left out: {', '.join(one.name for one in short if one.reason == reason)}: {reason}"
        for reason in dict.fromkeys(one.reason for one in short)
    ]


def _left_out(skipped: Sequence[Skipped]) -> list[str]:
    """Return the recipes that other rules left out, by the rules' names."""
    rules = dict.fromkeys(one.rule for one in skipped if one.rule and one.rule not in _SHORT)
    told = [
        f"{', '.join(one.name for one in skipped if one.rule == rule)} ({rule})"
        for rule in rules
    ]
    return [f"left out: {'; '.join(told)}"] if told else []


def _headline(facts: BuildFacts, target: TargetFacts) -> str:
    """Return the target's name, and what its qualities are."""
    cpus = [cpu_words(cpu) for cpu in judged_on(target.measured)]
    if not cpus:
        return target.profile.name
    where = f"the worst of {listed(cpus)}" if len(cpus) > 1 else f"on {cpus[0]}"
    return f"{target.profile.name}: {facts.metric_name}, {where}"


def _row(facts: BuildFacts, item: Measured, base: Measured) -> tuple[str, ...]:
    worst = item.worst
    return (
        item.name,
        size(item.size),
        f"{item.size / base.size:.2f}",
        ", ".join(f"{share:.2f}" for share in time_shares(item, base).values()),
        quality_figure(facts, worst) if worst else "",
        _drop(worst, relative=is_relative(facts)) if worst and item is not base else "",
    )


def _drop(score: Score, *, relative: bool) -> str:
    """Return a drop with its 95 % interval; one within noise is called so, not told."""
    words = drop_words(score, relative=relative)
    if score.problem or score.low == score.high:
        return words
    ends = (drop_figure(end, relative=relative) for end in (score.low, score.high))
    return f"{words.removeprefix('drop ')} ({'…'.join(ends)})"


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
    variants = [
        (variant.name, *map(size, target.sizes(variant)), harmless(variant.provider))
        for variant in manifest.variants
    ]
    files = manifest.files
    sizes = (sum(one.size for one in files), sum(one.blob.size for one in files))
    facts = [
        ("files", f"{len(files)}, {size(sizes[0])}, in the bundle {size(sizes[1])}"),
        ("needs", f"onnxruntime {needs.min_engine}, edge-runtime {manifest.min_runtime}"),
        ("golden", f"{golden.rows} {'drawn' if golden.synthetic else 'real'} rows"),
        ("package", target.digest),
        ("signature", "there; packager verify checks it" if target.signature else "none"),
    ]
    head = ("variant", "size", "in the bundle", "execution provider")
    name = manifest.target.name
    return f"{name}\n{table(variants, head)}\n{table(facts)}"


def targets_text(profiles: Sequence[TargetProfile]) -> str:
    """Return the target profiles that ``--target`` takes."""
    rows = [
        row
        for one in profiles
        for row in ((one.name, one.description), ("", f"tries {', '.join(one.precisions)}"))
    ]
    return table(rows, ("target", "for"), indent="")
