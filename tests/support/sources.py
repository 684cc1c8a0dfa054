"""Saved models for the tests, and what their graphs answer in the engine."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd

from edge_runtime.contract.columns import assemble
from edge_runtime.contract.tensors import Arrays
from edge_runtime.engine.session import SessionPlan, open_session
from packager.graph import Graph
from packager.sources.child_source import ChildSource, Saved

DEFAULT_OPSET: Mapping[str, int] = {"": 18, "ai.onnx.ml": 3}


def dumped(model: Any) -> bytes:
    """Return a model as the bytes of a joblib file."""
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    return buffer.getvalue()


def saved_bytes(data: bytes, directory: Path, form: str = "pickle") -> Saved:
    """Write a model's file and return it as it is handed over."""
    path = directory / f"{len(list(directory.iterdir()))}.joblib"
    path.write_bytes(data)
    return Saved("model.joblib", path, form, hashlib.sha256(data).hexdigest())


def saved_estimator(model: Any, directory: Path) -> Saved:
    """Write a fitted estimator as a joblib file."""
    return saved_bytes(dumped(model), directory)


def kinds_of(frame: pd.DataFrame) -> dict[str, str]:
    """Return the kinds that reading this frame from a file would find."""
    kinds = {"O": "text", "i": "integer", "f": "float"}
    return {str(name): kinds[frame[name].to_numpy().dtype.kind] for name in frame}


def raw(frame: pd.DataFrame) -> Arrays:
    """Return a frame as raw rows by column name; a missing text is ""."""
    return {
        str(name): frame[name].fillna("").to_numpy(dtype=object)
        if frame[name].dtype == object
        else frame[name].to_numpy()
        for name in frame
    }


def engine_answers(graph: Graph, rows: Mapping[str, Any]) -> Arrays:
    """Run a graph in the engine on raw rows by column name."""
    feed = assemble(
        graph.columns,
        graph.inputs,
        {column.name: rows[column.name] for column in graph.columns},
    )
    return open_session(graph.to_bytes(), SessionPlan()).run(feed)


def worst_difference(expected: Arrays, actual: Arrays) -> float:
    """Return how far two sets of answers stand apart; text and labels must be equal."""
    assert list(expected) == list(actual)
    worst = 0.0
    for name, wanted in expected.items():
        assert wanted.shape == actual[name].shape, name
        if wanted.dtype.kind == "f":
            distance = np.abs(
                np.nan_to_num(wanted, nan=-1) - np.nan_to_num(actual[name], nan=-1)
            )
            worst = max(worst, float(distance.max(initial=0.0)))
        else:
            np.testing.assert_array_equal(wanted, actual[name])
    return worst


def convert(source: ChildSource, frame: pd.DataFrame) -> Graph:
    """Plan for the frame's columns and convert."""
    source.describe(kinds_of(frame))
    return source.graph(DEFAULT_OPSET)
