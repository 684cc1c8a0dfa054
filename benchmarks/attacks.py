"""Writes the page of attacks: each with what must happen, its tests, and what became of them.

    python benchmarks/fuzz.py --json > fuzz.json
    python benchmarks/attack_engines.py 1.20.1=PYTHON 1.32.0=PYTHON > engines.json
    python benchmarks/attacks.py --fuzz fuzz.json --engines engines.json --write docs/attacks.md

The tests are run anew; fails, and writes nothing, where one of them fails or a count is bad.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "tests/support"), str(CHECKOUT / "benchmarks")]

import numpy as np  # noqa: E402 - found by the path above
from attack_rows import TABLES, Row  # noqa: E402
from onnx import NodeProto, TensorProto, helper, numpy_helper  # noqa: E402

from edge_runtime.contract.bundle.graph_rules import Allowed, check_graph  # noqa: E402
from edge_runtime.engine.session import SessionPlan, engine_facts, open_session  # noqa: E402

HEAD = """\
# Attacks

What is tried on the device's code, what must happen, and which tests say so. Written by
`benchmarks/attacks.py`, which ran them: {passed} of {passed} passed.
[SECURITY.md](../SECURITY.md) tells against whom this is, and what is not promised.
"""
GRAPHS = """\

## Graphs that are refused by their bytes

Validly signed, and refused with `graph-refused` before any engine opens them, by the
[rules for graphs](bundle-format.md#what-a-graph-may-hold). What an engine does with the same
graph where nobody asks first, given as a file or as bytes, the worse of both:

| graph | {engines} |
|---|{bars}
{rows}

`tests/attacks/test_hostile_graphs.py` has each graph twice: its bytes alone, and in a signed
bundle that is to be installed.

"""
COST = """\
What walking costs, beside hashing the same graph and loading it in ONNX Runtime {engine} with
one thread, in milliseconds:

| graph | MB | hash | load | walk | share |
|---|--:|--:|--:|--:|--:|
{rows}
"""
FUZZ = """\

## Inputs bent at random

{inputs} inputs of `benchmarks/fuzz.py --seed {seed}`, bent with an eye for their structure,
memory limited:
{accepted} accepted that must not be, {tracebacks} tracebacks, {left} files left.
An input that is taken has to hold by its measure. `tests/attacks/test_fuzzing.py` runs some
thousand of them, and shows that readers broken on purpose are found out.

| what is bent | inputs | refused | taken, and held | by the measure | memory, MiB | seconds |
|---|--:|--:|--:|---|--:|--:|
{rows}
"""


def main() -> None:
    """Run the tests and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fuzz", type=Path, required=True, help="what fuzz.py --json printed")
    parser.add_argument("--engines", type=Path, required=True, help="of attack_engines.py")
    parser.add_argument("--write", type=Path, required=True)
    options = parser.parse_args()
    fuzz, engines = (json.loads(path.read_text()) for path in (options.fuzz, options.engines))
    if bad := sum(len(one["accepted"] + one["tracebacks"] + one["left"]) for one in fuzz):
        sys.exit(f"{bad} inputs of the fuzzer are bad")
    passed = outcomes({test for rows in TABLES.values() for row in rows for test in row.tests})
    options.write.write_text(page(passed, fuzz, engines), encoding="utf-8")


def outcomes(tests: set[str]) -> Counter[str]:
    """Run tests and return how many cases of each passed."""
    with tempfile.TemporaryDirectory() as room:
        report = Path(room, "report.xml")
        program = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}"]
        ended = subprocess.run(
            [*program, f"--basetemp={room}/tests", *sorted(tests)], cwd=CHECKOUT, check=False
        )
        if ended.returncode:
            sys.exit("a test failed")
        cases = ET.parse(report).getroot().iter("testcase")  # noqa: S314 - pytest wrote it
        passed = Counter(_test(case) for case in cases if case.find("skipped") is None)
    if missing := tests - passed.keys():
        sys.exit(f"not run here: {missing}")
    return passed


def _test(case: ET.Element) -> str:
    file = case.get("classname", "").replace(".", "/") + ".py"
    return f"{file}::{case.get('name', '').partition('[')[0]}"


def page(
    passed: Mapping[str, int], fuzz: Sequence[Mapping[str, Any]], engines: Sequence[Any]
) -> str:
    """Return the page."""
    parts = [HEAD.format(passed=sum(passed.values()))]
    for title, rows in TABLES.items():
        lines = [_row(row, passed) for row in rows]
        parts += [f"\n## {title}\n\n| what | must | tests passed |\n|---|---|---|\n"]
        parts += ["\n".join(lines), "\n"]
    names = list(engines[0]["engines"])
    parts.append(
        GRAPHS.format(
            engines=" | ".join(f"ONNX Runtime {name}" for name in names),
            bars="---|" * len(names),
            rows="\n".join(
                f"| {row['what']} | {' | '.join(row['engines'][name] for name in names)} |"
                for row in engines
            ),
        )
    )
    parts.append(COST.format(engine=engine_facts().version, rows="\n".join(costs())))
    return "".join(parts) + _fuzz(fuzz)


def _row(row: Row, passed: Mapping[str, int]) -> str:
    tests = "<br>".join(f"`{test}` {passed[test]}" for test in row.tests)
    return f"| {row.what} | {row.then} | {tests} |"


def _fuzz(counts: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        f"| {one['what']} | {one['inputs']:,} | {sum(one['refused'].values()):,} "
        f"| {one['without_effect']:,} | {one['measure']} | {one['memory_bytes'] >> 20} "
        f"| {one['seconds']:.0f} |"
        for one in counts
    ]
    return FUZZ.format(
        inputs=f"{sum(one['inputs'] for one in counts):,}",
        seed=counts[0]["seed"],
        rows="\n".join(rows),
        **{
            key: sum(len(one[key]) for one in counts)
            for key in ("accepted", "tracebacks", "left")
        },
    )


# --- what walking costs --------------------------------------------------------------------


def costs() -> Iterator[str]:
    """Yield rows of what walking costs."""
    made = {
        "a matrix": _matrix(100),
        "a forest of 40 trees, a million nodes": _forest(),
        "5,000 nodes": _nodes(5000),
        "an encoder of 500,000 words": _words(500_000),
    }
    allowed = Allowed({"": 18, "ai.onnx.ml": 3}, 10, {})
    for name, graph in made.items():
        hashed = _best(lambda data=graph: hashlib.sha256(data).digest())
        load = _best(lambda data=graph: open_session(data, SessionPlan()))
        walk = _best(lambda data=graph: check_graph(data, "m.onnx", allowed))
        share = walk / (hashed + load)
        yield (
            f"| {name} | {len(graph) / 1e6:.1f} | {hashed * 1e3:.1f} | {load * 1e3:.0f} "
            f"| {walk * 1e3:.1f} | {share:.1%} |"
        )


def _best(call: Callable[[], object], times: int = 5) -> float:
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begin)
    return min(taken)


def _graph(nodes: Sequence[NodeProto], kind: int, axes: int | None, **weights: Any) -> bytes:
    ends = [
        helper.make_tensor_value_info(name, kind if name == "x" else 0, ["N", axes])
        for name in ("x", nodes[-1].output[0])
    ]
    ends[1].type.Clear()
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    body = helper.make_graph(list(nodes), "g", ends[:1], ends[1:], tensors)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return bytes(
        helper.make_model(body, opset_imports=opsets, ir_version=10).SerializeToString()
    )


def _matrix(megabytes: int) -> bytes:
    weights = np.ones((1000, megabytes * 250), np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return _graph([node], TensorProto.FLOAT, 1000, w=weights)


def _nodes(count: int) -> bytes:
    names = ["x", *(f"/layers.{number}/out" for number in range(count))]
    nodes = [
        helper.make_node("Add", [names[at], "x"], [names[at + 1]], name=f"/layers.{at}/add")
        for at in range(count)
    ]
    return _graph(nodes, TensorProto.FLOAT, 4)


def _words(count: int) -> bytes:
    node = helper.make_node(
        "LabelEncoder",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        keys_strings=[f"word-{number}" for number in range(count)],
        values_int64s=range(count),
    )
    return _graph([node], TensorProto.STRING, 1)


def _forest() -> bytes:
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestRegressor

    chance = np.random.default_rng(0)
    rows = chance.normal(size=(20_000, 12)).astype(np.float32)
    model = RandomForestRegressor(40, random_state=0, n_jobs=2)
    model.fit(rows, rows.sum(axis=1) + chance.normal(size=len(rows)))
    made = to_onnx(model, rows[:1], target_opset={"": 18, "ai.onnx.ml": 3})
    return bytes(made.SerializeToString())


if __name__ == "__main__":
    main()
