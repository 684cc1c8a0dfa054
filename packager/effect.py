"""What a rung does to answers on held-out rows: confusion or residuals, before and after."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from edge_runtime.contract.tensors import Arrays, Tolerance
from packager.answers import run_rows
from packager.record import Record, fingerprint, within
from packager.report.facts import Effect
from packager.scoring import HeldOut, classes
from packager.scoring.held_out import Floats, Numbers
from packager.variant import Candidate

# Residuals are counted in so many bins; the middle one holds those near zero.
BINS = 21
# The bins reach to this share of float32's residuals; those beyond count in the last ones.
_REACH = 0.99
# Of more classes the most frequent are told, and the rest as one.
MOST_CLASSES = 20
OTHERS = "others"


def effect_of(
    plain: Candidate, rung: Candidate, rows: HeldOut, record: Record
) -> Effect | None:
    """Count what plain float32 and a rung answer to the held-out rows on this machine.

    Args:
        plain: plain float32.
        rung: the one that a device would choose first.
        rows: the held-out rows.
        record: keeps the counts.

    Returns:
        None where nobody knows the truth, and for plain float32 itself.

    Raises:
        ReplayMismatch: when the counts do not agree with the recorded ones.
    """
    if rows.truth is None or rung.name == plain.name:
        return None
    truth = {"truth": classes(rows.truth)}
    mark = fingerprint(plain.model.mark, rung.model.mark, rows.feed, truth)
    # As with quality: a fiftieth of the rows, and two, may be answered otherwise elsewhere.
    moved = Tolerance(rtol=0.0, atol=2 + rows.count / 50)
    told: dict[str, Any] = record.measured(
        f"effect/{rung.name}/{mark}", partial(_counted, plain, rung, rows), within(moved)
    )
    return Effect(
        told["kind"],
        rung.name,
        told["names"],
        told["before"].astype(int).tolist(),
        told["after"].astype(int).tolist(),
    )


def _counted(plain: Candidate, rung: Candidate, rows: HeldOut) -> dict[str, Any]:
    before, after = (run_rows(one.open_here(), rows.feed) for one in (plain, rung))
    count = _confusion if rows.task == "classification" else _residuals
    return count(rows, before, after)


def _confusion(rows: HeldOut, before: Arrays, after: Arrays) -> dict[str, Any]:
    """Return a row for each true class and a column for each answered one."""
    answered = [rows.predicted(answers) for answers in (before, after)]
    names, place = _told_classes(rows, strange=any((one < 0).any() for one in answered))
    counts = [_pairs(place[rows.truth_codes], place[one], len(names)) for one in answered]
    return {"kind": "confusion", "names": names, "before": counts[0], "after": counts[1]}


def _told_classes(rows: HeldOut, *, strange: bool) -> tuple[list[str], Numbers]:
    """Return the classes to tell, and where each class, and at the end none, is counted.

    Args:
        rows: the held-out rows.
        strange: whether some answers are no class at all; they count among the others.
    """
    labels = [str(label) for label in rows.labels]
    names = labels + rows.names[len(labels) :]
    frequent = np.bincount(rows.truth_codes, minlength=len(names))
    told = np.sort(np.argsort(-frequent, kind="stable")[:MOST_CLASSES])
    place = np.full(len(names) + 1, len(told))
    place[told] = np.arange(len(told))
    rest = [OTHERS] if strange or len(names) > len(told) else []
    return [*(names[one] for one in told), *rest], place


def _pairs(truth: Numbers, answered: Numbers, count: int) -> Floats:
    cells = np.bincount(truth * count + answered, minlength=count * count)
    return cells.reshape(count, count).astype(np.float64)


def _residuals(rows: HeldOut, before: Arrays, after: Arrays) -> dict[str, Any]:
    """Return counts of answer minus truth, in bins that are the same for both."""
    found = [rows.values(answers) - rows.numbers for answers in (before, after)]
    sizes = np.sort(np.abs(found[0]))
    reach = float(sizes[int(_REACH * (len(sizes) - 1))]) or float(np.abs(found[1]).max()) or 1.0
    edges = np.linspace(-reach, reach, BINS + 1)
    counts = [
        np.histogram(np.clip(one, -reach, reach), edges)[0][None].astype(np.float64)
        for one in found
    ]
    names = [f"{edge:.4g}" for edge in edges]
    return {"kind": "residuals", "names": names, "before": counts[0], "after": counts[1]}
