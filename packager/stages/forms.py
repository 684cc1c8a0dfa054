"""Other forms of a float32 graph: whether they answer as the plain one does."""

from __future__ import annotations

import numpy as np

from edge_runtime.contract.tensors import Array, Arrays, Tolerance, compare
from packager.answers import run_rows
from packager.record import Record, fingerprint
from packager.variant import Candidate

# Two orders of the same sums differ by so much of an answer, or of the output's largest one.
SHARE, FLOOR = 1e-4, 1e-5


def other_answers(plain: Candidate, form: Candidate, feed: Arrays, record: Record) -> str:
    """Say how a form answers otherwise than the plain graph; "" where it does not.

    Args:
        plain: plain float32.
        form: the same in another form.
        feed: rows that both answer.
        record: keeps the finding.

    Raises:
        ReplayMismatch: when a replay finds the contrary.
    """
    mark = fingerprint(plain.model.mark, form.model.mark, feed)
    found: str = record.measured(
        f"form/{form.name}/{mark}", lambda: _difference(plain, form, feed), _as_told
    )
    return found


def _difference(plain: Candidate, form: Candidate, feed: Arrays) -> str:
    expected, found = (run_rows(one.open_here(), feed) for one in (plain, form))
    for name, array in expected.items():
        difference = compare(name, array, found[name], _tolerance(array))
        if difference is not None:
            counts = f"{difference.disagreeing:,} of {difference.total:,} values"
            return f"{counts} of {name!r} are not those of float32 as it was"
    return ""


def _tolerance(array: Array) -> Tolerance:
    if array.dtype.kind != "f":
        return Tolerance(0.0, 0.0)
    finite = np.abs(array[np.isfinite(array)].astype(np.float64))
    return Tolerance(SHARE, FLOOR * float(finite.max(initial=0.0)))


def _as_told(recorded: str, fresh: str) -> str | None:
    if bool(recorded) == bool(fresh):
        return None
    return f"recorded {recorded or 'equal answers'!r}, this machine gives {fresh!r}"
