"""A fitted scikit-learn model in the child: what it is, and its own answers."""

from __future__ import annotations

import copy
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline

from edge_runtime.contract.tensors import Array, Arrays
from packager.errors import ConversionFailed, SourceUnsupported
from packager.graph import OUTPUT_NAMES, Label
from packager.sources.opened import Converted
from packager.sources.sklearn.columns import Plan, plan_columns, walk
from packager.sources.sklearn.repairs import reads_double
from packager.sources.sklearn.versions import estimator_type

_TASKS = {
    "classifier": "classification",
    "regressor": "regression",
    "outlier_detector": "outliers",
    "clusterer": "clustering",
    "density_estimator": "clustering",
}
_LIBRARIES = ("scikit-learn", "numpy", "scipy", "skl2onnx", "onnx")

# What estimators raise where they do not take a missing value.
_REFUSALS = (ValueError, TypeError, AttributeError, KeyError, IndexError)


class SklearnModel:
    """One fitted estimator.

    Args:
        estimator: it, trusted no further than this process.

    Attributes:
        estimator: the same.
        task: what it does, in the manifest's words.
        roles: its outputs by role, in the order that a converter gives them.
        labels: its classes; empty where it has none.
        columns: the plan made last; see ``plan``.

    Raises:
        SourceUnsupported: when it can neither predict nor transform.
        ConversionFailed: when it has several label columns.
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator
        self.task = _task(estimator)
        self.roles = _roles(estimator, self.task)
        self.labels = _labels(estimator, self.task, self.roles)
        self.columns: Plan | None = None
        self._double = reads_double(estimator)

    def describe(self) -> dict[str, Any]:
        """Return what the parent needs to know, as JSON can hold it."""
        features = getattr(self.estimator, "n_features_in_", None)
        return {
            "framework": "scikit-learn",
            "kind": type(self.estimator).__name__,
            "task": self.task,
            "roles": self.roles,
            "labels": list(self.labels),
            "steps": [f"{path}: {_class_name(part)}" for path, part in walk(self.estimator)],
            "versions": {name: metadata.version(name) for name in _LIBRARIES}
            | {"python": platform.python_version()},
            "feature_names": list(map(str, getattr(self.estimator, "feature_names_in_", ()))),
            **({} if features is None else {"n_features": int(features)}),
        }

    def plan(self, kinds: Mapping[str, str] | None) -> dict[str, Any]:
        """Decide the columns and inputs, keep the plan, and return it as JSON can hold it."""
        self.columns = self._make_plan(kinds)
        return {
            "columns": [
                {"name": c.name, "kind": c.kind, "input": c.input}
                | ({} if c.index is None else {"index": c.index})
                for c in self.columns.columns
            ],
            "inputs": [
                {"name": spec.name, "dtype": spec.dtype, "width": spec.shape[1]}
                for spec in self.columns.inputs
            ],
        }

    def planned(self) -> Plan:
        """Return the plan, made from the model alone if nobody asked for one."""
        if self.columns is None:
            self.columns = self._make_plan(None)
        return self.columns

    def _make_plan(self, kinds: Mapping[str, str] | None) -> Plan:
        return plan_columns(self.estimator, kinds, double=self._double)

    def graph(self, opset: Mapping[str, int]) -> Converted:
        """Convert the estimator for these operator sets, by domain."""
        from packager.sources.sklearn.graph import convert

        return convert(self, opset)

    def answers(self, rows: Mapping[str, Array]) -> Arrays:
        """Return the estimator's own answers for raw rows, by output name."""
        return self._answer(_source_rows(self.planned(), rows))

    def probe(self, rows: Mapping[str, Array]) -> tuple[list[str], Arrays]:
        """Ask the rows again with one column missing, for each column that can be missing.

        Returns:
            The columns where the estimator answered, and all these answers, one block of rows
            after another in the order of the columns.
        """
        blocks = {
            column.name: _without(rows, column.name, column.kind)
            for column in self.planned().columns
            if column.kind != "integer"
        }
        together = self._accepted(_stacked(list(blocks.values()))) if blocks else {}
        if together is not None:
            return list(blocks), together
        answered = {name: self._accepted(block) for name, block in blocks.items()}
        accepted = {name: answers for name, answers in answered.items() if answers is not None}
        return list(accepted), _stacked(list(accepted.values())) if accepted else {}

    def diagnose(self) -> list[dict[str, str]]:
        """Say of each part what would become of it, without converting."""
        from packager.sources.sklearn.diagnosis import diagnose

        return diagnose(self.estimator)

    def _accepted(self, rows: Mapping[str, Array]) -> Arrays | None:
        try:
            return self.answers(rows)
        except _REFUSALS:
            return None

    def _answer(self, rows: Any) -> Arrays:
        model, names = self.estimator, OUTPUT_NAMES
        if self.task == "transform":
            return {names["value"]: _dense(model.transform(rows))}
        predicted = np.asarray(model.predict(rows))
        if self.task == "regression":
            return {names["value"]: predicted.reshape(len(predicted), -1).astype(np.float64)}
        out = {names["label"]: _label_form(predicted)}
        if "probability" in self.roles:
            out[names["probability"]] = np.asarray(model.predict_proba(rows), dtype=np.float64)
        if "score" in self.roles:
            out[names["score"]] = _scores(model, self.task, rows)
        return out


def from_step(estimator: Any, number: int) -> Any:
    """Return a fitted pipeline without its first steps, which the application computes itself.

    What remains has the names of the columns that the skipped steps give, where they say so.

    Raises:
        SourceUnsupported: when it is no pipeline, or has no such step.
    """
    steps = estimator.steps if isinstance(estimator, Pipeline) else []
    count = len(steps)
    if not 0 < number < count:
        last = max(count - 1, 0)
        raise SourceUnsupported(
            f"--from-step must be within 1…{last} for a pipeline of {count} steps, it is "
            f"{number}"
            if count
            else f"--from-step needs a pipeline, the file holds a {type(estimator).__name__}",
            hint="Count the steps that the application computes itself, or leave it out.",
            expected=last,
            found=number,
        )
    rest = Pipeline(steps[number:])
    names = _names_out(Pipeline(steps[:number]))
    first = steps[number][1]
    features = getattr(first, "n_features_in_", None)
    if names is not None and len(names) == features and not hasattr(first, "feature_names_in_"):
        first = copy.copy(first)
        first.feature_names_in_ = names
        rest.steps[0] = (rest.steps[0][0], first)
    return rest


def _names_out(skipped: Pipeline) -> Any:
    """Return the names of the columns that fitted steps give, None where one does not tell."""
    try:
        return np.asarray(skipped.get_feature_names_out(), dtype=object)
    except (AttributeError, ValueError, NotFittedError):
        return None


def _task(model: Any) -> str:
    task = _TASKS.get(estimator_type(model) or "")
    if task and hasattr(model, "predict"):
        return task
    if hasattr(model, "transform"):
        return "transform"
    raise SourceUnsupported(
        f"a model must predict or transform new rows, {type(model).__name__} does neither",
        hint="Save a model that learned a rule for new rows.",
        expected="predict or transform",
        found=type(model).__name__,
    )


def _roles(model: Any, task: str) -> dict[str, str]:
    if task in {"regression", "transform"}:
        roles = ["value"]
    elif hasattr(model, "predict_proba") and task != "outliers":
        roles = ["label", "probability"]
    elif hasattr(model, "transform" if task == "clustering" else "decision_function"):
        roles = ["label", "score"]
    else:
        roles = ["label"]
    return {role: OUTPUT_NAMES[role] for role in roles}


def _labels(model: Any, task: str, roles: Mapping[str, str]) -> tuple[Label, ...]:
    if task == "clustering" and "probability" in roles:
        last = model.steps[-1][1] if isinstance(model, Pipeline) else model
        return tuple(range(last.n_components))
    if task != "classification":
        return ()
    classes = model.classes_
    if not isinstance(classes, np.ndarray) or classes.ndim != 1:
        raise ConversionFailed(
            f"a model must answer one label a row, this {type(model).__name__} answers several",
            hint="Train one model a label.",
            expected=1,
            found=len(classes),
        )
    return tuple(classes.tolist())


def _label_form(predicted: Array) -> Array:
    """Give labels the element type that the converted graph gives them."""
    flat = predicted.reshape(len(predicted))  # CatBoost gives several classes a second axis
    return flat.astype(object if flat.dtype.kind in "UO" else np.int64)


def _scores(model: Any, task: str, rows: Any) -> Array:
    if task == "clustering":
        return _dense(model.transform(rows))
    scores = np.asarray(model.decision_function(rows), dtype=np.float64)
    if task == "outliers":
        return scores.reshape(-1, 1)
    return np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores


def _dense(values: Any) -> Array:
    array = values.toarray() if sparse.issparse(values) else np.asarray(values)
    return array.reshape(len(array), -1)


def _source_rows(plan: Plan, rows: Mapping[str, Array]) -> Any:
    """Build what the source takes: a frame, a matrix or a list of texts.

    A column that the model drops is not asked for, but has to stand in its place.
    """
    count = len(next(iter(rows.values())))
    blank = np.full(count, np.nan)
    filled = {
        name: _with_empties(rows.get(name, blank), plan.empties.get(name))
        for name in plan.names
    }
    if plan.layout == "documents":
        return filled[plan.names[0]].tolist()
    if plan.layout == "matrix":
        return np.column_stack(list(filled.values()))
    import pandas as pd

    return pd.DataFrame(
        {name: pd.Series(values, dtype=values.dtype) for name, values in filled.items()}
    )


def _with_empties(values: Array, empty: Any) -> Array:
    if values.dtype.kind != "O" or empty == "":
        return values
    out = values.copy()
    out[values == ""] = empty
    return out


def _without(rows: Mapping[str, Array], name: str, kind: str) -> Arrays:
    count = len(rows[name])
    absent = np.full(count, "", dtype=object) if kind == "text" else np.full(count, np.nan)
    return {**rows, name: absent}


def _class_name(part: Any) -> str:
    return part if isinstance(part, str) else type(part).__name__


def _stacked(blocks: list[Arrays]) -> Arrays:
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
