"""The parity gate: the graph must answer as the source model does, or nothing is built."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.contract.tensors import Array, Arrays, TensorSpec, dtype_name
from packager.answers import label_margins
from packager.errors import ParityFailed
from packager.record import Record
from packager.yards import Yard, limits_of, matrix, measure

# A label may differ where the source itself can hardly tell its two best classes apart.
TIE = 1e-6
_FORMS = {"f": "floats", "i": "integers", "u": "integers", "b": "booleans"}

_FAR = float(np.finfo(np.float64).max)
_FLOAT32_MAX = float(np.finfo(np.float32).max)

_HINT = (
    "Change the step that does not convert faithfully, or export the model to ONNX yourself "
    "and build from that file."
)


@dataclass(frozen=True)
class Gate:
    """How two sets of answers are compared.

    Attributes:
        task: the graph's task.
        roles: which output is ``label``, ``probability``, ``score`` or ``value``.
        promised: the outputs that the graph's interface promises; empty to promise nothing.
        yards: by output; those of the compared answers themselves where there are none.
        known: the labels that the source answers to held-out rows.
        threshold: see ``Graph``.
    """

    task: str
    roles: Mapping[str, str]
    promised: Sequence[TensorSpec] = ()
    yards: Mapping[str, Yard] = field(default_factory=dict)
    known: Collection[Any] = ()
    threshold: float | None = None


@dataclass(frozen=True)
class Asked:
    """Which rows are compared.

    Attributes:
        rows: how errors name them.
        far: rows in which one value is so large that float32 loses sight of all others. A
            model whose answers have bounds, such as nearest neighbours, may answer them
            otherwise within these bounds.
        show: returns a row's values by column; None where no value may be shown.
    """

    rows: str = "held-out rows"
    far: NDArray[np.bool_] | None = None
    show: Callable[[int], Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Parity:
    """How closely a graph answers.

    Attributes:
        rows: how many rows were compared.
        ties: labels that differ where the source has a tie.
        excused: rows that differ only as far as float32 cannot help.
        largest: the largest difference of each output of floats.
        worst: the number of the row that differs most, but for those excused.
        share: how much of what is allowed it differs by, at most 1.
        differences: what differs there, by output: how far, or for no float whether.
    """

    rows: int
    ties: int
    excused: int
    largest: Mapping[str, float]
    worst: int
    share: float
    differences: Mapping[str, float | bool]


@dataclass(frozen=True)
class _Output:
    """One output, row by row.

    Attributes:
        difference: how far the graph is off; of no floats whether.
        plain: the difference as a share of what is allowed; more than 1 is too much.
        share: the same after all that float32 cannot help is excused.
    """

    difference: NDArray[np.float64] | NDArray[np.bool_]
    plain: NDArray[np.float64]
    share: NDArray[np.float64]


def check_parity(
    expected: Arrays, actual: Arrays, gate: Gate, asked: Asked | None = None
) -> Parity:
    """Compare the graph's answers with the source model's on the same rows.

    Args:
        expected: the source's answers, by the graph's output names.
        actual: the graph's answers.
        gate: how they are compared.
        asked: which rows these are.

    Raises:
        ParityFailed: showing the worst row as differences; as values only where asked to.
    """
    asked = asked or Asked()
    expected = _as_floats(expected, actual, gate)
    _check_forms(expected, actual, gate, asked.rows)
    yards = gate.yards or measure(expected)
    tied = np.zeros(len(next(iter(expected.values()))), dtype=bool)
    far = np.zeros(len(tied), dtype=bool) if asked.far is None else asked.far
    outputs = {}
    for name, wanted in expected.items():
        if wanted.dtype.kind == "f":
            probability = name == gate.roles.get("probability")
            yard = yards[name]
            found = actual[name]
            outputs[name] = _floats(wanted, found, yard, probability=probability, far=far)
            continue
        differs = (wanted != actual[name]).reshape(len(wanted), -1).any(axis=1)
        beyond = differs
        if name == gate.roles.get("label"):
            tied = differs & _ties(expected, actual, gate)
            differs = differs & ~tied
            beyond = differs & ~(far & _known(actual[name], gate.known))
        plain, share = (np.where(rows, np.inf, 0.0) for rows in (differs, beyond))
        outputs[name] = _Output(differs, plain, share)
    return _judged(outputs, int(tied.sum()), asked)


def recorded_parity(
    found: Sequence[Mapping[str, Any]], record: Record, mark: str
) -> list[dict[str, Any]]:
    """Return what to tell: a replay, in which the gate held too, tells the recorded figures.

    How large a difference is depends on the processor; that it is small enough does not.

    Args:
        found: for each kind of rows its facts, as on this machine.
        record: where the figures are kept.
        mark: the fingerprint of the graph and the rows.

    Raises:
        ReplayMismatch: when the report tells of other rows or outputs.
    """

    def agree(recorded: list[Any], fresh: list[Any]) -> str | None:
        same = _form(recorded) == _form(fresh)
        return None if same else "the gate compared other rows or outputs"

    return record.measured(f"parity/{mark}", lambda: [dict(one) for one in found], agree)


# What two processors may find otherwise; of all else the value counts, of these the type.
_FIGURES = frozenset({"ties", "excused", "worst", "refused", "column"})


def _form(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _form(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_form(item) for item in value]
    if key in _FIGURES or type(value) in (float, bool):
        return type(value).__name__
    return value


# --- forms ---------------------------------------------------------------------------------


def _as_floats(expected: Arrays, actual: Arrays, gate: Gate) -> Arrays:
    """Let what a model computes be whole numbers to it and floats to the graph."""
    name = gate.roles.get("value", "")
    if (
        name not in actual
        or actual[name].dtype.kind != "f"
        or expected[name].dtype.kind not in "iub"
    ):
        return expected
    return {**expected, name: expected[name].astype(np.float64)}


def _check_forms(expected: Arrays, actual: Arrays, gate: Gate, rows: str) -> None:
    wanted, found = _forms(expected), _forms(actual)
    if wanted == found:
        wanted = {spec.name: spec.text() for spec in gate.promised if spec.name in actual}
        found = {
            spec.name: spec.text()
            if _keeps(spec, actual[spec.name])
            else f"{dtype_name(actual[spec.name])}{list(actual[spec.name].shape)}"
            for spec in gate.promised
            if spec.name in actual
        }
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


def _keeps(spec: TensorSpec, array: Array) -> bool:
    """Tell whether an array is what the interface promises."""
    return (
        dtype_name(array) == spec.dtype
        and len(array.shape) == len(spec.shape)
        and all(
            axis is None or axis == length
            for axis, length in zip(spec.shape[1:], array.shape[1:], strict=True)
        )
    )


# --- labels --------------------------------------------------------------------------------


def _ties(expected: Arrays, actual: Arrays, gate: Gate) -> NDArray[np.bool_]:
    """Mark rows whose label rounding may decide.

    Where both have exactly equal scores there is nothing to round: then the same one of the
    equal classes has to win.
    """
    margins = label_margins(gate.task, gate.roles, expected, gate.threshold)
    own = label_margins(gate.task, gate.roles, actual, gate.threshold)
    if margins is None or own is None:
        return np.zeros(len(next(iter(expected.values()))), dtype=bool)
    scores = matrix(expected[gate.roles.get("probability", gate.roles.get("score", ""))])
    scale = np.maximum(1.0, np.abs(np.nan_to_num(scores)).max(axis=1))
    settled = (margins == 0) & (own == 0)
    return np.asarray((margins <= TIE * scale) & ~settled)


def _known(labels: Array, known: Collection[Any]) -> NDArray[np.bool_]:
    """Mark rows whose label is one of the known ones."""
    return np.array([label in known for label in labels.reshape(len(labels)).tolist()], bool)


# --- floats --------------------------------------------------------------------------------


def _floats(
    wanted: Array, found: Array, yard: Yard, *, probability: bool, far: NDArray[np.bool_]
) -> _Output:
    left, right = matrix(wanted), matrix(found)
    limits = limits_of(left, yard, far, probability=probability)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        # A NaN on one side only counts as the largest number there is, which JSON can hold.
        difference = np.nan_to_num(np.abs(left - right), nan=_FAR, posinf=_FAR)
        difference = np.where(same, 0.0, difference)
        plain = np.where(same, 0.0, difference / limits)
    # What is beyond float32 is infinite in a graph of float32.
    beyond = (np.abs(left) > _FLOAT32_MAX) & (right == np.copysign(np.inf, left))
    low, high = (0.0, 1.0) if probability else (yard.low, yard.high)
    bounded = [(low - limits <= one) & (one <= high + limits) for one in (left, right)]
    excused = beyond | (far[:, None] & bounded[0] & bounded[1])
    share = np.where(excused, 0.0, plain)
    return _Output(*(one.max(axis=1, initial=0.0) for one in (difference, plain, share)))


# --- the verdict ---------------------------------------------------------------------------


def _judged(outputs: Mapping[str, _Output], ties: int, asked: Asked) -> Parity:
    share = np.max([output.share for output in outputs.values()], axis=0)
    plain = np.max([output.plain for output in outputs.values()], axis=0)
    failing, excused = int((share > 1).sum()), int(((plain > 1) & (share <= 1)).sum())
    worst = int(share.argmax())
    differences = {name: one.difference[worst].item() for name, one in outputs.items()}
    if failing:
        raise _refused(failing, len(share), worst, differences, asked)
    largest = {
        name: float(one.difference.max())
        for name, one in outputs.items()
        if one.difference.dtype.kind == "f"
    }
    near = float(share[worst])
    return Parity(len(share), ties, excused, largest, worst, near, differences)


def _refused(
    failing: int, rows: int, worst: int, differences: Mapping[str, Any], asked: Asked
) -> ParityFailed:
    told = ", ".join(
        told_difference(name, value) for name, value in differences.items() if value
    )
    shown = asked.show(worst) if asked.show else None
    told += "" if shown is None else f"; the row: {told_row(shown)}"
    return ParityFailed(
        f"the graph answers {failing} of {rows} {asked.rows} unlike the source model; "
        f"the worst is row {worst}: {told}",
        hint=_HINT if shown is not None else f"{_HINT} --show-rows shows the row.",
        rows=asked.rows,
        failing=failing,
        total=rows,
        worst_row=worst,
        differences=dict(differences),
        **({} if shown is None else {"row": dict(shown)}),
    )


def told_difference(name: str, value: float | bool) -> str:
    """Say of one output how it differs."""
    return f"{name} differs" if isinstance(value, bool) else f"{name} is off by {value:.3g}"


def told_row(row: Mapping[str, Any]) -> str:
    """Return a row as words."""
    return ", ".join(f"{name}={value!r}" for name, value in row.items())
