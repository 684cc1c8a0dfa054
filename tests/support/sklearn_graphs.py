"""Fitted estimators converted in this process, and what estimator and engine answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from sources import DEFAULT_OPSET, kinds_of, raw

from edge_runtime.contract.columns import assemble
from edge_runtime.contract.tensors import Arrays
from edge_runtime.engine.session import SessionPlan, open_session
from packager.sources.sklearn.model import SklearnModel


@dataclass(frozen=True)
class Both:
    """What the estimator and its graph answer to the same rows, and what was mended."""

    expected: Arrays
    actual: Arrays
    repairs: tuple[str, ...]
    dtypes: tuple[str, ...]
    data: bytes


def both(
    estimator: Any, rows: Any, opset: Mapping[str, int] = DEFAULT_OPSET, *, named: bool = True
) -> Both:
    """Convert a fitted estimator and ask it and its graph the same rows.

    Args:
        estimator: fitted.
        rows: a frame or a matrix.
        opset: the operator sets, by domain.
        named: whether the plan is made with the frame's columns.
    """
    frame = framed(rows)
    model = SklearnModel(estimator)
    model.plan(kinds_of(frame) if named else None)
    converted = model.graph(opset)
    columns = [replace(column, missing="allow") for column in model.planned().columns]
    given = {column.name: raw(frame)[column.name] for column in columns}
    session = open_session(converted.data, SessionPlan())
    actual = session.run(assemble(columns, session.inputs, given))
    dtypes = tuple(spec.dtype for spec in session.inputs)
    return Both(model.answers(given), actual, converted.repairs, dtypes, converted.data)


def framed(rows: Any) -> pd.DataFrame:
    """Return rows as a frame whose columns are named by their places."""
    if isinstance(rows, pd.DataFrame):
        return rows
    matrix = np.asarray(rows)
    return pd.DataFrame(matrix, columns=[f"x{i}" for i in range(matrix.shape[1])])


def assert_agree(found: Both, limit: float = 1e-5) -> None:
    """Hold labels to be equal, row by row, and numbers to differ by a share of their size."""
    assert list(found.expected) == list(found.actual)
    for name, wanted in found.expected.items():
        actual = found.actual[name]
        assert wanted.shape == actual.shape, name
        if wanted.dtype.kind == "f":
            size = float(np.nanmax(np.abs(wanted), initial=1.0))
            np.testing.assert_allclose(actual, wanted, rtol=limit, atol=limit * size)
        else:
            np.testing.assert_array_equal(actual, wanted)
            assert len(np.unique(wanted)) > 1, "rows of one class show nothing"
