"""The sweep over scikit-learn: it catches what the gate cannot, and its page adds up."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import sklearn
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common._registration import _converter_pool, register_converter
from sklearn.preprocessing import StandardScaler

from packager.sources.sklearn.wires import Wires

WORDS = {"agrees", "refused", "silently wrong", "not applicable"}


@pytest.fixture
def benchmark(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import a file of the benchmarks."""
    monkeypatch.syspath_prepend(str(checkout / "benchmarks"))
    return importlib.import_module


def scaled_but(monkeypatch: pytest.MonkeyPatch, wrong_at: float | None) -> None:
    """Convert scalers wrongly: where the first column has one value, or everywhere."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        wires = Wires(scope, operator, container)
        matrix = wires.matrix()
        moved = wires.node("Sub", matrix, wires.number(wires.model.mean_[None]))
        value = wires.node("Div", moved, wires.number(wires.model.scale_[None]))
        first = wires.columns(matrix, [0])
        wrong = wires.node("Equal", first, wires.number(wrong_at or 0.0))
        error = wires.cast(wrong, wires.floats)
        if wrong_at is None:
            error = wires.number(1.0)
        wires.node("Add", value, error, out=wires.output(0))

    alias = sklearn_operator_name_map[StandardScaler]
    monkeypatch.setitem(_converter_pool, alias, _converter_pool[alias])
    register_converter(alias, convert, overwrite=True)


def test_a_conversion_that_only_fails_on_unseen_rows_is_silently_wrong(
    benchmark: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, data, cases = map(benchmark, ("sklearn_sweep", "sweep_data", "sweep_cases"))
    case = cases.Case("StandardScaler", StandardScaler)
    assert sweep.judged(case, hard=True).verdict == "agrees"
    fresh = data.make_table("floats", "nothing", hard=True).rows[-1, 0]
    scaled_but(monkeypatch, wrong_at=float(fresh))
    found = sweep.judged(case, hard=True)
    assert found.verdict == "silently wrong"
    assert found.reason == "the value is off by up to 1 in 0.05% of the rows"


def test_a_conversion_that_fails_everywhere_does_not_pass_the_gate(
    benchmark: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, cases = map(benchmark, ("sklearn_sweep", "sweep_cases"))
    scaled_but(monkeypatch, wrong_at=None)
    found = sweep.judged(cases.Case("StandardScaler", StandardScaler), hard=False)
    assert found.verdict == "refused"
    assert "unlike the source model" in found.reason


@pytest.mark.parametrize(
    ("own", "graph", "fault"),
    [
        ({"label": ["a", "b"]}, {"label": ["a", "a"]}, "50.00% of the labels are off"),
        (
            {"value": [[1.0], [2.0]]},
            {"value": [[1.0], [np.nan]]},
            "the value is off by up to 2",
        ),
        (
            {"value": [[1.0], [2.0]]},
            {"value": [[1.0, 2], [2, 3]]},
            "the value is 2 wide, not 1",
        ),
        (
            {"value": [[3.0], [3.0]]},
            {"value": [[3.0], [3.0]]},
            "answers the same for every row",
        ),
    ],
    ids=["labels", "a NaN on one side", "the width", "nothing to tell apart"],
)
def test_the_judge_names_what_is_off(
    benchmark: Callable[[str], ModuleType],
    own: dict[str, Any],
    graph: dict[str, Any],
    fault: str,
) -> None:
    judge = benchmark("sweep_judge")
    wanted = {role: np.array(values) for role, values in own.items()}
    found = {role: np.array(values) for role, values in graph.items()}
    assert fault in judge.compared(wanted, found, nearest=False).reason


def test_labels_may_differ_only_where_the_estimator_is_in_doubt(
    benchmark: Callable[[str], ModuleType],
) -> None:
    judge = benchmark("sweep_judge")
    shares = np.array([[0.5, 0.5, 0.0], [0.5 + 1e-4, 0.5 - 1e-4, 0.0], [0.0, 0.1, 0.9]])
    wanted = {"label": np.array([0, 0, 2]), "probability": shares}
    for labels, verdict in (([1, 0, 2], "agrees"), ([0, 1, 2], "silently wrong")):
        found = {"label": np.array(labels), "probability": shares}
        assert judge.compared(wanted, found, nearest=False).verdict == verdict


def test_a_few_estimators_run_from_the_command_line(checkout: Path) -> None:
    names = ("LogisticRegression", "NMF", "TSNE")
    script = checkout / "benchmarks" / "sklearn_sweep.py"
    done = subprocess.run(
        [sys.executable, script, "--data", "easy", "--only", *names],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *lines, total = done.stdout.splitlines()
    assert [line.split(":")[0].split() for line in lines] == [
        ["agrees", "LogisticRegression"],
        ["refused", "NMF"],
        ["not", "applicable", "TSNE"],
    ]
    assert total == ("3 estimators: 1 agrees, 1 refused, 0 silently wrong, 1 not applicable")


# --- the page ------------------------------------------------------------------------------


def tables(checkout: Path) -> tuple[str, list[list[str]], list[list[str]]]:
    """Return the page, and the cells of its two tables."""
    text = (checkout / "docs" / "sklearn.md").read_text(encoding="utf-8")
    found = []
    for part in text.split("\n## Traps\n"):
        lines = re.findall(r"^\| (.*) \|$", part, re.M)
        found.append([re.split(r" \| ", f"{line} ")[:5] for line in lines[2:]])
    return text, found[0], found[1]


def test_the_page_has_a_line_for_every_estimator_and_every_trap(
    checkout: Path, benchmark: Callable[[str], ModuleType]
) -> None:
    text, estimators, traps = tables(checkout)
    assert [line[0] for line in traps] == [one.name for one in benchmark("sweep_traps").traps()]
    if f"scikit-learn {sklearn.__version__}," in text:  # else its list is another one
        names = [case.name for case in benchmark("sweep_cases").cases()]
        assert [line[0] for line in estimators] == names


def test_the_pages_total_is_the_sum_of_its_lines_and_nothing_is_silently_wrong(
    checkout: Path,
) -> None:
    text, estimators, traps = tables(checkout)
    count = Counter(line[1] for line in estimators)
    assert set(count) <= WORDS
    total = (
        f"**{len(estimators)} estimators: {count['agrees']} agrees, {count['refused']} "
        f"refused, 0 silently wrong, {count['not applicable']} not applicable.**"
    )
    assert total in text
    assert count["agrees"] >= 135
    assert not [line for line in traps if line[1] not in {"agrees", "refused"}]


def test_every_refusal_on_the_page_has_its_reason(checkout: Path) -> None:
    _, estimators, traps = tables(checkout)
    assert not [line[0] for line in estimators + traps if line[1] != "agrees" and not line[4]]
