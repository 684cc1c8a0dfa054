"""What the variants' table promises, and where that does not hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]

HERE, ARM = "x86-64-cpu", "arm64-cpu"
BATCHES = ("1", "32")
# The choice may be so much worse than the best of the exhaustive run.
NEAR = 1.05
SHIPPING = 6


@dataclass(frozen=True)
class Check:
    """Something that was promised.

    Attributes:
        what: in words.
        faults: where it does not hold; empty where it holds.
        goal: whether it is only to be beaten, and does not fail the benchmark.
    """

    what: str
    faults: Sequence[str]
    goal: bool = False

    def __str__(self) -> str:
        word = ("missed" if self.goal else "BROKEN") if self.faults else "holds"
        return f"{word}: {self.what}" + "".join(f"; {fault}" for fault in self.faults)


def broken(found: Iterable[Check]) -> bool:
    """Tell whether a promise is broken; a goal that is missed is none."""
    return any(check.faults and not check.goal for check in found)


def checks(rows: Sequence[Row], *, whole: bool) -> list[Check]:
    """Return what was promised, and where it does not hold.

    Args:
        rows: the models' figures.
        whole: whether these are all models, so that the table as such can be judged.
    """
    good = [row for row in rows if "error" not in row]
    other = [row["name"] for row in good if chosen(row) != "float32"]
    few = [] if len(other) >= SHIPPING or not whole else [f"in {len(other)} it does"]
    return [
        Check("every model builds", [told_error(row) for row in rows if "error" in row]),
        Check("nothing chosen is slower and larger than float32", _each(good, _worse)),
        Check("nothing that ships is over budget on a promised CPU", _each(good, _over)),
        Check(f"in {SHIPPING} rows or more something other than plain float32 ships", few),
        Check("the choice is within 5 % of the best candidate", _each(good, _far)),
        *_goals(good),
    ]


def _each(rows: Sequence[Row], fault: Any) -> list[str]:
    told = ((row["name"], fault(row)) for row in rows)
    return [f"{name}: {text}" for name, text in told if text]


def told_error(row: Row) -> str:
    """Return a build's error on one line."""
    return f"{row['name']}: {' '.join(row['error'].split())}"


def chosen(row: Row) -> str:
    """Return the name of the rung that ships first here."""
    return str(row["targets"][HERE]["ladder"][0])


def first(row: Row, target: str = HERE) -> Row:
    """Return the figures of the rung that ships first for a target."""
    told = row["targets"][target]
    return dict(told["ships"][told["ladder"][0]])


def share(row: Row, key: str) -> float:
    """Return the chosen variant's bytes, ``size`` or ``packed``, as a share of float32's."""
    return float(first(row)[key] / row["targets"][HERE]["float32"][key])


def time_share(row: Row) -> float:
    """Return the geometric mean of the chosen variant's shares of float32's time."""
    found = row["shares"][chosen(row)]
    return math.prod(found[batch] for batch in BATCHES) ** (1 / len(BATCHES))


def _worse(row: Row) -> str:
    if share(row, "size") > 1 and time_share(row) > 1:
        return f"{share(row, 'size'):.2f} of the bytes at {time_share(row):.2f} of the time"
    return ""


def _over(row: Row) -> str:
    """Say which rung is over budget on a promised CPU, or was judged on none."""
    faults = []
    for target, told in row["targets"].items():
        for name, figures in told["ships"].items():
            if name == "float32":
                continue
            by_cpu = {score["cpu"]: score for score in figures["scores"]}
            for cpu in told["promised"]:
                score = by_cpu.get(cpu)
                if score is None:
                    faults.append(f"{name} for {target} was not judged on {cpu}")
                elif score["problem"] or not number(score["drop"]) <= row["max_drop"] + 1e-12:
                    faults.append(f"{name} for {target} loses {score['drop']} on {cpu}")
    return ", ".join(faults)


def number(value: Any) -> float:
    """Return a figure of a report, where NaN is written as a word."""
    return float(value)


def nearness(row: Row) -> tuple[str, float]:
    """Return the best candidate that could ship, and the choice's merit over its merit."""
    could = [one for one in row["candidates"] if not one["rule"]]
    merits = {one["name"]: one["merit"] for one in row["candidates"]}
    best = min(could, key=lambda one: one["merit"])
    return best["name"], merits.get(chosen(row), math.nan) / best["merit"]


def _far(row: Row) -> str:
    best, ratio = nearness(row)
    if ratio <= NEAR:
        return ""
    return f"{chosen(row)} has {ratio:.2f} times the merit of {best}"


def _goals(rows: Sequence[Row]) -> list[Check]:
    found = []
    for row in rows:
        goal = row["goal"] or {}
        if goal.get("size"):
            found.append(_size_goal(row, goal["size"], goal["speed"]))
        if goal.get("packed"):
            found.append(_source_goal(row, goal["packed"]))
    return found


def _size_goal(row: Row, size: float, speed: float) -> Check:
    faults = []
    if share(row, "size") > size:
        faults.append(f"it has {share(row, 'size'):.3f} of the bytes")
    for batch in BATCHES:
        times = 1 / row["shares"][chosen(row)][batch]
        if times < speed:
            faults.append(f"at batch {batch} it is {times:.2f} times as fast")
    text = f"{row['name']} at most {size:.2f} of the bytes, at least {speed:g} times as fast"
    return Check(text, faults, goal=True)


def _source_goal(row: Row, packed: float) -> Check:
    found = first(row)["packed"] / row["source_bytes"]
    faults = [f"it has {found:.3f}"] if found > packed else []
    if not row["equal_labels"]:
        faults.append("its labels are not those of the source")
    text = f"{row['name']} at most {packed:.2f} of its source's file, with equal labels"
    return Check(text, faults, goal=True)
