"""The parity gate: the graph must answer as the source model does, or nothing is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.contract.tensors import Array, Arrays, dtype_name
from packager.answers import label_margins
from packager.errors import ParityFailed
from packager.record import Record

# A label may differ where the source itself can hardly tell its two best classes apart.
TIE = 1e-6
# How far the graph's float32 may stand from the source's float64: probabilities by this much,
# other figures by a share of their spread, plus the grain of float32 at their size as long as
# that grain is small against the spread.
PROBABILITY_LIMIT = 1e-4
SPREAD_SHARE = 1e-4
GRAIN = 1e-5
GRAIN_CAP = 1e-2

_FORMS = {"f": "floats", "i": "integers", "u": "integers", "b": "booleans"}

_FAR = float(np.finfo(np.float64).max)

_HINT = (
    "Change the step that does not convert faithfully, or export the model to ONNX yourself "
    "and build from that file."
)


@dataclass(frozen=True)
class Parity:
    """How closely a graph answers.

    Attributes:
        rows: how many rows were compared.
        ties: labels that differ where the source has a tie.
        largest: the largest difference of each output of floats.
    """

    rows: int
    ties: int
    largest: Mapping[str, float]


@dataclass(frozen=True)
class _Output:
    """One output, row by row: the difference, and its share of what is allowed."""

    difference: NDArray[np.float64]
    share: NDArray[np.float64]
    floats: bool


def check_parity(
    expected: Arrays,
    actual: Arrays,
    *,
    task: str,
    roles: Mapping[str, str],
    rows: str = "held-out rows",
) -> Parity:
    """Compare the graph's answers with the source model's on the same rows.

    Args:
        expected: the source's answers, by the graph's output names.
        actual: the graph's answers.
        task: the graph's task.
        roles: which output is ``label``, ``probability``, ``score`` or ``value``.
        rows: how errors name the rows.

    Raises:
        ParityFailed: showing the worst row as differences, never as values.
    """
    _check_forms(expected, actual, rows)
    ties = _ties(expected, task, roles)
    outputs, excused = {}, 0
    for name, wanted in expected.items():
        if wanted.dtype.kind == "f":
            outputs[name] = _floats(wanted, actual[name], name == roles.get("probability"))
            continue
        differs = (wanted != actual[name]).reshape(len(wanted), -1).any(axis=1)
        if name == roles.get("label") and ties is not None:
            excused = int((differs & ties).sum())
            differs = differs & ~ties
        outputs[name] = _Output(differs.astype(float), np.where(differs, np.inf, 0.0), False)
    _refuse_excess(outputs, rows)
    largest = {name: float(o.difference.max()) for name, o in outputs.items() if o.floats}
    return Parity(len(next(iter(expected.values()))), excused, largest)


def recorded_parity(parity: Parity, record: Record, mark: str) -> Parity:
    """Return what to tell: a replay, in which the gate held too, tells the recorded figures.

    How large a difference is depends on the processor; that it is small enough does not.

    Args:
        parity: as found on this machine.
        record: where the figures are kept.
        mark: the fingerprint of the graph and the rows.

    Raises:
        ReplayMismatch: when the report tells of other rows or outputs.
    """

    def agree(recorded: dict[str, Any], fresh: dict[str, Any]) -> str | None:
        same = _compared(recorded) == _compared(fresh)
        return None if same else "the gate compared other rows or outputs"

    return Parity(**record.measured(f"parity/{mark}", lambda: asdict(parity), agree))


def _compared(parity: Mapping[str, Any]) -> list[Any]:
    largest = parity.get("largest")
    pairs = largest.items() if isinstance(largest, dict) else ()
    names = [name for name, value in pairs if type(value) is float]
    return [sorted(parity), type(parity.get("ties")), parity.get("rows"), names]


def _check_forms(expected: Arrays, actual: Arrays, rows: str) -> None:
    wanted, found = _forms(expected), _forms(actual)
    if wanted != found:
        raise ParityFailed(
            f"on the {rows} the source model answers {wanted}, the graph {found}",
            hint=_HINT,
            rows=rows,
            expected=wanted,
            found=found,
        )


def _forms(answers: Arrays) -> dict[str, str]:
    forms = {}
    for name in sorted(answers):
        array = answers[name]
        kind = "text" if dtype_name(array) == "string" else _FORMS[array.dtype.kind]
        forms[name] = f"{kind}{list(array.shape)}"
    return forms


def _ties(expected: Arrays, task: str, roles: Mapping[str, str]) -> NDArray[np.bool_] | None:
    margins = label_margins(task, roles, expected)
    if margins is None:
        return None
    scores = expected[roles.get("probability", roles.get("score", ""))]
    scale = max(1.0, float(np.abs(np.nan_to_num(scores)).max(initial=0.0)))
    return np.asarray(margins <= TIE * scale)


def _floats(wanted: Array, found: Array, probability: bool) -> _Output:
    left = wanted.astype(np.float64).reshape(len(wanted), -1)
    right = found.astype(np.float64).reshape(len(found), -1)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    limits = np.full(left.shape[1], PROBABILITY_LIMIT) if probability else _limits(left)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        # A NaN on one side only counts as the largest number there is, which JSON can hold.
        distance = np.nan_to_num(np.abs(left - right), nan=_FAR, posinf=_FAR)
        difference = np.where(same, 0.0, distance)
        share = np.where(same, 0.0, difference / limits)
    return _Output(difference.max(axis=1), share.max(axis=1), True)


def _limits(wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what each column may differ by."""
    finite = np.where(np.isfinite(wanted), wanted, 0.0)
    spread, size = finite.std(axis=0), np.abs(finite).max(axis=0)
    cap = np.where(spread > 0, GRAIN_CAP * spread, np.inf)
    return np.asarray(SPREAD_SHARE * spread + np.minimum(GRAIN * size, cap))


def _refuse_excess(outputs: Mapping[str, _Output], rows: str) -> None:
    worst_share = np.max([output.share for output in outputs.values()], axis=0)
    failing = int((worst_share > 1).sum())
    if not failing:
        return
    row = int(worst_share.argmax())
    differences = {
        name: float(o.difference[row]) if o.floats else bool(o.difference[row])
        for name, o in outputs.items()
    }
    told = ", ".join(_told(name, value) for name, value in differences.items() if value)
    raise ParityFailed(
        f"the graph answers {failing} of {len(worst_share)} {rows} unlike the source model; "
        f"the worst is row {row}: {told}",
        hint=_HINT,
        rows=rows,
        failing=failing,
        total=len(worst_share),
        worst_row=row,
        differences=differences,
    )


def _told(name: str, value: float | bool) -> str:
    return f"{name} differs" if isinstance(value, bool) else f"{name} is off by {value:.3g}"
