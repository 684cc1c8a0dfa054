"""The benchmark of variants: its models, its checks, its page, and one model all the way."""

from __future__ import annotations

import copy
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

Row = dict[str, Any]
HERE, ARM = "x86-64-cpu", "arm64-cpu"


@pytest.fixture
def benchmark(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import a file of the benchmarks."""
    monkeypatch.syspath_prepend(str(checkout / "benchmarks"))
    return importlib.import_module


def score(cpu: str, drop: float = 0.0, problem: str = "") -> Row:
    return {
        "cpu": cpu,
        "quality": 0.9 - drop,
        "drop": drop,
        "low": drop - 0.005,
        "high": drop + 0.005,
        "agreement": 1.0,
        "problem": problem,
    }


def figures(size: int, *cpus: str) -> Row:
    scores = [score(cpu) for cpu in ("host", *cpus)]
    return {"size": size, "packed": size // 2, "scores": scores, "latency": {}}


def told(*cpus: str) -> Row:
    return {
        "promised": list(cpus),
        "ladder": ["int8-static", "float32"],
        "float32": figures(1000, *cpus),
        "ships": {"int8-static": figures(250, *cpus), "float32": figures(1000, *cpus)},
        "notes": [],
    }


def candidate(name: str, merit: float, rule: str = "") -> Row:
    return {"name": name, "merit": merit, "rule": rule}


@pytest.fixture
def row() -> Row:
    """A row in which everything is as promised."""
    return {
        "name": "net",
        "what": "a net | of layers",
        "metric": "balanced_accuracy",
        "max_drop": 0.01,
        "rows": 400,
        "source_bytes": 5000,
        "seconds": {"normal": 20.0, "full": 60.0},
        "targets": {HERE: told("Nehalem", "Haswell"), ARM: told("cortex-a53")},
        "shares": {
            "float32": {"1": 1.0, "32": 1.0},
            "int8-static": {"1": 0.4, "32": 0.3},
        },
        "right": [0.9, 0.9],
        "equal_labels": True,
        "candidates": [
            candidate("int8-static", 0.31),
            candidate("float32", 1.0),
            candidate("int4", 0.2, "quality"),
        ],
        "goal": {"size": 0.26, "speed": 2.0, "packed": 0.06},
    }


def broken(
    benchmark: Callable[[str], ModuleType], *rows: Row, whole: bool = False
) -> list[str]:
    found = benchmark("variants_checks").checks(rows, whole=whole)
    return [str(check) for check in found if check.faults]


def test_a_row_as_promised_breaks_nothing_and_reaches_its_goals(
    benchmark: Callable[[str], ModuleType], row: Row
) -> None:
    assert broken(benchmark, row) == []


def ships(row: Row, target: str = HERE) -> Row:
    return row["targets"][target]["ships"]["int8-static"]


def slower_and_larger(row: Row) -> None:
    ships(row)["size"] = 1001
    row["shares"]["int8-static"] = {"1": 1.3, "32": 0.9}


def over_budget(row: Row) -> None:
    ships(row)["scores"][2] = score("Haswell", 0.011)


def over_budget_on_arm(row: Row) -> None:
    ships(row, ARM)["scores"][1] = score("cortex-a53", 0.011)


def not_a_number(row: Row) -> None:
    ships(row)["scores"][1] = {**score("Nehalem"), "drop": "nan"}


def not_judged(row: Row) -> None:
    del ships(row)["scores"][1]


def crashed(row: Row) -> None:
    ships(row)["scores"][1] = score("Nehalem", problem="it was ended by SIGILL")


def far_from_the_best(row: Row) -> None:
    row["candidates"].append(candidate("int8-dynamic", 0.29))


def failed(row: Row) -> None:
    row["error"] = "parity-failed: the graph\nanswers otherwise"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (slower_and_larger, "slower and larger than float32; net: 1.00 of the bytes at 1.08"),
        (over_budget, "promised CPU; net: int8-static for x86-64-cpu loses 0.011 on Haswell"),
        (over_budget_on_arm, "net: int8-static for arm64-cpu loses 0.011 on cortex-a53"),
        (not_a_number, "net: int8-static for x86-64-cpu loses nan on Nehalem"),
        (not_judged, "net: int8-static for x86-64-cpu was not judged on Nehalem"),
        (crashed, "net: int8-static for x86-64-cpu loses 0.0 on Nehalem"),
        (far_from_the_best, "net: int8-static has 1.07 times the merit of int8-dynamic"),
        (failed, "every model builds; net: parity-failed: the graph answers otherwise"),
    ],
)
def test_every_broken_promise_is_told_and_fails_the_benchmark(
    benchmark: Callable[[str], ModuleType],
    row: Row,
    change: Callable[[Row], None],
    told: str,
) -> None:
    change(row)
    found = benchmark("variants_checks").checks([row], whole=False)
    assert [text for text in map(str, found) if text.startswith("BROKEN") and told in text]
    assert benchmark("variants_checks").broken(found)


def test_a_candidate_that_may_not_ship_is_no_better_choice(
    benchmark: Callable[[str], ModuleType], row: Row
) -> None:
    row["candidates"].append(candidate("int8-static-dense", 0.1, "too-slow"))
    assert benchmark("variants_checks").nearness(row) == ("int8-static", 1.0)


def test_a_choice_that_the_exhaustive_build_did_not_make_is_far_from_its_best(
    benchmark: Callable[[str], ModuleType], row: Row
) -> None:
    row["candidates"] = [candidate("float32", 1.0)]
    assert "nan times the merit of float32" in broken(benchmark, row)[0]


def test_six_rows_of_a_whole_table_ship_something_other_than_float32(
    benchmark: Callable[[str], ModuleType], row: Row
) -> None:
    assert "in 5 it does" in broken(benchmark, *[row] * 5, whole=True)[0]
    assert broken(benchmark, *[row] * 6, whole=True) == []


def test_a_goal_that_is_missed_is_told_and_breaks_nothing(
    benchmark: Callable[[str], ModuleType], row: Row
) -> None:
    row["shares"]["int8-static"]["32"] = 0.8
    row["equal_labels"] = False
    found = benchmark("variants_checks").checks([row], whole=False)
    assert not benchmark("variants_checks").broken(found)
    assert [str(check) for check in found if check.faults] == [
        "missed: net at most 0.26 of the bytes, at least 2 times as fast; "
        "at batch 32 it is 1.25 times as fast",
        "missed: net at most 0.06 of its source's file, with equal labels; "
        "its labels are not those of the source",
    ]


# --- the page ------------------------------------------------------------------------------


def test_the_page_shows_every_figure_of_a_row(
    benchmark: Callable[[str], ModuleType], row: Row
) -> None:
    row["candidates"].append(candidate("int8-dynamic", 0.29))
    checks = benchmark("variants_checks").checks([row], whole=True)
    text = benchmark("variants_page").page([row], checks)
    assert "- **BROKEN**: the choice is within 5 % of the best candidate" in text
    assert (
        "| net | int8-static, float32 | 0.250 | 0.250 | 0.025 | 0.40 | 0.30 | int8-dynamic "
        "| 1.07 |"
    ) in text
    assert "| net | arm64-cpu | int8-static | balanced_accuracy | 0.9000 |" in text
    assert "Haswell 0.9000 (0, -0.0050 … +0.0050) |" in text
    assert (
        "| net | int8-static 0.31, float32 1.00, int8-dynamic 0.29 — int4 0.20 (quality) |"
        in (text)
    )
    assert r"| net | a net \| of layers | 400 | 0.900 → 0.900 | 5.0 | 1.0 | 20 | 60 |" in text


def test_the_page_names_a_model_that_does_not_build(
    benchmark: Callable[[str], ModuleType], row: Row
) -> None:
    bad = {"name": "worse", "what": "a net", "error": "parity-failed: it answers otherwise"}
    checks = benchmark("variants_checks").checks([row, bad], whole=False)
    text = benchmark("variants_page").page([row, bad], checks)
    assert "- **worse: parity-failed: it answers otherwise**" in text
    assert "| worse |" not in text


def test_the_documented_page_has_all_models(
    checkout: Path, benchmark: Callable[[str], ModuleType]
) -> None:
    text = (checkout / "docs" / "variants.md").read_text("utf-8")
    names = [model.name for model in benchmark("variants_models").models()]
    assert re.findall(r"^\| ([a-z][\w-]*) \|", text.split("\n## The models\n")[1], re.M) == [
        "model",
        *names,
    ]


def test_the_documented_page_has_no_broken_promise(checkout: Path) -> None:
    assert "BROKEN" not in (checkout / "docs" / "variants.md").read_text("utf-8")


# --- figures -------------------------------------------------------------------------------


def test_merit_is_the_mean_of_bytes_and_times_and_the_admitted_stand_first(
    benchmark: Callable[[str], ModuleType],
) -> None:
    def measured(name: str, size: int, *times: float) -> Row:
        return {"name": name, "size": size, "latency": dict(zip("12", times, strict=True))}

    def verdict(name: str, rule: str, *, admitted: bool = False) -> Row:
        return {"name": name, "admitted": admitted, "rule": rule}

    target = {
        "measured": [
            measured("float32", 800, 10.0, 100.0),
            measured("int4", 100, 5.0, 50.0),
            measured("int8", 200, 5.0, 50.0),
            measured("twin", 100, 20.0, 200.0),
        ],
        "verdicts": [
            verdict("float32", "float32", admitted=True),
            verdict("int4", "quality"),
            verdict("int8", "better", admitted=True),
            verdict("twin", "better-ones"),
        ],
    }
    found = benchmark("variants_row").candidates(target)
    assert [(one["name"], one["rule"]) for one in found] == [
        ("int8", ""),
        ("twin", ""),
        ("float32", ""),
        ("int4", "quality"),
    ]
    assert [one["merit"] for one in found] == pytest.approx(
        [(1 / 16) ** (1 / 3), 0.5 ** (1 / 3), 1.0, (1 / 32) ** (1 / 3)]
    )


def test_times_are_shares_of_the_first_files_at_both_batch_sizes(
    benchmark: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    timing = benchmark("variants_timing")
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 4]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "g", ends[:1], ends[1:])
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    files = {name: timing.File(tmp_path / "a.onnx") for name in ("float32", "twin")}
    found = timing.time_shares(files, {"x": np.ones((3, 4), np.float32)}, rounds=3)
    assert found["float32"] == {"1": 1.0, "32": 1.0}
    assert found["twin"].keys() == {"1", "32"}


def test_every_model_is_judged_on_256_rows_that_it_neither_learned_nor_calibrates_on(
    benchmark: Callable[[str], ModuleType],
) -> None:
    for model in benchmark("variants_models").models():
        rows = model.rows()
        columns = next(iter(rows.columns.values()))
        parts = [rows.learn()[0], *(next(iter(p.values())) for p in both(rows))]
        assert sum(map(len, parts)) == len(columns), model.name
        assert min(map(len, parts)) >= 256, model.name


def both(rows: Any) -> tuple[Row, Row]:
    return rows.calibrate(), rows.judge()


def test_rows_are_the_same_every_time(benchmark: Callable[[str], ModuleType]) -> None:
    data = benchmark("variants_data")
    for make in (data.payments, data.documents, data.tokens):
        first, second = make(), make()
        for name, column in first.columns.items():
            assert (column == second.columns[name]).all()
        assert (first.truth == second.truth).all()


def test_a_model_is_learned_once_and_again_when_the_benchmark_has_changed(
    benchmark: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, data = benchmark("variants_models"), benchmark("variants_data")
    learned: list[str] = []

    def write(_: Any, path: Path) -> Path:
        learned.append("once more")
        path = path.with_suffix(".joblib")
        path.write_bytes(b"a model")
        return path

    model = models.Model("net", "a net", data.machines, write)
    room = tmp_path / "net"
    made = models.make(model, room)
    (room / "row.json").write_text("figures", "utf-8")
    assert models.make(model, room) == made
    assert (made.model, learned) == (room / "model.joblib", ["once more"])
    monkeypatch.setattr(models, "_mark", lambda: "another edition")
    models.make(model, room)
    assert len(learned) == 2
    assert not (room / "row.json").exists()


# --- the program ---------------------------------------------------------------------------


def run(checkout: Path, *words: object) -> subprocess.CompletedProcess[str]:
    script = checkout / "benchmarks" / "variants.py"
    command = [sys.executable, script, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_model_goes_all_the_way_and_is_not_built_again(
    checkout: Path, tmp_path: Path, benchmark: Callable[[str], ModuleType]
) -> None:
    done = run(checkout, "--work", tmp_path, "--only", "logistic")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("logistic ")
    kept = tmp_path / "logistic" / "row.json"
    row = json.loads(kept.read_text("utf-8"))
    assert row["metric"] == "average_precision"
    assert row["rows"] == 1500
    assert row["right"][0] > 0.9
    assert row["candidates"][0]["name"] == row["targets"][HERE]["ladder"][0]
    changed = {**copy.deepcopy(row), "what": "kept"}
    kept.write_text(json.dumps(changed), "utf-8")
    again = run(checkout, "--work", tmp_path, "--only", "logistic")
    assert again.stdout == done.stdout
    assert json.loads(kept.read_text("utf-8"))["what"] == "kept"
    text = benchmark("variants_page").page(
        [row], benchmark("variants_checks").checks([row], whole=True)
    )
    assert "| logistic | x86-64-cpu |" in text


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--only", "logistic", "--write", "x.md"), "--write takes all models"),
        (("--only", "nothing"), "no such model: nothing"),
    ],
)
def test_what_makes_no_sense_is_refused(
    checkout: Path, tmp_path: Path, words: tuple[str, ...], reason: str
) -> None:
    done = run(checkout, "--work", tmp_path, *words)
    assert done.returncode == 2
    assert reason in done.stderr
