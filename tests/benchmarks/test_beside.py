"""The benchmark beside other tools: run apart, judged alike, on an honest page."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from packager.scoring import HeldOut

Row = dict[str, Any]


@pytest.fixture
def benchmark(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import a file of the benchmarks."""
    monkeypatch.syspath_prepend(str(checkout / "benchmarks"))
    return importlib.import_module


# --- tools ---------------------------------------------------------------------------------


def ran(tools: ModuleType, tmp_path: Path, *words: str) -> Any:
    """Run a tool that is a shell script; its first argument is the model."""
    model = tmp_path / "float32.onnx"
    model.write_bytes(b"a model")

    def command(programs: Path, order: Any) -> list[str]:
        assert programs == tmp_path
        return ["sh", "-c", " ".join(words), "sh", str(order.model)]

    order = tools.Order(model, tmp_path / "rows.npz", tmp_path / "out")
    return tools.run(tools.Tool("a tool", "shell", (), command), tmp_path, order)


def test_a_tools_file_is_found_in_its_own_directory(
    benchmark: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    tools = benchmark("beside_tools")
    found = ran(tools, tmp_path, "mkdir -p made/deep; cp $1 made/deep/int8.onnx; echo said")
    assert found.file == tmp_path / "out" / "made" / "deep" / "int8.onnx"
    assert found.problem == ""
    assert (tmp_path / "out" / "log.txt").read_text() == "said\n"


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("echo Error: no such operator >&2; exit 3", "Error: no such operator"),
        ("echo all is well", "all is well"),
        ("true", "it said nothing"),
        ("mkdir made; touch made/x.onnx; exit 1", "it said nothing"),
    ],
    ids=["it fails", "it makes nothing", "it is silent", "it fails with a file"],
)
def test_a_tool_without_a_file_has_a_reason(
    benchmark: Callable[[str], ModuleType], tmp_path: Path, script: str, problem: str
) -> None:
    found = ran(benchmark("beside_tools"), tmp_path, script)
    assert found.file is None
    assert found.problem == problem


def test_a_tool_that_does_not_end_is_ended(
    benchmark: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = benchmark("beside_tools")
    monkeypatch.setattr(tools, "LIMIT_S", 0.5)
    assert ran(tools, tmp_path, "exec sleep 60").problem == "no end within 0.5 seconds"


def test_tools_run_offline_send_no_usage_and_see_none_of_our_modules(
    benchmark: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ran(benchmark("beside_tools"), tmp_path, "env")
    told = (tmp_path / "out" / "log.txt").read_text().splitlines()
    assert {"OLIVE_DISABLE_TELEMETRY=1", "HF_HUB_OFFLINE=1"} < set(told)
    assert not [line for line in told if line.startswith("PYTHONPATH=")]


def test_every_tool_is_pinned_and_none_brings_another_pytorch(
    benchmark: Callable[[str], ModuleType], checkout: Path
) -> None:
    tools = benchmark("beside_tools")
    text = (checkout / "pyproject.toml").read_text("utf-8")
    assert f'"{tools.CONSTRAINTS.strip()}; ' in text
    for tool in tools.TOOLS:
        assert "==" in tool.packages[0]


def test_the_bytes_of_an_environment_leave_links_aside(
    benchmark: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a").write_bytes(b"12345")
    (tmp_path / "b").symlink_to(sys.executable)
    assert benchmark("beside_tools").installed_bytes(tmp_path) == 5


# --- judging -------------------------------------------------------------------------------


def graph(path: Path, *, wrong: bool) -> None:
    """Write a graph that answers 0 or 1 by the sign of its input, or the other way round."""
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1]),
        helper.make_tensor_value_info("label", TensorProto.BOOL, ["N", 1]),
    ]
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])
    names = ["x", "zero"] if not wrong else ["zero", "x"]
    node = helper.make_node("Less", names, ["label"])
    made = helper.make_graph([node], "g", ends[:1], ends[1:], [zero])
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(made, opset_imports=opset, ir_version=8)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(("wrong", "quality"), [(False, 0.75), (True, 0.25)])
def test_right_labels_are_counted_without_the_packagers_metrics(
    benchmark: Callable[[str], ModuleType], tmp_path: Path, wrong: bool, quality: float
) -> None:
    judge, timing = benchmark("beside_judge"), benchmark("variants_timing")
    graph(tmp_path / "m.onnx", wrong=wrong)
    data = (tmp_path / "m.onnx").read_bytes()
    feed = {"x": np.array([[-1.0], [2.0], [-3.0], [4.0]], np.float32)}
    truth = np.array([True, False, True, True])
    rows = HeldOut(feed, truth, "classification", {"label": "label"}, (False, True))
    found = judge.Judge(rows, data, cpus=("host",)).judged(timing.File(tmp_path / "m.onnx"))
    assert found == {"problem": "", "quality": {"host": quality}}


def test_a_file_that_does_not_open_has_a_problem_and_no_quality(
    benchmark: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    judge, timing = benchmark("beside_judge"), benchmark("variants_timing")
    graph(tmp_path / "m.onnx", wrong=False)
    data = (tmp_path / "m.onnx").read_bytes()
    (tmp_path / "m.onnx").write_bytes(b"no model")
    feed = {"x": np.zeros((4, 1), np.float32)}
    rows = HeldOut(feed, np.zeros(4), "classification", {"label": "label"}, (0, 1))
    found = judge.Judge(rows, data, cpus=("host",)).judged(timing.File(tmp_path / "m.onnx"))
    assert found["problem"].startswith("host: ")
    assert found["quality"] == {}


# --- the page ------------------------------------------------------------------------------


def made(size: int, here: float, haswell: float, times: Sequence[float], seconds: float) -> Row:
    return {
        "problem": "",
        "size": size,
        "quality": {"host": here, "Haswell": haswell},
        "shares": dict(zip(("1", "32"), times, strict=True)),
        "seconds": seconds,
    }


@pytest.fixture
def row(benchmark: Callable[[str], ModuleType]) -> Row:
    names = [tool.name for tool in benchmark("beside_tools").TOOLS]
    others = [
        made(240, 0.9, 0.85, (0.2, 0.2), 5.0),  # best of all, but ruined on Haswell
        made(260, 0.895, 0.892, (0.3, 0.6), 6.0),
        {"problem": "no such operator", "seconds": 2.0, "shares": {}},
        made(255, 0.9, 0.9, (0.8, 0.35), 4.0),
    ]
    return {
        "name": "net",
        "metric": "accuracy",
        "rows": 400,
        "variant": "int8-static",
        "float32": {**made(1000, 0.9, 0.9, (1, 1), 0.0), "seconds": None},
        "tools": {
            "edgepack": made(250, 0.9, 0.899, (0.4, 0.4), 30.0),
            **dict(zip(names, others, strict=True)),
        },
    }


def test_the_page_marks_the_winners_among_the_files_that_lose_little(
    benchmark: Callable[[str], ModuleType], row: Row
) -> None:
    sizes = {"olive": (1_400_000_000, 700_000_000), "optimum": (9e8, 7e8), "edgepack": (8e8, 0)}
    text = benchmark("beside_page").page([row], sizes)
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    names = [tool.name for tool in benchmark("beside_tools").TOOLS]
    assert "| float32 | 1.000 | 0.9000 | 0.9000 | 1.00 | 1.00 |  |" in lines
    assert "| edgepack | **0.250** | 0.9000 | 0.8990 | 0.40 | 0.40 | 30 |" in lines
    assert f"| {names[0]} | 0.240 | 0.9000 | 0.8500 | 0.20 | 0.20 | 5 |" in lines
    assert f"| {names[1]} | 0.260 | 0.8950 | 0.8920 | **0.30** | 0.60 | 6 |" in lines
    assert f"| {names[2]} | none: no such operator |  |  |  |  | 2 |" in lines
    assert f"| {names[3]} | 0.255 | 0.9000 | 0.9000 | 0.80 | **0.35** | **4** |" in lines
    assert "| Olive | 1,400 | 700 |" in lines
    assert f"- {names[0]}: loses at most 0.01 in 1 of 1 on host and 0 of 1 on Haswell" in text


def test_a_row_is_told_in_as_many_lines_as_there_are_tools(
    benchmark: Callable[[str], ModuleType], row: Row
) -> None:
    lines = benchmark("beside_page").summary(row).splitlines()
    assert lines[0] == "net: accuracy of float32 0.9000 on host, 0.9000 on Haswell"
    assert len(lines) == 1 + len(row["tools"])


def test_the_documented_page_has_every_model_and_every_tool(
    checkout: Path, benchmark: Callable[[str], ModuleType]
) -> None:
    text = (checkout / "docs" / "beside-other-tools.md").read_text("utf-8")
    for name in benchmark("beside_other_tools").NAMES:
        part = text.split(f"\n## {name}\n")[1].partition("\n## ")[0]
        for tool in ("float32", "edgepack", *(t.name for t in benchmark("beside_tools").TOOLS)):
            assert f"\n| {tool} |" in part
