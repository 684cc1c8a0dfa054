"""Two interfaces beside each other: alike, or told apart in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import devices
import pytest

from edge_runtime.contract.bundle.manifest import Interface
from edge_runtime.contract.interfaces import differences
from edge_runtime.contract.table import Column, TableFormat
from edge_runtime.contract.tensors import TensorSpec

LOAN = devices.loan().interface


def changed(**changes: Any) -> Interface:
    return replace(LOAN, **changes)


def test_an_interface_is_used_like_itself() -> None:
    assert differences(LOAN, changed()) == ("", "")


CASES: dict[str, tuple[Interface, str, str]] = {
    "another input": (
        changed(inputs=(*LOAN.inputs[:2], TensorSpec("tariff", "string", (None, 1)))),
        "inputs plan string[?, 1]",
        "inputs tariff string[?, 1]",
    ),
    "another output": (
        changed(outputs=(LOAN.outputs[0], TensorSpec("probabilities", "float64", (None, 2)))),
        "outputs probabilities float32[?, 2]",
        "outputs probabilities float64[?, 2]",
    ),
    "a column that may not be missing any more": (
        changed(columns=(replace(LOAN.columns[0], missing="refuse"), *LOAN.columns[1:])),
        "columns income (k€) (float, may be missing, to income)",
        "columns income (k€) (float, never missing, to income)",
    ),
    "a column less": (
        changed(columns=LOAN.columns[:2]),
        "columns plan (text, never missing, to plan)",
        "columns without those",
    ),
    "text that means missing": (
        changed(table=TableFormat(missing_tokens=(*LOAN.table.missing_tokens, "-"))),
        "text that means missing without those",
        "text that means missing '-'",
    ),
    "another task": (changed(task="tensors"), "task classification", "task tensors"),
    "another role": (
        changed(roles={"label": "label"}),
        "roles probability in probabilities",
        "roles without those",
    ),
    "labels in another order": (
        changed(labels=("yes", "no")),
        "labels 'no', 'yes'",
        "labels 'yes', 'no'",
    ),
    "a label of another kind": (changed(labels=("no", 1)), "labels 'yes'", "labels 1"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_differs_is_said_in_words_from_either_side(name: str) -> None:
    other, before, after = CASES[name]
    assert differences(LOAN, other) == (before, after)
    assert differences(other, LOAN) == (after, before)


def test_several_parts_are_said_and_many_columns_are_not_all_named() -> None:
    many = tuple(Column(f"c{number}", "float", "x", number, "allow") for number in range(30))
    before, after = differences(LOAN, changed(columns=many, task="tensors"))
    assert after == (
        "columns c0 (float, may be missing, to x[0]), c1 (float, may be missing, to x[1]), "
        "c2 (float, may be missing, to x[2]), c3 (float, may be missing, to x[3]) and 26 more; "
        "task tensors"
    )
    assert before.endswith("; task classification")
