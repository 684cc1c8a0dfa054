"""What was found beside other tools: lines on the terminal, and the page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import metadata

from beside_tools import TOOLS
from variants_checks import BATCHES, Row
from variants_page import processor, table

OURS = "edgepack"
_CPUS = ("host", "Haswell")

_HEAD = """\
# Beside other tools

What `packager build` chose for the target `x86-64-cpu`, beside what Microsoft's Olive and Hugging Face's optimum-onnx
make of the same float32 graph for this processor, as their documentation recommends:

| here called | what was run | version |
|---|---|---|
| Olive, auto-opt int8 | `olive auto-opt --device cpu --provider CPUExecutionProvider --precision int8` | olive-ai 0.13.0 |
| Olive, static quantization | `olive run` with its pass `OnnxStaticQuantization` at its defaults | the same |
| optimum-onnx, avx512_vnni dynamic, static | `ORTQuantizer` with `AutoQuantizationConfig.avx512_vnni` and min-max ranges | optimum-onnx 0.1.0 |

`olive optimize --precision int8` is not among them: it calibrates on texts that it downloads, whatever the model. Those that need ranges
were given the rows that ours was calibrated on. Each ran offline as a program of its own, in an environment of its own, with onnxruntime 1.32.0.

Made by `python benchmarks/beside_other_tools.py --work DIR --write docs/beside-other-tools.md` on {cpu}
with onnxruntime {ort}. **Time** is measured by the benchmark for all files alike: taking turns in
one process, on one thread, the median over rounds of the share of float32's time within a round. **Quality** is the share of right labels
(or r2) on the held-out rows, counted by the benchmark, the worse of batches of 1 and 32, on this machine and on an
emulated Haswell, which has no VNNI. **Build** is the whole process from start to end: ours also converts, compares with the source, tries
several recipes, judges each on the promised processors, and packs; theirs start from the ONNX file.

The figures say where the others win: **bold** marks the fewest bytes, the shortest times and the shortest build of each
model among the files that lose at most 0.01 on both processors.
"""  # noqa: E501

_SIZES = """\
## Installed

Each environment with everything that pip brought, onnxruntime included.
"""

_HEADS = ["", "-bytes", *(f"-{cpu}" for cpu in _CPUS), "-time, 1", "-time, 32", "-build, s"]
_ALLOWED = 0.01


def summary(row: Row) -> str:
    """Return a model's figures on a few lines."""
    lines = [f"{row['name']}: {row['metric']} of float32 {_qualities(row['float32'])}"]
    for name, told in row["tools"].items():
        cells = _cells(row, name, told)[1:]
        lines.append(f"  {name:34} {'  '.join(cell for cell in cells if cell)}")
    return "\n".join(lines).replace("*", "")


def _qualities(told: Row) -> str:
    return ", ".join(f"{told['quality'][cpu]:.4f} on {cpu}" for cpu in _CPUS)


def page(rows: Sequence[Row], sizes: Mapping[str, tuple[int, int]]) -> str:
    """Return the page in Markdown.

    Args:
        rows: the models' figures.
        sizes: by environment its bytes, and how many of them are PyTorch's.
    """
    cpu = f"{processor()}, {os.cpu_count()} cores"
    parts = [_HEAD.format(cpu=cpu, ort=metadata.version("onnxruntime")), *_verdict(rows), ""]
    for row in rows:
        title = f"## {row['name']}"
        told = f"{row['metric']} on {row['rows']:,} rows; ours is `{row['variant']}`."
        plain = ["float32", "1.000", *_quality_cells(row["float32"]), "1.00", "1.00", ""]
        lines = [plain, *(_cells(row, name, one) for name, one in row["tools"].items())]
        parts += [title, "", told, "", *table(_HEADS, lines), ""]
    places = {tool.venv: tool.name.partition(",")[0] for tool in TOOLS} | {OURS: OURS}
    lines = [
        [places[venv], f"{total / 1e6:,.0f}", f"{torch / 1e6:,.0f}"]
        for venv, (total, torch) in sizes.items()
    ]
    return "\n".join([*parts, _SIZES, *table(["", "-MB", "-of these PyTorch"], lines), ""])


def _verdict(rows: Sequence[Row]) -> list[str]:
    """Say in counts who stayed within the loss that is allowed, and where."""
    lines = []
    for name in (OURS, *(tool.name for tool in TOOLS)):
        kept = [cpu for cpu in _CPUS for row in rows if _keeps(row, row["tools"][name], cpu)]
        counts = " and ".join(f"{kept.count(cpu)} of {len(rows)} on {cpu}" for cpu in _CPUS)
        lines.append(f"- {name}: loses at most {_ALLOWED:g} in {counts}")
    return lines


def _keeps(row: Row, told: Row, cpu: str) -> bool:
    if told["problem"]:
        return False
    lost = row["float32"]["quality"]["host"] - told["quality"][cpu]
    return bool(lost <= _ALLOWED + 1e-12)


def _cells(row: Row, name: str, told: Row) -> list[str]:
    if told["problem"]:
        return [name, f"none: {told['problem']}", "", "", "", "", f"{told['seconds']:.0f}"]
    marks = _best(row, told)
    size = told["size"] / row["float32"]["size"]
    return [
        name,
        _bold(f"{size:.3f}", marks["size"]),
        *_quality_cells(told),
        *(_bold(f"{told['shares'][batch]:.2f}", marks[batch]) for batch in BATCHES),
        _bold(f"{told['seconds']:.0f}", marks["seconds"]),
    ]


def _quality_cells(told: Row) -> list[str]:
    return [f"{told['quality'][cpu]:.4f}" for cpu in _CPUS]


def _best(row: Row, told: Row) -> dict[str, bool]:
    """Tell in which columns a file is the best of those that lose little."""
    sound = [
        one for one in row["tools"].values() if all(_keeps(row, one, cpu) for cpu in _CPUS)
    ]
    found = {
        key: told in sound and told[key] == min(one[key] for one in sound)
        for key in ("size", "seconds")
    }
    return found | {
        batch: told in sound
        and told["shares"][batch] == min(one["shares"][batch] for one in sound)
        for batch in BATCHES
    }


def _bold(text: str, mark: bool) -> str:
    return f"**{text}**" if mark else text
