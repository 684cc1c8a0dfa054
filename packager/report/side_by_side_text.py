"""Two bundles side by side, as a person reads them: two columns within 80 characters."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias, TypeVar

from edge_runtime.contract.terminal import harmless
from edge_runtime.contract.units import size
from packager.report.side_by_side import Fetch, SideBySide, TargetPair, TargetSide, VariantSide
from packager.report.terminal import table

_WIDTH, _NAME, _CELL = 80, 30, 22
_CHANGES = 20

Side = TypeVar("Side")
Row: TypeAlias = tuple[str, ...]


def side_by_side_text(found: SideBySide) -> str:
    """Return both bundles in two columns, within 80 characters."""
    sides = found.a, found.b
    files = [f"{mark}  {harmless(side.bundle)}" for mark, side in zip("AB", sides, strict=True)]
    rows = [
        _row("name", sides, lambda side: side.name),
        _row("version", sides, lambda side: side.version),
        _row("release", sides, lambda side: str(side.release)),
        _row("file", sides, lambda side: size(side.size)),
    ]
    head = "\n".join([*(_clipped(line, _WIDTH) for line in files), _columns(rows)])
    return "\n\n".join([head, *(_pair_text(pair, found.b.size) for pair in found.targets)])


def _pair_text(pair: TargetPair, file: int) -> str:
    lines = [pair.target, _columns([*_variant_rows(pair), *_target_rows(pair)])]
    if pair.a and pair.b and pair.a.package == pair.b.package:
        lines.append("  the same package in both")
    for change in pair.changes[:_CHANGES]:
        name = f"{change.what} {change.name}".strip()
        lines += _wrapped(f"{name}: {change.a or 'none'} -> {change.b or 'none'}")
    if len(pair.changes) > _CHANGES:
        lines.append(f"  {len(pair.changes) - _CHANGES} more changes, all in --json")
    if pair.fetch is not None:
        lines += _wrapped(_fetch_text(pair.fetch, file, installed=pair.a is not None))
    return "\n".join(lines)


def _variant_rows(pair: TargetPair) -> list[Row]:
    a, b = ({one.name: one for one in side.variants} if side else {} for side in pair.sides)
    rows = []
    for name in dict.fromkeys((*a, *b)):
        sides = a.get(name), b.get(name)
        rows.append(_row(name, sides, lambda side: size(side.size)))
        if any(side and side.packed_size != side.size for side in sides):
            rows.append(_row("  in the bundle", sides, lambda side: size(side.packed_size)))
        metrics = dict.fromkeys(side.metric for side in sides if side and side.metric)
        rows += [_row(f"  {metric}", sides, partial(_quality, metric)) for metric in metrics]
    return rows


def _quality(metric: str, side: VariantSide) -> str:
    if side.metric != metric:
        return "-"
    return "no number" if side.quality is None else f"{side.quality:.4f}"


def _target_rows(pair: TargetPair) -> list[Row]:
    told: dict[str, Callable[[TargetSide], str]] = {
        "all files": lambda side: size(side.size),
        "  in the bundle": lambda side: size(side.packed_size),
        "golden rows": lambda side: f"{side.golden} {'drawn' if side.synthetic else 'real'}",
        "needs onnxruntime": lambda side: side.min_engine,
        "needs edge-runtime": lambda side: side.min_runtime,
        "needs memory": lambda side: size(side.memory_bytes),
        "needs to know": lambda side: " ".join(side.understands) or "nothing new",
        "signature": lambda side: "there, not checked" if side.has_signature else "none",
    }
    return [_row(name, pair.sides, tell) for name, tell in told.items()]


def _fetch_text(fetch: Fetch, file: int, *, installed: bool) -> str:
    """Say what a device lacks, and how large the whole of it is."""
    if not fetch.blobs:
        return "a device with A lacks nothing of it"
    who = "a device with A lacks" if installed else "no device with A has it:"
    paths = ", ".join(blob.path for blob in fetch.blobs)
    sizes = f"{size(fetch.size)} of {size(fetch.whole)}, in a file of {size(file)}"
    return f"{who} {sizes}: {paths}"


def _row(name: str, sides: Sequence[Side | None], tell: Callable[[Side], str]) -> Row:
    cells = [harmless(tell(side)) if side else "-" for side in sides]
    return (_clipped(harmless(name), _NAME), *(_clipped(cell, _CELL) for cell in cells))


def _clipped(text: str, width: int) -> str:
    """Return a text that fits; what stands for the rest is ASCII on every terminal."""
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _columns(rows: Sequence[Row]) -> str:
    return table(rows, ("", "A", "B"))


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        harmless(text),
        _WIDTH,
        initial_indent="  ",
        subsequent_indent="    ",
        break_on_hyphens=False,
    )
