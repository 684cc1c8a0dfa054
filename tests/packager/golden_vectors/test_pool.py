"""The pool of golden rows: nobody's rows, at ends, with gaps, in between, beside splits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import ModelProto, helper
from sklearn.datasets import load_wine
from tree_cases import converted

from edge_runtime.contract.table import Column
from edge_runtime.contract.tensors import Arrays, TensorSpec
from packager.golden_vectors.pool import POOL, golden_pool
from packager.graph import Graph, SourceFacts
from packager.graphs.tree_splits import tree_splits

FACTS = SourceFacts("own", "test", "0" * 64, {}, (), "")
EMPTY = helper.make_model(helper.make_graph([], "none", [], []))


def graph_of(
    model: ModelProto, inputs: tuple[TensorSpec, ...], columns: tuple[Column, ...] = ()
) -> Graph:
    return Graph(model, inputs, (), columns, "classification", {}, (), FACTS)


def table(width: int, missing: str = "refuse") -> tuple[Column, ...]:
    return tuple(Column(f"c{n}", "float", "features", n, missing) for n in range(width))


def wine() -> Arrays:
    return {"features": load_wine().data.astype(np.float32)}


SPEC = (TensorSpec("features", "float32", (None, 13)),)


def test_drawn_rows_come_first_and_no_row_stands_twice_or_is_anybodys() -> None:
    known = wine()
    pool = golden_pool(graph_of(EMPTY, SPEC, table(13)), known, [known])["features"]
    assert len(pool) > POOL
    rows = {row.tobytes() for row in pool}
    assert len(rows) == len(pool)
    assert rows.isdisjoint(row.tobytes() for row in known["features"])


def test_rows_stand_near_the_ends_of_every_column_but_at_nobodys_own_value() -> None:
    known = wine()
    values = known["features"]
    pool = golden_pool(graph_of(EMPTY, SPEC, table(13)), known, [known])["features"]
    ordered = np.sort(values, axis=0)
    for column in range(13):
        ends = pool[:, column].min(), pool[:, column].max()
        assert ordered[0, column] <= ends[0] <= ordered[1, column]
        assert ordered[-2, column] <= ends[1] <= ordered[-1, column]
        if ordered[0, column] < ordered[1, column]:
            assert ordered[0, column] not in pool[:, column]
    corners = [(pool == end(pool, axis=0)).all(axis=1).any() for end in (np.min, np.max)]
    assert all(corners)


def test_an_outlier_does_not_leave_the_house() -> None:
    known = {"features": np.random.default_rng(0).random((200, 2)).astype(np.float32)}
    known["features"][7] = 9e6
    spec = (TensorSpec("features", "float32", (None, 2)),)
    pool = golden_pool(graph_of(EMPTY, spec), known, [known])["features"]
    assert np.float32(9e6) not in pool
    assert pool.max() == pytest.approx(4.5e6, rel=1e-3)


def test_a_column_that_may_be_missing_is_missing_alone_and_with_all_others() -> None:
    known = wine()
    columns = (*table(3, "allow"), *table(13)[3:])
    pool = golden_pool(graph_of(EMPTY, SPEC, columns), known, [known])["features"]
    gaps = {tuple(np.flatnonzero(row)) for row in np.isnan(pool)}
    assert gaps == {(), (0,), (1,), (2,), (0, 1, 2)}


def test_a_column_of_text_is_missing_as_empty_text_and_integers_never_are() -> None:
    inputs = (TensorSpec("t", "string", (None, 1)), TensorSpec("i", "int64", (None, 1)))
    columns = (
        Column("t", "text", "t", None, "allow"),
        Column("i", "integer", "i", None, "allow"),
    )
    pool = golden_pool(graph_of(EMPTY, inputs, columns), None, ())
    assert "" in pool["t"]
    assert pool["i"].dtype == np.int64


def test_pairs_stand_on_either_side_of_a_tree_s_splits() -> None:
    model, feed = converted("forest of three")
    known = {"features": feed["features"][:178]}
    columns = table(13)
    pool = golden_pool(graph_of(model, SPEC, columns), known, [known])["features"]
    pairs = np.flatnonzero((np.diff(pool, axis=0) != 0).sum(axis=1) == 1)
    assert len(pairs) >= 8
    values = {name: [] for name in {column.name for column in columns}}
    for split in tree_splits(model, columns, 10_000):
        values[split.column.name].append(split.value)
    for first in pairs:
        column = int(np.flatnonzero(pool[first] != pool[first + 1])[0])
        low, high = sorted((pool[first, column], pool[first + 1, column]))
        between = [one for one in values[f"c{column}"] if low < one < high]
        assert between
        assert min(high - one for one in between) > 1e-4 * abs(high)


def test_bare_tensors_have_rows_that_are_all_low_and_all_high() -> None:
    spec = (TensorSpec("x", "float32", (None, 3, 4)),)
    known = {"x": np.random.default_rng(0).random((50, 3, 4)).astype(np.float32)}
    pool = golden_pool(graph_of(EMPTY, spec), known, [known])["x"]
    assert pool.shape[1:] == (3, 4)
    assert (pool <= pool.min(axis=0)).all(axis=(1, 2)).any()
    assert (pool >= pool.max(axis=0)).all(axis=(1, 2)).any()


def test_without_any_known_row_numbers_are_bare() -> None:
    pool = golden_pool(graph_of(EMPTY, SPEC), None, ())["features"]
    assert np.abs(pool).max() < 10


def test_a_column_without_any_value_stays_as_drawn() -> None:
    known = wine()
    known["features"][:, 4] = np.nan
    known["features"][1:, 5] = np.nan
    pool = golden_pool(graph_of(EMPTY, SPEC), known, [known])["features"]
    assert np.isnan(pool[:, 4]).all()
    assert not np.isinf(pool).any()


def test_the_pool_is_the_same_each_time() -> None:
    known = wine()
    graph = replace(graph_of(EMPTY, SPEC), columns=table(13, "allow"))
    first, second = (golden_pool(graph, known, [known])["features"] for _ in range(2))
    assert first.tobytes() == second.tobytes()
