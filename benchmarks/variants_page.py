"""What was found about the variants: lines on the terminal, checks, and the page."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from variants_checks import (
    BATCHES,
    HERE,
    Check,
    Row,
    chosen,
    first,
    nearness,
    number,
    share,
    told_error,
)

_LIBRARIES = ("onnxruntime", "onnx", "scikit-learn", "skl2onnx", "torch")

_HEAD = """\
# Variants: what ships, and whether it was the right choice

{count} models of the kinds that people ship, made by the benchmark itself with fixed seeds from
scikit-learn's data or from generated ones, and judged on at least {least} held-out rows each.
Every model was built twice: as a user builds it (`packager build`, targets `x86-64-cpu` and
`arm64-cpu`), and with `--effort full`, which tries every recipe.

Made by `python benchmarks/variants.py --work DIR --write docs/variants.md` on {cpu} with
{versions}.

Whose figures: **bytes**, **quality** and its intervals, what was **chosen**, and **merit** are
those of the reports. **Time** is the benchmark's own: what ships and plain float32 taking turns
in one process, on one thread, the median over rounds of the share within a round. **Right** is
its own too: the share of right labels, counted without the packager's code.
"""

_SPEED = """\
## Bytes and time

On this machine, for `x86-64-cpu`. All but *source* are shares of plain float32's, so below 1
is better: *bytes* as installed, *packed* in the bundle, *time* of a call at batch 1 and 32.
*source* is what is packed as a share of the source's file. *best* is the candidate with the
best merit of all that could have shipped in the exhaustive build, and *choice / best* the merit
of what was chosen over its merit, both as that build measured them. [Merit](search.md) is the
geometric mean of bytes and times as shares of float32's, the less the better.
"""

_QUALITY = """\
## Quality on the promised processors

The metric of plain float32 on this machine, then of what was chosen on each processor that the
profile promises, with its loss against float32 and the 95 % interval of that; a loss whose
interval includes 0 is within noise, and one below 0 a gain. `host` is this machine; the others
were emulated, so nothing was timed there. At most {max_drop:g} may be lost.
"""

_CANDIDATES = """\
## Every candidate

Of the exhaustive build for this machine, with its merit; after the dash those that may not
ship, with the [rule](search.md) that turned them down.
"""

_SPEED_HEAD = [
    *("model", "ships", "-bytes", "-packed", "-source", "-time, 1", "-time, 32", "best"),
    "-choice / best",
]
_QUALITY_HEAD = ["model", "target", "ships", "metric", "-float32", "chosen, loss and interval"]
_MODELS_HEAD = [
    *("model", "what it is", "-rows", "-right", "-source, kB", "-float32, kB"),
    *("-build, s", "-full, s"),
]


def summary(row: Row) -> str:
    """Return a row on one line."""
    if "error" in row:
        return f"{row['name']:17} refused: {told_error(row)}"
    best, ratio = nearness(row)
    times = " and ".join(f"{row['shares'][chosen(row)][batch]:.2f}" for batch in BATCHES)
    return (
        f"{row['name']:17} {chosen(row)}: {share(row, 'size'):.3f} of the bytes, {times} of "
        f"the time; best {best}, {ratio:.2f}; {row['seconds']['normal']:.0f} and "
        f"{row['seconds']['full']:.0f} s"
    )


def page(rows: Sequence[Row], found: Sequence[Check]) -> str:
    """Return the page in Markdown."""
    good = [row for row in rows if "error" not in row]
    installed = {one.name for one in metadata.distributions()}
    versions = ", ".join(
        f"{name} {metadata.version(name)}" for name in _LIBRARIES if name in installed
    )
    head = _HEAD.format(
        count=len(rows),
        least=min((row["rows"] for row in good), default=0),
        cpu=f"{processor()}, {os.cpu_count()} cores",
        versions=versions,
    )
    failed = [f"- **{told_error(row)}**" for row in rows if "error" in row]
    drop = max((row["max_drop"] for row in good), default=0.0)
    parts = [
        head,
        *_checks(found),
        *failed,
        "",
        _SPEED,
        *table(_SPEED_HEAD, map(_speed_cells, good)),
        "",
        _QUALITY.format(max_drop=drop),
        *table(_QUALITY_HEAD, (cells for row in good for cells in _quality_cells(row))),
        "",
        _CANDIDATES,
        *table(["model", "candidates"], ([row["name"], _candidates(row)] for row in good)),
        "",
        "## The models",
        "",
        *table(_MODELS_HEAD, map(_model_cells, good)),
        "",
    ]
    return "\n".join(parts)


def _checks(found: Sequence[Check]) -> list[str]:
    return [f"- {str(check).replace('BROKEN', '**BROKEN**', 1)}" for check in found]


def _speed_cells(row: Row) -> list[str]:
    best, ratio = nearness(row)
    return [
        row["name"],
        ", ".join(row["targets"][HERE]["ladder"]),
        f"{share(row, 'size'):.3f}",
        f"{share(row, 'packed'):.3f}",
        f"{first(row)['packed'] / row['source_bytes']:.3f}",
        *(f"{row['shares'][chosen(row)][batch]:.2f}" for batch in BATCHES),
        best,
        f"{ratio:.2f}",
    ]


def _quality_cells(row: Row) -> list[list[str]]:
    found = []
    for target, told in row["targets"].items():
        scores = first(row, target)["scores"]
        plain = told["float32"]["scores"][0]["quality"]
        found.append(
            [
                row["name"],
                target,
                told["ladder"][0],
                row["metric"],
                f"{number(plain):.4f}",
                "; ".join(map(_score, scores)),
            ]
        )
    return found


def _score(score: Row) -> str:
    if score["problem"]:
        return f"{score['cpu']}: {score['problem']}"
    drop, low, high = (number(score[key]) for key in ("drop", "low", "high"))
    quality = f"{score['cpu']} {number(score['quality']):.4f}"
    return f"{quality} ({_signed(drop)}, {_signed(low)} … {_signed(high)})"


def _signed(value: float) -> str:
    return f"{value + 0.0:+.4f}" if value else "0"


def _candidates(row: Row) -> str:
    told: dict[bool, list[str]] = {True: [], False: []}
    for one in row["candidates"]:
        rule = f" ({one['rule']})" if one["rule"] else ""
        told[not rule].append(f"{one['name']} {one['merit']:.2f}{rule}")
    return " — ".join(", ".join(names) for names in (told[True], told[False]) if names)


def _model_cells(row: Row) -> list[str]:
    plain, ships = row["right"]
    right = "" if plain is None else f"{plain:.3f} → {ships:.3f}"
    return [
        row["name"],
        row["what"],
        f"{row['rows']:,}",
        right,
        f"{row['source_bytes'] / 1000:,.1f}",
        f"{row['targets'][HERE]['float32']['size'] / 1000:,.1f}",
        f"{row['seconds']['normal']:.0f}",
        f"{row['seconds']['full']:.0f}",
    ]


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    """Return a table in Markdown; a name with a dash before it is a column of figures."""
    rule = ["--:" if name.startswith("-") else "---" for name in head]
    names = [name.removeprefix("-") for name in head]
    told = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return [f"| {' | '.join(cells)} |" for cells in (names, rule, *told)]


def processor() -> str:
    """Return what this machine's processor is called."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
